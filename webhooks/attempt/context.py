"""What a handler works with: the event, its shop, the shop's Engage client, the stores, and what is stored at the end."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from plugin.engage.client import EngageClient
from plugin.engage.operations import Priority
from plugin.store.inbox.claiming import Claimed
from plugin.store.inbox.progress_writes import Write
from plugin.store.shops.shops import RegisteredShop
from webhooks.attempt.journal import Journal
from webhooks.attempt.progress import Progress
from webhooks.attempt.runtime import DeliveryRuntime, Stores


class Origin(StrEnum):
    """Where an event comes from, stored in its row's meta under ORIGIN.

    Only the shop's own webhook may raise a consent: what is read later shows the state of the shop, not what the shopper
    said just now. History (BACKFILL) redeems nothing and changes no newer data.
    """

    WEBHOOK = "webhook"
    POLL = "poll"
    RECONCILE = "reconcile"
    BACKFILL = "backfill"


ORIGIN = "origin"
#: In meta: Engage does not have the receipt although it was sent; send it again under the same id.
FORCE_RESEND = "again"


@dataclass(frozen=True, slots=True)
class Context:
    """One attempt at one event. Only `journal` and `progress` change while it runs.

    purge_cache: deletes what My Pages cached of a contact; returns False when the cache cannot be reached now.
    """

    claimed: Claimed
    shop: RegisteredShop
    client: EngageClient
    runtime: DeliveryRuntime
    journal: Journal
    progress: Progress
    purge_cache: Callable[[str], bool]

    @classmethod
    def begin(
        cls,
        runtime: DeliveryRuntime,
        claimed: Claimed,
        shop: RegisteredShop,
        purge_cache: Callable[[RegisteredShop, str], bool],
    ) -> Self:
        """Return the context of an attempt that begins now."""
        journal = Journal(runtime, claimed, shop)
        priority = Priority.BACKFILL if origin_of(claimed) is Origin.BACKFILL else None
        client = runtime.client_for(shop).with_options(
            observer=journal.observe, priority=priority, ensure_lease=journal.ensure_lease
        )
        return cls(
            claimed=claimed,
            shop=shop,
            client=client,
            runtime=runtime,
            journal=journal,
            progress=Progress(claimed.progress),
            purge_cache=lambda contact_id: purge_cache(shop, contact_id),
        )

    def part(self, position: int) -> Self:
        """Return the context for one of several events that a body means, whose steps are stored apart."""
        return replace(self, progress=self.progress.part(position))

    @property
    def stores(self) -> Stores:
        """The stores."""
        return self.runtime.stores

    @property
    def lease(self) -> timedelta:
        """How long a lease lasts."""
        return self.runtime.lease

    @property
    def origin(self) -> Origin:
        """Where the event comes from."""
        return origin_of(self.claimed)

    @property
    def resend(self) -> bool:
        """Whether a receipt is to be sent although it was sent before: a reconciliation misses it in Engage."""
        return FORCE_RESEND in self.claimed.meta

    def now(self) -> datetime:
        """Return the present time, aware UTC."""
        return self.runtime.clock()

    def waited(self) -> timedelta:
        """Return the time since the event was received."""
        return self.now() - self.claimed.received_at

    def digest(self, value: object) -> str:
        """Return the keyed hash of a value, for comparing with what was sent before."""
        return self.runtime.digest(value)

    def note(self, step: str, text: str) -> None:
        """See `Journal.note`."""
        self.journal.note(step, text)

    def on_commit(self, write: Write) -> None:
        """See `Journal.on_commit`."""
        self.journal.on_commit(write)

    def save(self) -> None:
        """See `Journal.save`."""
        self.journal.save()

    def lock_contact(self, contact_id: str) -> bool:
        """See `Journal.lock_contact`."""
        return self.journal.lock_contact(contact_id)


def origin_of(claimed: Claimed) -> Origin:
    """Return where an event comes from."""
    return Origin(claimed.meta.get(ORIGIN, Origin.WEBHOOK))
