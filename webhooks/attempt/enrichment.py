"""What a webhook leaves out and the shop has: read once before the mapping, and stored with the event.

A mapping calls no API, so that it can be repeated at any time with the same result. Only the lines of refunds are read
here: a receipt that was sent cannot be sent again with more in it.
"""

from datetime import timedelta

from plugin.errors import ShopApiError, ShopUnavailableError
from plugin.platforms.base import Delivery, Platform
from webhooks.attempt.context import Context
from webhooks.attempt.outcomes import Waiting

STEP = "supplement"


def enrich_delivery(context: Context, platform: Platform, delivery: Delivery, *, ask: bool) -> Delivery | Waiting:
    """Return the event's delivery with what was read from the shop for it. ask: whether to read now.

    Waiting while the shop is away; after half of `order_wait_s` the refund is sent without its lines.
    """
    claimed = context.claimed
    lines = context.progress.supplement
    if lines is None and ask:
        fetched = _fetch(context, platform, delivery)
        if isinstance(fetched, Waiting):
            return fetched
        lines = fetched
    elif lines is None and platform.refunds_without_lines(delivery, claimed.body):
        context.note(STEP, "The lines of a refund are read from the shop when it is delivered; a preview does not ask.")
    return Delivery(topic=claimed.topic, meta={**claimed.meta, **lines}) if lines else delivery


def _fetch(context: Context, platform: Platform, delivery: Delivery) -> dict[str, str] | Waiting | None:
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
        lines = dict(platform.fetch_refunds(context.shop, claimed.order_ref, wanted))
    except ShopUnavailableError as error:
        if context.waited() < timedelta(seconds=context.shop.settings.order_wait_s / 2):
            return Waiting(f"The lines of a refund are read from the shop, which is away: {error}")
        context.note(STEP, f"The shop is away for long, so a refund goes without its lines: {error}")
        return None
    except ShopApiError as error:
        context.note(STEP, f"The shop does not give the lines of a refund: {error}")
        return None
    if lines:
        context.progress.supplement = lines
        context.save()
    return lines
