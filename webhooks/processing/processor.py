"""One try at one event, and what becomes of the event after it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import NamedTuple

from plugin.engage.client import EngageClient
from plugin.engage.operations import Lane
from plugin.engage.retry import GiveUp, RetryPolicy
from plugin.errors import (
    ConfigurationError,
    EngageError,
    LeaseLostError,
    NotForUsError,
    NotYetError,
    ParkedError,
    PayloadError,
    SpooledError,
    TransientError,
    UnauthorisedError,
    WaitsForFileError,
    unexpected,
)
from plugin.events import ALWAYS_KINDS, HOLDING_KINDS
from plugin.platforms.base import Delivery
from plugin.platforms.internal_events import OWN_TOPICS
from plugin.platforms.registry import PLATFORMS, normalise
from plugin.store.inbox.claiming import Claimed
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.inbox import State
from webhooks.attempt.context import Context, Origin, Stores, error_code
from webhooks.attempt.enrichment import supplemented
from webhooks.consents.timestamped_fields import with_collected_consents
from webhooks.handlers import HANDLERS

log = logging.getLogger(__name__)
#: How long events of a shop wait that cannot be opened, for somebody to mend it.
UNOPENED_WAIT = timedelta(minutes=5)


class Ended(NamedTuple):
    """How a try ended. code: the short stable word of what was wrong, None where nothing was."""

    outcome: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Courier:
    """Takes due events one by one. Safe to use from several threads.

    client_of: gives a shop's Engage client. open_time: how long the breaker of a shop's key was open in all.
    count: told (shop, outcome) of each try. forget_kept: deletes what My Pages keep of a contact, see Context.
    ask_shop: whether what a webhook leaves out is read from the shop.
    """

    stores: Stores
    client_of: Callable[[RegisteredShop], EngageClient]
    open_time: Callable[[RegisteredShop], timedelta]
    retry_base_s: float
    lease: timedelta
    clock: Callable[[], datetime]
    spread: Callable[[], float]
    count: Callable[[str, str], None]
    forget_kept: Callable[[RegisteredShop, str], bool] = lambda _shop, _contact_id: True
    ask_shop: bool = True

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
            return self._of_unopened_shop(claimed, error)
        try:
            ended = self.attempt(claimed, shop)
        except LeaseLostError as error:
            ended = Ended("lease lost")
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

    def _of_unopened_shop(self, claimed: Claimed, error: ConfigurationError) -> str:
        """Put back an event whose shop's secrets or settings cannot be read now: that is not the event's fault."""
        log.error("event=%d %s", claimed.id, error)
        at = self.clock() + UNOPENED_WAIT
        try:
            self.stores.inbox.retry_later(claimed, at, error=str(error), error_code="configuration", counts=False)
        except LeaseLostError as lost:
            log.warning("event=%d %s", claimed.id, lost)
        return "held back"

    def attempt(self, claimed: Claimed, shop: RegisteredShop) -> Ended:
        """Try one claimed event, store what became of it and return that. Raises LeaseLostError."""
        context = Context(claimed, shop, self.client_of(shop), self.stores, self.clock, self.lease)
        lane = Lane.BACKFILL if context.origin is Origin.BACKFILL else None
        context.client = context.client.with_options(observer=context.observe, lane=lane, still_ours=context.still_ours)
        context.forget_kept = lambda contact_id: self.forget_kept(shop, contact_id)
        try:
            return self._handle(context)
        except LeaseLostError:
            raise
        except NotForUsError as error:
            return self._finish(context, State.IGNORED, error, "not_for_us")
        except SpooledError as error:
            return self._finish(context, State.SPOOLED, error, "in_file")
        except PayloadError as error:
            return self._finish(context, State.PARKED, error, f"payload:{error.field or 'body'}")
        except ParkedError as error:
            return self._finish(context, State.PARKED, error, error.code, holds=error.holds)
        except UnauthorisedError as error:
            self.stores.shops.stop(context.shop.id, str(error))
            log.error("shop=%s deliveries stopped: %s", context.shop.name, error)
            if claimed.kind in ALWAYS_KINDS:  # it is not stopped with the shop, and would call again at once
                return self._later(context, error)
            return self._put_back(context, context.now(), error, counts=False)
        except (TransientError, NotYetError) as error:
            return self._later(context, error)
        except EngageError as error:
            return self._finish(context, State.PARKED, error, error_code(error))
        except ConfigurationError as error:
            return self._finish(context, State.PARKED, error, "configuration")
        except Exception as error:  # noqa: BLE001 - a fault of ours: the event is kept and tried again, then parked
            what = unexpected(error)
            log.error("event=%d shop=%s %s", context.claimed.id, context.shop.name, what)
            fault = f"{what[0].upper()}{what[1:]}; this is a fault of the plugin."
            return self._later(context, TransientError(fault, code=f"unexpected:{type(error).__name__}"))

    def _handle(self, context: Context) -> Ended:
        claimed = context.claimed
        delivery = Delivery(topic=claimed.topic, meta=claimed.meta)
        if claimed.topic not in OWN_TOPICS:
            delivery = supplemented(context, PLATFORMS[claimed.platform], delivery, ask=self.ask_shop)
        mapped = normalise(claimed.platform, delivery, claimed.body, claimed.received_at)
        mapped = with_collected_consents(mapped, context.shop.settings.consent_fields, claimed.received_at)
        if claimed.attempts == 1 and mapped.events:
            context.note("mapped", ", ".join(type(event).__name__ for event in mapped.events))
        for remark in mapped.notes:
            context.note("map", remark)
        if not mapped.events:
            raise NotForUsError(mapped.ignored or "nothing in it is for us")
        reasons = []
        for position, event in enumerate(mapped.events):
            context.part = f"{position}:" if len(mapped.events) > 1 else ""
            try:
                HANDLERS[type(event)](context, event)
            except NotForUsError as error:
                reasons.append(str(error))
        if len(reasons) == len(mapped.events):
            raise NotForUsError("; ".join(reasons))
        return self._finish(context, State.DELIVERED, None, None)

    def _later(self, context: Context, error: TransientError | NotYetError | UnauthorisedError) -> Ended:
        settings = context.shop.settings
        not_yet = isinstance(error, NotYetError)
        give_up_after = (
            timedelta(seconds=settings.order_wait_s)
            if not_yet and not isinstance(error, WaitsForFileError)
            else timedelta(hours=settings.give_up_after_h)
        )
        policy = RetryPolicy(self.retry_base_s, give_up_after, self.spread)
        open_before = timedelta(seconds=context.claimed.progress.setdefault("breaker_open_s", self._open_s(context)))
        decision = policy.decide(
            error,
            attempts=context.claimed.attempts,
            first_attempt_at=context.claimed.first_attempt_at,
            now=context.now(),
            breaker_open=max(self.open_time(context.shop) - open_before, timedelta()),
        )
        if isinstance(decision, GiveUp):
            return self._finish(context, State.PARKED, decision.reason, f"gave_up:{error_code(error)}")
        return self._put_back(context, decision.at, error, counts=decision.counts, lets_others_pass=not_yet)

    def _open_s(self, context: Context) -> float:
        return self.open_time(context.shop).total_seconds()

    def _put_back(
        self, context: Context, at: datetime, error: Exception, *, counts: bool, lets_others_pass: bool = False
    ) -> Ended:
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
            lets_others_pass=lets_others_pass,
        )
        return Ended("retry" if counts else "held back", error_code(error))

    def _finish(
        self, context: Context, state: State, error: Exception | str | None, code: str | None, *, holds: bool = True
    ) -> Ended:
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
            holds=holds and context.shop.settings.parked_hold_contacts and claimed.kind in HOLDING_KINDS,
        )
        return Ended(state.value, code)
