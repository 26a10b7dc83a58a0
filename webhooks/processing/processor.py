"""One try at one event, and what becomes of the event after it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import NamedTuple

from plugin.engage.client import EngageClient
from plugin.engage.operations import Priority
from plugin.engage.retry import GiveUp, RetryPolicy
from plugin.errors import (
    AwaitingFileImport,
    ConfigurationError,
    DependencyNotReady,
    EngageError,
    EventIgnored,
    LeaseLostError,
    ParkedError,
    PayloadError,
    TransientError,
    UnauthorisedError,
    WaitsForFileError,
    describe_unexpected,
)
from plugin.event_kinds import BLOCKING_KINDS, COMPLIANCE_KINDS
from plugin.platforms.base import Delivery
from plugin.platforms.internal_events import INTERNAL_TOPICS
from plugin.platforms.registry import PLATFORMS
from plugin.store.inbox.claiming import Claimed
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.inbox import State
from webhooks.attempt.context import Context, Origin, Stores, error_code
from webhooks.attempt.enrichment import enrich_delivery
from webhooks.attempt.mapping import map_body
from webhooks.handlers import HANDLERS

log = logging.getLogger(__name__)
#: How long events of a shop wait that cannot be opened, for somebody to mend it.
UNOPENED_WAIT = timedelta(minutes=5)


class AttemptResult(NamedTuple):
    """How a try ended. code: the short stable word of what was wrong, None where nothing was."""

    outcome: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class EventProcessor:
    """Takes due events one by one. Safe to use from several threads.

    client_for: gives a shop's Engage client. breaker_open_duration: how long the breaker of a shop's key was open in all.
    count: told (shop, outcome) of each try. purge_cache: deletes what My Pages keep of a contact, see Context.
    enrich: whether what a webhook leaves out is read from the shop.
    """

    stores: Stores
    client_for: Callable[[RegisteredShop], EngageClient]
    breaker_open_duration: Callable[[RegisteredShop], timedelta]
    retry_base_s: float
    lease: timedelta
    clock: Callable[[], datetime]
    jitter: Callable[[], float]
    count: Callable[[str, str], None]
    purge_cache: Callable[[RegisteredShop, str], bool] = lambda _shop, _contact_id: True
    enrich: bool = True

    def claim(self, most: int = 1, *, live_first: bool = True) -> list[Claimed]:
        """Take up to `most` due events of different customers."""
        return self.stores.inbox.claim_many(self.clock(), self.lease, most, live_first=live_first)

    def more_is_due(self) -> bool:
        """Tell whether any event is due."""
        return self.stores.inbox.more_is_due(self.clock())

    def work(self, claimed: Claimed) -> str:
        """Try one claimed event and return what became of the try."""
        started = monotonic()
        try:
            shop = self.stores.shops.by_id(claimed.shop_id)
        except ConfigurationError as error:
            return self._defer_unreadable_shop(claimed, error)
        try:
            ended = self.attempt(claimed, shop)
        except LeaseLostError as error:
            ended = AttemptResult("lease lost")
            log.warning("event=%d shop=%s %s", claimed.id, shop.name, error)
        self.count(shop.name, ended.outcome)
        log.info(
            "event=%d shop=%s topic=%s attempt=%d outcome=%s%s duration_ms=%d",
            claimed.id,
            shop.name,
            claimed.topic,
            claimed.attempts,
            ended.outcome,
            "" if ended.code is None else f" code={ended.code}",
            round((monotonic() - started) * 1000),
        )
        return ended.outcome

    def _defer_unreadable_shop(self, claimed: Claimed, error: ConfigurationError) -> str:
        """Put back an event whose shop's secrets or settings cannot be read now: that is not the event's fault."""
        log.error("event=%d %s", claimed.id, error)
        at = self.clock() + UNOPENED_WAIT
        try:
            self.stores.inbox.retry_later(claimed, at, error=str(error), error_code="configuration", counts=False)
        except LeaseLostError as lost:
            log.warning("event=%d %s", claimed.id, lost)
        return "held back"

    def attempt(self, claimed: Claimed, shop: RegisteredShop) -> AttemptResult:
        """Try one claimed event, store what became of it and return that. Raises LeaseLostError."""
        context = Context(claimed, shop, self.client_for(shop), self.stores, self.clock, self.lease)
        priority = Priority.BACKFILL if context.origin is Origin.BACKFILL else None
        context.client = context.client.with_options(
            observer=context.observe, priority=priority, ensure_lease=context.ensure_lease
        )
        context.purge_cache = lambda contact_id: self.purge_cache(shop, contact_id)
        try:
            return self._handle(context)
        except LeaseLostError:
            raise
        except EventIgnored as error:
            return self._finish(context, State.IGNORED, error, "not_for_us")
        except AwaitingFileImport as error:
            return self._finish(context, State.SPOOLED, error, "in_file")
        except PayloadError as error:
            return self._finish(context, State.PARKED, error, f"payload:{error.field or 'body'}")
        except ParkedError as error:
            return self._finish(
                context, State.PARKED, error, error.code, blocks_later_changes=error.blocks_later_changes
            )
        except UnauthorisedError as error:
            self.stores.shops.stop(context.shop.id, str(error))
            log.error("shop=%s deliveries stopped: %s", context.shop.name, error)
            if claimed.kind in COMPLIANCE_KINDS:  # it is not stopped with the shop, and would call again at once
                return self._schedule_retry(context, error)
            return self._requeue(context, context.now(), error, counts=False)
        except (TransientError, DependencyNotReady) as error:
            return self._schedule_retry(context, error)
        except EngageError as error:
            return self._finish(context, State.PARKED, error, error_code(error))
        except ConfigurationError as error:
            return self._finish(context, State.PARKED, error, "configuration")
        except Exception as error:  # noqa: BLE001 - a fault of ours: the event is kept and tried again, then parked
            what = describe_unexpected(error)
            log.error("event=%d shop=%s %s", context.claimed.id, context.shop.name, what)
            fault = f"{what[0].upper()}{what[1:]}; this is a fault of the plugin."
            return self._schedule_retry(context, TransientError(fault, code=f"unexpected:{type(error).__name__}"))

    def _handle(self, context: Context) -> AttemptResult:
        claimed = context.claimed
        delivery = Delivery(topic=claimed.topic, meta=claimed.meta)
        if claimed.topic not in INTERNAL_TOPICS:
            delivery = enrich_delivery(context, PLATFORMS[claimed.platform], delivery, ask=self.enrich)
        mapped = map_body(context.shop, delivery, claimed.body, claimed.received_at, platform=claimed.platform)
        if claimed.attempts == 1 and mapped.events:
            context.note("mapped", ", ".join(type(event).__name__ for event in mapped.events))
        for remark in mapped.notes:
            context.note("map", remark)
        if not mapped.events:
            raise EventIgnored(mapped.ignored or "nothing in it is for us")
        reasons = []
        for position, event in enumerate(mapped.events):
            context.step_prefix = f"{position}:" if len(mapped.events) > 1 else ""
            try:
                HANDLERS[type(event)](context, event)
            except EventIgnored as error:
                reasons.append(str(error))
        if len(reasons) == len(mapped.events):
            raise EventIgnored("; ".join(reasons))
        return self._finish(context, State.DELIVERED, None, None)

    def _schedule_retry(
        self, context: Context, error: TransientError | DependencyNotReady | UnauthorisedError
    ) -> AttemptResult:
        settings = context.shop.settings
        not_yet = isinstance(error, DependencyNotReady)
        give_up_after = (
            timedelta(seconds=settings.order_wait_s)
            if not_yet and not isinstance(error, WaitsForFileError)
            else timedelta(hours=settings.give_up_after_h)
        )
        policy = RetryPolicy(self.retry_base_s, give_up_after, self.jitter)
        open_before = timedelta(seconds=context.claimed.progress.setdefault("breaker_open_s", self._open_s(context)))
        decision = policy.decide(
            error,
            attempts=context.claimed.attempts,
            first_attempt_at=context.claimed.first_attempt_at,
            now=context.now(),
            breaker_open=max(self.breaker_open_duration(context.shop) - open_before, timedelta()),
        )
        if isinstance(decision, GiveUp):
            return self._finish(context, State.PARKED, decision.reason, f"gave_up:{error_code(error)}")
        return self._requeue(context, decision.at, error, counts=decision.counts, non_blocking=not_yet)

    def _open_s(self, context: Context) -> float:
        return self.breaker_open_duration(context.shop).total_seconds()

    def _requeue(
        self, context: Context, at: datetime, error: Exception, *, counts: bool, non_blocking: bool = False
    ) -> AttemptResult:
        if counts:
            context.note("retry", f"next try {at:%Y-%m-%d %H:%M:%S} UTC: {error}")
        self.stores.inbox.retry_later(
            context.claimed,
            at,
            error=str(error),
            error_code=error_code(error),
            entries=context.entries,
            writes=context.writes,
            counts=counts,
            non_blocking=non_blocking,
        )
        return AttemptResult("retry" if counts else "held back", error_code(error))

    def _finish(
        self,
        context: Context,
        state: State,
        error: Exception | str | None,
        code: str | None,
        *,
        blocks_later_changes: bool = True,
    ) -> AttemptResult:
        claimed = context.claimed
        if error is not None:
            context.note(state.value, str(error))
        self.stores.inbox.finish(
            claimed,
            state,
            context.now(),
            entries=context.entries,
            writes=context.writes,
            error=None if error is None else str(error),
            error_code=code,
            blocks_later_changes=blocks_later_changes
            and context.shop.settings.parked_hold_contacts
            and claimed.kind in BLOCKING_KINDS,
        )
        return AttemptResult(state.value, code)
