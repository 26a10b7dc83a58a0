"""Reconciliation: what the shop has, what the inbox has, what Engage has.

Orders and refunds of a time are read from the shop (or, where a platform has no API, from what this plugin stored of
them), compared with the inbox, and for some contacts with their purchase history in Engage.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy.exc import SQLAlchemyError

from plugin.engage.client import EngageClient
from plugin.engage.operations import Priority
from plugin.errors import EngageError, EngageNotFoundError, PayloadError, ShopApiError, describe_unexpected
from plugin.event_kinds import EventKind
from plugin.platforms.base import Delivery
from plugin.platforms.registry import PLATFORMS
from plugin.platforms.shop_api import PolledResource, ShopApi
from plugin.store.shops.shops import RegisteredShop
from plugin.store.sync.known_orders import KnownOrder
from plugin.store.tables.inbox import State
from webhooks.attempt.context import Origin, Stores
from webhooks.orders.receipts import purchase_receipt_id
from webhooks.sync.ingest import UNDER_WAY, IngestOutcome, ResourceIngestor, order_id_of
from webhooks.sync.monitor import pages

log = logging.getLogger(__name__)

PAGE = 200
#: Receipts appear in a contact's history only after Engage's import job, 15 minutes by default (Engage facts 5.1).
IMPORTED_AFTER = timedelta(hours=1)
#: How many purchases of one contact are looked through.
HISTORY = 500
DAY = timedelta(days=1)


class Difference(StrEnum):
    """What may differ."""

    NOT_HERE = "not in the inbox"
    PARKED = "parked here"
    NOT_IN_ENGAGE = "not in Engage"
    NO_CONTACT = "contact not in Engage"


#: The names of the differences in a report's counts.
DIFFERENCES = tuple(difference.name.lower() for difference in Difference)


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One difference. what: order, refund or customer; resource_id: the shop's id of it."""

    difference: Difference
    what: str
    resource_id: str
    repaired: bool = False


@dataclass(slots=True)
class Report:
    """The result of a comparison. counts: compared things and differences by name; error: why it is not whole."""

    since: datetime
    until: datetime
    counts: Counter[str] = field(default_factory=Counter)
    differences: list[Discrepancy] = field(default_factory=list)
    error: str | None = None

    def add(self, difference: Difference, what: str, resource_id: str, *, repaired: bool = False) -> None:
        """Add a difference."""
        self.counts[difference.name.lower()] += 1
        self.differences.append(Discrepancy(difference, what, resource_id, repaired))


