"""One attempt at one event: mapped, handled, and what becomes of the event after it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import NamedTuple

from plugin.errors import (
    ConfigurationError,
    EngageError,
    LeaseLostError,
    PayloadError,
    ThrottledError,
    TransientError,
    UnauthorisedError,
    describe_unexpected,
    error_code,
)
from plugin.event_kinds import BLOCKING_KINDS, COMPLIANCE_KINDS
from plugin.platforms.base import Delivery
from plugin.platforms.internal_events import INTERNAL_TOPICS
from plugin.platforms.registry import PLATFORMS
from plugin.retry import UNREADABLE_SHOP_WAIT, GiveUp, RetryPolicy, TryAgain
from plugin.store.inbox.claiming import Claimed
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.inbox import State
from webhooks.attempt.context import Context
from webhooks.attempt.enrichment import enrich_delivery
from webhooks.attempt.mapping import map_body
from webhooks.attempt.outcomes import DELIVERED, Delivered, Ignored, InFile, Outcome, Parked, Waiting
from webhooks.attempt.runtime import DeliveryRuntime
from webhooks.handlers import HANDLERS

log = logging.getLogger(__name__)


class AttemptResult(NamedTuple):
    """How an attempt ended. code: the short stable word of what was wrong, None where nothing was."""

    outcome: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class EventProcessor:
    """Processes due events one by one. Safe to use from several threads.

    breaker_open_duration: how long the circuit breaker of a shop's key has been open in total. jitter: see `RetryPolicy`.
    count: called with shop and outcome of each attempt. purge_cache: deletes what My Pages cached of a contact, see
    `Context`. enrich: whether what a webhook leaves out is read from the shop.
    """

    runtime: DeliveryRuntime
    breaker_open_duration: Callable[[RegisteredShop], timedelta]
    jitter: Callable[[], float]
    count: Callable[[str, str], None]
    purge_cache: Callable[[RegisteredShop, str], bool] = lambda _shop, _contact_id: True
    enrich: bool = True

    def claim(self, limit: int = 1, *, live_first: bool = True) -> list[Claimed]:
        """Claim up to `limit` due events of different customers."""
        runtime = self.runtime
        return runtime.stores.inbox.claim_many(runtime.clock(), runtime.lease, limit, live_first=live_first)

    def more_is_due(self) -> bool:
        """Return whether any event is due."""
        return self.runtime.stores.inbox.more_is_due(self.runtime.clock())

    def work(self, claimed: Claimed) -> str:
        """Process one claimed event and return the outcome of the attempt."""
        started = monotonic()
        try:
            shop = self.runtime.stores.shops.by_id(claimed.shop_id)
        except ConfigurationError as error:
            return self._defer_unreadable_shop(claimed, error)
        try:
            result = self.attempt(claimed, shop)
        except LeaseLostError as error:
            result = AttemptResult("lease lost")
            log.warning("event=%d shop=%s %s", claimed.id, shop.name, error)
        self.count(shop.name, result.outcome)
        log.info(
            "event=%d shop=%s topic=%s attempt=%d outcome=%s%s duration_ms=%d",
            claimed.id,
            shop.name,
            claimed.topic,
            claimed.attempts,
            result.outcome,
            "" if result.code is None else f" code={result.code}",
            round((monotonic() - started) * 1000),
        )
        return result.outcome

    def _defer_unreadable_shop(self, claimed: Claimed, error: ConfigurationError) -> str:
        """Put back an event whose shop's secrets or settings cannot be read now: that is not the event's fault."""
        log.error("event=%d %s", claimed.id, error)
        at, inbox = self.runtime.clock() + UNREADABLE_SHOP_WAIT, self.runtime.stores.inbox
        try:
            inbox.retry_later(claimed, at, error=str(error), error_code="configuration", counts=False)
        except LeaseLostError as lost:
            log.warning("event=%d %s", claimed.id, lost)
        return "held back"

    def attempt(self, claimed: Claimed, shop: RegisteredShop) -> AttemptResult:
        """Process one claimed event, store the outcome and return it. Raises LeaseLostError."""
        context = Context.begin(self.runtime, claimed, shop, self.purge_cache)
        try:
            return self._store_outcome(context, self._handle(context))
        except LeaseLostError:
            raise
        except PayloadError as error:
            return self._store_outcome(context, Parked(str(error), f"payload:{error.field or 'body'}"))
        except UnauthorisedError as error:
            self.runtime.stores.shops.stop(shop.id, str(error))
            log.error("shop=%s deliveries stopped: %s", shop.name, error)
            if claimed.kind in COMPLIANCE_KINDS:  # it is not stopped with the shop, and would call again at once
                return self._retry(context, str(error), error_code(error))
            return self._put_back(context, TryAgain(context.now(), counts=False), str(error), error_code(error))
        except TransientError as error:
            unsent = isinstance(error, ThrottledError)
            return self._retry(context, str(error), error_code(error), retry_after=error.retry_after, unsent=unsent)
        except (EngageError, ConfigurationError) as error:
            code = "configuration" if isinstance(error, ConfigurationError) else error_code(error)
            return self._store_outcome(context, Parked(str(error), code))
        except Exception as error:  # noqa: BLE001 - a fault of ours: the event is stored and tried again, then parked
            what = describe_unexpected(error)
            log.error("event=%d shop=%s %s", claimed.id, shop.name, what)
            fault = f"{what[0].upper()}{what[1:]}; this is a fault of the plugin."
            return self._retry(context, fault, f"unexpected:{type(error).__name__}")

    def _handle(self, context: Context) -> Outcome:
        """Map the event and run the handlers of all events that its body means, in their order."""
        claimed = context.claimed
        delivery = Delivery(topic=claimed.topic, meta=claimed.meta)
        if claimed.topic not in INTERNAL_TOPICS:
            enriched = enrich_delivery(context, PLATFORMS[claimed.platform], delivery, ask=self.enrich)
            if isinstance(enriched, Waiting):
                return enriched
            delivery = enriched
        mapped = map_body(context.shop, delivery, claimed.body, claimed.received_at, platform=claimed.platform)
        if claimed.attempts == 1 and mapped.events:
            context.note("mapped", ", ".join(type(event).__name__ for event in mapped.events))
        for remark in mapped.notes:
            context.note("map", remark)
        if not mapped.events:
            return Ignored(mapped.ignored or "nothing in it is for us")
        ignored = []
        for position, event in enumerate(mapped.events):
            part = context.part(position) if len(mapped.events) > 1 else context
            outcome = HANDLERS[type(event)](part, event)
            if isinstance(outcome, Ignored):
                ignored.append(outcome.reason)
            elif outcome != DELIVERED:
                return outcome
        return Ignored("; ".join(ignored)) if len(ignored) == len(mapped.events) else DELIVERED

    def _store_outcome(self, context: Context, outcome: Outcome) -> AttemptResult:
        match outcome:
            case Delivered():
                return self._finish(context, State.DELIVERED, None, None)
            case Ignored(reason):
                return self._finish(context, State.IGNORED, reason, "not_for_us")
            case InFile(reason):
                return self._finish(context, State.SPOOLED, reason, "in_file")
            case Parked(reason, code, blocks_later_changes):
                return self._finish(context, State.PARKED, reason, code, blocks_later_changes=blocks_later_changes)
            case Waiting(reason, retry_after, for_file):
                order_wait = timedelta(seconds=context.shop.settings.order_wait_s)
                return self._retry(
                    context,
                    reason,
                    "WaitsForFile" if for_file else "NotYet",
                    retry_after=retry_after,
                    give_up_after=_give_up_after(context) if for_file else order_wait,
                    non_blocking=True,
                )

    def _retry(
        self,
        context: Context,
        reason: str,
        code: str,
        *,
        retry_after: timedelta | None = None,
        unsent: bool = False,
        give_up_after: timedelta | None = None,
        non_blocking: bool = False,
    ) -> AttemptResult:
        """Try the event again after the wait of the retry rules, or park it when its time is over.

        unsent: the rate limiter or the circuit breaker stopped the call, which costs no attempt.
        """
        claimed, progress = context.claimed, context.progress
        open_now = self.breaker_open_duration(context.shop)
        if progress.breaker_open_s is None:
            progress.breaker_open_s = open_now.total_seconds()
        open_before = timedelta(seconds=progress.breaker_open_s or 0)
        policy = RetryPolicy(self.runtime.retry_base_s, give_up_after or _give_up_after(context), self.jitter)
        if unsent:
            return self._put_back(context, policy.defer(context.now(), retry_after), reason, code)
        decision = policy.decide(
            reason,
            attempts=claimed.attempts,
            first_attempt_at=claimed.first_attempt_at,
            now=context.now(),
            retry_after=retry_after,
            breaker_open=max(open_now - open_before, timedelta()),
        )
        if isinstance(decision, GiveUp):
            return self._finish(context, State.PARKED, decision.reason, f"gave_up:{code}")
        return self._put_back(context, decision, reason, code, non_blocking=non_blocking)

    def _put_back(
        self, context: Context, decision: TryAgain, reason: str, code: str, *, non_blocking: bool = False
    ) -> AttemptResult:
        context.journal.retry_later(decision.at, reason, code, counts=decision.counts, non_blocking=non_blocking)
        return AttemptResult("retry" if decision.counts else "held back", code)

    def _finish(
        self, context: Context, state: State, reason: str | None, code: str | None, *, blocks_later_changes: bool = True
    ) -> AttemptResult:
        blocks_later_changes = (
            blocks_later_changes
            and context.shop.settings.parked_hold_contacts
            and context.claimed.kind in BLOCKING_KINDS
        )
        context.journal.finish(state, reason, code, blocks_later_changes=blocks_later_changes)
        return AttemptResult(state.value, code)


def _give_up_after(context: Context) -> timedelta:
    return timedelta(hours=context.shop.settings.give_up_after_h)
