"""Refund: a return receipt for the order's contact. Cancellation: no receipt."""

from plugin.errors import NotForUsError, NotYetError
from plugin.events import OrderCancelled, OrderRefunded
from plugin.store.orders import StoredOrder
from webhooks.context import AGAIN, Context
from webhooks.receipts import return_receipt


def handle(context: Context, event: OrderRefunded) -> None:
    """Send the return receipt after the purchase's own. An unknown order is waited for, then parked."""
    order = _order(context, event.order_id)
    if not event.lines or not event.total:
        raise NotForUsError("nothing was given back")
    if order.receipt_sent_at is None:
        raise NotYetError(f"The receipt of order {event.order_id} has not been sent yet; its return comes after it.")
    if event.refund_id in order.details.get("refunds", {}) and context.claimed.meta.get(AGAIN) is None:
        context.note("unchanged", "The return receipt of this refund was sent already.")
        return
    receipt = return_receipt(context.shop, event, order)
    context.save()
    context.client.create_receipt(receipt)
    refunds = {**order.details.get("refunds", {}), event.refund_id: _returned(event)}
    details = {**order.details, "refunds": refunds}
    orders, contacts, shop, now = context.stores.orders, context.stores.contacts, context.shop, context.now()
    context.later(lambda session: orders.write_change(session, shop, event.order_id, details=details))
    contact_id = order.contact_id
    if contact_id:
        context.later(lambda session: contacts.write_forget_cached(session, shop, contact_id, now))
    context.remember("receipt", receipt.unique_receipt_id)


def handle_cancellation(context: Context, event: OrderCancelled) -> None:
    """Note the cancellation: money that goes back comes as a refund. Promotions stay used (no way back is documented)."""
    _order(context, event.order_id)
    context.note("cancelled", "A cancellation makes no receipt; a refund does. Redeemed promotions stay redeemed.")


def _order(context: Context, order_id: str) -> StoredOrder:
    order = context.stores.orders.get(context.shop, order_id)
    if order is None:
        raise NotYetError(f"Order {order_id} is not known here yet; its payment may be under way.")
    if order.contact_id is None:
        raise NotForUsError("its order was not for us")
    return order


def _returned(event: OrderRefunded) -> dict[str, object]:
    return {
        "at": event.occurred_at.isoformat(),
        "total": str(event.total),
        "lines": {line.line_id: str(line.quantity) for line in event.lines},
    }
