"""The shop's history into Engage: customers first, then orders (Engage facts 2.9, 5.1; DESIGN, money and proof).

Contacts that exist are changed through the bulk API, keyed by the type's key attribute, 4,000 a request; whoever is
refused there, is not vouched for or said no to something goes through the inbox, one by one, as a webhook would. Orders
go through the inbox. A page of the history is finished before the cursor moves behind it, and each of its steps may be
repeated, so that a crash costs a page at most. No consent is raised, no promotion redeemed, and live events go first.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path

from plugin.errors import ConflictError
from plugin.event_kinds import EventKind
from plugin.platforms.registry import PLATFORMS
from plugin.platforms.shop_api import PolledResource, ShopApi
from plugin.store.shops.shops import RegisteredShop
from plugin.store.sync.backfill_runs import RejectedRow, Run, RunState
from webhooks.attempt.context import Origin, Stores
from webhooks.bulk.batches import MAX_BATCH_ROWS
from webhooks.sync.backfill_customers import CustomersInBulk, Page, Row
from webhooks.sync.backfill_order_files import OrdersInFiles
from webhooks.sync.import_readers import Unreadable, count_lines, read_csv, read_json_lines
from webhooks.sync.ingest import IngestOutcome, ResourceIngestor, is_known, order_id_of

log = logging.getLogger(__name__)

#: So many unfinished events of the shop may wait; then the history waits, so that it never stands before live events.
IN_FLIGHT = 200
ORDER_PAGE = 200
HANDOVER = 100
BUSY_PAUSE_S = 0.5
DAYS_A_MONTH = 30.44
#: Counts of a run that say that Engage has the row.
CONFIRMED = ("in_bulk", "created_in_bulk", "unchanged")


@dataclass(frozen=True, slots=True)
class Backfill:
    """Works runs off. customers, in_files: send pages of customers, write orders into files. pause: as
    in `customers`."""

    stores: Stores
    ingestor: ResourceIngestor
    customers: CustomersInBulk
    in_files: OrdersInFiles
    api_for: Callable[[RegisteredShop], ShopApi | None]
    clock: Callable[[], datetime]
    pause: Callable[[float], bool]

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
        """Return the rows of a source, beginning behind a cursor. form: api, csv or jsonl.

        Raises ConflictError where the shop has no API that could be read, ConfigurationError for a file that is none;
        reading on raises ShopApiError.
        """
        if form == "csv":
            return read_csv(Path(source), what, cursor, self.clock())
        if form == "jsonl":
            return read_json_lines(Path(source), shop.platform, cursor, self.clock())
        api = self.api_for(shop)
        if api is None:
            raise ConflictError(
                f"{shop.name} has no API that could be read: give --csv or --jsonl, or install it "
                f"(engage-plugin shops install {shop.name})."
            )
        return iter(api.customers(since, until, cursor) if what == "customers" else api.orders(since, until, cursor))

    def size(self, form: str, source: str) -> int | None:
        """Return how many rows a source has, None where it does not tell."""
        return count_lines(Path(source)) if form == "jsonl" else None

    def work(
        self,
        shop: RegisteredShop,
        run: Run,
        rows: Iterator[Row],
        tell: Callable[[Counter[str]], None] = lambda _counts: None,
    ) -> RunState:
        """Work a run off until its rows end, somebody pauses it or this process is to stop; return how it stands.

        rows: begin behind the run's cursor. tell: told the counts after each page and while it waits.
        Raises what reading the rows raises, and UnauthorisedError.
        """
        counts: Counter[str] = Counter(run.counts)
        size = MAX_BATCH_ROWS if run.what == "customers" or run.options.get("files") else ORDER_PAGE
        self.stores.backfill_runs.set_state(run, RunState.RUNNING, self.clock())
        for some in _pages(rows, size):
            page = self.customers.send(shop, some) if run.what == "customers" else self._orders(shop, run, some)
            if page is None or not self._hand_over(shop, run, page, partial(tell, counts)):
                return self._stopped(run)
            page.counts["read"] += len(some)
            counts += page.counts
            self.stores.backfill_runs.advance(run, some[-1].cursor, counts, page.refusals, self.clock())
            tell(counts)
            if self.stores.backfill_runs.current_state(run) is RunState.PAUSED:
                return RunState.PAUSED
        while self.under_way(shop, run):
            tell(counts)
            if self.pause(BUSY_PAUSE_S) or self.stores.backfill_runs.current_state(run) is RunState.PAUSED:
                return self._stopped(run)
        tell(counts)
        self.stores.backfill_runs.set_state(run, RunState.FINISHED, self.clock())
        return RunState.FINISHED

    def estimate(self, shop: RegisteredShop, what: str, rows: Iterator[Row]) -> tuple[Counter[str], list[RejectedRow]]:
        """Return what a run would do with each row, without sending or storing anything."""
        counts: Counter[str] = Counter()
        refusals: list[RejectedRow] = []
        for some in _pages(rows, MAX_BATCH_ROWS if what == "customers" else ORDER_PAGE):
            page = Page()
            if what == "customers":
                changes = self.customers.sorted_out(shop, page, some)
                counts["would_go_in_bulk"] += len(changes)
            else:
                page.singly = self._new_orders(shop, page, some)
            counts["would_go_singly"] += len(page.singly)
            counts["read"] += len(some)
            counts += page.counts
            refusals += page.refusals
        return counts, refusals

    def states(self, shop: RegisteredShop, run: Run) -> dict[str, int]:
        """Return the run's events in the inbox, counted by state."""
        return self.stores.backfill_runs.count_events_by_state(shop, prefix_of(run))

    def confirmed(self, shop: RegisteredShop, run: Run, counts: Counter[str]) -> int:
        """Return how many rows Engage has confirmed: through bulk, as known already, or event by event."""
        return sum(counts[name] for name in CONFIRMED) + self.states(shop, run).get("delivered", 0)

    def under_way(self, shop: RegisteredShop, run: Run) -> int:
        """Return how many events of the run are neither finished nor in front of a person."""
        states = self.states(shop, run)
        return sum(states.get(name, 0) for name in ("pending", "leased"))

    def not_delivered(self, shop: RegisteredShop, run: Run) -> list[RejectedRow]:
        """Return the run's events that are parked or ignored, with their reasons."""
        return self.stores.backfill_runs.undelivered_events(shop, prefix_of(run))

    def _stopped(self, run: Run) -> RunState:
        self.stores.backfill_runs.set_state(run, RunState.PAUSED, self.clock())
        return RunState.PAUSED

    # --- orders ---

    def _orders(self, shop: RegisteredShop, run: Run, some: Sequence[Row]) -> Page:
        page = Page()
        new = self._new_orders(shop, page, some)
        if run.options.get("files"):
            self.in_files.write(shop, page, new)
        else:
            page.singly = new
        return page

    def _new_orders(self, shop: RegisteredShop, page: Page, some: Sequence[Row]) -> list[PolledResource]:
        """Return the orders and refunds that the inbox does not know and that are young enough."""
        oldest = self.clock() - timedelta(days=shop.settings.backfill_months * DAYS_A_MONTH)
        resources = []
        for row in some:
            if isinstance(row, Unreadable):
                page.refuse(row.resource_id, "unreadable", row.reason)
            elif row.kind is EventKind.CANCELLATION:
                page.counts["cancellations"] += 1  # the past redeemed nothing that could be given back
            elif row.kind not in {EventKind.ORDER_PAID, EventKind.REFUND}:
                page.refuse(row.resource_id, "not_for_us", "it is no order")
            elif self._happened_at(shop, row) < oldest:
                page.counts["too_old"] += 1
            else:
                resources.append((row, order_id_of(shop, row)))
        known = self.stores.known_orders.find(shop, sorted({order_id for _, order_id in resources if order_id}))
        new = []
        for row, order_id in resources:
            if is_known(row, order_id, known.get(order_id) if order_id else None):
                page.counts["known"] += 1
            else:
                new.append(row)
        return new

    def _happened_at(self, shop: RegisteredShop, row: PolledResource) -> datetime:
        peek = PLATFORMS[row.platform or shop.platform].peek(row.topic, row.body)
        return peek.occurred_at or row.changed_at

    # --- the inbox ---

    def _hand_over(self, shop: RegisteredShop, run: Run, page: Page, tell: Callable[[], None]) -> bool:
        """Put rows into the inbox, a few at a time; False when this process is to stop first."""
        for start in range(0, len(page.singly), HANDOVER):
            while self.stores.backfill_runs.count_in_flight(shop, IN_FLIGHT) >= IN_FLIGHT:
                tell()
                if self.pause(BUSY_PAUSE_S):
                    return False
            some = page.singly[start : start + HANDOVER]
            fates = self.ingestor.take(shop, some, Origin.BACKFILL, self.clock(), run=str(run.id))
            page.counts["singly"] += sum(fate is not IngestOutcome.NOT_FOR_US for fate in fates)
            for resource, fate in zip(some, fates, strict=True):
                if fate is IngestOutcome.NOT_FOR_US:
                    page.refuse(resource.resource_id, "not_for_us", f"{resource.topic!r} is no topic for us")
        return True


def prefix_of(run: Run) -> str:
    """Return what the dedupe keys of a run's events begin with."""
    return f"{Origin.BACKFILL.value}:{run.id}:"


def _pages(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    stream = iter(rows)
    while page := list(islice(stream, size)):
        yield page
