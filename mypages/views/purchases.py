"""Purchases and returns: Engage's history, and beside it what this shop itself knows of its own orders."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from mypages.views.formatting import Formatter, text
from mypages.views.models import Purchase, PurchaseLine
from plugin.engage.data.models import Page, Transaction
from plugin.store.orders.orders import StoredOrder

MAX_LINES = 200
#: An order whose receipt was sent this long ago and is not in the history will not appear there any more.
IMPORT_TAKES = timedelta(days=2)
_LINE_NAMES = ("articleName", "name", "description", "productName")
_LINE_SKUS = ("sku", "articleNumber", "articleNr", "id")
_LINE_AMOUNTS = ("grossPaidPrice", "localGrossPrice", "localNetPrice", "netPrice", "price", "amount")
_START = datetime.min.replace(tzinfo=UTC)


def fetched(page: Page[Transaction], orders: Sequence[StoredOrder], shop: str, form: Formatter) -> tuple[Purchase, ...]:
    """Return a page of Engage's history, newest first.

    Engage's history has net sums only; of this shop's own orders the total that was paid is shown.
    """
    own = {f"{shop}-{order.order_id}": order for order in orders}
    newest_first = sorted(page.items, key=lambda one: one.created_date or _START, reverse=True)
    return tuple(_fetched(one, own.get(one.external_id or ""), form) for one in newest_first)


def being_registered(
    orders: Sequence[StoredOrder], page: Page[Transaction] | None, shop: str, form: Formatter, now: datetime
) -> tuple[Purchase, ...]:
    """Return this shop's own newest orders that Engage does not show yet, newest first: it imports with a delay.

    page: the newest page of the history, None where it is not to be had; then all of the orders are returned.
    """
    if page is None:
        return tuple(of_order(order, shop, form, being_registered=order.receipt_sent_at is None) for order in orders)
    known = {one.external_id for one in page.items}
    return tuple(
        of_order(order, shop, form, being_registered=True)
        for order in orders
        if f"{shop}-{order.order_id}" not in known
        and (order.receipt_sent_at is None or now - order.receipt_sent_at < IMPORT_TAKES)
    )


def of_order(order: StoredOrder, shop: str, form: Formatter, *, being_registered: bool = False) -> Purchase:
    """Return one of this shop's own orders with its lines."""
    lines = order.details.get("lines")
    return Purchase(
        id=f"{shop}-{order.order_id}",
        number=text(order.order_number),
        date=form.day(order.occurred_at),
        amount=form.money(order.total, order.currency),
        being_registered=being_registered,
        lines=tuple(_own_line(line, order.currency, form) for line in lines[:MAX_LINES])
        if isinstance(lines, list)
        else (),
    )


def is_ascending(page: Page[Transaction]) -> bool:
    """Tell whether Engage lists the oldest first, which its pages do not say (facts 3)."""
    dates = [one.created_date for one in page.items if one.created_date]
    return len(dates) > 1 and dates[0] < dates[-1]


def _fetched(one: Transaction, order: StoredOrder | None, form: Formatter) -> Purchase:
    amount, currency = one.local_net_price_sum, one.local_currency
    if order is not None:
        amount, currency = order.total, order.currency
    elif (paid := _paid(one.line_items)) is not None and currency is not None:
        amount = paid
    elif amount is None:
        amount, currency = one.net_price_sum, one.group_currency
    own = of_order(order, "", form).lines if order is not None else ()
    return Purchase(
        id=text(one.external_id, 200) or text(one.id, 200) or text(one.transaction_number, 200),
        number=text(one.transaction_number) or text(one.external_id),
        date=form.day(one.created_date),
        amount=form.money(amount, currency),
        place=text(one.store_name),
        items=form.number(one.number_of_items),
        is_return=amount is not None and amount < 0,
        lines=own or tuple(_line(line, currency, form) for line in one.line_items[:MAX_LINES]),
    )


def _paid(lines: Sequence[Mapping[str, Any]]) -> Decimal | None:
    """Return what was paid for all lines, tax included: Engage's sums are net, beside which lines with tax do not add up.

    None where a line does not say it under the name that receipts have for it.
    """
    amounts = [_decimal(line.get("grossPaidPrice")) for line in lines[:MAX_LINES]]
    if not amounts or len(lines) > MAX_LINES or None in amounts:
        return None
    returned = [str(line.get("type") or "").upper() == "RETURN" for line in lines]
    signed = (-abs(a) if back else a for a, back in zip(amounts, returned, strict=True) if a is not None)
    return sum(signed, Decimal(0))


def _own_line(line: Any, currency: str, form: Formatter) -> PurchaseLine:
    found = line if isinstance(line, Mapping) else {}
    return PurchaseLine(
        name=text(found.get("name")) or text(found.get("sku")),
        sku=text(found.get("sku")) if found.get("kind") in {"goods", None} else "",
        quantity=form.number(_decimal(found.get("quantity"))),
        amount=form.money(_decimal(found.get("gross")), currency),
    )


def _line(line: Mapping[str, Any], currency: str | None, form: Formatter) -> PurchaseLine:
    """Read a line of Engage's history, whose fields are not documented (facts 3): every plausible name is looked at."""
    quantity = _decimal(line.get("quantity"))
    amount = next((found for name in _LINE_AMOUNTS if (found := _decimal(line.get(name))) is not None), None)
    words = (str(line.get(name) or "").upper() for name in ("type", "lineType"))
    return PurchaseLine(
        name=next(filter(None, (text(line.get(name)) for name in _LINE_NAMES)), ""),
        sku=next(filter(None, (text(line.get(name)) for name in _LINE_SKUS)), ""),
        quantity=form.number(quantity),
        amount=form.money(amount, currency),
        is_return="RETURN" in words or (quantity is not None and quantity < 0),
    )


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return None
    try:
        found = Decimal(value)
    except InvalidOperation:
        return None
    return found if found.is_finite() else None
