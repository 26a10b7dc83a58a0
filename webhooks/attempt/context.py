"""What a handler works with: the shop, its Engage client, the store, and the progress of the event at hand."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from plugin.engage.client import EngageClient
from plugin.engage.http.transport import CallRecord
from plugin.errors import LeaseLostError, ThrottledError
from plugin.store.contacts.consent_ledger import ConsentLedger
from plugin.store.contacts.links import ContactLinks
from plugin.store.contacts.sync_state import SyncStates
from plugin.store.database.engine import Database
from plugin.store.files.spooled_events import FallbackInbox
from plugin.store.inbox.claiming import Claimed
from plugin.store.inbox.inbox import Inbox
from plugin.store.inbox.progress_writes import NewTimelineEntry, Write
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

log = logging.getLogger(__name__)


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


class Origin(StrEnum):
    """Where an event comes from, kept in its row's meta under ORIGIN.

    Only the shop's own webhook may raise a consent: what is found later says what the shop holds, not what the shopper
    said just now. History (BACKFILL) tells of the past: it redeems nothing and changes no newer data.
    """

    WEBHOOK = "webhook"
    POLL = "poll"
    RECONCILE = "reconcile"
    BACKFILL = "backfill"


#: How long an event waits for another one that changes the same contact.
BUSY_WAIT = timedelta(seconds=1)
ORIGIN = "origin"
#: In meta: Engage does not have the receipt although it was sent; send it again under the same id.
FORCE_RESEND = "again"


@dataclass(slots=True)
class Context:
    """One try at one event. Steps that are done stay done over crashes and retries.

    purge_cache: deletes what My Pages keep of a contact from the cache itself; False when that cannot be reached now.
    """

    claimed: Claimed
    shop: RegisteredShop
    client: EngageClient
    stores: Stores
    clock: Callable[[], datetime]
    lease: timedelta
    entries: list[NewTimelineEntry] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    step_prefix: str = ""
    purge_cache: Callable[[str], bool] = lambda _contact_id: True
    _ours_until: datetime = field(init=False)
    _alone_with: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._ours_until = self.claimed.lease_expires_at

    @property
    def origin(self) -> Origin:
        """Where the event comes from: the shop's own webhook, or a later look at the shop."""
        return Origin(self.claimed.meta.get(ORIGIN, Origin.WEBHOOK))

    def now(self) -> datetime:
        """Return the present time, aware UTC."""
        return self.clock()

    def get_step(self, step: str) -> Any:
        """Return what an earlier try stored for a step, or None."""
        return self.claimed.progress.get(self.step_prefix + step)

    def complete_step(self, step: str, value: Any = True) -> None:
        """Store that a step is done, with what the next step needs (JSON), and prolong the lease.

        Raises LeaseLostError, so that a worker which slept past its lease goes no further.
        """
        self.claimed.progress[self.step_prefix + step] = value
        self.save()

    def save(self) -> None:
        """Store progress and the timeline so far, and prolong the lease. Raises LeaseLostError."""
        now = self.now()
        self.stores.inbox.save_progress(self.claimed, self.entries, now, self.lease, self.writes)
        self._ours_until = now + self.lease
        self.entries.clear()
        self.writes.clear()
        self._alone_with.clear()  # given back in the same commit

    def ensure_lease(self) -> None:
        """Raise LeaseLostError when the lease is over by the clock: another worker may be further than this one knows."""
        if self.now() >= self._ours_until:
            raise LeaseLostError(f"The lease of event {self.claimed.id} ended while this worker waited; it stops here.")

    def on_commit(self, write: Write) -> None:
        """Store something with the next step that is stored, at the latest with the end of the try.

        For what follows from a call that may be repeated: a crash before it makes the call again, and then this.
        """
        self.writes.append(write)

    def lock_contact(self, contact_id: str) -> bool:
        """Keep others from changing a contact until what follows is stored; False where this event does so already.

        Several customers and guests, each with an order of events of their own, may be one contact: what was read
        before may be old, and is to be read again. Raises HeldBackError while another event changes the contact, and
        LeaseLostError.
        """
        if contact_id in self._alone_with:
            return False
        self.ensure_lease()  # whoever lost the event takes no lease that hinders its new worker
        locks, name = self.stores.locks, f"change:{self.shop.tenant}:{contact_id}"
        token = locks.acquire(name, self.now(), self.lease)
        if token is None:
            reason = "Another event changes this contact just now."
            raise ThrottledError(reason, operation="lease", retry_after=BUSY_WAIT, sent=False)
        self._alone_with.add(contact_id)
        self.on_commit(locks.release_write(name, token))
        return True

    def note(self, step: str, text: str) -> None:
        """Add a remark to the event's timeline, without personal data."""
        self.entries.append(NewTimelineEntry(at=self.now(), operation=step, outcome=text))

    def observe(self, call: CallRecord) -> None:
        """Add a call to Engage to the event's timeline, and to the log."""
        log.info(
            "event=%d shop=%s step=%s status=%s duration_ms=%d",
            self.claimed.id,
            self.shop.name,
            call.operation,
            call.status,
            round(call.duration_s * 1000),
        )
        self.entries.append(
            NewTimelineEntry(
                at=call.at,
                operation=call.operation,
                outcome=call.outcome,
                sent=call.sent,
                status=call.status,
                duration_ms=round(call.duration_s * 1000),
            )
        )

    def digest(self, value: object) -> str:
        """Return a keyed hash of a value, for comparing with what was sent before."""
        return self.stores.vault.digest_of(value)


def error_code(error: Exception) -> str:
    """Return a short stable word for an error, the same for the same kind of fault."""
    code = getattr(error, "code", None)
    if code:
        return str(code)[:128]
    field_name = getattr(error, "field", None)
    status = getattr(error, "status", None)
    operation = getattr(error, "operation", None)
    parts = [type(error).__name__.removesuffix("Error"), operation, str(status) if status else None, field_name]
    return ":".join(part for part in parts if part)[:128]


Handler = Callable[[Context, Any], None]
Handlers = Mapping[type[Any], Handler]
