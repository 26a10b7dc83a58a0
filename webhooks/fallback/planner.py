"""Which waiting events may go into files, and what of them. Pure but for look-ups in the own database: Engage is away.

Receipts go when their contact is known; one match key type, contactId, in all files. A customer's receipts keep their
order, and a signup, merge or erasure in front of them holds them back; changes of the contact do not, because a receipt
names its contact by contactId alone. What is not for a file waits for the API, where the handlers do it as always.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from plugin.engage.data.models import Receipt, UsedPromotion
from plugin.engage.data.request_bodies import receipt_body
from plugin.engage_files.names import FileKind
from plugin.engage_files.rows import Row, row_of
from plugin.errors import PayloadError, describe_unexpected
from plugin.event_kinds import EventKind
from plugin.events import Customer, CustomerUpdated, Event, OrderPaid, OrderRefunded
from plugin.platforms.base import Delivery
from plugin.store.files.rows import Entry, PendingEvent, Spooled
from plugin.store.orders.orders import StoredOrder
from plugin.store.shops.shops import RegisteredShop
from webhooks.attempt.context import FORCE_RESEND, ORIGIN, Origin, Stores
from webhooks.attempt.mapping import map_body
from webhooks.contacts.attributes import attributes_of, diff_attributes
from webhooks.contacts.identify import is_identity_verified, store_for
from webhooks.orders.receipts import purchase_receipt, purchase_receipt_id, return_receipt
from webhooks.orders.records import FILL_IF_MISSING, order_record, refund_record
from webhooks.redemption.lookup import PROMOTION, VOUCHER, is_historical

log = logging.getLogger(__name__)

RECEIPT_KINDS = (EventKind.ORDER_PAID, EventKind.REFUND)
#: Kinds that a receipt may pass: they change the contact, not who it is.
NON_BLOCKING_KINDS = frozenset(
    {
        EventKind.PROFILE_CHANGE,
        EventKind.PROFILE_EDIT,
        EventKind.CONSENT,
        EventKind.DATA_REQUEST,
        EventKind.CANCELLATION,
    }
)
#: How long an event that no file takes is left alone before it is looked at again.
LOOK_AGAIN = timedelta(minutes=10)


class NotEligible(Exception):  # noqa: N818
    """The event waits for the API. until: when it is worth another look."""

    def __init__(self, until: datetime | None = None) -> None:
        self.until = until
        super().__init__()


@dataclass(frozen=True, slots=True)
class Planned:
    """An event that may go into a file, and its rows ready to be written. lines: those of its first row."""

    spooled: Spooled
    rows: Mapping[str, Row]
    lines: int


class Planner:
    """Plans the events of one shop. digest: keyed hash of a value, as it is kept of what was sent."""

    def __init__(self, stores: Stores, shop: RegisteredShop, digest: Callable[[object], str], now: datetime) -> None:
        self._stores, self._shop, self._digest, self._now = stores, shop, digest, now
        #: receipts that are planned, by the ordering key that they are planned with, and the orders among them
        self._planned: dict[str, str] = {}
        self._orders: dict[str, StoredOrder] = {}
        self.retry_at_by_event: dict[int, datetime] = {}

    def receipts(self, ordering_key: str, events: Sequence[PendingEvent]) -> Iterator[Planned]:
        """Yield a customer's orders and refunds that may go now, in their order."""
        for event in events:
            if event.passes or event.state == "parked" or event.kind in NON_BLOCKING_KINDS:
                if event.state == "pending" and event.passes and event.kind in RECEIPT_KINDS:
                    yield from self._planned_or_not(ordering_key, event)
                continue
            if event.kind not in RECEIPT_KINDS or event.state != "pending":
                return
            planned = list(self._planned_or_not(ordering_key, event))
            if not planned:
                return
            yield from planned

    def contacts(self, ordering_key: str, events: Sequence[PendingEvent]) -> Iterator[Planned]:
        """Yield a customer's profile changes that may go now, in their order."""
        for event in events:
            if event.state == "parked" and event.holds:
                return
            if event.passes or event.kind in {*RECEIPT_KINDS, EventKind.CANCELLATION, EventKind.DATA_REQUEST}:
                continue
            if event.kind != EventKind.PROFILE_CHANGE or event.state != "pending":
                return
            planned = list(self._planned_or_not(ordering_key, event))
            if not planned:
                return
            yield from planned

    def _planned_or_not(self, ordering_key: str, event: PendingEvent) -> Iterator[Planned]:
        try:
            planned = self._plan(ordering_key, event)
        except (NotEligible, PayloadError) as error:
            until = error.until if isinstance(error, NotEligible) else None
            self.retry_at_by_event[event.id] = until or self._now + LOOK_AGAIN
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours with one event must not keep the others from files
            log.error("event=%d is left to the API: %s while it was planned", event.id, describe_unexpected(error))
            self.retry_at_by_event[event.id] = self._now + LOOK_AGAIN
        else:
            yield planned

    def _plan(self, ordering_key: str, waiting: PendingEvent) -> Planned:
        event = self._mapped(waiting)
        if isinstance(event, OrderPaid):
            spooled = self._order(ordering_key, waiting, event)
        elif isinstance(event, OrderRefunded):
            spooled = self._refund(ordering_key, waiting, event)
        elif isinstance(event, CustomerUpdated):
            spooled = self._profile(ordering_key, waiting, event)
        else:
            raise NotEligible
        rows = {entry.key: row_of(FileKind(entry.kind), entry.body) for entry in spooled.entries}
        first = spooled.entries[0].key
        self._planned[first] = ordering_key
        return Planned(spooled, rows, rows[first].lines)

    def _mapped(self, waiting: PendingEvent) -> Event:
        if waiting.body is None or "receipt" in waiting.progress or "filed" in waiting.progress:
            raise NotEligible  # what is left of it is for the API
        if FORCE_RESEND in waiting.meta or waiting.meta.get(ORIGIN, Origin.WEBHOOK) == Origin.BACKFILL:
            raise NotEligible  # history has its own way, and what Engage is said to miss was sent before
        delivery = Delivery(topic=waiting.topic, meta=waiting.meta)
        events = map_body(self._shop, delivery, waiting.body, waiting.received_at, platform=waiting.platform).events
        if len(events) != 1:
            raise NotEligible
        return events[0]

    # --- orders ---

    def _order(self, ordering_key: str, waiting: PendingEvent, event: OrderPaid) -> Spooled:
        shop, customer = self._shop, event.customer
        before = self._stores.orders.get(shop, event.order_id)
        receipt_id = purchase_receipt_id(shop, event.order_id)
        if (before is not None and before.receipt_sent_at is not None) or receipt_id in self._planned:
            raise NotEligible
        if customer.customer_id is None and not shop.settings.guest_orders:
            raise NotEligible
        contact_id, verified = self._contact(waiting, customer)
        targets = self._open_targets(waiting, event)
        promotions, vouchers = _redeemed(waiting)
        store = store_for(shop.settings, event.channel, event.country_code, customer.address.country_code)
        receipt = purchase_receipt(shop, event, contact_id, store, promotions, vouchers)
        order, orders = order_record(shop, event, contact_id, store), self._stores.orders
        self._orders[event.order_id] = order

        def write(session: Session) -> None:
            orders.write_first(session, shop, order, waiting.id)
            for kind, target in targets:  # so that what Engage says of it later is known to be ours
                self._stores.redemptions.write_intent(
                    session, shop, kind, target, None, event.order_id, waiting.id, self._now
                )

        # what names a promotion by its code alone is looked up by the API later
        rest = bool(event.promotions or event.vouchers) or self._has_unsynced_data(waiting, event, contact_id, verified)
        return Spooled(
            waiting.id,
            ordering_key,
            (
                self._receipt(receipt, {"order_id": event.order_id, "contact_id": contact_id}),
                *(self._redemption(kind, target, contact_id, receipt_id, event) for kind, target in targets),
            ),
            rest=rest,
            steps={"spooled": True, **{f"filed:{kind}:{target}": True for kind, target in targets}},
            write=write,
        )

    def _contact(self, waiting: PendingEvent, customer: Customer) -> tuple[str, bool]:
        """Return the contact that is known without Engage, and whether its data may be changed."""
        found = waiting.progress.get("contact")
        if found:
            return found["id"], found["verified"]
        link = None if customer.customer_id is None else self._stores.links.find(self._shop, customer.customer_id)
        if link is None or not (link.verified or not is_identity_verified(self._shop, customer)[0]):
            raise NotEligible
        return link.contact_id, link.verified

    def _open_targets(self, waiting: PendingEvent, event: OrderPaid) -> list[tuple[str, str]]:
        """Return what the order used and nobody redeemed yet, as far as it is known.

        A redemption holds its receipt for a time (setting redeem_wait_s), as it does with the API.
        """
        if not (event.promotions or event.vouchers) or is_historical(self._shop, event):
            return []
        kept = waiting.progress.get("redeem")
        if kept is not None:
            known = [(target["kind"], target["id"]) for target in kept["targets"] if not target["used"]]
        else:
            known = [(PROMOTION, named.assignment_id) for named in event.promotions if named.assignment_id]
            known += [(VOUCHER, named.voucher_id) for named in event.vouchers if named.voucher_id]
        targets = [(kind, target) for kind, target in known if not waiting.progress.get(f"redeemed:{kind}:{target}")]
        until = waiting.received_at + timedelta(seconds=self._shop.settings.redeem_wait_s)
        if self._now < until and (targets or kept is None):
            raise NotEligible(until)
        return [
            (kind, target) for kind, target in dict.fromkeys(targets) if self._is_free(kind, target, event.order_id)
        ]

    def _is_free(self, kind: str, target: str, order_id: str) -> bool:
        """Tell that no other order of the tenant's shops means to use it."""
        row = self._stores.redemptions.held(self._shop, kind, [target]).get(target)
        return row is None or (row.shop_id, row.order_id) == (self._shop.id, order_id)

    def _has_unsynced_data(self, waiting: PendingEvent, event: OrderPaid, contact_id: str, verified: bool) -> bool:
        """Tell whether the order says something of its contact that the API must still be told."""
        if not verified:
            return False
        if event.consents:
            return True
        if waiting.progress.get("patched") or waiting.progress.get("contact", {}).get("created"):
            return False
        return bool(self._news(contact_id, event.customer, event.occurred_at, FILL_IF_MISSING))

    def _news(
        self, contact_id: str, customer: Customer, at: datetime, only_missing: frozenset[str] = frozenset()
    ) -> dict[str, object]:
        before = self._stores.sync_states.get(self._shop, contact_id).sent
        return diff_attributes(before, attributes_of(self._shop, customer), at, self._digest, only_missing).changed

    def _receipt(self, receipt: Receipt, details: Mapping[str, Any]) -> Entry:
        body = receipt_body(receipt, self._shop.settings.voucher_field)
        return Entry(FileKind.RECEIPTS, receipt.unique_receipt_id, body, details)

    def _redemption(self, kind: str, target: str, contact_id: str, receipt_id: str, event: OrderPaid) -> Entry:
        body = {
            "uniqueReceiptId": receipt_id,
            "type": kind,
            "id": target,
            "contactId": contact_id,
            "redemptionChannel": "ECOM",
            "redeemedDate": event.occurred_at,
        }
        return Entry(FileKind.REDEMPTIONS, f"{kind}:{target}", body)

    # --- refunds ---

    def _refund(self, ordering_key: str, waiting: PendingEvent, event: OrderRefunded) -> Spooled:
        shop = self._shop
        purchase = purchase_receipt_id(shop, event.order_id)
        order = self._stores.orders.get(shop, event.order_id) or self._orders.get(event.order_id)
        if order is None:
            raise NotEligible
        if order.contact_id is None or not event.lines or not event.total or event.total_refunded is not None:
            raise NotEligible
        if event.refund_id in order.details.get("refunds", {}):
            raise NotEligible
        goes_along = self._planned.get(purchase) == ordering_key  # and in front, or neither goes
        went = order.receipt_sent_at is not None or goes_along
        if not went and self._stores.spooled_events.file_of(shop, purchase) is None:
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
        # a whole return gives back what the order used, or lets it not be redeemed any more: the API does that
        rest = bool(order.details.get("uses") or self._stores.redemptions.of_order(shop, event.order_id))
        return Spooled(waiting.id, ordering_key, (self._receipt(receipt, details),), rest=rest, steps={"spooled": True})

    # --- contacts ---

    def _profile(self, ordering_key: str, waiting: PendingEvent, event: CustomerUpdated) -> Spooled:
        if event.consents or event.customer.customer_id is None:
            raise NotEligible  # a yes or no goes by the API, which knows the ledger
        link = self._stores.links.find(self._shop, event.customer.customer_id)
        if link is None or not link.verified:
            raise NotEligible
        news = self._news(link.contact_id, event.customer, event.occurred_at)
        if not news:
            raise NotEligible
        body = {"contactId": link.contact_id, **news}
        return Spooled(
            waiting.id, ordering_key, (Entry(FileKind.CONTACTS, f"contact-change:{waiting.id}", body),), rest=True
        )


def _redeemed(waiting: PendingEvent) -> tuple[tuple[UsedPromotion, ...], tuple[str, ...]]:
    """Return what was redeemed before Engage went away: a receipt names what was redeemed and nothing else."""
    done = [
        target
        for target in (waiting.progress.get("redeem") or {}).get("targets", [])
        if waiting.progress.get(f"redeemed:{target['kind']}:{target['id']}")
    ]
    promotions = tuple(UsedPromotion(one["promotion_id"], one["id"]) for one in done if one["kind"] == PROMOTION)
    return promotions, tuple(one["label"] for one in done if one["kind"] == VOUCHER)
