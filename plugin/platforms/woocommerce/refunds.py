"""Refunds of an order (docs/platforms/woocommerce.md#refunds).

An order's body names its refunds with id and amount alone. Their lines come from GET /orders/{id}/refunds: read at
delivery and stored with the event, added to the body by the companion plugin, or read by the reconciliation. Without them
a refund of all that was left of the order becomes its remaining lines; any other becomes an amount. With them, lines
that are returned whole are returned as they were bought: the shop's own amounts leave out the effect of negative fees
and roundings.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from plugin.events import Discount, Line, LineKind, OrderRefunded, Payment
from plugin.platforms.contact_normalisers import clean_text
from plugin.platforms.fields import as_objects, load, parse_json
from plugin.platforms.money import amount_line, checked_currency, percent_of, rounded
from plugin.platforms.woocommerce import schemas
from plugin.platforms.woocommerce.lines import gross_of, shares, spread
from plugin.platforms.woocommerce.meta import pairs

#: Where an event's meta data hold the order's refunds that were read at delivery.
META = "refunds"
#: Meta data of a refund's line that names the order's line (documented in an example of the REST API).
REFUNDED_LINE = "_refunded_item_id"
ZERO = Decimal(0)
LINE_FIELDS = {
    "line_items": ("id", "quantity", "total", "total_tax"),
    "shipping_lines": ("id", "total", "total_tax"),
    "fee_lines": ("id", "total", "total_tax"),
}


@dataclass(frozen=True, slots=True)
class _Left:
    """What is left of an order's line after refunds."""

    line: Line
    quantity: Decimal
    gross: Decimal
    tax: Decimal


def refunds_of(
    order: dict[str, Any], bought: Sequence[Line], details: Mapping[str, dict[str, Any]], at: datetime
) -> tuple[tuple[OrderRefunded, ...], tuple[str, ...]]:
    """Return the refunds of an order, oldest first, and remarks. bought: the order's lines."""
    currency = checked_currency(order["currency"])
    left: dict[str, _Left] | None = {
        line.line_id: _Left(line, line.quantity, line.gross_paid, line.tax_amount) for line in bought
    }
    found, notes = [], []
    for refund in sorted(order.get("refunds") or (), key=lambda r: _age(r["id"])):
        detail = details.get(refund["id"])
        total = rounded(abs(refund["total"]), currency)
        if not total:
            continue
        lines = _lines(detail, currency) if detail else []
        if left is not None:
            lines = _whole_lines(left, lines, total) if lines else _all_that_is_left(left, total)
        if detail is None and not lines:
            notes.append(f"The lines of refund {refund['id']} could not be read; its amount is sent.")
        left = _after(left, lines) if lines else None
        found.append(
            OrderRefunded(
                occurred_at=(detail or {}).get("date_created_gmt") or order.get("date_modified_gmt") or at,
                order_id=order["id"],
                refund_id=refund["id"],
                currency=currency,
                total=total,
                lines=_closed(lines, total, currency),
                payments=(Payment(clean_text(order.get("payment_method")) or "other", total),),
            )
        )
    return tuple(found), tuple(notes)


