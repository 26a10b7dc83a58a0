"""Contacts, one by one and in bulk."""

from collections.abc import Mapping, Sequence
from typing import Any

from plugin.engage.calls.base import Calls
from plugin.engage.data import models, request_bodies, schemas
from plugin.engage.http.http_errors import contact_id_of
from plugin.errors import ContractError

BULK_LIMIT = 4000


class ContactCalls(Calls):
    """Operations on contacts."""

    def find_contact_id(
        self,
        *,
        email: str | None = None,
        mobile_phone: str | None = None,
        social_security_number: str | None = None,
        custom_key: str | None = None,
        contact_type: str | None = None,
    ) -> str:
        """Return the contactId. Raises EngageNotFoundError, and EngageConflictError (MultipleMatches).

        Never uses `any`, which stops at the first attribute that the value resembles.
        """
        query = {
            "email": email,
            "mobilePhone": mobile_phone,
            "socialSecurityNumber": social_security_number,
            "customKey": custom_key,
            "contactType": contact_type,
        }
        answer = self._call("find_contact_id", query={name: value for name, value in query.items() if value})
        return contact_id_of(answer.data, "find_contact_id")

    def create_contact(
        self,
        write: models.ContactWrite,
        *,
        contact_type: str,
        store_external_id: str | None,
        source: str | None,
    ) -> models.CreatedContact:
        """Create a contact. Raises EngageConflictError, with contact_id where the answer names it, when the key is taken.

        source and store go into the query: as headers they are silently ignored.
        """
        query = {"source": source, "storeExternalId": store_external_id}
        answer = self._call(
            "create_contact",
            query={name: value for name, value in query.items() if value},
            body=request_bodies.contact_body(write, contact_type),
        )
        contact_id = contact_id_of(answer.data, "create_contact")
        whole = isinstance(answer.data, Mapping) and "attributes" in answer.data
        contact = schemas.load(schemas.ContactSchema, answer.data, "create_contact") if whole else None
        return models.CreatedContact(contact_id, contact)

    def get_contact(self, contact_id: str) -> models.Contact:
        """Return a contact. Raises EngageNotFoundError."""
        answer = self._call("get_contact", path={"contact_id": contact_id})
        contact: models.Contact = schemas.load(schemas.ContactSchema, answer.data, "get_contact")
        return contact

    def patch_contact(self, contact_id: str, write: models.ContactWrite) -> None:
        """Change the given fields of a contact, and no others. Raises EngageNotFoundError, PermanentError with the field."""
        self._call("patch_contact", path={"contact_id": contact_id}, body=request_bodies.contact_body(write))

    def delete_contact(self, contact_id: str) -> None:
        """Delete a contact. Raises EngageNotFoundError."""
        query = {"source": self.account.source} if self.account.source else {}
        self._call("delete_contact", path={"contact_id": contact_id}, query=query)

    def update_contact_type(self, contact_id: str, contact_type: str) -> None:
        """Change the type of a contact. Raises PermanentError when data that the type requires is missing."""
        self._call("update_contact_type", path={"contact_id": contact_id}, query={"contactTypeId": contact_type})

    def bulk_create_contacts(self, contacts: Sequence[models.ContactWrite], *, contact_type: str) -> str:
        """Send at most 4,000 contacts of one type and return the batch id."""
        return self._bulk(
            "bulk_create_contacts", [request_bodies.contact_body(write) for write in contacts], contact_type
        )

    def bulk_patch_contacts(
        self, changes: Sequence[tuple[str, models.ContactWrite]], *, contact_type: str, key: str = "contactId"
    ) -> str:
        """Send at most 4,000 changes, each (key value, fields), and return the batch id.

        key: the field of a row that identifies its contact; that contactId is accepted is inferred.
        """
        rows = [{key: value, **request_bodies.contact_body(write)} for value, write in changes]
        return self._bulk("bulk_patch_contacts", rows, contact_type)

    def get_bulk_status(self, batch_id: str) -> models.BatchStatus:
        """Return how a batch went. Raises EngageNotFoundError."""
        return _batch_status(self._call("get_bulk_status", query={"batchId": batch_id}).data)

    def _bulk(self, name: str, rows: list[dict[str, Any]], contact_type: str) -> str:
        if not 0 < len(rows) <= BULK_LIMIT:
            raise ValueError(f"A bulk request takes 1 to {BULK_LIMIT} rows, not {len(rows)}.")
        data = self._call(name, query={"contactType": contact_type}, body=rows).data
        batch_id = data.get("batchId") if isinstance(data, Mapping) else data
        if not isinstance(batch_id, str) or not batch_id:
            raise ContractError(f"Engage's answer to {name} has no batch id.", operation=name, field="batchId")
        return batch_id


def _batch_status(data: Any) -> models.BatchStatus:
    """Read a batch status by every plausible name, because its fields are not documented (docs/engage.md#bulk)."""
    if isinstance(data, str):
        return models.BatchStatus(_finished(data), text=data)
    if not isinstance(data, Mapping):
        return models.BatchStatus(None)
    text = next((str(data[name]) for name in ("status", "state") if isinstance(data.get(name), str)), None)
    refused = []
    for name in ("errors", "failed", "rejected"):
        rows = data.get(name)
        for position, row in enumerate(rows if isinstance(rows, list) else []):
            if isinstance(row, Mapping):
                which = next(
                    (row[n] for n in ("index", "row", "key", "contactId", "id") if row.get(n) is not None),
                    position,
                )
                why = next((row[n] for n in ("errorCode", "code", "message", "error") if row.get(n)), "refused")
                refused.append((str(which), str(why)))
            else:
                refused.append((str(position), str(row)))
    return models.BatchStatus(_finished(text), tuple(refused), text)


def _finished(text: str | None) -> bool | None:
    if text is None:
        return None
    word = text.strip().lower()
    if word in {"completed", "completedwitherrors", "done", "finished", "succeeded", "failed"}:
        return True
    return False if word in {"pending", "queued", "running", "processing", "inprogress", "started", "created"} else None
