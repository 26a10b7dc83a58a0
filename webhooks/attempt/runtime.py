"""What every part that takes data to Engage works with: the stores, Engage's clients, the clock and the leases."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from plugin.engage.client import EngageClient
from plugin.store.contacts.consent_ledger import ConsentLedger
from plugin.store.contacts.links import ContactLinks
from plugin.store.contacts.sync_state import SyncStates
from plugin.store.database.engine import Database
from plugin.store.files.spooled_events import FallbackInbox
from plugin.store.inbox.inbox import Inbox
from plugin.store.locks import NamedLocks
from plugin.store.orders.orders import Orders
from plugin.store.orders.redemptions import Redemptions
from plugin.store.privacy.person_erasure import Erasures
from plugin.store.privacy.shop_erasure import ShopErasures
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import RegisteredShop
from plugin.store.shops.vault import Vault
from plugin.store.sync.backfill_runs import BackfillRuns
from plugin.store.sync.known_orders import KnownOrders
from plugin.store.sync.monitor import ShopMonitorStore
from plugin.store.sync.reconciliations import Reconciliations


@dataclass(frozen=True, slots=True)
class Stores:
    """Everything of `plugin.store` that processing needs."""

    inbox: Inbox
    shops: Shops
    links: ContactLinks
    sync_states: SyncStates
    consents: ConsentLedger
    locks: NamedLocks
    orders: Orders
    redemptions: Redemptions
    erasures: Erasures
    spooled_events: FallbackInbox
    shop_erasures: ShopErasures
    shop_monitors: ShopMonitorStore
    backfill_runs: BackfillRuns
    reconciliations: Reconciliations
    known_orders: KnownOrders
    vault: Vault

    @classmethod
    def on(cls, database: Database, vault: Vault) -> Self:
        """Return the stores of one database."""
        return cls(
            inbox=Inbox(database),
            shops=Shops(database, vault),
            links=ContactLinks(database),
            sync_states=SyncStates(database),
            consents=ConsentLedger(database),
            locks=NamedLocks(database),
            orders=Orders(database),
            redemptions=Redemptions(database),
            erasures=Erasures(database),
            spooled_events=FallbackInbox(database),
            shop_erasures=ShopErasures(database),
            shop_monitors=ShopMonitorStore(database),
            backfill_runs=BackfillRuns(database),
            reconciliations=Reconciliations(database),
            known_orders=KnownOrders(database),
            vault=vault,
        )


@dataclass(frozen=True, slots=True)
class DeliveryRuntime:
    """Built once per process by `plugin.services` and shared by all threads.

    lease: how long a worker holds an event without a sign of life. retry_base_s: the unit of all retry waits, in seconds.
    pause: waits for a number of seconds and returns whether this process is to stop.
    """

    stores: Stores
    client_for: Callable[[RegisteredShop], EngageClient]
    clock: Callable[[], datetime]
    lease: timedelta
    retry_base_s: float
    pause: Callable[[float], bool]

    def digest(self, value: object) -> str:
        """Return the keyed hash of a value, for comparing with what was sent before."""
        return self.stores.vault.digest_of(value)
