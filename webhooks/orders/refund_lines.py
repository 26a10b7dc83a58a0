"""What only the stored order tells of a refund: how much of it is new, and whether tax comes on top of what its lines name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from plugin.events import Line, LineKind, OrderRefunded, Payment
from plugin.platforms.money import fit_refund, percent_of, rounded, rounding_slack
from plugin.store.orders.orders import StoredOrder


def cap_to_unrefunded(event: OrderRefunded, order: StoredOrder) -> OrderRefunded | None:
    """Return the refund cut to what was not returned yet; None when nothing of it is new.

    Without a sum (`total_refunded`) a refund is as the shop says it is.
    """
    if event.total_refunded is None:
        return event
    others = [entry for name, entry in order.details.get("refunds", {}).items() if name != event.refund_id]
    returned = sum((Decimal(entry["total"]) for entry in others), Decimal(0))
    room = event.total_refunded - returned
    if room <= 0:
        return None
    if room >= event.total:
        return event
    rest = Line("amount", LineKind.AMOUNT, Decimal(1), room, Decimal(0), Decimal(0), name="Refund")
    payment = Payment(event.payments[0].type if event.payments else "other", room)
    return replace(event, total=room, lines=(rest,), payments=(payment,), subtotals=())


@dataclass(frozen=True, slots=True)
class PaidShare:
    """What was paid for that which comes back of a line: with its tax, in the order's currency. percent: 25 for 25 %."""

    gross: Decimal
    tax: Decimal
    percent: Decimal


def restore_tax_from_order(event: OrderRefunded, order: StoredOrder) -> OrderRefunded:
    """Return the refund with its lines as the order's lines were paid: what was paid tells whether the tax is in a subtotal.

    Shops that name subtotals alone (`subtotals`) are meant; other refunds, and those of lines that nobody kept, stay as they are.
    """
    bought = order.details.get("lines", [])
    named = [(line, _paid_for(line, bought)) for line in event.subtotals]
    if event.currency != order.currency or not any(paid for _, paid in named):
        return event
    on_top = _is_tax_on_top(named, event.total, event.currency)
    lines = [_gross_line(line, paid, event.currency, on_top=on_top) for line, paid in named]
    room = rounding_slack(len(lines), event.currency)
    return replace(event, lines=fit_refund(lines, event.total, event.currency, rounding=room))


def _paid_for(line: Line, bought: Sequence[Mapping[str, Any]]) -> PaidShare | None:
    """Return what was paid for the quantity that comes back of a line; for shipping, all that was paid for it."""
    if line.kind is LineKind.SHIPPING:
        same, share = [one for one in bought if one.get("kind") == LineKind.SHIPPING.value], Decimal(1)
    else:
        same = [one for one in bought if one["id"] == line.line_id][:1]
        share = line.quantity / Decimal(same[0]["quantity"]) if same else Decimal(1)
    if not same:
        return None
    gross, tax = (sum((Decimal(one[name]) for one in same), Decimal(0)) * share for name in ("gross", "tax"))
    return PaidShare(gross, tax, max(Decimal(one["percent"]) for one in same))


def _is_tax_on_top(named: Sequence[tuple[Line, PaidShare | None]], total: Decimal, currency: str) -> bool:
    """Tell which is nearer to what was paid for the goods: their subtotals, or these with their tax.

    Of shipping a part may be given back, so it cannot tell; where it comes alone, what was given back tells.
    """
    goods = [(line, paid) for line, paid in named if paid and line.kind is not LineKind.SHIPPING and line.tax_amount]
    if goods:
        without = sum(abs(paid.gross - line.gross_paid) for line, paid in goods)
        return sum(abs(paid.gross - line.gross_paid - line.tax_amount) for line, paid in goods) < without
    gap = total - sum((line.gross_paid for line, _ in named), Decimal(0))
    tax = sum((_tax(line, paid, currency, on_top=True) for line, paid in named), Decimal(0))
    return abs(gap - tax) < abs(gap)


def _tax(line: Line, paid: PaidShare | None, currency: str, *, on_top: bool) -> Decimal:
    """Return the tax of what comes back; that of shipping, which a refund may leave out, as it was paid."""
    if line.tax_amount or paid is None or line.kind is not LineKind.SHIPPING:
        return line.tax_amount
    base = paid.gross - paid.tax if on_top else paid.gross
    return rounded(line.gross_paid * paid.tax / base, currency) if base > 0 else Decimal(0)


def _gross_line(line: Line, paid: PaidShare | None, currency: str, *, on_top: bool) -> Line:
    """Return a line with its tax in its gross_paid; never more than was paid for it."""
    tax = _tax(line, paid, currency, on_top=on_top)
    gross = line.gross_paid + (tax if on_top else 0)
    if paid and gross > paid.gross + rounding_slack(1, currency):
        gross, tax = rounded(paid.gross, currency), rounded(paid.tax, currency)
    tax = min(tax, gross)
    percent = paid.percent if paid and paid.percent and tax else percent_of(tax, gross)
    return replace(line, gross_paid=gross, tax_amount=tax, tax_percent=percent)
