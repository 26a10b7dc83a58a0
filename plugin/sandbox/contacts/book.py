"""Contacts and the index over their keys: finding, storing, changing and removing them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from plugin.sandbox.contacts.rules import (
    FINDABLE,
    check_required,
    folded,
    is_email,
    is_searchable_phone,
    is_social_security_number,
    read_attributes,
    read_consents,
    read_preferences,
)
from plugin.sandbox.options import ContactTypeRules
from plugin.sandbox.state import SandboxState, StoredContact, new_id
from plugin.sandbox.wire import ApiError

_SEARCHES = ("email", "mobilePhone", "socialSecurityNumber", "customKey", "any")


def rules_of(state: SandboxState, contact_type: str) -> ContactTypeRules:
    """Return the rules of a contact type. Raises ApiError 400 InvalidContactType."""
    rules = state.options.contact_types.get(contact_type)
    if rules is None:
        names = ", ".join(state.options.contact_types)
        raise ApiError(
            400, "InvalidContactType", f"The contact type is unknown; the tenant has {names}.", "contactType"
        )
    return rules


def get(state: SandboxState, contact_id: str) -> StoredContact:
    """Return a contact. Raises ApiError 404 ContactNotFound."""
    contact = state.data.contacts.get(contact_id)
    if contact is None:
        raise ApiError(404, "ContactNotFound", "No contact has this id.")
    return contact


def matches(state: SandboxState, attribute: str, value: str, contact_type: str | None = None) -> set[str]:
    """Return the ids of the contacts that have this value."""
    contact_ids = state.data.contact_index.get((attribute, folded(attribute, value)), set())
    if contact_type is None:
        return set(contact_ids)
    return {contact_id for contact_id in contact_ids if state.data.contacts[contact_id].contact_type == contact_type}


def search(state: SandboxState, query: Mapping[str, str]) -> StoredContact:
    """Return the one contact that has all the values of a query.

    Raises ApiError 400 for a value of the wrong form or no value, 404 ContactNotFound, 409 MultipleMatches.
    """
    contact_type = query.get("contactType") or None
    if contact_type is not None:
        rules_of(state, contact_type)
    given = {name: query[name] for name in _SEARCHES if query.get(name, "").strip()}
    if not given:
        raise ApiError(400, "InvalidSearchQuery", f"Give one of {', '.join(_SEARCHES)}.")
    contact_ids: set[str] | None = None
    for name, value in given.items():
        attribute = _searched_attribute(state, name, value)
        here = matches(state, attribute, value, contact_type)
        contact_ids = here if contact_ids is None else contact_ids & here
    if not contact_ids:
        raise ApiError(404, "ContactNotFound", "No contact matches.")
    if len(contact_ids) > 1:
        raise ApiError(409, "MultipleMatches", "More than one contact matches; give the contactType.")
    return state.data.contacts[contact_ids.pop()]


def _searched_attribute(state: SandboxState, name: str, value: str) -> str:
    if name == "customKey":
        return state.options.custom_key
    if name == "any":  # the documented order; it stops at the first form that fits, even with no match
        if is_email(value.strip()):
            return "email"
        if is_social_security_number(value):
            return "socialSecurityNumber"
        return "mobilePhone" if is_searchable_phone(value) else state.options.custom_key
    checks = {
        "email": (is_email(value.strip()), "InvalidEmailAddress"),
        "mobilePhone": (is_searchable_phone(value), "InvalidPhoneNumber"),
        "socialSecurityNumber": (is_social_security_number(value), "InvalidSocialSecurityNumber"),
    }
    fits, code = checks[name]
    if not fits:
        raise ApiError(400, code, f"{name} has not the right form.", name)
    return name


def duplicate_of(
    state: SandboxState, attributes: Mapping[str, Any], contact_type: str, own_id: str | None = None
) -> str | None:
    """Return the id of another contact that has the same key, the first one created; None when there is none."""
    key = rules_of(state, contact_type).key
    value = attributes.get(key)
    if value is None:
        return None
    within = contact_type if state.options.allow_same_key_in_types else None
    others = matches(state, key, value, within) - {own_id}
    return min(others, key=lambda other: state.data.contacts[other].created_on) if others else None


def create(
    state: SandboxState,
    body: Mapping[str, Any],
    now: datetime,
    *,
    contact_id: str | None = None,
    source: str | None = None,
    store_external_id: str | None = None,
    approved: bool = True,
) -> StoredContact:
    """Store a new contact from a flat body. The caller has checked that it is not a duplicate. Raises ApiError 400."""
    contact_type, attributes, unknown = checked_new(state, body)
    preferences, consents = read_preferences(body), read_consents(body)
    if contact_type == "Member" and attributes.get("memberNumber") is None:
        attributes["memberNumber"] = f"M{next(state.data.member_numbers)}"
    contact = StoredContact(contact_id or new_id(), contact_type, now, now)
    contact.attributes = {name: value for name, value in attributes.items() if value is not None}
    contact.preferences = preferences
    contact.source, contact.store_external_id, contact.approved = source, store_external_id, approved
    if store_external_id:
        state.ensure_store(store_external_id, now)
    state.data.contacts[contact.id] = contact
    _index(state, contact)
    _set_consents(state, contact, consents, now)
    _note_unknown(state, contact.id, unknown, now)
    state.change(now, "Created", contact.id)
    return contact


def checked_new(state: SandboxState, body: Mapping[str, Any]) -> tuple[str, dict[str, Any], list[str]]:
    """Return type, attributes and unknown names of a body for a new contact. Raises ApiError 400."""
    contact_type = body.get("contactType", state.options.default_contact_type)
    if not isinstance(contact_type, str):
        raise ApiError(400, "InvalidContactType", "contactType must be a text.", "contactType")
    rules = rules_of(state, contact_type)
    attributes, unknown = read_attributes(body, state.options)
    check_required(attributes, rules)
    return contact_type, attributes, unknown


def change(state: SandboxState, contact: StoredContact, body: Mapping[str, Any], now: datetime) -> None:
    """Change the fields that a flat body has; "" and null erase. contactType and unknown names do nothing.

    Raises ApiError 400 for a bad value, 409 when another contact has the new key.
    """
    attributes, unknown = read_attributes(body, state.options)
    preferences, consents = read_preferences(body), read_consents(body)
    merged = {**contact.attributes, **attributes}
    check_required(merged, rules_of(state, contact.contact_type))
    other = duplicate_of(state, merged, contact.contact_type, contact.id)
    if other is not None:
        raise ApiError(409, "ContactAlreadyExists", "Another contact has this key.", more={"contactId": other})
    _unindex(state, contact)
    contact.attributes = {name: value for name, value in merged.items() if value is not None}
    _index(state, contact)
    contact.preferences.update(preferences)
    _set_consents(state, contact, consents, now)
    _note_unknown(state, contact.id, unknown, now)
    contact.modified_on = now
    state.change(now, "Updated", contact.id)


def remove(state: SandboxState, contact: StoredContact, now: datetime) -> None:
    """Delete a contact with its assignments, vouchers, points and history."""
    _unindex(state, contact)
    data = state.data
    del data.contacts[contact.id]
    for assignment in data.assignments_of.pop(contact.id, []):
        del data.assignments[assignment.id]
    data.vouchers = {id_: v for id_, v in data.vouchers.items() if v.contact_id != contact.id}
    data.point_accounts = {id_: a for id_, a in data.point_accounts.items() if a.contact_id != contact.id}
    data.transactions.pop(contact.id, None)
    state.change(now, "Deleted", contact.id)


def wire(contact: StoredContact) -> dict[str, Any]:
    """Return a contact as Engage answers it."""
    return {
        "id": contact.id,
        "attributes": {**contact.attributes, "contactType": contact.contact_type},
        "meta": {
            "createdOn": contact.created_on,
            "modifiedOn": contact.modified_on,
            "source": contact.source,
            "createdInStore": contact.store_external_id,
            "approved": contact.approved,
        },
        "preferences": dict(contact.preferences),
        "consents": list(contact.consents.values()),
    }


def _set_consents(
    state: SandboxState, contact: StoredContact, consents: Mapping[str, dict[str, Any]], now: datetime
) -> None:
    definitions = state.data.consent_definitions
    for consent_id, consent in consents.items():
        if definitions and consent_id not in definitions:
            state.note(now, "contact", contact.id, "ignored", f"unknown consent {consent_id}")
        else:
            contact.consents[consent_id] = {"date": now, **consent}


def _note_unknown(state: SandboxState, contact_id: str, unknown: list[str], now: datetime) -> None:
    for name in unknown:
        state.note(now, "contact", contact_id, "ignored", f"unknown attribute {name}")


def _index(state: SandboxState, contact: StoredContact) -> None:
    for attribute in FINDABLE:
        if (value := contact.attributes.get(attribute)) is not None:
            state.data.contact_index[attribute, folded(attribute, value)].add(contact.id)


def _unindex(state: SandboxState, contact: StoredContact) -> None:
    for attribute in FINDABLE:
        if (value := contact.attributes.get(attribute)) is not None:
            entry = (attribute, folded(attribute, value))
            state.data.contact_index[entry].discard(contact.id)
            if not state.data.contact_index[entry]:
                del state.data.contact_index[entry]
