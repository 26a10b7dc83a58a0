"""Order paid: ensure the contact, send what is newer of it, redeem, then send the receipt that names what was redeemed."""

from plugin.events import OrderPaid
from plugin.store.orders.orders import StoredOrder
from webhooks.attempt.context import Context
from webhooks.attempt.outcomes import DELIVERED, Ignored, InFile, Outcome
from webhooks.attempt.progress import ContactMatch
from webhooks.consents.ledger import send_consents
from webhooks.contacts.attributes import attributes_of, sync_changed_attributes
from webhooks.contacts.identify import ensure_contact, store_of
from webhooks.fallback.guards import file_with_receipt, wait_for_file
from webhooks.orders.order_state import apply_reinstatement
from webhooks.orders.receipts import check_sum, purchase_receipt, purchase_receipt_id
from webhooks.orders.records import FILL_IF_MISSING, order_record
from webhooks.redemption.lookup import is_from_history
from webhooks.redemption.redeem import RedemptionResult, parked_for_problems, redeem_order


def handle(context: Context, event: OrderPaid) -> Outcome:
    """Send an order once, however often the shop says that it was paid."""
    before = context.stores.orders.get(context.shop, event.order_id)
    if before is not None:
        before = apply_reinstatement(context, event, before)
    if before is not None and not context.progress.receipt:
        # sending again is harmless: Engage ignores a receipt whose id it knows
        if before.receipt_sent_at is not None and not context.resend:
            return _already_sent(context, event, before)
        if before.receipt_sent_at is None:
            waiting = wait_for_file(context, purchase_receipt_id(context.shop, event.order_id))
            if waiting is not None:
                return waiting
    check_sum(event.lines, event.total)
    customer = event.customer
    store = store_of(context, event.channel, event.country_code, customer.address.country_code)
    reason = _not_for_engage(context, event)
    if reason is not None:
        _store_order(context, event, None, store)
        return Ignored(reason)
    settings = context.shop.settings
    contact_type = settings.contact_type if customer.customer_id else settings.guest_contact_type
    match = ensure_contact(context, customer, contact_type)
    if not isinstance(match, ContactMatch):
        return match
    _store_order(context, event, match.contact_id, store)
    _update_contact(context, event, match)
    redeemed = redeem_order(context, event, match.contact_id, before)
    if not context.progress.receipt:
        _send_receipt(context, event, match.contact_id, store, redeemed)
    return _end(context, event, redeemed)


def _already_sent(context: Context, event: OrderPaid, order: StoredOrder) -> Outcome:
    """Redeem again what an order gave back when it was cancelled, if it is paid again; its receipt names it already."""
    if not context.progress.reopened or order.contact_id is None:
        context.note("unchanged", "The receipt of this order was sent already.")
        return DELIVERED
    return _after_redemptions(context, redeem_order(context, event, order.contact_id, order)) or DELIVERED


def _not_for_engage(context: Context, event: OrderPaid) -> str | None:
    """Return why an order makes no receipt, or None."""
    customer = event.customer
    if not (customer.customer_id or customer.email or customer.mobile_phone):
        return "the order has no customer id, e-mail or phone"
    if customer.customer_id is None and not context.shop.settings.guest_orders:
        return "an order of a guest, and the setting guest_orders is no"
    return None


def _update_contact(context: Context, event: OrderPaid, match: ContactMatch) -> None:
    """Send what the order says of a verified contact: empty fields are filled, and its consents count."""
    if not match.verified:
        return
    historical = is_from_history(context, event)  # what an old order says of a person may be outdated
    if not match.created and not historical and not context.progress.patched:
        attributes = attributes_of(context.shop, event.customer)
        sync_changed_attributes(context, match.contact_id, attributes, event.occurred_at, only_missing=FILL_IF_MISSING)
        context.progress.patched = True
        context.save()
    consents = [change for change in event.consents if not (historical and change.value)]
    if consents:
        send_consents(context, match.contact_id, consents, event.occurred_at)


def _send_receipt(context: Context, event: OrderPaid, contact_id: str, store: str, redeemed: RedemptionResult) -> None:
    receipt = purchase_receipt(context.shop, event, contact_id, store, redeemed.promotions, redeemed.vouchers)
    context.save()  # a worker that lost its lease sends nothing
    context.client.create_receipt(receipt)
    stores, shop, now = context.stores, context.shop, context.now()
    context.on_commit(lambda session: stores.orders.write_change(session, shop, event.order_id, receipt_sent_at=now))
    context.on_commit(stores.sync_states.bump_generation_write(shop, contact_id, now))
    context.progress.receipt = receipt.unique_receipt_id
    context.save()


def _end(context: Context, event: OrderPaid, redeemed: RedemptionResult) -> Outcome:
    """Return the outcome once the receipt is sent, or in a file."""
    outcome = _after_redemptions(context, redeemed)
    if outcome is not None:
        return outcome
    if context.progress.spooled:
        file = file_with_receipt(context, purchase_receipt_id(context.shop, event.order_id))
        if file is not None:
            return InFile(f"In the file {file}.")
    return DELIVERED


def _after_redemptions(context: Context, redeemed: RedemptionResult) -> Outcome | None:
    """Return the outcome of redemptions that failed; raise the error of one that may still succeed."""
    if redeemed.waiting is not None:
        raise redeemed.waiting
    return parked_for_problems(context, redeemed.problems)


def _store_order(context: Context, event: OrderPaid, contact_id: str | None, store: str) -> None:
    order = order_record(context.shop, event, contact_id, store)
    context.stores.orders.remember(context.shop, order, context.claimed.id)
