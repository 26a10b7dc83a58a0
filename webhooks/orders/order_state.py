"""Whether an order is active or ended, for shops that report an order's state and not what happened to it, in any sequence.

In such a shop a cancelled order can be paid again, and its older bodies can arrive late (docs/platforms/woocommerce.md#orders).
So the newest time at which the shop reported the order as active is stored with it: an older cancellation does not undo
that, and a cancellation before that time is undone.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from plugin.events import LineKind, OrderPaid
from plugin.store.orders.orders import StoredOrder, write_details
from webhooks.attempt.context import Context
from webhooks.orders.records import ACTIVE_AS_OF, active_as_of

CANCELLED = "cancelled"
_GOODS = {LineKind.GOODS.value, LineKind.GIFT_CARD.value}


def apply_reinstatement(context: Context, event: OrderPaid, order: StoredOrder) -> StoredOrder:
    """Store that the shop reports an order as active; return the order with that change.

    An earlier cancellation is undone: the step `reopened` is completed, after which the order's promotions are redeemed again.
    """
    stored = active_as_of(order.details)
    if event.active_as_of is None or (stored is not None and stored >= event.active_as_of):
        return order
    changes: dict[str, str | None] = {ACTIVE_AS_OF: event.active_as_of.isoformat()}
    reopened = _was_cancelled_before(order, event.active_as_of)
    if reopened:
        changes |= {"ended": None, "ended_at": None}
    context.on_commit(lambda session: write_details(session, context.shop, order.order_id, **changes))
    if reopened:
        context.note("reopened", "The order was cancelled before, and the shop reports it as paid now.")
        context.progress.reopened = True
        context.save()  # in one commit with the change of the order
    return replace(order, details={**order.details, **changes})


def confirmed_after(order: StoredOrder, at: datetime) -> bool:
    """Return whether the shop reported an order as active after a time."""
    stored = active_as_of(order.details)
    return stored is not None and stored > at


def is_newer_end(details: Mapping[str, Any], how: str, at: datetime) -> bool:
    """Return whether an order's end is to be stored: the first way in which it ended counts, with its newest time."""
    if not details.get("ended"):
        return True
    ended_at = _ended_at(details)
    return details["ended"] == how and (ended_at is None or ended_at < at)


def is_wholly_returned(order: StoredOrder, details: Mapping[str, Any]) -> bool:
    """Return whether all goods of an order, or all of its money, came back. details: with all refunds so far."""
    refunds = details.get("refunds", {}).values()
    bought = {
        line["id"]: Decimal(line["quantity"])
        for line in details.get("lines", [])
        if line.get("kind", "goods") in _GOODS
    }
    returned: Counter[str] = Counter()
    for refund in refunds:
        returned.update({line: Decimal(quantity) for line, quantity in refund["lines"].items()})
    if bought and all(returned[line] >= quantity for line, quantity in bought.items()):
        return True
    in_currency = (refund for refund in refunds if refund.get("currency", order.currency) == order.currency)
    return 0 < order.total <= sum((Decimal(refund["total"]) for refund in in_currency), Decimal(0))


def _was_cancelled_before(order: StoredOrder, at: datetime) -> bool:
    """Return whether an order was cancelled before a time; one that was wholly returned stays ended."""
    ended_at = _ended_at(order.details)
    cancelled = order.details.get("ended") == CANCELLED and ended_at is not None and ended_at < at
    return cancelled and not is_wholly_returned(order, order.details)


def _ended_at(details: Mapping[str, Any]) -> datetime | None:
    text = details.get("ended_at")
    return None if text is None else datetime.fromisoformat(text)
