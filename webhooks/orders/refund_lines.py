"""Completing a refund from the stored order: how much of it is new, and whether tax comes on top of its subtotals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from plugin.events import Line, LineKind, OrderRefunded, Payment
from plugin.platforms.money import fit_refund, percent_of, rounded, rounding_slack
from plugin.store.orders.orders import StoredOrder


def cap_to_unrefunded(event: OrderRefunded, order: StoredOrder) -> OrderRefunded | None:
    """Return the refund, reduced to what was not refunded before; None when nothing of it is new.

    A refund without the order's total (`total_refunded`) is returned unchanged.
    """
    if event.total_refunded is None:
        return event
    others = [entry for name, entry in order.details.get("refunds", {}).items() if name != event.refund_id]
    new = event.total_refunded - sum((Decimal(entry["total"]) for entry in others), Decimal(0))
    if new <= 0:
        return None
    if new >= event.total:
        return event
    line = Line("amount", LineKind.AMOUNT, Decimal(1), new, Decimal(0), Decimal(0), name="Refund")
    payment = Payment(event.payments[0].type if event.payments else "other", new)
    return replace(event, total=new, lines=(line,), payments=(payment,), subtotals=())


@dataclass(frozen=True, slots=True)
class PaidShare:
    """What was paid for the returned part of a line. gross: with tax, in the order's currency. percent: 25 for 25 %."""

    gross: Decimal
    tax: Decimal
    percent: Decimal


def restore_tax_from_order(event: OrderRefunded, order: StoredOrder) -> OrderRefunded:
    """Return the refund with the tax of its lines taken from what was paid for the order's lines.

    For shops that report only subtotals (`subtotals`), of which it is unclear whether they include tax. Other refunds, and
    those of an order whose lines are not stored, are returned unchanged.
    """
    bought = order.details.get("lines", [])
    subtotals = [(line, _paid_for(line, bought)) for line in event.subtotals]
    if event.currency != order.currency or not any(paid for _, paid in subtotals):
        return event
    on_top = _is_tax_on_top(subtotals, event.total, event.currency)
    lines = [_gross_line(line, paid, event.currency, on_top=on_top) for line, paid in subtotals]
    slack = rounding_slack(len(lines), event.currency)
    return replace(event, lines=fit_refund(lines, event.total, event.currency, rounding=slack))


def _paid_for(line: Line, bought: Sequence[Mapping[str, Any]]) -> PaidShare | None:
    """Return what was paid for the returned quantity of a line; for shipping, all that was paid for it."""
    if line.kind is LineKind.SHIPPING:
        sources, share = [stored for stored in bought if stored.get("kind") == LineKind.SHIPPING.value], Decimal(1)
    else:
        sources = [stored for stored in bought if stored["id"] == line.line_id][:1]
        share = line.quantity / Decimal(sources[0]["quantity"]) if sources else Decimal(1)
    if not sources:
        return None
    gross, tax = (sum((Decimal(stored[name]) for stored in sources), Decimal(0)) * share for name in ("gross", "tax"))
    return PaidShare(gross, tax, max(Decimal(stored["percent"]) for stored in sources))


def _is_tax_on_top(subtotals: Sequence[tuple[Line, PaidShare | None]], total: Decimal, currency: str) -> bool:
    """Return whether the subtotals of goods with their tax are nearer to what was paid than those without.

    Shipping may be refunded in part, so it is not compared; for shipping alone the refund's total decides.
    """
    goods = [
        (line, paid) for line, paid in subtotals if paid and line.kind is not LineKind.SHIPPING and line.tax_amount
    ]
    if goods:
        without = sum(abs(paid.gross - line.gross_paid) for line, paid in goods)
        return sum(abs(paid.gross - line.gross_paid - line.tax_amount) for line, paid in goods) < without
    gap = total - sum((line.gross_paid for line, _ in subtotals), Decimal(0))
    tax = sum((_tax(line, paid, currency, on_top=True) for line, paid in subtotals), Decimal(0))
    return abs(gap - tax) < abs(gap)


def _tax(line: Line, paid: PaidShare | None, currency: str, *, on_top: bool) -> Decimal:
    """Return the tax of a returned line; for shipping, whose tax a refund may leave out, in proportion to what was paid."""
    if line.tax_amount or paid is None or line.kind is not LineKind.SHIPPING:
        return line.tax_amount
    base = paid.gross - paid.tax if on_top else paid.gross
    return rounded(line.gross_paid * paid.tax / base, currency) if base > 0 else Decimal(0)


def _gross_line(line: Line, paid: PaidShare | None, currency: str, *, on_top: bool) -> Line:
    """Return a line whose gross_paid includes its tax, at most what was paid for it."""
    tax = _tax(line, paid, currency, on_top=on_top)
    gross = line.gross_paid + (tax if on_top else 0)
    if paid and gross > paid.gross + rounding_slack(1, currency):
        gross, tax = rounded(paid.gross, currency), rounded(paid.tax, currency)
    tax = min(tax, gross)
    percent = paid.percent if paid and paid.percent and tax else percent_of(tax, gross)
    return replace(line, gross_paid=gross, tax_amount=tax, tax_percent=percent)
