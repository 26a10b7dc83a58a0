"""The operations on single contacts, the changes feed and the contact overview (docs/engage.md#contact-model)."""

import re
from datetime import UTC, datetime

from plugin.sandbox.contacts import book
from plugin.sandbox.contacts.rules import check_required
from plugin.sandbox.options import SandboxOptions
from plugin.sandbox.state import StoredContact
from plugin.sandbox.wire import Answer, ApiError, Call, Handler, Operation

_CONTACTS = "/api/v3/contacts"
#: The documented example: 2024-03-05 09:30:00.000
_FEED_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?(?:Z|[+-]\d{2}:\d{2})?")


def find_contact_id(call: Call) -> Answer:
    """Find the id by key; the answer is a bare JSON string."""
    return Answer(data=book.search(call.state, call.query).id)


def create_contact(call: Call) -> Answer:
    """Create a contact; source, store and approval are read from the query alone."""
    state, body = call.state, call.body()
    unapproved = call.query.get("createAsUnapproved", "false")
    if unapproved not in {"true", "false"}:
        raise ApiError(
            400, "InvalidCreateAsUnapproved", "createAsUnapproved must be true or false.", "createAsUnapproved"
        )
    contact_type, attributes, _ = book.checked_new(state, body)
    existing = book.duplicate_of(state, attributes, contact_type)
    if existing is not None:
        return _duplicate(existing, state.options)
    contact = book.create(
        state,
        body,
        call.now,
        source=call.query.get("source") or None,
        store_external_id=call.query.get("storeExternalId") or None,
        approved=unapproved == "false",
    )
    return _created(contact, state.options)


def _duplicate(existing: str, options: SandboxOptions) -> Answer:
    if options.duplicate_answer == "200-guid":
        return Answer(200, existing)
    more = {"contactId": existing} if options.duplicate_answer == "409-with-id" else {}
    raise ApiError(409, "ContactAlreadyExists", "A contact with this key exists.", more=more)


def _created(contact: StoredContact, options: SandboxOptions) -> Answer:
    status, shape = options.create_answer.split("-")
    return Answer(int(status), contact.id if shape == "guid" else book.wire(contact))


def get_contact(call: Call) -> Answer:
    """Get a contact."""
    return Answer(data=book.wire(_contact(call)))


def update_contact(call: Call) -> Answer:
    """Change the fields that were sent."""
    contact = _contact(call)
    book.change(call.state, contact, call.body(), call.now)
    return Answer(data=book.wire(contact))


def delete_contact(call: Call) -> Answer:
    """Delete a contact."""
    book.remove(call.state, _contact(call), call.now)
    return Answer()


def update_contact_type(call: Call) -> Answer:
    """Change the type, when the contact has what the new type requires."""
    state, contact = call.state, _contact(call)
    new_type = call.query.get("contactTypeId", "")
    check_required(contact.attributes, book.rules_of(state, new_type))
    other = book.duplicate_of(state, contact.attributes, new_type, contact.id)
    if other is not None:
        raise ApiError(409, "ContactAlreadyExists", "Another contact has this key.", more={"contactId": other})
    contact.contact_type = new_type
    contact.modified_on = call.now
    state.change(call.now, "Updated", contact.id)
    return Answer()


def set_preference(name: str) -> Handler:
    """Return the operation that sets one preference; it approves an unapproved contact too."""

    def operation(call: Call) -> Answer:
        contact = _contact(call)
        value = call.body().get("value")
        if not isinstance(value, bool):
            raise ApiError(400, "InvalidPreference", "value must be true or false.", "value")
        contact.preferences[name] = value
        contact.approved = True
        contact.modified_on = call.now
        call.state.change(call.now, "Updated", contact.id)
        return Answer(data=book.wire(contact))

    return operation


def get_changed_contacts(call: Call) -> Answer:
    """List the ids changed in a time window, each once, oldest first."""
    kind = call.query.get("changeType")
    if kind not in {"Created", "Updated", "Deleted"}:
        raise ApiError(400, "InvalidChangeType", "changeType must be Created, Updated or Deleted.", "changeType")
    start = _feed_time(call.query.get("fromDate", ""), "fromDate")
    end = _feed_time(call.query["toDate"], "toDate") if "toDate" in call.query else call.now
    contact_ids = [id_ for time, changed, id_ in call.state.data.changes if changed == kind and start <= time <= end]
    unique = list(dict.fromkeys(contact_ids))
    if len(unique) > call.state.options.max_changes:
        raise ApiError(
            400, "TooManyContacts", f"More than {call.state.options.max_changes} ids; ask for a shorter time."
        )
    return Answer(data=unique)


def _feed_time(text: str, name: str) -> datetime:
    if _FEED_TIME.fullmatch(text):
        try:
            parsed = datetime.fromisoformat(text)
            return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise ApiError(400, "InvalidDate", f"{name} must be a time such as 2024-03-05 09:30:00.000.", name)


def get_contact_overview(call: Call) -> Answer:
    """Get the enriched profile by contactId, or by contactType and a key; it has no point total."""
    if "contactId" in call.query:
        contact = _contact(call)
    elif not call.query.get("contactType"):
        raise ApiError(400, "InvalidContactType", "contactType is needed where no contactId is given.", "contactType")
    else:
        contact = book.search(call.state, call.query)
    return Answer(data=book.wire(contact))


def _contact(call: Call) -> StoredContact:
    return book.get(call.state, call.guid("contactId", "InvalidContactId"))


OPERATIONS = (
    Operation("findContactId", "GET", f"{_CONTACTS}/id", find_contact_id),
    Operation("createContact", "POST", _CONTACTS, create_contact),
    Operation("getContact", "GET", f"{_CONTACTS}/{{contactId}}", get_contact),
    Operation("updateContact", "PATCH", f"{_CONTACTS}/{{contactId}}", update_contact),
    Operation("deleteContact", "DELETE", f"{_CONTACTS}/{{contactId}}", delete_contact),
    Operation("updateContactType", "POST", f"{_CONTACTS}/{{contactId}}/updateContactType", update_contact_type),
    *(
        Operation(f"setA{name[1:]}", "POST", f"{_CONTACTS}/{{contactId}}/preferences/{name}", set_preference(name))
        for name in ("acceptsEmail", "acceptsSms", "acceptsPostal")
    ),
    Operation("getChangedContacts", "GET", f"{_CONTACTS}/changes", get_changed_contacts),
    Operation("getContactOverview", "GET", "/api/v3/contactoverview", get_contact_overview),
)
