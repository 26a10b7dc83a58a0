"""The guard of one API key: rate budget (throttle) and circuit breaker, shared by all processes and machines.

Grants are reservations: each takes the next free slot, slots lie evenly apart, and the caller sleeps until its own.
A lane may reserve only so far ahead, a lower lane less far than a higher one, so that a shopper's call finds a slot
within a fraction of a second however long the backlog is. No rate-limit library was found that reserves evenly
spaced slots by lane (`limits` counts windows, `pyrate-limiter` keeps buckets), so the few lines of Lua are ours.

Redis's own clock decides, so that the clocks of machines do not matter. Without Redis each process goes on with its
share of the rate and its own breaker, and says so once.
"""

import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, cast

from redis import Redis, RedisError

from plugin.engage.operations import Priority
from plugin.errors import ThrottledError

log = logging.getLogger(__name__)

#: How far ahead, in seconds, a lane may reserve.
HORIZON_S = {
    Priority.SHOPPER: 1.0,
    Priority.REDEMPTION: 0.5,
    Priority.RECEIPT: 0.3,
    Priority.CONTACT: 0.2,
    Priority.BACKFILL: 0.1,
}
#: How long, in seconds, a call of a lane waits for a slot before it is held back.
ACQUIRE_TIMEOUT_S = {
    Priority.SHOPPER: 1.0,
    Priority.REDEMPTION: 5.0,
    Priority.RECEIPT: 5.0,
    Priority.CONTACT: 5.0,
    Priority.BACKFILL: 5.0,
}
#: Slots lie a little further apart than the rate asks for: calls that leave some milliseconds late must not crowd a second.
SPACING = 1.015
#: Lanes whose calls leave at once, before their slots, while fewer calls than the rate leave in the second before and
#: the second after: a page asks several things side by side, and its shopper waits for the last. Slots are used up all
#: the same, so that no second ever sees more calls than the rate.
EARLY_LANES = frozenset({Priority.SHOPPER})
OPEN_AFTER = 5
RECOVERY_S = 30.0
SLOWEST = 8.0
KEY_LIFE_S = 7 * 86400


class CallGuard(Protocol):
    """Lets calls to Engage through, one by one."""

    def acquire(self, lane: Priority) -> None:
        """Wait for a slot. Raises HeldBackError while the breaker is open, or when no slot comes in time."""

    def on_rate_limited(self) -> None:
        """Engage answered 429: halve the rate; it climbs back within half a minute."""

    def succeeded(self) -> None:
        """Engage answered: the breaker closes."""

    def failed(self) -> None:
        """Engage did not answer, or with 5xx: after several in a row the breaker opens."""

    def open_since(self) -> datetime | None:
        """Return since when the breaker is open, aware UTC; None while it is closed."""

    def breaker_open_duration(self) -> timedelta:
        """Return how long the breaker was open in all, the present time included."""


@dataclass(frozen=True, slots=True)
class GuardRules:
    """rate: requests a second; probe_s: seconds between probes while open; share: of the rate without Redis."""

    rate: int = 50
    probe_s: float = 10.0
    open_after: int = OPEN_AFTER
    share: float = 0.25


_ENTER = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local s = redis.call('HMGET', KEYS[1], 'next', 'open', 'probe', 'slow', 'slow_at', 'failures')
if s[2] then
  if now < tonumber(s[3] or 0) then return {2, tonumber(s[3]) - now, 0} end
  redis.call('HSET', KEYS[1], 'probe', now + tonumber(ARGV[3]))
end
local factor = 1
if s[4] then
  local left = 1 - (now - tonumber(s[5])) / tonumber(ARGV[4])
  if left > 0 then factor = 1 + (tonumber(s[4]) - 1) * left end
end
local slot = math.max(tonumber(s[1] or 0), now)
if slot - now > tonumber(ARGV[2]) then return {1, slot - now - tonumber(ARGV[2]), 0} end
redis.call('HSET', KEYS[1], 'next', slot + math.floor(tonumber(ARGV[1]) * factor))
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - 2000000)
local leaves = slot
if ARGV[6] == '1' and factor == 1 then
  local near = redis.call('ZCOUNT', KEYS[2], now - 1000000, now + 1000000)
  if near < tonumber(ARGV[7]) then leaves = now end
