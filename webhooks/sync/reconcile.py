"""Reconciliation: compares what a shop has with the inbox and with Engage.

Orders and refunds of a period are read from the shop (or, where a platform has no API, from the plugin's own records),
compared with the inbox, and for a sample of contacts with their purchase history in Engage.
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
from webhooks.attempt.context import Origin
from webhooks.attempt.runtime import DeliveryRuntime
from webhooks.orders.receipts import purchase_receipt_id
from webhooks.sync.ingest import UNDER_WAY, IngestOutcome, ResourceIngestor, order_id_of, pages

log = logging.getLogger(__name__)

PAGE = 200
#: Receipts appear in a contact's history only after Engage's import job, about 15 minutes by default
#: (docs/engage.md#import-delay-and-duplicates).
IMPORTED_AFTER = timedelta(hours=1)
#: How many purchases of one contact are read at most.
MAX_TRANSACTIONS = 500
DAY = timedelta(days=1)


class Difference(StrEnum):
    """The kinds of differences."""

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
    """The result of a comparison. counts: compared resources and differences by name; error: why it is incomplete."""

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


#: Expected receipts by contact id.
_Expected = dict[str, list[_ExpectedReceipt]]


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Compares shops with the inbox and Engage."""

    runtime: DeliveryRuntime
    ingestor: ResourceIngestor
    api_for: Callable[[RegisteredShop], ShopApi | None]

    def compare(self, shop: RegisteredShop, since: datetime, until: datetime, *, repair: bool = False) -> Report:
        """Compare what happened in [since, until), and with `repair` put what is missing into the inbox.

        The result is stored, as counts. A failure of the shop's or Engage's API ends up in the report's error.
        """
        report = Report(since, until)
        expected: _Expected = {}
        try:
            api = self.api_for(shop)
            if api is None:
                report.counts["without_api"] += 1  # only what was received is compared with Engage
                self._collect_sent(shop, report, expected)
            else:
                for page in pages(api.orders(since, until), PAGE):
                    self._compare_orders(shop, page, report, expected, repair=repair)
                for page in pages(api.customers(since, until), PAGE):
                    self._compare_customers(shop, page, report, repair=repair)
            self._compare_engage(shop, report, expected, repair=repair)
        except (ShopApiError, EngageError) as error:
            report.error = str(error)
        if report.differences:
            log.warning("shop=%s reconciliation differences=%d", shop.name, len(report.differences))
        self.runtime.stores.reconciliations.save(shop, since, until, report.counts, self.runtime.clock())
        return report

    def daily(self) -> list[Report]:
        """Compare the last day of each shop with the setting reconcile_daily, unless that was done within a day.

        The day ends IMPORTED_AFTER ago, so that Engage has imported its receipts.
        """
        reports = []
        for shop in self.runtime.stores.shops.all():
            last = self.runtime.stores.reconciliations.last(shop)
            now = self.runtime.clock()
            if shop.settings.reconcile_daily and (last is None or now - last[0] >= DAY):
                reports.append(self._compare_safely(shop, now - DAY - IMPORTED_AFTER, now - IMPORTED_AFTER))
        return reports

    def _compare_safely(self, shop: RegisteredShop, since: datetime, until: datetime) -> Report:
        """Compare a shop; an unexpected error is recorded, so that it does not hold up other shops."""
        try:
            return self.compare(shop, since, until)
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - one shop's odd answer must not end the comparison of all
            log.error("shop=%s its reconciliation met an %s", shop.name, describe_unexpected(error))
            report = Report(since, until, error=f"{describe_unexpected(error)}; this is a fault of the plugin")
            self.runtime.stores.reconciliations.save(shop, since, until, report.counts, self.runtime.clock())
            return report

    # --- shop and inbox ---

    def _compare_orders(
        self,
        shop: RegisteredShop,
        page: Sequence[PolledResource],
        report: Report,
        expected: _Expected,
        *,
        repair: bool,
    ) -> None:
        orders = [(resource, order_id_of(shop, resource) or resource.resource_id) for resource in page]
        known = self.runtime.stores.known_orders.find(shop, sorted({order_id for _, order_id in orders}))
        for resource, order_id in orders:
            if resource.kind not in {EventKind.ORDER_PAID, EventKind.REFUND}:
                continue  # a cancellation makes no receipt
            what = _name(resource)
            report.counts[f"{what}s"] += 1
            order = known.get(order_id)
            if order is not None and _is_sent(resource, order):
                if order.contact_id is not None and resource.resource_id not in _without_receipt(resource, order):
                    expected.setdefault(order.contact_id, []).append(_ExpectedReceipt(resource, order_id))
            elif order is not None and State.PARKED in _states(resource, order):
                report.add(Difference.PARKED, what, resource.resource_id)
            elif (order is None or not _is_settled(resource, order)) and not self._is_not_for_us(shop, resource):
                repaired = repair and self._ingest(shop, resource)
                report.add(Difference.NOT_HERE, what, resource.resource_id, repaired=repaired)

    def _compare_customers(
        self, shop: RegisteredShop, page: Sequence[PolledResource], report: Report, *, repair: bool
    ) -> None:
        for resource in page:
            report.counts["customers"] += 1
            if self.runtime.stores.links.find(shop, resource.resource_id) is not None:
                continue
            if self.runtime.stores.known_orders.has_unfinished_events(shop, resource.resource_id):
                continue  # parked or under way
            if self._is_not_for_us(shop, resource):
                continue
            repaired = repair and self._ingest(shop, resource)
            report.add(Difference.NOT_HERE, "customer", resource.resource_id, repaired=repaired)

    def _is_not_for_us(self, shop: RegisteredShop, resource: PolledResource) -> bool:
        """Return whether the platform's mapping ignores it, such as staff, a test order or a refund without money."""
        platform = PLATFORMS[resource.platform or shop.platform]
        delivery = Delivery(resource.topic, meta=resource.meta)
        try:
            return not platform.normalise(delivery, resource.body, self.runtime.clock()).events
        except PayloadError:
            return False  # it should be parked, for a person to see

    def _ingest(self, shop: RegisteredShop, resource: PolledResource, *, again: bool = False) -> bool:
        run = self.runtime.clock().strftime("%Y%m%d%H%M")
        outcomes = self.ingestor.ingest(shop, [resource], Origin.RECONCILE, self.runtime.clock(), run=run, again=again)
        return outcomes == [IngestOutcome.STORED]

    # --- inbox and Engage ---

    def _collect_sent(self, shop: RegisteredShop, report: Report, expected: _Expected) -> None:
        """Collect what was sent, for a shop whose orders cannot be read."""
        after = ""
        while orders := self.runtime.stores.known_orders.with_receipt(shop, report.since, report.until, after):
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
                expected.setdefault(order.contact_id, []).append(_ExpectedReceipt(resource, order.order_id))

    def _compare_engage(self, shop: RegisteredShop, report: Report, expected: _Expected, *, repair: bool) -> None:
        """Compare the purchases of a sample of contacts with Engage, evenly spread over those who bought."""
        client = self.runtime.client_for(shop).with_options(priority=Priority.BACKFILL)
        settled = self.runtime.clock() - IMPORTED_AFTER
        for contact_id in _sample(sorted(expected), shop.settings.reconcile_sample):
            report.counts["contacts_asked"] += 1
            try:
                client.get_contact(contact_id)
                in_engage = set(self._receipt_ids(client, contact_id))
            except EngageNotFoundError:
                report.add(Difference.NO_CONTACT, "order", expected[contact_id][0].order_id)
                continue
            for receipt in expected[contact_id]:
                report.counts["receipts_compared"] += 1
                resource = receipt.resource
                if resource.changed_at > settled or _receipt_id(shop, receipt) in in_engage:
                    continue
                repaired = repair and bool(resource.body) and self._ingest(shop, resource, again=True)
                report.add(Difference.NOT_IN_ENGAGE, _name(resource), resource.resource_id, repaired=repaired)

    def _receipt_ids(self, client: EngageClient, contact_id: str) -> Iterator[str]:
        offset = 0
        while offset < MAX_TRANSACTIONS:
            page = client.list_transactions(contact_id, offset=offset, count=100)
            yield from (item.external_id for item in page.items if item.external_id)
            offset += len(page.items)
            if not page.items or (page.total_count is not None and offset >= page.total_count):
                return