@dataclass(frozen=True, slots=True)
class _ExpectedReceipt:
    """An order or refund of the shop whose receipt Engage should have."""

    resource: PolledResource
    order_id: str
    contact_id: str


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Compares a shop, the inbox and Engage."""

    stores: Stores
    ingestor: ResourceIngestor
    api_for: Callable[[RegisteredShop], ShopApi | None]
    client_for: Callable[[RegisteredShop], EngageClient]
    clock: Callable[[], datetime]

    def compare(self, shop: RegisteredShop, since: datetime, until: datetime, *, repair: bool = False) -> Report:
        """Compare what happened in [since, until), and with `repair` put what is missing through the inbox.

        The result is stored, as counts. What failed on the way is said in the report's error.
        """
        report = Report(since, until)
        sold: dict[str, list[_ExpectedReceipt]] = {}
        try:
            api = self.api_for(shop)
            if api is None:
                report.counts["without_api"] += 1  # only what came in is compared with Engage
                self._collect_sent(shop, report, sold)
            else:
                for page in pages(api.orders(since, until), PAGE):
                    self._compare_orders(shop, page, report, sold, repair=repair)
                for page in pages(api.customers(since, until), PAGE):
                    self._compare_customers(shop, page, report, repair=repair)
            self._compare_engage(shop, report, sold, repair=repair)
        except (ShopApiError, EngageError) as error:
            report.error = str(error)
        if report.differences:
            log.warning("shop=%s reconciliation differences=%d", shop.name, len(report.differences))
        self.stores.reconciliations.save(shop, since, until, report.counts, self.clock())
        return report

    def daily(self) -> list[Report]:
        """Compare the day before yesterday until yesterday of each shop that wants it and was not compared today."""
        reports = []
        for shop in self.stores.shops.all():
            last = self.stores.reconciliations.last(shop)
            now = self.clock()
            if shop.settings.reconcile_daily and (last is None or now - last[0] >= DAY):
                reports.append(self._compare_safely(shop, now - DAY - IMPORTED_AFTER, now - IMPORTED_AFTER))
        return reports

    def _compare_safely(self, shop: RegisteredShop, since: datetime, until: datetime) -> Report:
        """Compare a shop; an answer that nobody thought of is told, and holds up no other shop until tomorrow."""
        try:
            return self.compare(shop, since, until)
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - one shop's odd answer must not end the comparison of all
            log.error("shop=%s the reconciliation met an %s", shop.name, describe_unexpected(error))
            report = Report(since, until, error=f"{describe_unexpected(error)}; this is a fault of the plugin")
            self.stores.reconciliations.save(shop, since, until, report.counts, self.clock())
            return report

    # --- shop and inbox ---

    def _compare_orders(
        self,
        shop: RegisteredShop,
        page: Sequence[PolledResource],
        report: Report,
        sold: dict[str, list[_ExpectedReceipt]],
        *,
        repair: bool,
    ) -> None:
        orders = [(resource, order_id_of(shop, resource) or resource.resource_id) for resource in page]
        known = self.stores.known_orders.find(shop, sorted({order_id for _, order_id in orders}))
        for resource, order_id in orders:
            if resource.kind not in {EventKind.ORDER_PAID, EventKind.REFUND}:
                continue  # a cancellation makes no receipt
            what = "refund" if resource.kind is EventKind.REFUND else "order"
            report.counts[f"{what}s"] += 1
            one = known.get(order_id)
            if one is not None and _is_sent(resource, one):
                if one.contact_id is not None and resource.resource_id not in _without_receipt(resource, one):
                    sold.setdefault(one.contact_id, []).append(_ExpectedReceipt(resource, order_id, one.contact_id))
            elif one is not None and State.PARKED in _states(resource, one):
                report.add(Difference.PARKED, what, resource.resource_id)
            elif (one is None or not _is_settled(resource, one)) and not self._is_not_for_us(shop, resource):
                repaired = repair and self._ingest(shop, resource)
                report.add(Difference.NOT_HERE, what, resource.resource_id, repaired=repaired)

    def _compare_customers(
        self, shop: RegisteredShop, page: Sequence[PolledResource], report: Report, *, repair: bool
    ) -> None:
        for resource in page:
            report.counts["customers"] += 1
            if self.stores.links.find(shop, resource.resource_id) is not None:
                continue
            if self.stores.known_orders.has_unfinished_events(shop, resource.resource_id):
                continue  # parked or under way
            if self._is_not_for_us(shop, resource):
                continue
            repaired = repair and self._ingest(shop, resource)
            report.add(Difference.NOT_HERE, "customer", resource.resource_id, repaired=repaired)

    def _is_not_for_us(self, shop: RegisteredShop, resource: PolledResource) -> bool:
        """Tell that the platform's own mapping makes nothing of it: staff, a test order, a refund of no money."""
        platform = PLATFORMS[resource.platform or shop.platform]
        delivery = Delivery(resource.topic, meta=resource.meta)
        try:
            return not platform.normalise(delivery, resource.body, self.clock()).events
        except PayloadError:
            return False  # it is to be parked, where a person sees it

    def _ingest(self, shop: RegisteredShop, resource: PolledResource, *, again: bool = False) -> bool:
        fates = self.ingestor.take(
            shop, [resource], Origin.RECONCILE, self.clock(), run=self.clock().strftime("%Y%m%d%H%M"), again=again
        )
        return fates == [IngestOutcome.STORED]

    # --- inbox and Engage ---

    def _collect_sent(self, shop: RegisteredShop, report: Report, sold: dict[str, list[_ExpectedReceipt]]) -> None:
        """Take what was sent as what the shop has, where the shop cannot be asked."""
        after = ""
        while orders := self.stores.known_orders.with_receipt(shop, report.since, report.until, after):
            after = orders[-1].order_id
            for order in orders:
                report.counts["orders"] += 1
                resource = PolledResource(
                    topic=order.topic or "",
                    kind=EventKind.ORDER_PAID,
                    resource_id=order.order_id,
                    body=order.body or b"",
                    changed_at=order.occurred_at,
                    cursor="",
                    meta=order.meta or {},
                    platform=order.platform,
                )
                sold.setdefault(order.contact_id, []).append(
                    _ExpectedReceipt(resource, order.order_id, order.contact_id)
                )

    def _compare_engage(
        self, shop: RegisteredShop, report: Report, sold: dict[str, list[_ExpectedReceipt]], *, repair: bool
    ) -> None:
        """Ask Engage for the purchases of some contacts, evenly taken from those who bought."""
        client = self.client_for(shop).with_options(priority=Priority.BACKFILL)
        settled = self.clock() - IMPORTED_AFTER
        for contact_id in _sample(sorted(sold), shop.settings.reconcile_sample):
            report.counts["contacts_asked"] += 1
            try:
                client.get_contact(contact_id)
                in_engage = set(self._receipt_ids(client, contact_id))
            except EngageNotFoundError:
                report.add(Difference.NO_CONTACT, "order", sold[contact_id][0].order_id)
                continue
            for one in sold[contact_id]:
                report.counts["receipts_compared"] += 1
                if one.resource.changed_at > settled or _receipt_id(shop, one) in in_engage:
                    continue
                what = "refund" if one.resource.kind is EventKind.REFUND else "order"
                repaired = repair and bool(one.resource.body) and self._ingest(shop, one.resource, again=True)
                report.add(Difference.NOT_IN_ENGAGE, what, one.resource.resource_id, repaired=repaired)

    def _receipt_ids(self, client: EngageClient, contact_id: str) -> Iterator[str]:
        offset = 0
        while offset < HISTORY:
            page = client.list_transactions(contact_id, offset=offset, count=100)
            yield from (one.external_id for one in page.items if one.external_id)
            offset += len(page.items)
            if not page.items or (page.total_count is not None and offset >= page.total_count):
                return


