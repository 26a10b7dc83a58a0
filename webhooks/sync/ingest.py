"""Resources read from a shop's API, or from a file of its history, go through the same inbox as its webhooks."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import TypeVar

from plugin.event_kinds import EventKind
from plugin.platforms.base import Delivery
from plugin.platforms.registry import PLATFORMS
from plugin.platforms.shop_api import PolledResource
from plugin.store.inbox.claiming import LIVE
from plugin.store.inbox.inbox import NewEvent
from plugin.store.shops.shops import RegisteredShop
from plugin.store.sync.known_orders import KnownOrder
from plugin.store.tables.inbox import State
from webhooks.attempt.context import FORCE_RESEND, ORIGIN, Origin
from webhooks.attempt.runtime import Stores
from webhooks.receiving.new_event import new_event

T = TypeVar("T")
#: States of an event that is still being processed, or waits for a person.
UNDER_WAY = frozenset({State.PENDING, State.LEASED, State.PARKED, State.SPOOLED})
#: Kinds of resources that belong to an order.
ORDER_KINDS = frozenset({EventKind.ORDER_PAID, EventKind.REFUND, EventKind.CANCELLATION})


class IngestOutcome(StrEnum):
    """What became of a resource."""

    STORED = "stored"
    KNOWN = "known"
    NOT_FOR_US = "not_for_us"


@dataclass(frozen=True, slots=True)
class ResourceIngestor:
    """Puts resources into the inbox that are not in it yet.

    wake: called with the id of each stored event after its commit.
    """

    stores: Stores
    wake: Callable[[int], None]

    def ingest(
        self,
        shop: RegisteredShop,
        resources: Sequence[PolledResource],
        origin: Origin,
        now: datetime,
        *,
        run: str = "",
        again: bool = False,
    ) -> list[IngestOutcome]:
        """Store resources in one commit and return what became of each.

        run: distinguishes the events of one run from those of others. again: send again what was sent before.
        Raises VerificationError for a malformed topic.
        """
        events = [self._event(shop, resource, origin, now, run, again=again) for resource in resources]
        pending = [event for event in events if event.state is State.PENDING]
        results = iter(self.stores.inbox.accept_many(pending) if pending else [])
        outcomes = []
        for event in events:
            if event.state is not State.PENDING:
                outcomes.append(IngestOutcome.NOT_FOR_US)
                continue
            result = next(results)
            if not result.duplicate or result.requeued:
                self.wake(result.event_id)
            outcomes.append(IngestOutcome.KNOWN if result.duplicate else IngestOutcome.STORED)
        return outcomes

    def without_known(self, shop: RegisteredShop, resources: Sequence[PolledResource]) -> list[PolledResource]:
        """Return those orders, refunds and cancellations that are neither processed nor under way."""
        order_ids = [order_id_of(shop, resource) for resource in resources]
        known = self.stores.known_orders.find(shop, sorted({order_id for order_id in order_ids if order_id}))
        return [
            resource
            for resource, order_id in zip(resources, order_ids, strict=True)
            if not is_known(resource, order_id, known.get(order_id) if order_id else None)
        ]

    def _event(
        self, shop: RegisteredShop, resource: PolledResource, origin: Origin, now: datetime, run: str, *, again: bool
    ) -> NewEvent:
        meta = {**resource.meta, ORIGIN: origin.value, **({FORCE_RESEND: "yes"} if again else {})}
        delivery = Delivery(topic=resource.topic, delivery_id=dedupe_id(resource, origin, run), meta=meta)
        # history counts as backlog from the start, so that live events go before it
        received_at = now - LIVE - timedelta(seconds=1) if origin is Origin.BACKFILL else now
        platform = PLATFORMS[resource.platform or shop.platform]
        return new_event(self.stores.inbox, self.stores.vault, shop, platform, delivery, resource.body, received_at)


def dedupe_id(resource: PolledResource, origin: Origin, run: str) -> str:
    """Return the dedupe key of a resource: each of its states is stored once per origin and run."""
    text = f"{resource.topic}\0{resource.resource_id}\0{resource.changed_at.isoformat()}"
    return f"{origin.value}:{run}:{hashlib.sha256(text.encode()).hexdigest()[:40]}"


def is_known(resource: PolledResource, order_id: str | None, known: KnownOrder | None) -> bool:
    """Return whether an order, refund or cancellation was processed or is in the inbox, so that it need not be stored."""
    if known is None or order_id is None:
        return False
    if resource.kind is EventKind.REFUND:
        return resource.resource_id in known.refunds_sent  # another refund of the order may be under way
    if resource.kind is EventKind.ORDER_PAID:
        return known.receipt_sent or known.without_contact or bool(UNDER_WAY.intersection(known.paid_states))
    if resource.kind is EventKind.CANCELLATION:
        return known.ended or known.without_contact  # an order that was paid again is not ended
    return False


def order_id_of(shop: RegisteredShop, resource: PolledResource) -> str | None:
    """Return the id of the order that an order, refund or cancellation is about; None for other kinds."""
    if resource.kind not in ORDER_KINDS:
        return None
    return PLATFORMS[resource.platform or shop.platform].peek(resource.topic, resource.body).order_id


def pages(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut a stream into lists of at most `size`."""
    stream = iter(rows)
    while page := list(islice(stream, size)):
        yield page
