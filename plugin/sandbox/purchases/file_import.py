"""Files as Engage imports them (docs/engage.md#receipt-files): a row of an unknown contact is ignored, and so is a receipt that exists.

Namespaces and names are those that are documented or inferred; how a real importer treats contacts and redemptions is not
known, so those two are the sandbox's own.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lxml import etree

from plugin.sandbox.contacts import book
from plugin.sandbox.purchases.receipt_rules import check_receipt
from plugin.sandbox.purchases.receipts import import_receipt, matched
from plugin.sandbox.state import SandboxState, StoredReceipt
from plugin.sandbox.wire import ApiError, to_json

MAX_LINES = 20_000
_ROOTS: Mapping[str, str] = MappingProxyType(
    {
        "transactions": "{http://voyado.Schemas.ImportReceipts}transactions",
        "contacts": "{http://eClub.Schemas.ImportContact}contacts",
        "redemptions": "{urn:engage-shop-plugin:redemptions}redemptions",
    }
)
_LISTS = frozenset(
    {"paymentMethods", "items", "discounts", "taxDetails", "usedPromotions", "usedRewardVouchers", "usedBonusChecks"}
)
_NUMBERS = frozenset(
    {"exchangeRateToGroupCurrency", "totalGrossPrice", "value", "quantity", "grossPaidPrice", "taxAmount", "taxPercent",
     "percent"}
)  # fmt: skip


def import_file(state: SandboxState, kind: str, content: bytes, now: datetime) -> dict[str, int]:
    """Import a file and return the number of rows by outcome. kind: transactions, contacts or redemptions.

    Raises ApiError 400 for a file that is ignored as a whole: not XML, another root, too many lines, several match key types.
    """
    work: Mapping[str, Callable[[SandboxState, etree._Element, datetime], str]] = {
        "transactions": _receipt,
        "contacts": _contact,
        "redemptions": _redemption,
    }
    if kind not in work:
        raise ApiError(404, "NotFound", f"There are imports of {', '.join(work)}.")
    rows = list(_rows(kind, content))
    if kind == "transactions":
        _check_whole(content, rows)
    outcomes = Counter(work[kind](state, row, now) for row in rows)
    return {**outcomes, "rows": len(rows)}


def take_files(state: SandboxState, folder: Path, now: datetime) -> dict[str, int]:
    """Import and delete every file of a folder in the order of names, as Voyado's job does; return the sums of the outcomes."""
    total: Counter[str] = Counter()
    for path in sorted(folder.glob("*.xml")):
        kind = path.stem.rpartition("_")[2]
        total.update(import_file(state, kind, path.read_bytes(), now))
        path.unlink()
        total["files"] += 1
    return dict(total)


def _rows(kind: str, content: bytes) -> Iterator[etree._Element]:
    try:
        root = etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise ApiError(400, "InvalidFile", f"It is no XML: {error}") from error
    if root.tag != _ROOTS[kind]:
        raise ApiError(400, "InvalidFile", f"The root is {root.tag}, not {_ROOTS[kind]}.")
    yield from (root[0] if kind == "contacts" else root)


def _check_whole(content: bytes, rows: list[etree._Element]) -> None:
    lines = max(content.count(b"\n"), sum(len(row.findall("{*}items/{*}item")) for row in rows))
    if lines >= MAX_LINES:
        raise ApiError(400, "InvalidFile", f"It has {lines} lines; fewer than {MAX_LINES} are taken.")
    kinds = {row.findtext("{*}contact/{*}matchKeyType") for row in rows}
    if len(kinds) > 1:
        raise ApiError(400, "InvalidFile", f"One match key type a file; it has {kinds}.")


def _receipt(state: SandboxState, row: etree._Element, now: datetime) -> str:
    body = _object(row)
    try:
        created = check_receipt(body, check_sums=state.options.check_receipt_sums)
    except ApiError as refusal:
        state.note(now, "receipt file", str(body.get("uniqueReceiptId")), "ignored", refusal.message)
        return "refused"
    receipt_id = body["uniqueReceiptId"]
    if len(matched(state, body["contact"])) != 1:
        state.note(now, "receipt file", receipt_id, "ignored", "ContactNotFound")
        return "unknown contact"
    earlier = state.data.receipts.get(receipt_id)
    if earlier is not None:
        earlier.times_received += 1
        return "known receipt"
    receipt = StoredReceipt(receipt_id, to_json(body), now, created)
    state.data.receipts[receipt_id] = receipt
    state.do_after(now, 0, partial(import_receipt, state, receipt, body["storeExternalId"]))
    return "imported"


def _contact(state: SandboxState, row: etree._Element, now: datetime) -> str:
    fields = {_name(child): child.text or "" for child in row}
    contact = state.data.contacts.get(fields.pop("contactId", "").lower())
    if contact is None:
        return "unknown contact"
    for name, text in fields.items():
        try:
            book.change(state, contact, {name: text}, now)
        except (
            ApiError
        ) as refusal:  # field by field: an invalid one is skipped, the rest is applied (docs/engage.md#contact-files)
            state.note(now, "contact file", contact.id, "ignored", f"{name}: {refusal.code}")
    return "changed"


def _redemption(state: SandboxState, row: etree._Element, now: datetime) -> str:
    fields = {_name(child): child.text or "" for child in row}
    assignment = state.data.assignments.get(fields["id"].lower())
    if fields["type"] != "promotion" or assignment is None or assignment.contact_id != fields["contactId"].lower():
        return "unknown assignment"
    if assignment.redeemed_on is not None:
        return "redeemed before"
    assignment.redeemed_on, assignment.redeemed_channel = now, fields["redemptionChannel"]
    entry = {"time": now, "kind": "promotion", "id": assignment.id, "contactId": assignment.contact_id}
    state.data.redemptions.append({**entry, "channel": fields["redemptionChannel"], "outcome": "Redeemed"})
    return "redeemed"


def _object(row: etree._Element) -> dict[str, Any]:
    return {_name(child): _value(child) for child in row}


def _value(element: etree._Element) -> Any:
    name = _name(element)
    if name == "extraData":
        return [{"name": pair.get("name"), "value": pair.text or ""} for pair in element]
    if name in _LISTS:
        return [_object(entry) for entry in element]
    if len(element):
        return _object(element)
    text = element.text or ""
    if name == "awardsBonus":
        return text == "true"
    if name in _NUMBERS:
        try:
            return Decimal(text)
        except InvalidOperation:
            return text
    return text


def _name(element: etree._Element) -> str:
    return etree.QName(element).localname