def _receipt_id(shop: RegisteredShop, one: _ExpectedReceipt) -> str:
    purchase = purchase_receipt_id(shop, one.order_id)
    return f"{purchase}-R{one.resource.resource_id}" if one.resource.kind is EventKind.REFUND else purchase


def _states(resource: PolledResource, known: KnownOrder) -> tuple[str, ...]:
    return known.refund_states if resource.kind is EventKind.REFUND else known.paid_states


def _is_sent(resource: PolledResource, known: KnownOrder) -> bool:
    if resource.kind is EventKind.REFUND:
        return resource.resource_id in known.refunds_sent
    return known.receipt_sent


def _without_receipt(resource: PolledResource, known: KnownOrder) -> frozenset[str]:
    """Return the ids of what was dealt with and made no receipt, so that Engage cannot have one."""
    return known.refunds_empty if resource.kind is EventKind.REFUND else frozenset()


def _is_settled(resource: PolledResource, known: KnownOrder) -> bool:
    """Tell that a resource without a receipt is under way, or has none for a reason that is kept with its event."""
    states = _states(resource, known)
    if resource.kind is EventKind.REFUND and known.refunds_sent:
        return bool(UNDER_WAY.intersection(states))  # another refund of the order is none of this one
    return known.without_contact or bool(states)


def _sample(contact_ids: Sequence[str], most: int) -> list[str]:
    if most <= 0:
        return []
    step = max(1, -(-len(contact_ids) // most))
    return list(contact_ids[::step])
