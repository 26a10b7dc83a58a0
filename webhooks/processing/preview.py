"""What would be sent for an event: the handlers run for real, on a database that forgets and a transport that sends nothing."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from plugin.engage.client import EngageClient
from plugin.engage.dry_run import PlannedCall, Reads, Rehearsal
from plugin.engage.http.transport import EngageAccount, Transport
from plugin.errors import ConflictError
from plugin.platforms.base import Delivery
from plugin.platforms.registry import PLATFORMS
from plugin.store.database.engine import Database
from plugin.store.inbox.admin import EventRow, InboxDesk, TimelineEntry
from plugin.store.shops.shops import RegisteredShop
from plugin.store.shops.vault import Vault
from plugin.store.tables.inbox import State
from webhooks.attempt.context import Stores
from webhooks.processing.processor import Courier
from webhooks.receiving.new_event import new_event


@dataclass(frozen=True, slots=True)
class Previewed:
    """What would happen: the calls in order, the event as it would stand, and the remarks of mapping and handlers."""

    calls: tuple[PlannedCall, ...]
    event: EventRow
    remarks: tuple[TimelineEntry, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """Rehearses events."""

    database: Database
    vault: Vault
    account_of: Callable[[RegisteredShop], EngageAccount]
    transport: Transport
    lease_s: float
    clock: Callable[[], datetime]

    def of_event(self, event_id: int, *, ask: bool = False) -> Previewed:
        """Rehearse a stored event. ask: let calls that only read go to Engage.

        Raises NotFoundHereError, and ConflictError when its body is not kept any more.
        """
        return self._rehearse(lambda _stores: event_id, ask=ask)

    def of_body(self, shop_name: str, topic: str, body: bytes, *, ask: bool = False) -> Previewed:
        """Rehearse a body that never came in.

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

        return self._rehearse(store, ask=ask)

    def _rehearse(self, event_of: Callable[[Stores], int], *, ask: bool) -> Previewed:
        """Rehearse until every look-up has been asked, each time on an untouched database."""
        reads = Reads(self.transport) if ask else None
        while True:
            with self.database.rehearsal() as database:
                event_id = event_of(Stores.on(database, self.vault))
                previewed = self._rehearse_once(database, event_id, Rehearsal(reads))
            if reads is None or not reads.ask():
                return previewed

    def _rehearse_once(self, database: Database, event_id: int, rehearsal: Rehearsal) -> Previewed:
        stores = Stores.on(database, self.vault)
        desk = InboxDesk(database)
        lease = timedelta(seconds=self.lease_s)
        claimed = stores.inbox.claim_this(event_id, self.clock(), lease)
        seen = len(desk.show(event_id)[1])
        courier = Courier(
            stores=stores,
            client_of=lambda shop: EngageClient(
                self.account_of(shop), rehearsal, transactions_path=shop.settings.transactions_path
            ),
            open_time=lambda _shop: timedelta(),
            retry_base_s=1.0,
            lease=lease,
            clock=self.clock,
            spread=lambda: 0.0,
            count=lambda _shop, _outcome: None,
            ask_shop=False,
        )
        shop = stores.shops.by_id(claimed.shop_id)
        if claimed.order_ref and not claimed.progress:  # a finished order is shown as it was sent
            with database.transaction() as session:
                stores.orders.write_change(session, shop, claimed.order_ref, receipt_sent_at=None)
        courier.attempt(claimed, shop)
        event, timeline = desk.show(event_id)
        return Previewed(tuple(rehearsal.calls), event, tuple(timeline[seen:]))
