"""What Engage requires of a receipt: which fields, their types, and the signs of purchases and returns (docs/engage.md#receipt-fields).

Engage does not list the codes of this operation, so every refusal is 400 InvalidReceipt and names the field.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from plugin.sandbox.wire import ApiError, is_number, parse_time

MATCH_KEY_TYPES = {
    name.lower(): name
    for name in ("contactId", "memberNumber", "socialSecurityNumber", "mobilePhone", "externalId", "email")
}
_CURRENCY = re.compile(r"[A-Z]{3}")
#: Tuples, not sets: a value of the body may be a list, which a set cannot look up.
_ITEM_TYPES = ("PURCHASE", "RETURN", "ADJUSTMENT")
_ITEM_TEXTS = ("sku", "articleNumber", "articleName")
_ITEM_NUMBERS = ("quantity", "grossPaidPrice", "taxAmount", "taxPercent")
_CONTACT_NAMES = frozenset({"matchKey", "matchKeyType", "contactType"})
_PAYMENT_NAMES = frozenset({"type", "value", "description", "extraData"})
_DISCOUNT_NAMES = frozenset({"type", "value", "description"})
_TAX_NUMBERS = ("value", "percent", "totalIncludingTax", "totalExcludingTax")


def refused(field: str, why: str) -> ApiError:
    """Return the refusal of a receipt's field."""
    return ApiError(400, "InvalidReceipt", f"{field} {why}.", field)


def check_receipt(body: Mapping[str, Any], *, check_sums: bool) -> datetime:
    """Check a receipt and return its createdDate, aware UTC. Raises ApiError 400 that names the field."""
    _check_contact(body.get("contact"))
    for name in ("uniqueReceiptId", "receiptNumber", "storeExternalId"):
        _text(body, name, name)
    created = parse_time(body.get("createdDate"))
    if created is None:
        raise refused("createdDate", "must be ISO 8601 with an offset")
    if not isinstance(body.get("currency"), str) or not _CURRENCY.fullmatch(body["currency"]):
        raise refused("currency", "must be an ISO 4217 code of three capitals")
    if "exchangeRateToGroupCurrency" in body and _number(body, "exchangeRateToGroupCurrency", "") <= 0:
        raise refused("exchangeRateToGroupCurrency", "must be above 0")
    total = _number(body, "totalGrossPrice", "")
    rows = [_item(item, f"items[{index}]") for index, item in enumerate(_list(body, "items", least=1))]
    payments = [_payment(p, f"paymentMethods[{i}]") for i, p in enumerate(_list(body, "paymentMethods"))]
    _check_signs(body["items"], total, payments)
    if check_sums:
        _check_sums(total, rows, payments)
    _check_lists(body)
    return created


def _check_contact(given: Any) -> None:
    contact = _object(given, "contact", _CONTACT_NAMES)
    _text(contact, "matchKey", "contact.matchKey")
    if str(contact.get("matchKeyType")).lower() not in MATCH_KEY_TYPES:
        raise refused("contact.matchKeyType", f"must be one of {', '.join(MATCH_KEY_TYPES.values())}")
    if "contactType" in contact:
        _text(contact, "contactType", "contact.contactType")


def _item(item: Any, where: str) -> Decimal:
    """Check a row and return what it adds to the total."""
    _object(item, where)
    kind = item.get("type")
    if kind not in _ITEM_TYPES:
        raise refused(f"{where}.type", "must be PURCHASE, RETURN or ADJUSTMENT")
    for name in _ITEM_TEXTS:
        _text(item, name, f"{where}.{name}")
    quantity, gross, tax, _ = (_number(item, name, f"{where}.") for name in _ITEM_NUMBERS)
    if kind == "RETURN" and quantity >= 0:
        raise refused(f"{where}.quantity", "must be negative on a RETURN row")
    if kind == "PURCHASE" and quantity <= 0:
        raise refused(f"{where}.quantity", "must be above 0 on a PURCHASE row")
    if kind != "ADJUSTMENT" and (gross < 0 or tax < 0):
        raise refused(f"{where}.grossPaidPrice", "and taxAmount must not be negative, on a RETURN row neither")
    if "awardsBonus" in item and not isinstance(item["awardsBonus"], bool):
        raise refused(f"{where}.awardsBonus", "must be true or false")
    for name in ("packQuantity", "marginPercent"):
        if name in item:
            _number(item, name, f"{where}.")
    _optional_texts(item, ("articleGroup",), where)
    _check_discounts(item, where)
    _name_values(item, where + ".")
    return -gross if kind == "RETURN" else gross


