"""The guard of one API key: a rate limiter and a circuit breaker, shared by all processes and machines.

The rate limiter hands out reservations: each call takes the next free slot, slots are evenly spaced, and the caller
sleeps until its own. A priority may reserve only so far ahead (`guard_rules.HORIZON_S`), so a shopper's call finds a
slot within a fraction of a second however long the backlog is. No rate-limit library was found that reserves evenly
spaced slots by priority (`limits` counts windows, `pyrate-limiter` keeps buckets), hence the Lua in `redis_guard`.

Both are one object because one atomic step decides for both: a call that is let through as the breaker's probe must
also take a slot. Without Redis each process continues with its share of the rate and its own breaker (`local_guard`).
"""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from redis import Redis

from plugin.engage.http.guard_rules import GuardRules
from plugin.engage.http.local_guard import LocalCallGuard
from plugin.engage.http.redis_guard import RedisCallGuard
from plugin.engage.operations import Priority


class RateLimiter(Protocol):
    """Spaces calls evenly, below the rate that Engage accepts."""

    def acquire(self, priority: Priority) -> None:
        """Wait for a slot. Raises ThrottledError when none comes in time, or while the breaker is open."""

    def on_rate_limited(self) -> None:
        """Halve the rate, because Engage answered 429; it recovers within half a minute."""


class CircuitBreaker(Protocol):
    """Stops calls while Engage does not answer, all but a probe now and then."""

    def succeeded(self) -> None:
        """Close the breaker, because Engage answered."""

    def failed(self) -> None:
        """Count a call that was not answered, or with 5xx; after several in a row the breaker opens."""

    def open_since(self) -> datetime | None:
        """Return since when the breaker is open, aware UTC; None while it is closed."""

    def breaker_open_duration(self) -> timedelta:
        """Return how long the breaker has been open in total, until now if it is open."""


class CallGuard(RateLimiter, CircuitBreaker, Protocol):
    """Lets a call to Engage through when there is a slot for it and the breaker allows it."""


class CallGuards:
    """The guards of all API keys of this process. on_wait: called with priority and seconds of each wait for a slot."""

    def __init__(
        self,
        redis: Redis | None,
        rules: GuardRules,
        on_wait: Callable[[str, float], None] = lambda _priority, _seconds: None,
    ) -> None:
        self._redis = redis
        self._rules = rules
        self.on_wait = on_wait
        self._guards: dict[str, CallGuard] = {}
        self._lock = threading.Lock()

    def for_key(self, api_key: str) -> CallGuard:
        """Return the guard of an API key."""
        with self._lock:
            if api_key not in self._guards:
                self._guards[api_key] = (
                    LocalCallGuard(self._rules)
                    if self._redis is None
                    else RedisCallGuard(self._redis, api_key, self._rules)
                )
            return self._guards[api_key]
