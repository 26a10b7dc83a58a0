"""The call guard of one API key in Redis: one rate budget and one circuit breaker for all processes and machines.

Redis's own clock decides, so clocks of different machines do not matter. While Redis cannot be reached, the process
continues with its share of the rate and its own breaker, logs that once, and tries Redis again every second.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from redis import Redis, RedisError

from plugin.engage.http.guard_rules import (
    ACQUIRE_TIMEOUT_S,
    EARLY_PRIORITIES,
    HORIZON_S,
    MAX_SLOWDOWN,
    RECOVERY_S,
    SPACING,
    GuardRules,
    breaker_is_open,
    no_slot,
)
from plugin.engage.http.local_guard import LocalCallGuard
from plugin.engage.operations import Priority

log = logging.getLogger(__name__)

#: The prefix of the guards' Redis keys. It stays: processes of an older version share the budget under it.
KEY_PREFIX = "engage:gate:"
#: After this many seconds without a call the state of a key is forgotten.
KEY_LIFE_S = 7 * 86400
_REDIS_RETRY_S = 1.0

# The scripts' state. KEYS[1], a hash; times in microseconds since 1970: next = the next free slot; failures = failed
# calls in a row; open = when the breaker opened; probe = when the next probe may go out; open_us = how long it was open
# in total before; slow = how many times further apart slots are since a 429; slow_at = when that 429 came.
# KEYS[2], a sorted set: when the calls of the last two seconds leave.

_GRANTED, _NO_SLOT, _BREAKER_OPEN = 0, 1, 2
#: Reserve a slot, as a probe if the breaker is open. ARGV: 1 interval, 2 horizon, 3 time between probes, 4 recovery after
#: a 429 (all in microseconds), 5 life of the hash in seconds, 6 whether it may leave early, 7 rate.
#: Returns verdict, microseconds to wait, failures so far.
_ACQUIRE = """
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
#: Double the distance of slots, once a second at most. ARGV: 1 recovery in microseconds, 2 the largest factor.
_RATE_LIMITED = """
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
#: Count a failure. ARGV: 1 failures that open the breaker, 2 microseconds to the first probe. Returns 1 if it opened.
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
#: Forget failures and close the breaker. Returns 1 if it was open.
_SUCCEEDED = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local open = redis.call('HGET', KEYS[1], 'open')
if open then redis.call('HINCRBY', KEYS[1], 'open_us', math.floor(now - tonumber(open))) end
redis.call('HDEL', KEYS[1], 'open', 'probe', 'failures')
return open and 1 or 0
"""


class RedisCallGuard:
    """A CallGuard whose state is a Redis hash named after a digest of the API key."""

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
        self._key = f"{KEY_PREFIX}{hashlib.sha256(api_key.encode()).hexdigest()[:32]}"
        self._rules = rules
        self._sleep = sleep
        self._clock = clock
        self._acquire = redis.register_script(_ACQUIRE)
        self._rate_limited = redis.register_script(_RATE_LIMITED)
        self._failed = redis.register_script(_FAILED)
        self._succeeded = redis.register_script(_SUCCEEDED)
        self._fallback = LocalCallGuard(rules, sleep=sleep, clock=clock)
        self._redis_away = False
        self._retry_redis_at = 0.0
        self._thread = threading.local()

    def acquire(self, priority: Priority) -> None:
        """See RateLimiter."""
        deadline = self._clock() + ACQUIRE_TIMEOUT_S[priority]
        while True:
            answer = self._run(
                self._acquire,
                int(1_000_000 * SPACING / self._rules.rate),
                int(1_000_000 * HORIZON_S[priority]),
                int(1_000_000 * self._rules.probe_s),
                int(1_000_000 * RECOVERY_S),
                KEY_LIFE_S,
                int(priority in EARLY_PRIORITIES),
                self._rules.rate,
            )
            if answer is None:
                self._fallback.acquire(priority)
                return
            verdict, wait_us, failures = answer
            wait = wait_us / 1_000_000
            if verdict == _GRANTED:
                self._thread.failures = failures
                if wait > 0:
                    self._sleep(wait)
                return
            if verdict == _BREAKER_OPEN:
                raise breaker_is_open(wait)
            if self._clock() + wait > deadline:
                raise no_slot(wait)
            self._sleep(wait + 0.001)

    def on_rate_limited(self) -> None:
        """See RateLimiter."""
        if self._run(self._rate_limited, int(1_000_000 * RECOVERY_S), MAX_SLOWDOWN) is None:
            self._fallback.on_rate_limited()

    def succeeded(self) -> None:
        """See CircuitBreaker. Calls Redis only if there may be failures to forget."""
        if self._redis_away:
            self._fallback.succeeded()
        elif getattr(self._thread, "failures", 1):
            self._thread.failures = 0
            if self._run(self._succeeded) == 1:
                log.info("breaker=closed Engage answers again")

    def failed(self) -> None:
        """See CircuitBreaker."""
        answer = self._run(self._failed, self._rules.open_after, int(1_000_000 * self._rules.probe_s))
        if answer is None:
            self._fallback.failed()
        elif answer == 1:
            log.warning(
                "breaker=open probe_s=%g Engage does not answer; only probes are sent until it does",
                self._rules.probe_s,
            )

    def open_since(self) -> datetime | None:
        """See CircuitBreaker."""
        open_us = self._read("open")
        return None if open_us is None else datetime.fromtimestamp(open_us / 1_000_000, UTC)

    def breaker_open_duration(self) -> timedelta:
        """See CircuitBreaker."""
        since = self.open_since()
        open_now = datetime.now(UTC) - since if since else timedelta()
        return timedelta(microseconds=self._read("open_us") or 0) + max(open_now, timedelta())

    def _read(self, name: str) -> int | None:
        try:
            value = self._redis.hget(self._key, name)
        except RedisError:
            return None
        return None if value is None else int(cast("bytes", value))

    def _run(self, script: Any, *arguments: float) -> Any:
        """Run a script and return its result; None while Redis cannot be reached."""
        if self._redis_away and self._clock() < self._retry_redis_at:
            return None
        try:
            answer = script(keys=[self._key, f"{self._key}:left"], args=list(arguments))
        except RedisError as error:
            self._retry_redis_at = self._clock() + _REDIS_RETRY_S
            if not self._redis_away:
                self._redis_away = True
                log.warning(
                    "redis=away error=%s rate=%g of=%d this process continues with its share of the rate budget",
                    type(error).__name__,
                    self._rules.rate * self._rules.share,
                    self._rules.rate,
                )
            return None
        if self._redis_away:
            self._redis_away = False
            log.info("redis=back the rate budget is shared again")
        return answer
