"""Whether an order stands, for shops that tell how an order is and not what happened to it, in any sequence.

Such a shop's cancelled order can be paid again, and its older bodies come late (platform facts 2.4, 6 trap 13). The newest
time at which it said that an order stands is kept with the order: no older cancellation undoes that, and what was called
off before it is taken up again.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from plugin.events import OrderPaid
from plugin.store.orders.orders import StoredOrder, write_details
from webhooks.attempt.context import Context
from webhooks.redemption.lookup import STEP_REOPENED
from webhooks.redemption.reactivate import is_wholly_returned

CANCELLED = "cancelled"


def apply_reinstatement(context: Context, event: OrderPaid, order: StoredOrder) -> StoredOrder:
    """Keep that the shop says that an order stands; return the order as it is known with that.

    A cancellation before it is undone: then the step REOPENED is remembered, and what the order used is redeemed anew.
    """
    known = _time(order.details, "stands_at")
    if event.active_as_of is None or (known is not None and known >= event.active_as_of):
        return order
    changes: dict[str, str | None] = {"stands_at": event.active_as_of.isoformat()}
    reopened = _was_cancelled_before(order, event.active_as_of)
    if reopened:
        changes |= {"ended": None, "ended_at": None}
    context.on_commit(lambda session: write_details(session, context.shop, order.order_id, **changes))
    if reopened:
        context.note(STEP_REOPENED, "The order was cancelled before, and the shop says now that it is paid.")
        context.complete_step(STEP_REOPENED)  # in one commit with the change of the order
    return replace(order, details={**order.details, **changes})


def confirmed_after(order: StoredOrder, at: datetime) -> bool:
    """Tell whether the shop said after a time that the order stands."""
    known = _time(order.details, "stands_at")
    return known is not None and known > at


def is_newer_end(details: Mapping[str, Any], how: str, at: datetime) -> bool:
    """Tell whether an order's end is not known yet: the first one counts, and the newest time of it."""
    if not details.get("ended"):
        return True
    known = _time(details, "ended_at")
    return details["ended"] == how and (known is None or known < at)


def _was_cancelled_before(order: StoredOrder, at: datetime) -> bool:
    """Tell whether an order was called off before a time; one that was returned whole stays ended."""
    ended_at = _time(order.details, "ended_at")
    cancelled = order.details.get("ended") == CANCELLED and ended_at is not None and ended_at < at
    return cancelled and not is_wholly_returned(order, order.details)


def _time(details: Mapping[str, Any], name: str) -> datetime | None:
    known = details.get(name)
    return None if known is None else datetime.fromisoformat(known)