def _name(resource: PolledResource) -> str:
    return "refund" if resource.kind is EventKind.REFUND else "order"


def _receipt_id(shop: RegisteredShop, expected: _ExpectedReceipt) -> str:
    purchase = purchase_receipt_id(shop, expected.order_id)
    return f"{purchase}-R{expected.resource.resource_id}" if expected.resource.kind is EventKind.REFUND else purchase


def _states(resource: PolledResource, known: KnownOrder) -> tuple[str, ...]:
    return known.refund_states if resource.kind is EventKind.REFUND else known.paid_states


def _is_sent(resource: PolledResource, known: KnownOrder) -> bool:
    if resource.kind is EventKind.REFUND:
        return resource.resource_id in known.refunds_sent
    return known.receipt_sent


def _without_receipt(resource: PolledResource, known: KnownOrder) -> frozenset[str]:
    """Return the ids of refunds that were processed without a receipt, so that Engage cannot have one."""
    return known.refunds_empty if resource.kind is EventKind.REFUND else frozenset()


def _is_settled(resource: PolledResource, known: KnownOrder) -> bool:
    """Return whether a resource without a receipt is under way, or its event says why it has none."""
    states = _states(resource, known)
    if resource.kind is EventKind.REFUND and known.refunds_sent:
        return bool(
            UNDER_WAY.intersection(states)
        )  # the states of another refund of the order say nothing about this one
    return known.without_contact or bool(states)


def _sample(contact_ids: Sequence[str], size: int) -> list[str]:
    """Return at most `size` contacts, evenly spread."""
    if size <= 0:
        return []
    step = max(1, -(-len(contact_ids) // size))
    return list(contact_ids[::step])