end
redis.call('ZADD', KEYS[2], leaves, slot)
redis.call('EXPIRE', KEYS[2], 5)
return {0, leaves - now, tonumber(s[6] or 0)}
"""
_PENALISE = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local s = redis.call('HMGET', KEYS[1], 'slow', 'slow_at')
local factor = 1
if s[1] then
  if now - tonumber(s[2]) < 1000000 then return 0 end
  local left = 1 - (now - tonumber(s[2])) / tonumber(ARGV[1])
  if left > 0 then factor = 1 + (tonumber(s[1]) - 1) * left end
end
redis.call('HSET', KEYS[1], 'slow', tostring(math.min(factor * 2, tonumber(ARGV[2]))), 'slow_at', now)
return 1
"""
_FAILED = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
if failures >= tonumber(ARGV[1]) then
  if redis.call('HSETNX', KEYS[1], 'open', now) == 1 then
    redis.call('HSET', KEYS[1], 'probe', now + tonumber(ARGV[2]))
    return 1
  end
end
return 0
"""
_SUCCEEDED = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local open = redis.call('HGET', KEYS[1], 'open')
if open then redis.call('HINCRBY', KEYS[1], 'open_us', math.floor(now - tonumber(open))) end
redis.call('HDEL', KEYS[1], 'open', 'probe', 'failures')
return open and 1 or 0
"""


