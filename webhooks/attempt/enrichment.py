"""What a webhook leaves out and the shop has: read once before the mapping, and kept with the event.

A mapping asks nobody, so that it can be repeated at any time with the same result. Only the lines of refunds are read
here: a receipt that was sent cannot be sent again with more in it.
"""

from datetime import timedelta

from plugin.errors import DependencyNotReady, ShopApiError, ShopUnavailableError
from plugin.platforms.base import Delivery, Platform
from webhooks.attempt.context import Context

STEP = "supplement"


def enrich_delivery(context: Context, platform: Platform, delivery: Delivery, *, ask: bool) -> Delivery:
    """Return the delivery of the event at hand, with what was read of the shop for it. ask: whether to read now.

    Raises NotYetError while the shop is away; after half of `order_wait_s` the refund goes without its lines.
    """
    claimed = context.claimed
    kept = context.get_step(STEP)
    if kept is None and ask:
        kept = _read(context, platform, delivery)
    elif kept is None and platform.refunds_without_lines(delivery, claimed.body):
        context.note(STEP, "The lines of a refund are read from the shop when it is delivered; a preview does not ask.")
    return Delivery(topic=claimed.topic, meta={**claimed.meta, **kept}) if kept else delivery


def _read(context: Context, platform: Platform, delivery: Delivery) -> dict[str, str] | None:
    claimed = context.claimed
    unread = platform.refunds_without_lines(delivery, claimed.body)
    if not unread or claimed.order_ref is None:
        return None
    order = context.stores.orders.get(context.shop, claimed.order_ref)
    if order is not None and order.contact_id is None:  # the order was not for us, and so is its refund
        return None
    sent = order.details.get("refunds", {}) if order is not None else {}
    wanted = [refund_id for refund_id in unread if refund_id not in sent]
    if not wanted:
        return None
    try:
        found = dict(platform.fetch_refunds(context.shop, claimed.order_ref, wanted))
    except ShopUnavailableError as error:
        if context.now() - claimed.received_at < timedelta(seconds=context.shop.settings.order_wait_s / 2):
            raise DependencyNotReady(f"The lines of a refund are read from the shop, which is away: {error}") from error
        context.note(STEP, f"The shop is away for long, so a refund goes without its lines: {error}")
        return None
    except ShopApiError as error:
        context.note(STEP, f"The shop does not give the lines of a refund: {error}")
        return None
    if found:
        context.complete_step(STEP, found)
    return found
