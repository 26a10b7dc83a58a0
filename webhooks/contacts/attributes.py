"""What a customer's data becomes in Engage, and which attributes differ from what Engage has."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from plugin.engage.data.models import ContactWrite
from plugin.errors import PermanentError, TransientError
from plugin.events import Customer
from plugin.store.contacts.sync_state import SyncedValue
from plugin.store.shops.shops import RegisteredShop
from webhooks.attempt.context import Context

T = TypeVar("T")
Digest = Callable[[object], str]
#: Which attribute a symbolic code of Engage means where the answer names no field (docs/engage.md#finding-a-contact).
FIELD_OF_CODE: Mapping[str, str] = {
    "InvalidEmailAddress": "email",
    "InvalidPhoneNumber": "mobilePhone",
    "InvalidMobilePhone": "mobilePhone",
    "InvalidCountryCode": "countryCode",
    "InvalidZipCode": "zipCode",
    "InvalidBirthDay": "birthDay",
    "InvalidGender": "gender",
}
#: Stored in place of a hash where Engage's value of the field is not known. No value has this hash.
UNKNOWN = ""
#: Before the name of a field that the shopper edited on My Pages. The shop's last value of the field is stored
#: beside it: so the shop's old value, sent again, is not new, and does not undo the edit.
EDITED = "edited:"


def attributes_of(shop: RegisteredShop, customer: Customer) -> dict[str, object]:
    """Return a customer's data under Engage's attribute names, without the values that the shop does not have."""
    address = customer.address
    attributes: dict[str, object | None] = {
        "email": customer.email,
        "mobilePhone": customer.mobile_phone,
        "firstName": customer.first_name,
        "lastName": customer.last_name,
        "birthDay": customer.birth_day.isoformat() if customer.birth_day else None,
        "gender": customer.gender,
        "street": address.street,
        "careOf": address.care_of,
        "zipCode": address.zip_code,
        "city": address.city,
        "countryCode": address.country_code,
        "externalId": customer.customer_id if shop.settings.send_external_id else None,
    }
    extra = dict(customer.extra)
    attributes |= {
        attribute: extra.get(field.removeprefix("customer.")) for field, attribute in shop.settings.attributes.items()
    }
    return {name: value for name, value in attributes.items() if value not in {None, ""}}


def sync_changed_attributes(
    context: Context,
    contact_id: str,
    attributes: Mapping[str, object],
    at: datetime,
    *,
    only_missing: frozenset[str] = frozenset(),
) -> bool:
    """Send the attributes that differ from what was last sent and are not older; False when none does.

    only_missing: attributes that are sent only if none was sent before. Raises ThrottledError while
    another event changes the contact, and what the client raises.
    """

    def compare() -> tuple[int, AttributeDiff]:
        state = context.stores.sync_states.get(context.shop, contact_id)
        return state.generation, diff_attributes(state.sent, attributes, at, context.digest, only_missing)

    generation, diff = compare()
    if diff.changed and context.lock_contact(contact_id):
        generation, diff = compare()
    changed = diff.changed
    if changed and context.progress.filed:
        held = context.client.get_contact(contact_id).attributes  # the file may have brought it
        arrived = {name: value for name, value in changed.items() if str(held.get(name)) == str(value)}
        remember_attributes(context, contact_id, arrived, at)
        changed = {name: value for name, value in changed.items() if name not in arrived}
    if not changed:
        if diff.confirmed:
            _touch(context, contact_id, diff.confirmed, at, generation)
        return False
    sent = patch_without_rejected_fields(context, contact_id, changed)
    # rejected values too: sent again, Engage would reject them again
    remember_attributes(context, contact_id, {**diff.confirmed, **changed}, at)
    return bool(sent)


def _touch(context: Context, contact_id: str, attributes: Mapping[str, object], at: datetime, generation: int) -> None:
    """Store the later time at which fields still had the values that Engage has, unless the contact changed meanwhile."""
    sync_states, shop, now = context.stores.sync_states, context.shop, context.now()
    values = synced_values(attributes, at, context.digest)
    context.on_commit(sync_states.touch_write(shop, contact_id, values, generation, now))


def patch_without_rejected_fields(
    context: Context, contact_id: str, attributes: Mapping[str, object]
) -> Mapping[str, object]:
    """Patch a contact without the optional fields that Engage rejects; return what was sent, which may be empty.

    Raises PermanentError when Engage rejects the key field or names no field, and TransientError.
    """

    def send(write: ContactWrite) -> None:
        if write:
            context.client.patch_contact(contact_id, write)

    try:
        _, sent = send_without_rejected_fields(context, ContactWrite(attributes), send)
    except TransientError as error:
        if error.sent:
            _mark_unknown(context, contact_id, attributes)
        raise
    return sent.attributes


def _mark_unknown(context: Context, contact_id: str, attributes: Mapping[str, object]) -> None:
    """Store with the end of the attempt that Engage's value of some fields is unknown.

    The event may be discarded before it is tried again: then the shop's next value of these fields is sent, whatever it is.
    """
    sync_states, shop, now = context.stores.sync_states, context.shop, context.now()
    before = sync_states.get(shop, contact_id).sent
    unknown = {name: SyncedValue(UNKNOWN, before[name].at) for name in attributes if name in before}
    if unknown:
        context.on_commit(sync_states.sent_write(shop, contact_id, unknown, now))


@dataclass(frozen=True, slots=True)
class AttributeDiff:
    """The result of a comparison with what was last sent; what is older than that is in neither part.

    changed: what differs. confirmed: what is the same as before at a later time, so that no older change may overwrite it.
    """

    changed: dict[str, object]
    confirmed: dict[str, object]


def diff_attributes(
    before: Mapping[str, SyncedValue],
    attributes: Mapping[str, object],
    at: datetime,
    digest: Digest,
    only_missing: frozenset[str] = frozenset(),
) -> AttributeDiff:
    """Compare attributes as they were at a time with what was last sent. only_missing: see `sync_changed_attributes`."""
    diff = AttributeDiff({}, {})
    for name, value in attributes.items():
        sent = before.get(name)
        if (sent is not None and (sent.at > at or name in only_missing)) or edited_after(before, name, at):
            continue
        if sent is None or sent.digest != digest(value):
            diff.changed[name] = value
        elif sent.at < at:
            diff.confirmed[name] = value
    return diff


def synced_values(attributes: Mapping[str, object], at: datetime, digest: Digest) -> dict[str, SyncedValue]:
    """Return what is stored of attributes once Engage has them: keyed hashes of the values, and since when they hold."""
    return {name: SyncedValue(digest(value), at) for name, value in attributes.items()}


def edited_after(sent: Mapping[str, SyncedValue], name: str, at: datetime) -> bool:
    """Return whether the shopper edited a field on My Pages after a time."""
    edit = sent.get(EDITED + name)
    return edit is not None and edit.at > at


def newer_than_edits(
    context: Context, contact_id: str, attributes: Mapping[str, object], at: datetime
) -> dict[str, object]:
    """Return what is not older than the shopper's last edit of the same field."""
    sent = context.stores.sync_states.get(context.shop, contact_id).sent
    return {name: value for name, value in attributes.items() if not edited_after(sent, name, at)}


