"""Saleor's refunds in the plugin's words (docs/platforms/saleor.md#refunds).

An event says that an order was refunded, and shows the whole order: every refund that it ever had. Each has an id of its
own among the payments' events; which lines it is for is in granted refunds (present API) or refunded fulfilments
(former API), where staff said so. A shop whose webhook was made with an older query names the sum only. So every refund
is mapped each time, and carries the total refunded: the handler sends each once, and never more than that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from plugin.events import Line, LineKind, MappingResult, OrderRefunded, Payment
from plugin.platforms.contact_normalisers import clean_text
from plugin.platforms.fields import load
from plugin.platforms.money import fit_refund, rounded
from plugin.platforms.saleor import schemas
from plugin.platforms.saleor.lines import amount_of, currency_of, lines_of
from plugin.platforms.saleor.orders import was_paid

REFUNDED_FULFILLMENTS = frozenset({"REFUNDED", "REFUNDED_AND_RETURNED"})


@dataclass(frozen=True, slots=True)
class _Refund:
    """Money that was paid back. id: of the payment's event."""

    id: str
    amount: Decimal
    at: datetime | None
    payment: str


@dataclass(frozen=True, slots=True)
class _Reason:
    """What staff said that money goes back for. events: ids of the payments' events, where they are known."""

    amount: Decimal
    events: frozenset[str]
    quantities: tuple[tuple[str, int], ...]
    shipping: Decimal | None


def order_refunded(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map order_refunded and order_fully_refunded."""
    found = load(schemas.OrderEventSchema(), body)
    order, issued_at = found["order"], min(found.get("issued_at") or at, at)
    if not was_paid(order):
        return MappingResult(ignored="the order was never paid in full, so it has no receipt to return from")
    currency = currency_of(order)
    lines, _ = lines_of(order, currency)
    given = [g for g in _refunds(order, currency) if g.amount > 0]
    summed = sum((g.amount for g in given), Decimal(0))
    in_all = rounded(amount_of(order, "total_refunded"), currency) if order.get("total_refunded") else summed
    if in_all <= 0:
        return MappingResult(ignored="no money was refunded")
    if in_all > summed:
        given.append(_Refund(f"sum-{in_all}", in_all - summed, issued_at, _payment_name(order)))
    reasons = _reasons(order, lines, currency)
    bought = sum((line.gross_paid for line in lines), Decimal(0))
    events = []
    for refund in given:
        if len(given) == 1 and refund.amount >= bought:
            back: Sequence[Line] = lines
        else:
            back = _lines_back(lines, _reason_for(refund, reasons), currency)
        events.append(
            OrderRefunded(
                occurred_at=min(refund.at or issued_at, at),
                order_id=order["id"],
                refund_id=refund.id,
                currency=currency,
                total=refund.amount,
                lines=fit_refund([replace(line, discounts=()) for line in back], refund.amount, currency),
                payments=(Payment(refund.payment, refund.amount),),
                total_refunded=in_all,
            )
        )
    return MappingResult(tuple(events))


def newest_refund_id(order: dict[str, Any]) -> str | None:
    """Return the id of an order's newest refund, None where nothing was refunded. order: as `OrderSchema` loads it."""
    found = order_refunded_ids(order)
    return found[-1] if found else None


def order_refunded_ids(order: dict[str, Any]) -> list[str]:
    """Return the ids of an order's refunds, oldest first."""
    currency = currency_of(order)
    given = [g for g in _refunds(order, currency) if g.amount > 0]
    in_all = rounded(amount_of(order, "total_refunded"), currency)
    if in_all <= 0:
        return []
    rest = [f"sum-{in_all}"] if in_all > sum((g.amount for g in given), Decimal(0)) else []
    return [*(g.id for g in given), *rest]


def _refunds(order: dict[str, Any], currency: str) -> list[_Refund]:
    """Return each refund that has an id, oldest first."""
    found: dict[str, _Refund] = {}
    for transaction in order.get("transactions") or ():
        name = clean_text(transaction.get("name")) or "other"
        for event in transaction.get("events") or ():
            if event.get("type") == "REFUND_SUCCESS":
                amount = rounded(amount_of(event, "amount"), currency)
                found[event["id"]] = _Refund(event["id"], amount, event.get("created_at"), name)
    for payment in order.get("payments") or ():
        name = clean_text(payment.get("gateway")) or "other"
        for step in payment.get("transactions") or ():
            if str(step.get("kind")).upper() == "REFUND" and step.get("is_success"):
                amount = rounded(amount_of(step, "amount"), currency)
                found[step["id"]] = _Refund(step["id"], amount, step.get("created"), name)
    return sorted(found.values(), key=lambda refund: (refund.at is None, refund.at.timestamp() if refund.at else 0.0))


def _reasons(order: dict[str, Any], lines: Sequence[Line], currency: str) -> list[_Reason]:
    shipping = next((line.gross_paid for line in lines if line.kind is LineKind.SHIPPING), None)
    granted = [
        _Reason(
            rounded(amount_of(refund, "amount"), currency),
            frozenset(event["id"] for event in refund.get("transaction_events") or ()),
            _quantities(refund),
            shipping if refund.get("shipping_costs_included") else None,
        )
        for refund in order.get("granted_refunds") or ()
    ]
    fulfilments = [
        _Reason(
            rounded(amount_of(fulfilment, "total_refunded_amount"), currency),
            frozenset(),
            _quantities(fulfilment),
            rounded(amount_of(fulfilment, "shipping_refunded_amount"), currency) or None,
        )
        for fulfilment in order.get("fulfillments") or ()
        if fulfilment.get("status") in REFUNDED_FULFILLMENTS
    ]
    return [*granted, *fulfilments]


def _quantities(holder: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    return tuple(
        (line["order_line"]["id"], line["quantity"])
        for line in holder.get("lines") or ()
        if line.get("order_line") and line["quantity"] > 0
    )


def _reason_for(given: _Refund, reasons: Sequence[_Reason]) -> _Reason | None:
    """Return what a refund is for: the reason that names it, else the only reason of its amount that names no refund."""
    named = next((reason for reason in reasons if given.id in reason.events), None)
    if named is not None:
        return named
    fitting = [reason for reason in reasons if not reason.events and reason.amount == given.amount]
    return fitting[0] if len(fitting) == 1 else None


def _lines_back(lines: Sequence[Line], reason: _Reason | None, currency: str) -> list[Line]:
    """Return the order's lines in the returned quantities, at the price paid."""
    if reason is None:
        return []
    bought = {line.line_id: line for line in lines}
    back = []
    for line_id, quantity in reason.quantities:
        line = bought.get(line_id)
        if line is None:
            continue
        part = min(Decimal(quantity), line.quantity)
        share = part / line.quantity
        gross, tax = rounded(line.gross_paid * share, currency), rounded(line.tax_amount * share, currency)
        back.append(replace(line, quantity=part, gross_paid=gross, tax_amount=min(tax, gross)))
    shipping = next((line for line in lines if line.kind is LineKind.SHIPPING), None)
    if shipping is not None and reason.shipping:
        gross = min(reason.shipping, shipping.gross_paid)
        tax = rounded(shipping.tax_amount * gross / shipping.gross_paid, currency)
        back.append(replace(shipping, gross_paid=gross, tax_amount=min(tax, gross)))
    return back


def _payment_name(order: dict[str, Any]) -> str:
    names = [clean_text(t.get("name")) for t in order.get("transactions") or () if amount_of(t, "refunded_amount")]
    return next(filter(None, names), "other")
