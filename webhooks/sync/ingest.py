"""Resources read from the shop's API, or from a file of its history, go through the same inbox as its webhooks."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from plugin.event_kinds import EventKind
from plugin.platforms.base import Delivery
from plugin.platforms.registry import PLATFORMS
from plugin.platforms.shop_api import PolledResource
from plugin.store.inbox.claiming import LIVE
from plugin.store.inbox.inbox import NewEvent
from plugin.store.shops.shops import RegisteredShop
from plugin.store.sync.known_orders import KnownOrder
from plugin.store.tables.inbox import State
from webhooks.attempt.context import FORCE_RESEND, ORIGIN, Origin, Stores
from webhooks.receiving.new_event import new_event

#: States in which an event is on its way, or waits for a person who will see it.
UNDER_WAY = frozenset({State.PENDING, State.LEASED, State.PARKED, State.SPOOLED})
#: Kinds that are looked up by their order.
ORDER_KINDS = frozenset({EventKind.ORDER_PAID, EventKind.REFUND, EventKind.CANCELLATION})


class IngestOutcome(StrEnum):
    """What became of a found resource."""

    STORED = "stored"
    KNOWN = "known"
    NOT_FOR_US = "not_for_us"


@dataclass(frozen=True, slots=True)
class ResourceIngestor:
    """Puts found resources into the inbox, those that it does not know.

    wake: told the id of each stored event after its commit.
    """

    stores: Stores
    wake: Callable[[int], None]

    def take(
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

        run: keeps the events of one run apart from those of others. again: what was sent before is sent once more.
        Raises VerificationError for a topic that is none.
        """
        events = [self._event(shop, resource, origin, now, run, again=again) for resource in resources]
        wanted = [event for event in events if event.state is State.PENDING]
        accepted = self.stores.inbox.accept_many(wanted) if wanted else []
        fates = iter(accepted)
        result = []
        for event in events:
            if event.state is not State.PENDING:
                result.append(IngestOutcome.NOT_FOR_US)
                continue
            one = next(fates)
            if not one.duplicate or one.requeued:
                self.wake(one.event_id)
            result.append(IngestOutcome.KNOWN if one.duplicate else IngestOutcome.STORED)
        return result

    def _event(
        self, shop: RegisteredShop, resource: PolledResource, origin: Origin, now: datetime, run: str, *, again: bool
    ) -> NewEvent:
        meta = {**resource.meta, ORIGIN: origin.value, **({FORCE_RESEND: "yes"} if again else {})}
        delivery = Delivery(topic=resource.topic, delivery_id=identity_of(resource, origin, run), meta=meta)
        # history counts as backlog from its first moment, so that live events go before it
        received_at = now - LIVE - timedelta(seconds=1) if origin is Origin.BACKFILL else now
        platform = PLATFORMS[resource.platform or shop.platform]
        return new_event(self.stores.inbox, self.stores.vault, shop, platform, delivery, resource.body, received_at)


def identity_of(resource: PolledResource, origin: Origin, run: str) -> str:
    """Return the dedupe key of a found resource: one state of one resource is taken once an origin and run."""
    words = f"{resource.topic}\0{resource.resource_id}\0{resource.changed_at.isoformat()}"
    return f"{origin.value}:{run}:{hashlib.sha256(words.encode()).hexdigest()[:40]}"


def is_known(resource: PolledResource, order_id: str | None, known: KnownOrder | None) -> bool:
    """Tell whether the inbox has this order, refund or cancellation already, so that it need not come again."""
    if known is None or order_id is None:
        return False
    if resource.kind is EventKind.REFUND:
        return resource.resource_id in known.refunds_sent  # another refund of the order may be under way
    if resource.kind is EventKind.ORDER_PAID:
        return known.receipt_sent or known.without_contact or bool(UNDER_WAY.intersection(known.paid_states))
    if resource.kind is EventKind.CANCELLATION:
        return known.ended or known.without_contact  # an order that was paid again has not ended
    return False


def order_id_of(shop: RegisteredShop, resource: PolledResource) -> str | None:
    """Return the id of the order that a found order, refund or cancellation is of."""
    if resource.kind not in ORDER_KINDS:
        return None
    return PLATFORMS[resource.platform or shop.platform].peek(resource.topic, resource.body).order_id