def _check_discounts(item: Mapping[str, Any], where: str) -> None:
    for index, discount in enumerate(_list(item, "discounts", needed=False, where=f"{where}.")):
        field = f"{where}.discounts[{index}]"
        _optional_texts(_object(discount, field, _DISCOUNT_NAMES), ("type", "description"), field)
        if _number(discount, "value", f"{field}.") > 0:
            raise refused(f"{field}.value", "must not be above 0")


def _payment(payment: Any, where: str) -> Decimal:
    _text(_object(payment, where, _PAYMENT_NAMES), "type", f"{where}.type")
    _optional_texts(payment, ("description",), where)
    _name_values(payment, where + ".")
    return _number(payment, "value", f"{where}.")


def _check_signs(items: list[dict[str, Any]], total: Decimal, payments: list[Decimal]) -> None:
    kinds = {item["type"] for item in items}
    if kinds == {"RETURN"}:
        if total > 0:
            raise refused("totalGrossPrice", "must be negative for a return")
        if any(value > 0 for value in payments):
            raise refused("paymentMethods", "must have negative values for a return")
    if kinds == {"PURCHASE"} and total < 0:
        raise refused("totalGrossPrice", "must not be negative for a purchase")


def _check_sums(total: Decimal, rows: list[Decimal], payments: list[Decimal]) -> None:
    if sum(rows) != total:
        raise refused("totalGrossPrice", "is not the sum of grossPaidPrice, with RETURN rows taken off")
    if sum(payments) != total:
        raise refused("paymentMethods", "do not add up to totalGrossPrice")


def _check_lists(body: Mapping[str, Any]) -> None:
    for index, tax in enumerate(_list(body, "taxDetails", needed=False)):
        _optional_texts(_object(tax, f"taxDetails[{index}]"), ("description",), f"taxDetails[{index}]")
        for name in _TAX_NUMBERS:
            if name in tax:
                _number(tax, name, f"taxDetails[{index}].")
    for index, used in enumerate(_list(body, "usedPromotions", needed=False)):
        _optional_texts(_object(used, f"usedPromotions[{index}]"), ("promotionId",), f"usedPromotions[{index}]")
        _text(used, "couponId", f"usedPromotions[{index}].couponId")
    for index, used in enumerate(_list(body, "usedRewardVouchers", needed=False)):
        _object(used, f"usedRewardVouchers[{index}]")
        _text(used, "voucherNumber", f"usedRewardVouchers[{index}].voucherNumber")
    _name_values(body, "")


def _name_values(holder: Mapping[str, Any], where: str) -> None:
    for index, pair in enumerate(_list(holder, "extraData", needed=False, where=where)):
        field = f"{where}extraData[{index}]"
        _object(pair, field, frozenset({"name", "value"}))
        if not isinstance(pair.get("name"), str) or not isinstance(pair.get("value"), str):
            raise refused(field, "must have name and value, both texts")


def _object(value: Any, field: str, only: frozenset[str] | None = None) -> dict[str, Any]:
    """Return an object. only: the keys that the contract allows."""
    if not isinstance(value, dict):
        raise refused(field, "must be an object")
    if only is not None and not value.keys() <= only:
        raise refused(field, f"must have no keys but {', '.join(sorted(only))}")
    return value


def _optional_texts(holder: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    for name in names:
        if name in holder and not isinstance(holder[name], str):
            raise refused(f"{where}.{name}", "must be a text")


def _text(holder: Mapping[str, Any], name: str, field: str) -> None:
    value = holder.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > 450:
        raise refused(field, "must be a text of 1 to 450 characters")


def _number(holder: Mapping[str, Any], name: str, where: str) -> Decimal:
    value = holder.get(name)
    if not is_number(value):
        raise refused(f"{where}{name}", "must be a number")
    return Decimal(value)  # type: ignore[arg-type]


def _list(holder: Mapping[str, Any], name: str, *, least: int = 0, needed: bool = True, where: str = "") -> list[Any]:
    value = holder.get(name)
    if value is None and not needed and name not in holder:
        return []
    if not isinstance(value, list) or len(value) < least:
        raise refused(f"{where}{name}", f"must be a list of at least {least}" if least else "must be a list")
    return value
