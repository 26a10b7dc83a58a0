"""What of one event goes into files: an order's or refund's receipt, an order's redemptions, a contact's changes.

Pure except for look-ups in the plugin's own database, because Engage cannot be asked. All files name contacts by
contactId, the one match key type that they use.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from plugin.engage.data.receipts import Receipt, UsedPromotion
from plugin.engage.data.request_bodies import receipt_body
from plugin.engage_files.names import FileKind
from plugin.events import Customer, CustomerUpdated, Event, OrderPaid, OrderRefunded
from plugin.store.files.rows import Entry, PendingEvent, Spooled
from plugin.store.orders.orders import StoredOrder
from plugin.store.shops.shops import RegisteredShop
from webhooks.attempt.progress import PROMOTION, VOUCHER, Progress
from webhooks.attempt.runtime import DeliveryRuntime
from webhooks.contacts.attributes import attributes_of, diff_attributes
from webhooks.contacts.identify import is_identity_verified, store_for
from webhooks.orders.receipts import purchase_receipt, purchase_receipt_id, return_receipt
from webhooks.orders.records import FILL_IF_MISSING, order_record, refund_record
from webhooks.redemption.lookup import is_historical


class NotEligible(Exception):  # noqa: N818
    """The event cannot go into a file and waits for the API. retry_at: when that may have changed."""

    def __init__(self, retry_at: datetime | None = None) -> None:
        self.retry_at = retry_at
        super().__init__()


class FileContents:
    """Builds the rows of a shop's events."""

    def __init__(self, runtime: DeliveryRuntime, shop: RegisteredShop, now: datetime) -> None:
        self._stores, self._shop, self._digest, self._now = runtime.stores, shop, runtime.digest, now
        #: the ordering key of each planned receipt, by receipt id
        self._planned: dict[str, str] = {}
        self._orders: dict[str, StoredOrder] = {}

    def build(self, ordering_key: str, pending: PendingEvent, event: Event) -> Spooled:
        """Return what goes into files for an event. Raises NotEligible or PayloadError when nothing can."""
        if isinstance(event, OrderPaid):
            return self._order(ordering_key, pending, event)
        if isinstance(event, OrderRefunded):
            return self._refund(ordering_key, pending, event)
        if isinstance(event, CustomerUpdated):
            return self._profile_change(ordering_key, pending, event)
        raise NotEligible

    def mark_planned(self, spooled: Spooled) -> None:
        """Note that an event will be in a file, for the events that are built after it."""
        self._planned[spooled.entries[0].key] = spooled.ordering_key

    # --- orders ---

    def _order(self, ordering_key: str, pending: PendingEvent, event: OrderPaid) -> Spooled:
        shop, customer = self._shop, event.customer
        stored = self._stores.orders.get(shop, event.order_id)
        receipt_id = purchase_receipt_id(shop, event.order_id)
        if (stored is not None and stored.receipt_sent_at is not None) or receipt_id in self._planned:
            raise NotEligible
        if customer.customer_id is None and not shop.settings.guest_orders:
            raise NotEligible
        contact_id, verified = self._contact(pending, customer)
        targets = self._open_targets(pending, event)
        promotions, vouchers = _redeemed(pending)
        store = store_for(shop.settings, event.channel, event.country_code, customer.address.country_code)
        receipt = purchase_receipt(shop, event, contact_id, store, promotions, vouchers)
        order = self._orders[event.order_id] = order_record(shop, event, contact_id, store)
        # a promotion that is named by its code alone is looked up by the API later
        needs_api = bool(event.promotions or event.vouchers) or self._has_unsynced_data(
            pending, event, contact_id, verified
        )
        return Spooled(
            pending.id,
            ordering_key,
            (
                self._receipt(receipt, {"order_id": event.order_id, "contact_id": contact_id}),
                *(_redemption(kind, target, contact_id, receipt_id, event) for kind, target in targets),
            ),
            rest=needs_api,
            steps=_spooled_steps(targets),
            write=self._order_writer(pending, order, targets),
        )

    def _order_writer(
        self, pending: PendingEvent, order: StoredOrder, targets: list[tuple[str, str]]
    ) -> Callable[[Session], None]:
        """Return what stores the order in the commit that spools its event."""
        stores, shop, now = self._stores, self._shop, self._now

        def write(session: Session) -> None:
            stores.orders.write_first(session, shop, order, pending.id)
            for kind, target in targets:  # so that a redemption that Engage reports later is recognised as ours
                stores.redemptions.write_intent(session, shop, kind, target, None, order.order_id, pending.id, now)

        return write

    def _contact(self, pending: PendingEvent, customer: Customer) -> tuple[str, bool]:
        """Return the contact that is known without Engage, and whether its link is verified."""
        contact = Progress(pending.progress).contact
        if contact is not None:
            return contact.contact_id, contact.verified
        link = None if customer.customer_id is None else self._stores.links.find(self._shop, customer.customer_id)
        if link is None or not (link.verified or not is_identity_verified(self._shop, customer)[0]):
            raise NotEligible
        return link.contact_id, link.verified

    def _open_targets(self, pending: PendingEvent, event: OrderPaid) -> list[tuple[str, str]]:
        """Return what the order used and what is not redeemed yet, as (kind, id), as far as that is known.

        For the time of the setting redeem_wait_s an open redemption holds its receipt back, as it does with the API.
        """
        if not (event.promotions or event.vouchers) or is_historical(self._shop, event):
            return []
        progress = Progress(pending.progress)
        resolved = progress.resolved
        if resolved is not None:
            used = [(target.kind, target.id) for target in resolved.targets if not target.used]
        else:
            used = [(PROMOTION, named.assignment_id) for named in event.promotions if named.assignment_id]
            used += [(VOUCHER, named.voucher_id) for named in event.vouchers if named.voucher_id]
        targets = [(kind, target) for kind, target in used if not progress.is_redeemed(kind, target)]
        until = pending.received_at + timedelta(seconds=self._shop.settings.redeem_wait_s)
        if self._now < until and (targets or resolved is None):
            raise NotEligible(until)
        return [
            (kind, target) for kind, target in dict.fromkeys(targets) if self._is_free(kind, target, event.order_id)
        ]

    def _is_free(self, kind: str, target: str, order_id: str) -> bool:
        """Return whether no other order of the tenant's shops has an intent to redeem it."""
        row = self._stores.redemptions.held(self._shop, kind, [target]).get(target)
        return row is None or (row.shop_id, row.order_id) == (self._shop.id, order_id)

    def _has_unsynced_data(self, pending: PendingEvent, event: OrderPaid, contact_id: str, verified: bool) -> bool:
        """Return whether the order holds data of its contact that the API must still send."""
        if not verified:
            return False
        if event.consents:
            return True
        progress = Progress(pending.progress)
        if progress.patched or (progress.contact is not None and progress.contact.created):
            return False
        return bool(self._changes(contact_id, event.customer, event.occurred_at, FILL_IF_MISSING))

    def _changes(
        self, contact_id: str, customer: Customer, at: datetime, only_missing: frozenset[str] = frozenset()
    ) -> dict[str, object]:
        before = self._stores.sync_states.get(self._shop, contact_id).sent
        return diff_attributes(before, attributes_of(self._shop, customer), at, self._digest, only_missing).changed

    def _receipt(self, receipt: Receipt, details: Mapping[str, Any]) -> Entry:
        body = receipt_body(receipt, self._shop.settings.voucher_field)
        return Entry(FileKind.RECEIPTS, receipt.unique_receipt_id, body, details)

    # --- refunds ---

    def _refund(self, ordering_key: str, pending: PendingEvent, event: OrderRefunded) -> Spooled:
        shop = self._shop
        purchase = purchase_receipt_id(shop, event.order_id)
        order = self._stores.orders.get(shop, event.order_id) or self._orders.get(event.order_id)
        if order is None:
            raise NotEligible
        if order.contact_id is None or not event.lines or not event.total or event.total_refunded is not None:
            raise NotEligible
        if event.refund_id in order.details.get("refunds", {}):
            raise NotEligible
        # a purchase that is planned with the same ordering key is in a file before this return, or neither is
        purchase_goes_first = order.receipt_sent_at is not None or self._planned.get(purchase) == ordering_key
        if not purchase_goes_first and self._stores.spooled_events.file_of(shop, purchase) is None:
            raise NotEligible(self._now if purchase in self._planned else None)
        receipt = return_receipt(shop, event, order)
        if receipt.unique_receipt_id in self._planned:
            raise NotEligible
        details = {
            "order_id": event.order_id,
            "contact_id": order.contact_id,
            "refund_id": event.refund_id,
            "refund": refund_record(event),
        }
        # after a complete return the API reactivates what the order used, or cancels what was not redeemed yet
        needs_api = bool(order.details.get("uses") or self._stores.redemptions.of_order(shop, event.order_id))
        return Spooled(
            pending.id, ordering_key, (self._receipt(receipt, details),), rest=needs_api, steps=_spooled_steps(())
        )

    # --- contacts ---

    def _profile_change(self, ordering_key: str, pending: PendingEvent, event: CustomerUpdated) -> Spooled:
        if event.consents or event.customer.customer_id is None:
            raise NotEligible  # consents go by the API, which compares them with the consent ledger
        link = self._stores.links.find(self._shop, event.customer.customer_id)
        if link is None or not link.verified:
            raise NotEligible
        changes = self._changes(link.contact_id, event.customer, event.occurred_at)
        if not changes:
            raise NotEligible
        body = {"contactId": link.contact_id, **changes}
        return Spooled(
            pending.id, ordering_key, (Entry(FileKind.CONTACTS, f"contact-change:{pending.id}", body),), rest=True
        )


