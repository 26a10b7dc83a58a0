"""What would be sent for an event: the handlers run as always, in a transaction that is rolled back and without sending."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from plugin.engage.client import EngageClient
from plugin.engage.dry_run import DryRunTransport, LiveReads, PlannedCall
from plugin.engage.http.transport import EngageAccount, Transport
from plugin.errors import ConflictError
from plugin.platforms.base import Delivery
from plugin.platforms.registry import PLATFORMS
from plugin.store.database.engine import Database
from plugin.store.inbox.admin import EventAdmin, EventRow, TimelineEntry
from plugin.store.shops.shops import RegisteredShop
from plugin.store.shops.vault import Vault
from plugin.store.tables.inbox import State
from webhooks.attempt.runtime import DeliveryRuntime, Stores
from webhooks.processing.processor import EventProcessor
from webhooks.receiving.new_event import new_event


@dataclass(frozen=True, slots=True)
class PreviewResult:
    """What would happen: the calls in order, the event as it would be, and the remarks of mapping and handlers."""

    calls: tuple[PlannedCall, ...]
    event: EventRow
    remarks: tuple[TimelineEntry, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """Runs events without storing or sending anything."""

    database: Database
    vault: Vault
    account_for: Callable[[RegisteredShop], EngageAccount]
    transport: Transport
    lease_s: float
    clock: Callable[[], datetime]

    def of_event(self, event_id: int, *, ask: bool = False) -> PreviewResult:
        """Preview a stored event. ask: let calls that only read go to Engage.

        Raises NotFoundHereError, and ConflictError when its body is no longer stored.
        """
        return self._dry_run(lambda _stores: event_id, ask=ask)

    def of_body(self, shop_name: str, topic: str, body: bytes, *, ask: bool = False) -> PreviewResult:
        """Preview a body that was never received.

        Raises NotFoundHereError for an unknown shop and ConflictError for a topic that is not for us.
        """
        delivery = Delivery(topic, delivery_id=secrets.token_hex(16))

        def store(stores: Stores) -> int:
            shop = stores.shops.get(shop_name)
            platform = PLATFORMS[shop.platform]
            new = new_event(stores.inbox, self.vault, shop, platform, delivery, body, self.clock())
            if new.state is State.IGNORED:
                raise ConflictError(
                    f"{topic!r} would be ignored ({new.reason}); known are {', '.join(platform.topics)}."
                )
            return stores.inbox.accept(new).event_id

        return self._dry_run(store, ask=ask)

    def _dry_run(self, event_of: Callable[[Stores], int], *, ask: bool) -> PreviewResult:
        """Repeat until every look-up has been asked, each time on an unchanged database."""
        reads = LiveReads(self.transport) if ask else None
        while True:
            with self.database.rolled_back() as database:
                event_id = event_of(Stores.on(database, self.vault))
                previewed = self._dry_run_once(database, event_id, DryRunTransport(reads))
            if reads is None or not reads.ask():
                return previewed

    def _dry_run_once(self, database: Database, event_id: int, transport: DryRunTransport) -> PreviewResult:
        stores = Stores.on(database, self.vault)
        admin = EventAdmin(database)
        lease = timedelta(seconds=self.lease_s)
        claimed = stores.inbox.claim_for_preview(event_id, self.clock(), lease)
        seen = len(admin.show(event_id)[1])
        runtime = DeliveryRuntime(
            stores=stores,
            client_for=lambda shop: EngageClient(
                self.account_for(shop), transport, transactions_path=shop.settings.transactions_path
            ),
            clock=self.clock,
            lease=lease,
            retry_base_s=1.0,
            pause=lambda _seconds: False,
        )
        processor = EventProcessor(
            runtime,
            breaker_open_duration=lambda _shop: timedelta(),
            jitter=lambda: 0.0,
            count=lambda _shop, _outcome: None,
            enrich=False,
        )
        shop = stores.shops.by_id(claimed.shop_id)
        if claimed.order_ref and not claimed.progress:  # a finished order is shown as it was sent
            with database.transaction() as session:
                stores.orders.write_change(session, shop, claimed.order_ref, receipt_sent_at=None)
        processor.attempt(claimed, shop)
        event, timeline = admin.show(event_id)
        return PreviewResult(tuple(transport.calls), event, tuple(timeline[seen:]))
