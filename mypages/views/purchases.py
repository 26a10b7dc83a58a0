"""Purchases and returns: Engage's history, combined with the orders that this shop itself has stored."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from mypages.data.sanitise import safe_text
from mypages.views.formatting import Formatter
from mypages.views.models import Purchase, PurchaseLine
from plugin.engage.data.models import Page, Transaction
from plugin.store.orders.orders import StoredOrder

MAX_LINES = 200
#: An order whose receipt was sent longer ago and is not in the history will not appear there any more.
MAX_IMPORT_DELAY = timedelta(days=2)
_LINE_NAMES = ("articleName", "name", "description", "productName")
_LINE_SKUS = ("sku", "articleNumber", "articleNr", "id")
_LINE_AMOUNTS = ("grossPaidPrice", "localGrossPrice", "localNetPrice", "netPrice", "price", "amount")
_START = datetime.min.replace(tzinfo=UTC)


def from_history(
    page: Page[Transaction], orders: Sequence[StoredOrder], shop: str, formatter: Formatter
) -> tuple[Purchase, ...]:
    """Return a page of Engage's history, newest first.

    Engage's history has net sums only. For this shop's own orders the total that was paid is shown.
    See docs/engage.md#purchase-history.
    """
    own = {f"{shop}-{order.order_id}": order for order in orders}
    newest_first = sorted(page.items, key=lambda entry: entry.created_date or _START, reverse=True)
    return tuple(_from_transaction(entry, own.get(entry.external_id or ""), formatter) for entry in newest_first)


def being_registered(
    orders: Sequence[StoredOrder], page: Page[Transaction] | None, shop: str, formatter: Formatter, now: datetime
) -> tuple[Purchase, ...]:
    """Return this shop's own newest orders that Engage does not show yet, newest first: imports are delayed.

    page: the newest page of the history; None where it is not available, and then all of the orders are returned.
    """
    if page is None:
        return tuple(
            from_order(order, shop, formatter, being_registered=order.receipt_sent_at is None) for order in orders
        )
    imported = {transaction.external_id for transaction in page.items}
    return tuple(
        from_order(order, shop, formatter, being_registered=True)
        for order in orders
        if f"{shop}-{order.order_id}" not in imported
        and (order.receipt_sent_at is None or now - order.receipt_sent_at < MAX_IMPORT_DELAY)
    )


def from_order(order: StoredOrder, shop: str, formatter: Formatter, *, being_registered: bool = False) -> Purchase:
    """Return one of this shop's own orders with its lines."""
    lines = order.details.get("lines")
    return Purchase(
        id=f"{shop}-{order.order_id}",
        number=safe_text(order.order_number),
        date=formatter.day(order.occurred_at),
        amount=formatter.money(order.total, order.currency),
        being_registered=being_registered,
        lines=tuple(_own_line(line, order.currency, formatter) for line in lines[:MAX_LINES])
        if isinstance(lines, list)
        else (),
    )


def _from_transaction(transaction: Transaction, order: StoredOrder | None, formatter: Formatter) -> Purchase:
    amount, currency = transaction.local_net_price_sum, transaction.local_currency
    if order is not None:
        amount, currency = order.total, order.currency
    elif (paid := _paid(transaction.line_items)) is not None and currency is not None:
        amount = paid
    elif amount is None:
        amount, currency = transaction.net_price_sum, transaction.group_currency
    own = from_order(order, "", formatter).lines if order is not None else ()
    return Purchase(
        id=safe_text(transaction.external_id, 200)
        or safe_text(transaction.id, 200)
        or safe_text(transaction.transaction_number, 200),
        number=safe_text(transaction.transaction_number) or safe_text(transaction.external_id),
        date=formatter.day(transaction.created_date),
        amount=formatter.money(amount, currency),
        place=safe_text(transaction.store_name),
        items=formatter.number(transaction.number_of_items),
        is_return=amount is not None and amount < 0,
        lines=own or tuple(_line(line, currency, formatter) for line in transaction.line_items[:MAX_LINES]),
    )


def _paid(lines: Sequence[Mapping[str, Any]]) -> Decimal | None:
    """Return what was paid for all lines, tax included, because Engage's own sums are net.

    None where a line lacks the amount under the name that receipts use.
    """
    amounts = [_decimal(line.get("grossPaidPrice")) for line in lines[:MAX_LINES]]
    if not amounts or len(lines) > MAX_LINES or None in amounts:
        return None
    returned = [str(line.get("type") or "").upper() == "RETURN" for line in lines]
    signed = (-abs(a) if is_return else a for a, is_return in zip(amounts, returned, strict=True) if a is not None)
    return sum(signed, Decimal(0))


def _own_line(stored: Any, currency: str, formatter: Formatter) -> PurchaseLine:
    line = stored if isinstance(stored, Mapping) else {}
    return PurchaseLine(
        name=safe_text(line.get("name")) or safe_text(line.get("sku")),
        sku=safe_text(line.get("sku")) if line.get("kind") in {"goods", None} else "",
        quantity=formatter.number(_decimal(line.get("quantity"))),
        amount=formatter.money(_decimal(line.get("gross")), currency),
    )


def _line(line: Mapping[str, Any], currency: str | None, formatter: Formatter) -> PurchaseLine:
    """Read a line of Engage's history. Its fields are not documented, so every plausible name is tried.

    See docs/engage.md#purchase-history.
    """
    quantity = _decimal(line.get("quantity"))
    amount = next((value for name in _LINE_AMOUNTS if (value := _decimal(line.get(name))) is not None), None)
    types = (str(line.get(name) or "").upper() for name in ("type", "lineType"))
    return PurchaseLine(
        name=next(filter(None, (safe_text(line.get(name)) for name in _LINE_NAMES)), ""),
        sku=next(filter(None, (safe_text(line.get(name)) for name in _LINE_SKUS)), ""),
        quantity=formatter.number(quantity),
        amount=formatter.money(amount, currency),
        is_return="RETURN" in types or (quantity is not None and quantity < 0),
    )


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
