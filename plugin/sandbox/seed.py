"""Fills the tenant: `POST /sandbox/seed` with stores, contacts, promotions and so on, in Engage's own field names.

Ids may be given, so that a demo or a test knows them; missing ones are made. Entries are added to the data,
and the operations' own rules check them.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from plugin.sandbox import setup_data
from plugin.sandbox.contacts import book
from plugin.sandbox.loyalty import assignments, points, templates
from plugin.sandbox.state import (
    SandboxState,
    StoredAssignment,
    StoredPointAccount,
    StoredPromotion,
    StoredVoucher,
    new_id,
)
from plugin.sandbox.wire import ApiError, Call, guid, is_number, parse_time, to_json

Entry = dict[str, Any]


def seed(state: SandboxState, body: Mapping[str, Any], now: datetime) -> dict[str, list[str]]:
    """Add entries; returns the ids by kind. Raises ApiError 400 that names the entry at fault.

    Kinds: stores, consents, contacts, promotions (status, default Active), assignments (contactId, promotionId,
    expiresOn, redeemed), vouchers, points (contactId, definitionId, transactions), pointShopItems.
    """
    unknown = sorted(set(body) - set(_KINDS))
    if unknown:
        raise ApiError(400, "InvalidSeed", f"Unknown kind {', '.join(unknown)}; known are {', '.join(_KINDS)}.")
    made: dict[str, list[str]] = {}
    for kind, add in _KINDS.items():
        entries = body.get(kind, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ApiError(400, "InvalidSeed", f"{kind} must be a list of objects.", kind)
        for index, entry in enumerate(entries):
            try:
                made.setdefault(kind, []).append(add(state, entry, now))
            except ApiError as refusal:
                where = f"{kind}[{index}]" + (f".{refusal.field}" if refusal.field else "")
                raise ApiError(400, refusal.code, f"{where}: {refusal.message}", where) from None
    return made


def _id_of(entry: Entry) -> str:
    return guid(entry["id"], "id") if "id" in entry else new_id()


def _store(state: SandboxState, entry: Entry, now: datetime) -> str:
    setup_data.create_store(Call(state, now, {}, {}, to_json(entry)))
    return str(entry["externalId"])


def _consent(state: SandboxState, entry: Entry, _now: datetime) -> str:
    consent_id = _text(entry, "id")
    state.data.consent_definitions[consent_id] = {"name": consent_id, "metaData": None, **entry}
    return consent_id


def _contact(state: SandboxState, entry: Entry, now: datetime) -> str:
    contact_id = _id_of(entry)
    contact_type, attributes, _ = book.checked_new(state, entry)
    if contact_id in state.data.contacts or book.duplicate_of(state, attributes, contact_type):
        raise ApiError(400, "ContactAlreadyExists", "A contact with this id or key exists.")
    own = {"id", "source", "storeExternalId", "approved"}
    body = {name: value for name, value in entry.items() if name not in own}
    store, source = entry.get("storeExternalId"), entry.get("source")
    approved = entry.get("approved") is not False
    book.create(
        state,
        body,
        now,
        contact_id=contact_id,
        source=None if source is None else str(source),
        store_external_id=None if store is None else str(store),
        approved=approved,
    )
    return contact_id


def _promotion(state: SandboxState, entry: Entry, _now: datetime) -> str:
    status = entry.get("status", "Active")
    if status not in ("Draft", "Active", "Ended", "Temporary"):
        raise ApiError(400, "InvalidStatus", "status must be Draft, Active, Ended or Temporary.", "status")
    promotion = StoredPromotion(_id_of(entry), status, templates.checked(state, entry))
    state.data.promotions[promotion.id] = promotion
    return promotion.id


def _assignment(state: SandboxState, entry: Entry, now: datetime) -> str:
    contact = book.get(state, guid(entry.get("contactId"), "contactId"))
    promotion = state.data.promotions.get(guid(entry.get("promotionId"), "promotionId"))
    if promotion is None:
        raise ApiError(400, "PromotionNotFound", "No promotion has this id.", "promotionId")
    expires_on = _time(entry, "expiresOn") or templates.assignment_expiry(promotion, now)
    assignment = StoredAssignment(_id_of(entry), contact.id, promotion.id, entry.get("externalId"), expires_on)
    if entry.get("redeemed") is True:
        assignment.redeemed_on = _time(entry, "redeemedOn") or now
    assignments.add(state, assignment)
    return assignment.id


def _voucher(state: SandboxState, entry: Entry, now: datetime) -> str:
    contact = book.get(state, guid(entry.get("contactId"), "contactId"))
    value = _money(entry.get("value"), "value")
    local = [_money(amount, "localValues") for amount in entry.get("localValues", [value])]
    voucher_id = _id_of(entry)
    number = str(entry.get("voucherNumber", f"V-{voucher_id[:8]}"))
    given_points = entry.get("points", 0)
    if not is_number(given_points):
        raise ApiError(400, "InvalidPoints", "points must be a number.", "points")
    voucher = StoredVoucher(
        voucher_id, contact.id, number, str(entry.get("name", number)), value, local, Decimal(given_points)
    )
    voucher.expires_on = _time(entry, "expiresOn")
    voucher.redeemed_on = (_time(entry, "redeemedOn") or now) if entry.get("redeemed") is True else None
    state.data.vouchers[voucher.id] = voucher
    return voucher.id


def _points(state: SandboxState, entry: Entry, now: datetime) -> str:
    contact = book.get(state, guid(entry.get("contactId"), "contactId"))
    definition_id = entry.get("definitionId", 1)
    if type(definition_id) is not int:
        raise ApiError(400, "InvalidDefinitionId", "definitionId must be a whole number.", "definitionId")
    account = StoredPointAccount(str(entry.get("id", next(state.data.point_ids))), contact.id, definition_id)
    state.data.point_accounts[account.id] = account
    for transaction in entry.get("transactions", []):
        points.add_point_transaction(Call(state, now, {}, {}, to_json({**transaction, "accountId": account.id})))
    return account.id


def _point_shop_item(state: SandboxState, entry: Entry, _now: datetime) -> str:
    item = {**entry, "id": _id_of(entry)}
    state.data.point_shop_items.append(item)
    return str(item["id"])


def _text(entry: Entry, name: str) -> str:
    if not isinstance(entry.get(name), str) or not entry[name]:
        raise ApiError(400, "InvalidSeed", f"{name} must be a text.", name)
    return str(entry[name])


def _time(entry: Entry, name: str) -> datetime | None:
    if entry.get(name) is None:
        return None
    parsed = parse_time(entry[name])
    if parsed is None:
        raise ApiError(400, "InvalidTime", f"{name} must be ISO 8601 with an offset.", name)
    return parsed


def _money(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not is_number(value.get("amount")) or not isinstance(value.get("currency"), str):
        raise ApiError(400, "InvalidAmount", f"{name} must have amount and currency.", name)
    return {"currency": value["currency"], "amount": value["amount"]}


_KINDS: dict[str, Callable[[SandboxState, Entry, datetime], str]] = {
    "stores": _store,
    "consents": _consent,
    "contacts": _contact,
    "promotions": _promotion,
    "assignments": _assignment,
    "vouchers": _voucher,
    "points": _points,
    "pointShopItems": _point_shop_item,
}
