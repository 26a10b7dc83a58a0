"""Bulk creation and change of contacts: accepted at once, done later, reported row by row (docs/engage.md#bulk).

The fields of the status answer are not documented; these are the sandbox's.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from plugin.sandbox.contacts import book
from plugin.sandbox.state import SandboxState, StoredContact, new_id
from plugin.sandbox.wire import GUID, Answer, ApiError, Call, Operation, parse_json

_PATH = "/api/v3/contacts/bulk"
RowWork = Callable[[SandboxState, dict[str, Any], str, datetime], StoredContact]


def bulk_create_contacts(call: Call) -> Answer:
    """Accept rows of new contacts, all of one type."""
    return _accept(call, _create_row)


def bulk_update_contacts(call: Call) -> Answer:
    """Accept rows of changes; a contact is found by contactId or by its type's key. Empty fields erase."""
    return _accept(call, _update_row)


def _accept(call: Call, work: RowWork) -> Answer:
    state, rows = call.state, parse_json(call.raw_body)
    if not isinstance(rows, list) or not 1 <= len(rows) <= state.options.max_bulk_rows:
        raise ApiError(
            400, "InvalidRequestBody", f"The body must be a list of 1 to {state.options.max_bulk_rows} contacts."
        )
    contact_type = call.query.get("contactType") or state.options.default_contact_type
    book.rules_of(state, contact_type)
    batch: dict[str, Any] = {
        "batchId": new_id(),
        "status": "Processing",
        "createdOn": call.now,
        "completedOn": None,
        "totalCount": len(rows),
        "succeeded": 0,
        "errors": [],
    }
    state.data.batches[batch["batchId"]] = batch
    state.do_after(call.now, state.options.bulk_delay_s, partial(_process, state, batch, rows, contact_type, work))
    as_object = state.options.bulk_answer == "object"
    return Answer(202, {"batchId": batch["batchId"]} if as_object else batch["batchId"])


def _process(
    state: SandboxState, batch: dict[str, Any], rows: list[Any], contact_type: str, work: RowWork, now: datetime
) -> None:
    for index, row in enumerate(rows):
        try:
            work(state, _object(row), contact_type, now)
            batch["succeeded"] += 1
        except ApiError as refusal:
            error = {"row": index, "errorCode": refusal.code, "message": refusal.message, "field": refusal.field}
            batch["errors"].append(error)
    batch["status"] = "CompletedWithErrors" if batch["errors"] else "Completed"
    batch["completedOn"] = now


def _object(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ApiError(400, "InvalidRow", "A row must be an object.")
    return row


def _create_row(state: SandboxState, row: dict[str, Any], contact_type: str, now: datetime) -> StoredContact:
    row = {**row, "contactType": contact_type}
    _, attributes, _ = book.checked_new(state, row)
    if book.duplicate_of(state, attributes, contact_type) is not None:
        raise ApiError(409, "ContactAlreadyExists", "A contact with this key exists.")
    return book.create(state, row, now)


def _update_row(state: SandboxState, row: dict[str, Any], contact_type: str, now: datetime) -> StoredContact:
    key = book.rules_of(state, contact_type).key
    named = row.get("contactId", row.get("id"))
    if isinstance(named, str) and GUID.fullmatch(named):
        contact = book.get(state, named.lower())
    elif isinstance(row.get(key), str):
        contact_ids = book.matches(state, key, row[key], contact_type)
        if len(contact_ids) != 1:
            raise ApiError(404, "ContactNotFound", "No contact of this type has this key.", key)
        contact = state.data.contacts[contact_ids.pop()]
    else:
        raise ApiError(400, f"Missing{key[:1].upper()}{key[1:]}", f"A row needs contactId or {key}.", key)
    changes = {name: value for name, value in row.items() if name not in {"contactId", "id"}}
    book.change(state, contact, changes, now)
    return contact


def get_bulk_status(call: Call) -> Answer:
    """Return how far a batch is, with the rows that failed."""
    batch = call.state.data.batches.get(call.query.get("batchId", ""))
    if batch is None:
        raise ApiError(404, "BatchNotFound", "No batch has this id.", "batchId")
    return Answer(data=batch)


OPERATIONS = (
    Operation("bulkCreateContacts", "POST", _PATH, bulk_create_contacts),
    Operation("bulkUpdateContacts", "PATCH", _PATH, bulk_update_contacts),
    Operation("getBulkStatus", "GET", f"{_PATH}/status", get_bulk_status),
)
