"""Which pending events may go into files, in which order.

An order or refund may go when its contact is known. A customer's receipts stay in their order, and a signup, merge or
erasure in front of them holds them back; changes of the contact do not, because a receipt names its contact by contactId
alone. Everything else waits for the API, where the handlers process it as usual.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from plugin.engage_files.names import FileKind
from plugin.engage_files.rows import Row, row_of
from plugin.errors import PayloadError, describe_unexpected
from plugin.event_kinds import EventKind
from plugin.events import Event
from plugin.platforms.base import Delivery
from plugin.store.files.rows import PendingEvent, Spooled
from plugin.store.shops.shops import RegisteredShop
from webhooks.attempt.context import FORCE_RESEND, ORIGIN, Origin
from webhooks.attempt.mapping import map_body
from webhooks.attempt.progress import Progress
from webhooks.attempt.runtime import DeliveryRuntime
from webhooks.fallback.contents import FileContents, NotEligible

log = logging.getLogger(__name__)

RECEIPT_KINDS = (EventKind.ORDER_PAID, EventKind.REFUND)
#: Kinds that do not hold back a later receipt: they change the contact, not which contact it is.
NON_BLOCKING_KINDS = frozenset(
    {
        EventKind.PROFILE_CHANGE,
        EventKind.PROFILE_EDIT,
        EventKind.CONSENT,
        EventKind.DATA_REQUEST,
        EventKind.CANCELLATION,
    }
)
#: How long an event that cannot go into a file waits before it is planned again.
REPLAN_AFTER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Planned:
    """An event that may go into files. rows: ready to be written, by their key; lines: those of its first row."""

    spooled: Spooled
    rows: Mapping[str, Row]
    lines: int


class Planner:
    """Plans the pending events of one shop.

    retry_at_by_event: filled with when to plan an event again that cannot go now.
    """

    def __init__(
        self,
        runtime: DeliveryRuntime,
        shop: RegisteredShop,
        now: datetime,
        retry_at_by_event: dict[int, datetime],
    ) -> None:
        self._shop, self._now, self._retry_at_by_event = shop, now, retry_at_by_event
        self._contents = FileContents(runtime, shop, now)

    def receipts(self, ordering_key: str, events: Sequence[PendingEvent]) -> Iterator[Planned]:
        """Yield a customer's orders and refunds that may go now, in their order."""
        for event in events:
            if event.non_blocking or event.state == "parked" or event.kind in NON_BLOCKING_KINDS:
                if event.state == "pending" and event.non_blocking and event.kind in RECEIPT_KINDS:
                    yield from self._try_plan(ordering_key, event)
                continue
            if event.kind not in RECEIPT_KINDS or event.state != "pending":
                return
            planned = list(self._try_plan(ordering_key, event))
            if not planned:
                return
            yield from planned

    def contacts(self, ordering_key: str, events: Sequence[PendingEvent]) -> Iterator[Planned]:
        """Yield a customer's profile changes that may go now, in their order."""
        for event in events:
            if event.state == "parked" and event.blocks_later_changes:
                return
            if event.non_blocking or event.kind in {*RECEIPT_KINDS, EventKind.CANCELLATION, EventKind.DATA_REQUEST}:
                continue
            if event.kind != EventKind.PROFILE_CHANGE or event.state != "pending":
                return
            planned = list(self._try_plan(ordering_key, event))
            if not planned:
                return
            yield from planned

    def _try_plan(self, ordering_key: str, event: PendingEvent) -> Iterator[Planned]:
        """Yield the planned event, or nothing when it waits for the API."""
        try:
            planned = self._plan(ordering_key, event)
        except (NotEligible, PayloadError) as error:
            retry_at = error.retry_at if isinstance(error, NotEligible) else None
            self._retry_at_by_event[event.id] = retry_at or self._now + REPLAN_AFTER
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours with one event must not keep the others out of files
            log.error("event=%d waits for the API: %s while it was planned", event.id, describe_unexpected(error))
            self._retry_at_by_event[event.id] = self._now + REPLAN_AFTER
        else:
            yield planned

    def _plan(self, ordering_key: str, pending: PendingEvent) -> Planned:
        spooled = self._contents.build(ordering_key, pending, self._map(pending))
        rows = {entry.key: row_of(FileKind(entry.kind), entry.body) for entry in spooled.entries}
        self._contents.mark_planned(spooled)
        return Planned(spooled, rows, rows[spooled.entries[0].key].lines)

    def _map(self, pending: PendingEvent) -> Event:
        progress = Progress(pending.progress)
        if pending.body is None or progress.receipt or progress.filed:
            raise NotEligible  # only the API can do what is left of it
        if FORCE_RESEND in pending.meta or pending.meta.get(ORIGIN, Origin.WEBHOOK) == Origin.BACKFILL:
            raise NotEligible  # the backfill writes its own files, and a forced resend was sent before
        delivery = Delivery(topic=pending.topic, meta=pending.meta)
        events = map_body(self._shop, delivery, pending.body, pending.received_at, platform=pending.platform).events
        if len(events) != 1:
            raise NotEligible
        return events[0]
