"""Refund: a return receipt for the order's contact. Cancellation: no receipt. Both may reactivate what the order used."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from plugin.events import OrderCancelled, OrderRefunded
from plugin.store.orders.orders import StoredOrder, write_details, write_refund
from webhooks.attempt.context import Context
from webhooks.attempt.outcomes import DELIVERED, Ignored, Outcome, Waiting
from webhooks.fallback.guards import wait_for_file
from webhooks.orders.order_state import CANCELLED, confirmed_after, is_newer_end, is_wholly_returned
from webhooks.orders.receipts import purchase_receipt_id, return_receipt
from webhooks.orders.records import refund_record
from webhooks.orders.refund_lines import cap_to_unrefunded
from webhooks.redemption.reactivate import reactivate
from webhooks.redemption.redeem import parked_for_problems


def handle(context: Context, event: OrderRefunded) -> Outcome:
    """Send the return receipt after the purchase's own; a full return reactivates promotions and vouchers.

    An unknown order is waited for, then parked, or ignored where its purchase may never be reported.
    """
    order = _find_order(context, event.order_id, only_if_known=event.only_if_known)
    if not isinstance(order, StoredOrder):
        return order
    # an order that cost nothing, because a promotion paid it all, is returned without money
    if not event.lines or not (event.total or not order.total):
        return Ignored("nothing was refunded")
    if order.receipt_sent_at is None:
        return wait_for_file(context, purchase_receipt_id(context.shop, event.order_id)) or Waiting(
            f"The receipt of order {event.order_id} has not been sent yet; its return comes after it."
        )
    details = order.details
    receipt = context.progress.receipt
    if event.refund_id in details.get("refunds", {}) and (receipt or not context.resend):
        if not receipt:
            context.note("unchanged", "The return receipt of this refund was sent already.")
    else:
        sent = _send(context, event, order)
        if isinstance(sent, Waiting):
            return sent
        details = sent
    if is_wholly_returned(order, details):
        return _end_order(context, order, details, "wholly returned", event.occurred_at)
    return DELIVERED


def _send(context: Context, event: OrderRefunded, order: StoredOrder) -> dict[str, Any] | Waiting:
    """Send the return receipt of what was not returned yet; return the order's details with the refund in them."""
    receipt_id = event.refund_id
    new = cap_to_unrefunded(event, order)
    # a refund that brings nothing new is stored too, so that a reconciliation does not miss its receipt
    event = new or replace(event, total=Decimal(0), lines=())
    if new is None:
        context.note("unchanged", "Everything that was refunded of this order was returned already.")
    elif event.total:
        receipt = return_receipt(context.shop, event, order)
        waiting = wait_for_file(context, receipt.unique_receipt_id)
        if waiting is not None:
            return waiting
        context.save()
        context.client.create_receipt(receipt)
        receipt_id = receipt.unique_receipt_id
    else:
        context.note("receipt", "No money was refunded, so there is no return receipt.")
    refund, shop = refund_record(event), context.shop
    context.on_commit(lambda session: write_refund(session, shop, event.order_id, event.refund_id, refund))
    if order.contact_id:
        context.on_commit(context.stores.sync_states.bump_generation_write(shop, order.contact_id, context.now()))
    context.progress.receipt = receipt_id
    context.save()
    return {**order.details, "refunds": {**order.details.get("refunds", {}), event.refund_id: refund}}


def handle_cancellation(context: Context, event: OrderCancelled) -> Outcome:
    """Store the cancellation and reactivate what the order used: money that goes back comes as a refund."""
    order = _find_order(context, event.order_id, only_if_known=event.only_if_known)
    if not isinstance(order, StoredOrder):
        return order
    if confirmed_after(order, event.occurred_at):
        context.note("unchanged", "The shop confirmed the order later: an older cancellation undoes nothing.")
        return DELIVERED
    context.note("cancelled", "A cancellation makes no receipt; a refund does.")
    return _end_order(context, order, order.details, CANCELLED, event.occurred_at)


def _end_order(context: Context, order: StoredOrder, details: dict[str, Any], how: str, at: datetime) -> Outcome:
    """Prevent later redemptions for the order, then reactivate what it used. Raises TransientError.

    at: when the shop ended the order; the newest time counts.
    """
    if is_newer_end(details, how, at):
        end = {"ended": how, "ended_at": at.isoformat()}
        context.on_commit(lambda session: write_details(session, context.shop, order.order_id, **end))
        context.save()
    return parked_for_problems(context, reactivate(context, order)) or DELIVERED


def _find_order(context: Context, order_id: str, *, only_if_known: bool) -> StoredOrder | Outcome:
    order = context.stores.orders.get(context.shop, order_id)
    if order is None:
        if only_if_known and context.waited().total_seconds() >= context.shop.settings.order_wait_s / 2:
            return Ignored("its order stayed unknown here, so that there is nothing to return")
        return Waiting(f"Order {order_id} is not known here yet; its payment may be under way.")
    if order.contact_id is None:
        return Ignored("its order was not for us")
    return order
