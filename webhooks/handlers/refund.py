"""Refund: a return receipt for the order's contact. Cancellation: no receipt. Both may give back what the order used."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from plugin.errors import DependencyNotReady, EventIgnored
from plugin.events import OrderCancelled, OrderRefunded
from plugin.store.orders.orders import StoredOrder, write_details, write_refund
from webhooks.attempt.context import FORCE_RESEND, Context
from webhooks.fallback.guards import raise_if_receipt_in_file
from webhooks.orders.order_state import CANCELLED, confirmed_after, is_newer_end, is_wholly_returned
from webhooks.orders.receipts import purchase_receipt_id, return_receipt
from webhooks.orders.records import refund_record
from webhooks.orders.refund_lines import cap_to_unrefunded
from webhooks.redemption.reactivate import reactivate
from webhooks.redemption.redeem import raise_problems


def handle(context: Context, event: OrderRefunded) -> None:
    """Send the return receipt after the purchase's own; a full return gives promotions and vouchers back.

    An unknown order is waited for, then parked, or ignored where its purchase may never be told.
    """
    order = _order(context, event.order_id, only_if_known=event.only_if_known)
    # an order that cost nothing, because a promotion paid it all, is returned without money
    if not event.lines or not (event.total or not order.total):
        raise EventIgnored("nothing was given back")
    if order.receipt_sent_at is None:
        raise_if_receipt_in_file(context, purchase_receipt_id(context.shop, event.order_id))
        raise DependencyNotReady(
            f"The receipt of order {event.order_id} has not been sent yet; its return comes after it."
        )
    details = order.details
    sent = event.refund_id in details.get("refunds", {})
    if sent and (context.get_step("receipt") or context.claimed.meta.get(FORCE_RESEND) is None):
        if not context.get_step("receipt"):
            context.note("unchanged", "The return receipt of this refund was sent already.")
    else:
        details = _send(context, event, order)
    if is_wholly_returned(order, details):
        _end_order(context, order, details, "wholly returned", event.occurred_at)


def _send(context: Context, event: OrderRefunded, order: StoredOrder) -> dict[str, Any]:
    """Send the return receipt of what was not returned yet; return the order's details with the refund in them."""
    receipt_id = event.refund_id
    new = cap_to_unrefunded(event, order)
    # one of which nothing is new is kept by its id too, so that nobody looks for its receipt
    event = new or replace(event, total=Decimal(0), lines=())
    if new is None:
        context.note("unchanged", "All that was given back of this order was returned already.")
    elif event.total:
        receipt = return_receipt(context.shop, event, order)
        raise_if_receipt_in_file(context, receipt.unique_receipt_id)
        context.save()
        context.client.create_receipt(receipt)
        receipt_id = receipt.unique_receipt_id
    else:
        context.note("receipt", "No money was given back, so there is no return receipt.")
    refund = refund_record(event)
    sync_states, shop, now = context.stores.sync_states, context.shop, context.now()
    context.on_commit(lambda session: write_refund(session, shop, event.order_id, event.refund_id, refund))
    contact_id = order.contact_id
    if contact_id:
        context.on_commit(sync_states.bump_generation_write(shop, contact_id, now))
    context.complete_step("receipt", receipt_id)
    return {**order.details, "refunds": {**order.details.get("refunds", {}), event.refund_id: refund}}


def handle_cancellation(context: Context, event: OrderCancelled) -> None:
    """Note the cancellation, and give back what the order used: money that goes back comes as a refund."""
    order = _order(context, event.order_id, only_if_known=event.only_if_known)
    if confirmed_after(order, event.occurred_at):
        context.note("unchanged", "The shop said later that the order stands: an older cancellation undoes nothing.")
        return
    context.note("cancelled", "A cancellation makes no receipt; a refund does.")
    _end_order(context, order, order.details, CANCELLED, event.occurred_at)


def _end_order(context: Context, order: StoredOrder, details: dict[str, Any], how: str, at: datetime) -> None:
    """Let nothing be redeemed for the order any more, then give back what was. Raises ParkedError, TransientError.

    at: when the shop called it off; the newest time counts.
    """
    if is_newer_end(details, how, at):
        end = {"ended": how, "ended_at": at.isoformat()}
        context.on_commit(lambda session: write_details(session, context.shop, order.order_id, **end))
        context.save()
    raise_problems(context, reactivate(context, order))


def _order(context: Context, order_id: str, *, only_if_known: bool) -> StoredOrder:
    order = context.stores.orders.get(context.shop, order_id)
    if order is None:
        waited = (context.now() - context.claimed.received_at).total_seconds()
        if only_if_known and waited >= context.shop.settings.order_wait_s / 2:
            raise EventIgnored("its order stayed unknown here, so that there is nothing to give back")
        raise DependencyNotReady(f"Order {order_id} is not known here yet; its payment may be under way.")
    if order.contact_id is None:
        raise EventIgnored("its order was not for us")
    return order