def remember_edited(context: Context, contact_id: str, attributes: Mapping[str, object], at: datetime) -> None:
    """Store that the shopper edited fields, and invalidate cached pages of the contact."""
    remember_attributes(context, contact_id, {EDITED + name: value for name, value in attributes.items()}, at)


def remember_attributes(
    context: Context,
    contact_id: str,
    attributes: Mapping[str, object],
    at: datetime,
    *,
    contact_type: str | None = None,
) -> None:
    """Store what Engage has now, and invalidate cached pages of the contact."""
    sync_states, shop, now = context.stores.sync_states, context.shop, context.now()
    values = synced_values(attributes, at, context.digest)
    context.on_commit(sync_states.sent_write(shop, contact_id, values, now, contact_type=contact_type))


def send_without_rejected_fields(
    context: Context, write: ContactWrite, send: Callable[[ContactWrite], T]
) -> tuple[T, ContactWrite]:
    """Send a contact without the optional fields that Engage rejects, each of which is noted in the timeline.

    Returns the answer and what was sent, which may be nothing. Raises PermanentError when Engage rejects the key field or
    names no field.
    """
    while True:  # ends, because each rejection removes a field
        try:
            return send(write), write
        except PermanentError as error:
            field = error.field or FIELD_OF_CODE.get(error.code or "")
            name = next((name for name in write.attributes if field and name.lower() == field.lower()), None)
            if name is None or name == context.shop.settings.key_attribute:
                raise
            context.note("left out", f"Engage refused {name} ({error.code or error.status}); it was left out.")
            write = replace(
                write, attributes={other: value for other, value in write.attributes.items() if other != name}
            )
