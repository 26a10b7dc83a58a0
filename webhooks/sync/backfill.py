"""Bringing in a shop's history: customers first, then orders (docs/history.md).

Existing contacts are changed through the bulk API, keyed by the contact type's key attribute, up to 4,000 per request.
Customers that the bulk API rejects, that are not verified or that opted out of something go through the inbox one by one,
as a webhook would. Orders go through the inbox. A page is finished before the cursor moves past it, and each of its steps
may be repeated, so that a crash costs at most a page. No consent is raised, no promotion redeemed, and live events go first.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from plugin.errors import ConflictError
from plugin.event_kinds import EventKind
from plugin.platforms.registry import PLATFORMS
from plugin.platforms.shop_api import PolledResource, ShopApi
from plugin.store.shops.shops import RegisteredShop
from plugin.store.sync.backfill_runs import RejectedRow, Run, RunState
from webhooks.attempt.context import Origin
from webhooks.attempt.runtime import DeliveryRuntime
from webhooks.bulk.batches import MAX_BATCH_ROWS
from webhooks.sync.backfill_customers import CustomersInBulk, Page, Row
from webhooks.sync.backfill_order_files import OrdersInFiles
from webhooks.sync.import_readers import Unreadable, count_lines, read_csv, read_json_lines
from webhooks.sync.ingest import IngestOutcome, ResourceIngestor, pages

#: With this many unfinished events of the shop in the inbox the backfill waits, so that it does not delay live events.
MAX_IN_FLIGHT = 200
ORDER_PAGE = 200
INGEST_PAGE = 100
BUSY_PAUSE_S = 0.5
DAYS_A_MONTH = 30.44
#: Counts of a run whose rows Engage has.
CONFIRMED = ("in_bulk", "created_in_bulk", "unchanged")


@dataclass(frozen=True, slots=True)
class Backfill:
    """Carries out runs. customers: sends pages of customers. in_files: writes orders into files."""

    runtime: DeliveryRuntime
    ingestor: ResourceIngestor
    customers: CustomersInBulk
    in_files: OrdersInFiles
    api_for: Callable[[RegisteredShop], ShopApi | None]

    def rows(
        self,
        shop: RegisteredShop,
        what: str,
        form: str,
        source: str,
        since: datetime | None,
        until: datetime | None,
        cursor: str | None,
    ) -> Iterator[Row]:
        """Return the rows of a source after a cursor. what: customers or orders. form: api, csv or jsonl.

        Raises ConflictError when the shop has no API to read from, ConfigurationError for an unreadable file; iterating
        raises ShopApiError.
        """
        if form == "csv":
            return read_csv(Path(source), what, cursor, self.runtime.clock())
        if form == "jsonl":
            return read_json_lines(Path(source), shop.platform, cursor, self.runtime.clock())
        api = self.api_for(shop)
        if api is None:
            raise ConflictError(
                f"{shop.name} has no API that could be read: give --csv or --jsonl, or install it "
                f"(engage-plugin shops install {shop.name})."
            )
        return iter(api.customers(since, until, cursor) if what == "customers" else api.orders(since, until, cursor))

    def size(self, form: str, source: str) -> int | None:
        """Return how many rows a source has, None when that is unknown."""
        return count_lines(Path(source)) if form == "jsonl" else None

    def work(
        self,
        shop: RegisteredShop,
        run: Run,
        rows: Iterator[Row],
        on_progress: Callable[[Counter[str]], None] = lambda _counts: None,
    ) -> RunState:
        """Carry out a run until its rows end, a person pauses it or this process is to stop; return its state.

        rows: those after the run's cursor. on_progress: called with the counts after each page and while waiting.
        Raises what reading the rows raises, and UnauthorisedError.
        """
        counts: Counter[str] = Counter(run.counts)
        size = MAX_BATCH_ROWS if run.what == "customers" or run.options.get("files") else ORDER_PAGE
        runs = self.runtime.stores.backfill_runs
        runs.set_state(run, RunState.RUNNING, self.runtime.clock())
        for batch in pages(rows, size):
            page = self.customers.send(shop, batch) if run.what == "customers" else self._orders(shop, run, batch)
            if page is None or not self._ingest_single_events(shop, run, page, partial(on_progress, counts)):
                return self._pause(run)
            page.counts["read"] += len(batch)
            counts += page.counts
            runs.advance(run, batch[-1].cursor, counts, page.refusals, self.runtime.clock())
            on_progress(counts)
            if runs.current_state(run) is RunState.PAUSED:
                return RunState.PAUSED
        while self.under_way(shop, run):
            on_progress(counts)
            if self.runtime.pause(BUSY_PAUSE_S) or runs.current_state(run) is RunState.PAUSED:
                return self._pause(run)
        on_progress(counts)
        runs.set_state(run, RunState.FINISHED, self.runtime.clock())
        return RunState.FINISHED

    def estimate(self, shop: RegisteredShop, what: str, rows: Iterator[Row]) -> tuple[Counter[str], list[RejectedRow]]:
        """Return what a run would do with each row, without sending or storing anything."""
        counts: Counter[str] = Counter()
        refusals: list[RejectedRow] = []
        for batch in pages(rows, MAX_BATCH_ROWS if what == "customers" else ORDER_PAGE):
            page = Page()
            if what == "customers":
                changes = self.customers.changes_for_bulk(shop, page, batch)
                counts["would_go_in_bulk"] += len(changes)
            else:
                page.single_events = self._new_orders(shop, page, batch)
            counts["would_go_singly"] += len(page.single_events)
            counts["read"] += len(batch)
            counts += page.counts
            refusals += page.refusals
        return counts, refusals

    def states(self, shop: RegisteredShop, run: Run) -> dict[str, int]:
        """Return how many of the run's events are in each state of the inbox."""
        return self.runtime.stores.backfill_runs.count_events_by_state(shop, prefix_of(run))

    def confirmed(self, shop: RegisteredShop, run: Run, counts: Counter[str]) -> int:
        """Return how many rows Engage has confirmed: through bulk, as unchanged, or as single events."""
        return sum(counts[name] for name in CONFIRMED) + self.states(shop, run).get("delivered", 0)

    def under_way(self, shop: RegisteredShop, run: Run) -> int:
        """Return how many events of the run are neither finished nor parked."""
        states = self.states(shop, run)
        return sum(states.get(name, 0) for name in ("pending", "leased"))

    def not_delivered(self, shop: RegisteredShop, run: Run) -> list[RejectedRow]:
        """Return the run's events that are parked or ignored, with their reasons."""
        return self.runtime.stores.backfill_runs.undelivered_events(shop, prefix_of(run))

    def _pause(self, run: Run) -> RunState:
        self.runtime.stores.backfill_runs.set_state(run, RunState.PAUSED, self.runtime.clock())
        return RunState.PAUSED

    # --- orders ---

    def _orders(self, shop: RegisteredShop, run: Run, rows: Sequence[Row]) -> Page:
        page = Page()
        new = self._new_orders(shop, page, rows)
        if run.options.get("files"):
            self.in_files.write(shop, page, new)
        else:
            page.single_events = new
        return page

    def _new_orders(self, shop: RegisteredShop, page: Page, rows: Sequence[Row]) -> list[PolledResource]:
        """Return the orders and refunds that are not known here and are recent enough; count the others on the page."""
        oldest = self.runtime.clock() - timedelta(days=shop.settings.backfill_months * DAYS_A_MONTH)
        resources = []
        for row in rows:
            if isinstance(row, Unreadable):
                page.refuse(row.resource_id, "unreadable", row.reason)
            elif row.kind is EventKind.CANCELLATION:
                page.counts["cancellations"] += 1  # a historical order redeemed nothing that could be reactivated
            elif row.kind not in {EventKind.ORDER_PAID, EventKind.REFUND}:
                page.refuse(row.resource_id, "not_for_us", "it is not an order")
            elif self._happened_at(shop, row) < oldest:
                page.counts["too_old"] += 1
            else:
                resources.append(row)
        new = self.ingestor.without_known(shop, resources)
        if len(new) < len(resources):
            page.counts["known"] += len(resources) - len(new)
        return new

    def _happened_at(self, shop: RegisteredShop, row: PolledResource) -> datetime:
        peek = PLATFORMS[row.platform or shop.platform].peek(row.topic, row.body)
        return peek.occurred_at or row.changed_at

    # --- the inbox ---

    def _ingest_single_events(self, shop: RegisteredShop, run: Run, page: Page, on_wait: Callable[[], None]) -> bool:
        """Put the page's single rows into the inbox, a few at a time; return False when this process is to stop first."""
        for resources in pages(page.single_events, INGEST_PAGE):
            while self.runtime.stores.backfill_runs.count_in_flight(shop, MAX_IN_FLIGHT) >= MAX_IN_FLIGHT:
                on_wait()
                if self.runtime.pause(BUSY_PAUSE_S):
                    return False
            outcomes = self.ingestor.ingest(shop, resources, Origin.BACKFILL, self.runtime.clock(), run=str(run.id))
            page.counts["singly"] += sum(outcome is not IngestOutcome.NOT_FOR_US for outcome in outcomes)
            for resource, outcome in zip(resources, outcomes, strict=True):
                if outcome is IngestOutcome.NOT_FOR_US:
                    page.refuse(resource.resource_id, "not_for_us", f"the topic {resource.topic!r} is not processed")
        return True


def prefix_of(run: Run) -> str:
    """Return the prefix of the dedupe keys of a run's events."""
    return f"{Origin.BACKFILL.value}:{run.id}:"
