"""When to try again: every schedule of waits in one place, as values. No clock, no I/O.

Background work waits 1, 3, 6, 30 times the setting `retry_base_s`, then twice as long each time, with jitter, up to 360 times.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

STEPS = (1, 3, 6, 30)
CAP = 360
JITTER = 0.2
#: At least so many attempts are made however much time has passed: it may have passed without any, while a shop was stopped
#: or the plugin was switched off.
MIN_ATTEMPTS = 10
FILE_STEPS = (1, 3, 6, 30, 60)

#: For another event that changes the same contact.
BUSY_WAIT = timedelta(seconds=1)
#: For the repair of a shop whose secrets or settings cannot be read.
UNREADABLE_SHOP_WAIT = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Try again at `at`. counts: False when nothing was tried, so that no attempt is used up."""

    at: datetime
    counts: bool = True


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A person must decide. reason: for that person."""

    reason: str


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """base_s: the first wait in seconds. give_up_after: how long attempts continue at least, breaker time not counted.

    jitter: returns a number from 0 to 1.
    """

    base_s: float
    give_up_after: timedelta
    jitter: Callable[[], float]

    def decide(
        self,
        reason: str,
        *,
        attempts: int,
        first_attempt_at: datetime,
        now: datetime,
        retry_after: timedelta | None = None,
        breaker_open: timedelta = timedelta(),
    ) -> TryAgain | GiveUp:
        """Decide after a failed attempt.

        reason: what failed. attempts: so far, this one included, at least 1. retry_after: the wait that was asked for.
        """
        tried_for = now - first_attempt_at - breaker_open
        if tried_for >= self.give_up_after and self._tried_enough(attempts):
            hours = self.give_up_after.total_seconds() / 3600
            return GiveUp(f"Gave up after {attempts} tries in more than {hours:g} h. Last: {reason}")
        return TryAgain(now + max(retry_after or timedelta(), self.wait(attempts)))

    def defer(self, now: datetime, retry_after: timedelta | None) -> TryAgain:
        """Decide after a call that was not sent: the rate budget was used up or the circuit breaker open."""
        return TryAgain(now + max(retry_after or timedelta(), timedelta(seconds=self.base_s / 10)), counts=False)

    def _tried_enough(self, attempts: int) -> bool:
        """Return whether as many attempts were made as the time has room for, MIN_ATTEMPTS at most."""
        before = sum((self.wait(number) for number in range(1, min(attempts, MIN_ATTEMPTS))), timedelta())
        return attempts >= MIN_ATTEMPTS or before + self.wait(attempts) >= self.give_up_after

    def wait(self, attempts: int) -> timedelta:
        """Return the wait after a number of attempts."""
        if attempts <= len(STEPS):
            factor = float(STEPS[attempts - 1])
        else:
            doubled = STEPS[-1] * 2.0 ** min(attempts - len(STEPS), 20)
            factor = min(doubled, CAP) * (1 - JITTER * self.jitter())
        return timedelta(seconds=self.base_s * factor)


def longest_wait(base_s: float) -> timedelta:
    """Return the longest wait of background work."""
    return timedelta(seconds=CAP * base_s)


def file_wait(base_s: float, failures: int) -> timedelta:
    """Return the wait before a file is sent again. failures: so far, this one not included."""
    return timedelta(seconds=base_s * FILE_STEPS[min(failures, len(FILE_STEPS) - 1)])
