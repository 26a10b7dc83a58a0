"""Order paid: make sure of the contact, tell it what is newer, redeem, then send the receipt that names what was redeemed."""

from plugin.errors import EventIgnored
from plugin.events import OrderPaid
from plugin.store.orders.orders import StoredOrder
from webhooks.attempt.context import FORCE_RESEND, Context
from webhooks.consents.ledger import send_consents
from webhooks.contacts.attributes import attributes_of, sync_changed_attributes
from webhooks.contacts.identify import ensure_contact, store_of
from webhooks.fallback.guards import raise_if_receipt_in_file, raise_if_still_spooled
from webhooks.orders.order_state import STEP_REOPENED, apply_reinstatement
from webhooks.orders.receipts import check_sum, purchase_receipt, purchase_receipt_id
from webhooks.orders.records import FILL_IF_MISSING, order_record
from webhooks.redemption.lookup import is_from_history
from webhooks.redemption.redeem import raise_problems, redeem_order


def handle(context: Context, event: OrderPaid) -> None:
    """Send an order once, however often the shop says that it was paid."""
    before = context.stores.orders.get(context.shop, event.order_id)
    if before is not None:
        before = apply_reinstatement(context, event, before)
    sent = before is not None and before.receipt_sent_at is not None
    # a reconciliation that misses the receipt in Engage sends it again: its id makes that harmless
    if sent and not context.get_step("receipt") and context.claimed.meta.get(FORCE_RESEND) is None:
        if context.get_step(STEP_REOPENED) and before is not None and before.contact_id is not None:
            _use_again(context, event, before, before.contact_id)
        else:
            context.note("unchanged", "The receipt of this order was sent already.")
        return
    receipt_id = purchase_receipt_id(context.shop, event.order_id)
    if before is not None and before.receipt_sent_at is None and not context.get_step("receipt"):
        raise_if_receipt_in_file(context, receipt_id)
    check_sum(event.lines, event.total)
    customer, settings = event.customer, context.shop.settings
    store = store_of(context, event.channel, event.country_code, customer.address.country_code)
    if not (customer.customer_id or customer.email or customer.mobile_phone):
        _remember(context, event, None, store)
        raise EventIgnored("an order of nobody: no customer id, e-mail or phone")
    if customer.customer_id is None and not settings.guest_orders:
        _remember(context, event, None, store)
        raise EventIgnored("an order of a guest, and the setting guest_orders is no")
    contact_type = settings.contact_type if customer.customer_id else settings.guest_contact_type
    found = ensure_contact(context, customer, contact_type)
    _remember(context, event, found.contact_id, store)
    historical = is_from_history(context, event)  # what an old order says of a person may be outdated
    if found.verified and not found.created and not historical and not context.get_step("patched"):
        attributes = attributes_of(context.shop, customer)
        sync_changed_attributes(context, found.contact_id, attributes, event.occurred_at, only_missing=FILL_IF_MISSING)
        context.complete_step("patched")
    consents = [change for change in event.consents if not (historical and change.value)]
    if found.verified and consents:
        send_consents(context, found.contact_id, consents, event.occurred_at)
    redeemed = redeem_order(context, event, found.contact_id, before)
    if not context.get_step("receipt"):
        receipt = purchase_receipt(context.shop, event, found.contact_id, store, redeemed.promotions, redeemed.vouchers)
        context.save()  # a worker that lost its lease sends nothing
        context.client.create_receipt(receipt)
        _receipt_sent(context, event.order_id, found.contact_id)
        context.complete_step("receipt", receipt.unique_receipt_id)
    if redeemed.waiting is not None:
        raise redeemed.waiting
    raise_problems(context, redeemed.problems)
    if context.get_step("spooled"):
        raise_if_still_spooled(context, receipt_id)


def _use_again(context: Context, event: OrderPaid, order: StoredOrder, contact_id: str) -> None:
    """Redeem anew what an order gave back when it was cancelled: it is paid again, and its receipt names it."""
    redeemed = redeem_order(context, event, contact_id, order)
    if redeemed.waiting is not None:
        raise redeemed.waiting
    raise_problems(context, redeemed.problems)


def _receipt_sent(context: Context, order_id: str, contact_id: str) -> None:
    stores, shop, now = context.stores, context.shop, context.now()
    context.on_commit(lambda session: stores.orders.write_change(session, shop, order_id, receipt_sent_at=now))
    context.on_commit(stores.sync_states.bump_generation_write(shop, contact_id, now))


def _remember(context: Context, event: OrderPaid, contact_id: str | None, store: str) -> None:
    order = order_record(context.shop, event, contact_id, store)
    context.stores.orders.remember(context.shop, order, context.claimed.id)
