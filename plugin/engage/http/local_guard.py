"""The call guard of one process: its share of the rate and its own circuit breaker. Used while there is no Redis."""

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from plugin.engage.http.guard_rules import (
    ACQUIRE_TIMEOUT_S,
    EARLY_PRIORITIES,
    HORIZON_S,
    RECOVERY_S,
    SPACING,
    GuardRules,
    breaker_is_open,
    no_slot,
)
from plugin.engage.operations import Priority


class LocalCallGuard:
    """A CallGuard whose state is in this process. Safe to use from several threads."""

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
        self._next_slot = 0.0
        self._departures: deque[float] = deque()
        self._max_per_second = max(int(rules.rate * rules.share), 1)
        self._failures = 0
        self._open_at: float | None = None
        self._opened: datetime | None = None
        self._probe_at = 0.0
        self._open_total = 0.0
        self._slow_until = 0.0

    def acquire(self, priority: Priority) -> None:
        """See RateLimiter."""
        deadline = self._clock() + ACQUIRE_TIMEOUT_S[priority]
        while True:
            with self._lock:
                now = self._clock()
                if self._open_at is not None:
                    if now < self._probe_at:
                        raise breaker_is_open(self._probe_at - now)
                    self._probe_at = now + self._rules.probe_s
                slot = max(self._next_slot, now)
                wait = slot - now - HORIZON_S[priority]
                if wait <= 0:
                    slow = now < self._slow_until
                    self._next_slot = slot + self._interval * (2 if slow else 1)
                    leaves_at = self._departure(slot, now, early=priority in EARLY_PRIORITIES and not slow)
                    break
            if self._clock() + wait > deadline:
                raise no_slot(wait)
            self._sleep(wait + 0.001)
        self._sleep(max(leaves_at - now, 0.0))

    def _departure(self, slot: float, now: float, *, early: bool) -> float:
        """Return when the call leaves, and record it."""
        while self._departures and self._departures[0] < now - 2:
            self._departures.popleft()
        has_room = early and sum(abs(at - now) <= 1 for at in self._departures) < self._max_per_second
        leaves_at = now if has_room else slot
        self._departures.append(leaves_at)
        return leaves_at

    def on_rate_limited(self) -> None:
        """See RateLimiter."""
        with self._lock:
            self._slow_until = self._clock() + RECOVERY_S

    def succeeded(self) -> None:
        """See CircuitBreaker."""
        with self._lock:
            if self._open_at is not None:
                self._open_total += self._clock() - self._open_at
            self._failures, self._open_at, self._opened = 0, None, None

    def failed(self) -> None:
        """See CircuitBreaker."""
        with self._lock:
            self._failures += 1
            if self._failures >= self._rules.open_after and self._open_at is None:
                self._open_at, self._opened = self._clock(), datetime.now(UTC)
                self._probe_at = self._open_at + self._rules.probe_s

    def open_since(self) -> datetime | None:
        """See CircuitBreaker."""
        return self._opened

    def breaker_open_duration(self) -> timedelta:
        """See CircuitBreaker."""
        with self._lock:
            open_now = self._clock() - self._open_at if self._open_at is not None else 0.0
            return timedelta(seconds=self._open_total + open_now)
