"""What the plugin stores of an order and of its refunds. Refunds, cancellations and My Pages read it later."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from plugin.events import OrderPaid, OrderRefunded
from plugin.store.orders.orders import StoredOrder
from plugin.store.shops.shops import RegisteredShop
from webhooks.orders.receipts import exchange_rate, stored_lines

#: Contact attributes that an order may fill, but never overwrite: a purchase may name another person as its receiver.
FILL_IF_MISSING = frozenset({"firstName", "lastName", "email", "externalId"})
#: The detail of an order that says when its shop last reported it as active, ISO 8601.
ACTIVE_AS_OF = "active_as_of"
#: The name of the same detail in records of earlier versions; only read.
_ACTIVE_AS_OF_OLD = "stands_at"


def order_record(shop: RegisteredShop, event: OrderPaid, contact_id: str | None, store: str) -> StoredOrder:
    """Return the record of an order as it was paid. store: the external id of the Engage store that it counts for.

    The detail "uses" marks an order that names promotions or vouchers, some of them by codes that only Engage knows.
    """
    details: dict[str, Any] = {"lines": stored_lines(event.lines, shop.settings), "refunds": {}}
    if event.promotions or event.vouchers:
        details["uses"] = True
    if event.active_as_of is not None:
        details[ACTIVE_AS_OF] = event.active_as_of.isoformat()
    return StoredOrder(
        order_id=event.order_id,
        order_number=event.order_number,
        customer_id=event.customer.customer_id,
        contact_id=contact_id,
        currency=event.currency,
        total=event.total,
        occurred_at=event.occurred_at,
        store_external_id=store,
        exchange_rate=exchange_rate(event, shop.settings),
        details=details,
    )


def active_as_of(details: Mapping[str, Any]) -> datetime | None:
    """Return when the shop last reported an order as active, from the details of its record."""
    text = details.get(ACTIVE_AS_OF) or details.get(_ACTIVE_AS_OF_OLD)
    return None if text is None else datetime.fromisoformat(text)


def refund_record(event: OrderRefunded) -> dict[str, object]:
    """Return the record of a refund as JSON, with money as text. lines: the returned quantity by the line's id."""
    return {
        "at": event.occurred_at.isoformat(),
        "total": str(event.total),
        "currency": event.currency,
        "lines": {line.line_id: str(line.quantity) for line in event.lines},
    }