def refunds_without_lines(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the ids of refunds that a raw body names without their lines."""
    named, detailed = _ids(body.get("refunds")), set(_ids(body.get("engage_refunds")))
    return tuple(refund_id for refund_id in named if refund_id not in detailed)


def read_details(order: dict[str, Any], meta: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return refunds with their lines by id: from the body, and from what was stored with the event."""
    details = list(order.get("engage_refunds") or ())
    if meta.get(META):
        stored = parse_json(b'{"refunds": ' + meta[META].encode() + b"}")["refunds"]
        details += [load(schemas.RefundSchema(), entry) for entry in stored]
    return {detail["id"]: detail for detail in details}


def pruned(refund: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is needed of a refund as the REST API gives it: no reason and no names, which may hold personal data."""
    wanted: dict[str, Any] = {name: refund.get(name) for name in ("id", "date_created_gmt", "amount")}
    for group, names in LINE_FIELDS.items():
        wanted[group] = [
            {name: line.get(name) for name in names}
            | {"meta_data": [m for m in as_objects(line.get("meta_data")) if m.get("key") == REFUNDED_LINE]}
            for line in as_objects(refund.get(group))
        ]
    return wanted


def as_meta(refunds: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return refunds in the form in which an event's meta data store them."""
    return {META: json.dumps([pruned(refund) for refund in refunds], default=str)}


def _age(refund_id: str) -> tuple[int, str]:
    return (int(refund_id) if refund_id.isascii() and refund_id.isdigit() else 0, refund_id)


def _ids(entries: Any) -> list[str]:
    return [str(entry["id"]) for entry in as_objects(entries) if isinstance(entry.get("id"), (int, str))]


def _lines(detail: dict[str, Any], currency: str) -> list[Line]:
    """Return the returned lines. A line whose quantity is 0 refunds money and no article: it becomes part of the amount."""
    goods = [
        _line(e, LineKind.GOODS, -e["quantity"], currency) for e in detail.get("line_items") or () if e["quantity"]
    ]
    charges = [
        _line(entry, kind, Decimal(1), currency)
        for group, kind in (("shipping_lines", LineKind.SHIPPING), ("fee_lines", LineKind.FEE))
        for entry in detail.get(group) or ()
    ]
    merged: dict[str, Line] = {}
    for line in (*goods, *charges):
        is_free = line.kind is LineKind.GOODS and not line.gross_paid
        if line.quantity > 0 and (line.gross_paid > 0 or is_free):
            before = merged.get(line.line_id)
            merged[line.line_id] = line if before is None else _sum(before, line)
    taken_off = -sum((line.gross_paid for line in charges if line.gross_paid < 0), ZERO)
    return _less(list(merged.values()), taken_off, currency)


def _less(lines: list[Line], taken_off: Decimal, currency: str) -> list[Line]:
    """Take the returned part of negative fees off the goods, as when they were bought.

    Where it is more than the lines come to, they are left as they are.
    """
    if taken_off > sum((line.gross_paid for line in lines), ZERO):
        return lines
    return [replace(line, discounts=()) for line in spread(lines, Discount(taken_off), currency)]


def _line(entry: dict[str, Any], kind: LineKind, quantity: Decimal, currency: str) -> Line:
    """Turn the signs: amounts and quantities of refunds are negative."""
    number = dict(pairs(entry.get("meta_data"))).get(REFUNDED_LINE) or entry.get("id") or "line"
    gross = rounded(-gross_of(entry), currency)
    tax = max(-(entry.get("total_tax") or ZERO), ZERO)
    line_id = number if kind is LineKind.GOODS else f"{kind.value}-{number}"
    return Line(line_id, kind, quantity, gross, tax, percent_of(tax, gross))


def _sum(line: Line, other: Line) -> Line:
    return replace(
        line,
        quantity=line.quantity + other.quantity if line.kind is LineKind.GOODS else line.quantity,
        gross_paid=line.gross_paid + other.gross_paid,
        tax_amount=line.tax_amount + other.tax_amount,
    )


def _whole_lines(left: Mapping[str, _Left], lines: list[Line], total: Decimal) -> list[Line]:
    """Return lines that are returned in their whole quantity as they were bought, when the refund is exactly that."""
    back = {line.line_id: left[line.line_id] for line in lines if line.line_id in left}
    whole = len(back) == len(lines) and all(
        line.kind is not LineKind.GOODS or line.quantity == back[line.line_id].quantity for line in lines
    )
    return (_all_that_is_left(back, total) if whole else []) or lines


def _all_that_is_left(left: Mapping[str, _Left], total: Decimal) -> list[Line]:
    """Return the order's remaining lines when the refund is exactly what they come to, else none.

    Setting an order to refunded makes a refund of the rest without naming a line.
    """
    rest = [e for e in left.values() if e.gross or (e.line.kind is LineKind.GOODS and e.quantity > 0)]
    if sum((entry.gross for entry in rest), ZERO) != total or any(entry.quantity <= 0 for entry in rest):
        return []
    return [replace(e.line, quantity=e.quantity, gross_paid=e.gross, tax_amount=e.tax, discounts=()) for e in rest]


def _after(left: Mapping[str, _Left] | None, lines: Sequence[Line]) -> dict[str, _Left] | None:
    """Return what is left after a refund; None when that is not known any more."""
    if left is None:
        return None
    after = dict(left)
    for line in lines:
        before = after.get(line.line_id)
        if before is None or line.gross_paid > before.gross:
            return None
        taken = line.quantity if line.kind is LineKind.GOODS or line.gross_paid == before.gross else ZERO
        after[line.line_id] = _Left(
            before.line,
            before.quantity - taken,
            before.gross - line.gross_paid,
            max(before.tax - line.tax_amount, ZERO),
        )
    return after


def _closed(lines: Sequence[Line], total: Decimal, currency: str) -> tuple[Line, ...]:
    """Make lines add up to the refund's amount, which takes precedence over them (REST API, `amount`)."""
    summed = sum((line.gross_paid for line in lines), ZERO)
    if total > summed:
        return (*lines, amount_line(total - summed))
    if total < summed:
        parts = shares([line.gross_paid for line in lines], total, currency)
        return tuple(
            _with_gross(line, part, currency) if part != line.gross_paid else line
            for line, part in zip(lines, parts, strict=True)
            if part or not line.gross_paid
        )
    return tuple(lines)


def _with_gross(line: Line, gross: Decimal, currency: str) -> Line:
    return replace(line, gross_paid=gross, tax_amount=rounded(line.tax_amount * gross / line.gross_paid, currency))