class RedisCallGuard:
    """A guard whose state is one Redis hash under a hash of the API key."""

    def __init__(
        self,
        redis: Redis,
        api_key: str,
        rules: GuardRules,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._key = f"engage:gate:{hashlib.sha256(api_key.encode()).hexdigest()[:32]}"
        self._rules = rules
        self._sleep = sleep
        self._clock = clock
        self._enter = redis.register_script(_ENTER)
        self._penalise = redis.register_script(_PENALISE)
        self._failed = redis.register_script(_FAILED)
        self._succeeded = redis.register_script(_SUCCEEDED)
        self._own = LocalCallGuard(rules, sleep=sleep, clock=clock)
        self._away = False
        self._look_again_at = 0.0
        self._local = threading.local()

    def acquire(self, lane: Priority) -> None:
        """See Gate."""
        until = self._clock() + ACQUIRE_TIMEOUT_S[lane]
        while True:
            answer = self._ask(
                self._enter,
                int(1_000_000 * SPACING / self._rules.rate),
                int(1_000_000 * HORIZON_S[lane]),
                int(1_000_000 * self._rules.probe_s),
                int(1_000_000 * RECOVERY_S),
                KEY_LIFE_S,
                int(lane in EARLY_LANES),
                self._rules.rate,
            )
            if answer is None:
                self._own.acquire(lane)
                return
            verdict, wait_us, failures = answer
            wait = wait_us / 1_000_000
            if verdict == 0:
                self._local.failures = failures
                if wait > 0:
                    self._sleep(wait)
                return
            if verdict == 2:
                raise _held_back("Engage is away; only a probe goes out", wait)
            if self._clock() + wait > until:
                raise _held_back("The rate budget is used up by calls that go first", max(wait, 0.1))
            self._sleep(wait + 0.001)

    def on_rate_limited(self) -> None:
        """See Gate."""
        if self._ask(self._penalise, int(1_000_000 * RECOVERY_S), SLOWEST) is None:
            self._own.on_rate_limited()

    def succeeded(self) -> None:
        """See Gate. Asks Redis only when there is something to take back."""
        if self._away:
            self._own.succeeded()
        elif getattr(self._local, "failures", 1):
            self._local.failures = 0
            if self._ask(self._succeeded) == 1:
                log.info("Engage answers again; the breaker closed")

    def failed(self) -> None:
        """See Gate."""
        answer = self._ask(self._failed, self._rules.open_after, int(1_000_000 * self._rules.probe_s))
        if answer is None:
            self._own.failed()
        elif answer == 1:
            log.warning(
                "Engage does not answer; the breaker opened, only a probe goes out every %g s",
                self._rules.probe_s,
            )

    def open_since(self) -> datetime | None:
        """See Gate."""
        open_us = self._read("open")
        return None if open_us is None else datetime.fromtimestamp(open_us / 1_000_000, UTC)

    def breaker_open_duration(self) -> timedelta:
        """See Gate."""
        since = self.open_since()
        now_open = datetime.now(UTC) - since if since else timedelta()
        return timedelta(microseconds=self._read("open_us") or 0) + max(now_open, timedelta())

    def _read(self, name: str) -> int | None:
        try:
            value = self._redis.hget(self._key, name)
        except RedisError:
            return None
        return None if value is None else int(cast("bytes", value))

    def _ask(self, script: Any, *arguments: float) -> Any:
        """Run a script; None while Redis is away, which is tried again every second."""
        if self._away and self._clock() < self._look_again_at:
            return None
        try:
            answer = script(keys=[self._key, f"{self._key}:left"], args=list(arguments))
        except RedisError as error:
            self._look_again_at = self._clock() + 1.0
            if not self._away:
                self._away = True
                log.warning(
                    "Redis is away (%s): this process goes on with %g of %d requests/s",
                    type(error).__name__,
                    self._rules.rate * self._rules.share,
                    self._rules.rate,
                )
            return None
        if self._away:
            self._away = False
            log.info("Redis is back: the rate budget is shared again")
        return answer


class LocalCallGuard:
    """A guard of one process: its share of the rate and its own breaker."""

    def __init__(
        self,
        rules: GuardRules,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._interval = SPACING / max(rules.rate * rules.share, 0.1)
        self._sleep = sleep
        self._clock = clock
        self._lock = threading.Lock()
        self._next = 0.0
        self._left: deque[float] = deque()
        self._most = max(int(rules.rate * rules.share), 1)
        self._failures = 0
        self._open_at: float | None = None
        self._opened: datetime | None = None
        self._probe_at = 0.0
        self._open_total = 0.0
        self._slow_until = 0.0

    def acquire(self, lane: Priority) -> None:
        """See Gate."""
        until = self._clock() + ACQUIRE_TIMEOUT_S[lane]
        while True:
            with self._lock:
                now = self._clock()
                if self._open_at is not None:
                    if now < self._probe_at:
                        raise _held_back("Engage is away; only a probe goes out", self._probe_at - now)
                    self._probe_at = now + self._rules.probe_s
                slot = max(self._next, now)
                wait = slot - now - HORIZON_S[lane]
                if wait <= 0:
                    slow = now < self._slow_until
                    self._next = slot + self._interval * (2 if slow else 1)
                    leaves = self._leave(slot, now, early=lane in EARLY_LANES and not slow)
                    break
            if self._clock() + wait > until:
                raise _held_back("The rate budget is used up by calls that go first", max(wait, 0.1))
            self._sleep(wait + 0.001)
        self._sleep(max(leaves - now, 0.0))

    def _leave(self, slot: float, now: float, *, early: bool) -> float:
        """Return when a call leaves, and note it."""
        while self._left and self._left[0] < now - 2:
            self._left.popleft()
        leaves = now if early and sum(abs(at - now) <= 1 for at in self._left) < self._most else slot
        self._left.append(leaves)
        return leaves

    def on_rate_limited(self) -> None:
        """See Gate."""
        with self._lock:
            self._slow_until = self._clock() + RECOVERY_S

    def succeeded(self) -> None:
        """See Gate."""
        with self._lock:
            if self._open_at is not None:
                self._open_total += self._clock() - self._open_at
            self._failures, self._open_at, self._opened = 0, None, None

    def failed(self) -> None:
        """See Gate."""
        with self._lock:
            self._failures += 1
            if self._failures >= self._rules.open_after and self._open_at is None:
                self._open_at, self._opened = self._clock(), datetime.now(UTC)
                self._probe_at = self._open_at + self._rules.probe_s

    def open_since(self) -> datetime | None:
        """See Gate."""
        return self._opened

    def breaker_open_duration(self) -> timedelta:
        """See Gate."""
        with self._lock:
            now_open = self._clock() - self._open_at if self._open_at is not None else 0.0
            return timedelta(seconds=self._open_total + now_open)


class CallGuards:
    """The guards of all API keys of this process. waited: told lane and seconds of each wait for a slot."""

    def __init__(
        self,
        redis: Redis | None,
        rules: GuardRules,
        waited: Callable[[str, float], None] = lambda _lane, _seconds: None,
    ) -> None:
        self._redis = redis
        self._rules = rules
        self.waited = waited
        self._call_guards: dict[str, CallGuard] = {}
        self._lock = threading.Lock()

    def for_key(self, api_key: str) -> CallGuard:
        """Return the guard of a key."""
        with self._lock:
            if api_key not in self._call_guards:
                self._call_guards[api_key] = (
                    LocalCallGuard(self._rules)
                    if self._redis is None
                    else RedisCallGuard(self._redis, api_key, self._rules)
                )
            return self._call_guards[api_key]


def _held_back(why: str, wait: float) -> ThrottledError:
    return ThrottledError(f"{why}; nothing was sent.", retry_after=timedelta(seconds=wait), sent=False)