def _redemption(kind: str, target: str, contact_id: str, receipt_id: str, event: OrderPaid) -> Entry:
    body = {
        "uniqueReceiptId": receipt_id,
        "type": kind,
        "id": target,
        "contactId": contact_id,
        "redemptionChannel": "ECOM",
        "redeemedDate": event.occurred_at,
    }
    return Entry(FileKind.REDEMPTIONS, f"{kind}:{target}", body)


def _redeemed(pending: PendingEvent) -> tuple[tuple[UsedPromotion, ...], tuple[str, ...]]:
    """Return the promotions and vouchers that were redeemed before the outage; the receipt names no others."""
    progress = Progress(pending.progress)
    resolved = progress.resolved
    targets = [] if resolved is None else [t for t in resolved.targets if progress.is_redeemed(t.kind, t.id)]
    promotions = tuple(UsedPromotion(target.promotion_id, target.id) for target in targets if target.kind == PROMOTION)
    return promotions, tuple(target.label for target in targets if target.kind == VOUCHER)


def _spooled_steps(redemptions: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the progress of an event whose receipt and redemptions, as (kind, id), go into files."""
    progress = Progress({})
    progress.spooled = True
    for kind, target in redemptions:
        progress.set_redemption_filed(kind, target)
    return progress.steps
