"""When to try again, as a value: error, attempts and times in, a decision out. No clock, no I/O.

Waits for background work (Engage facts 1.2): 1, 3, 6, 30 times the base, then doubling with jitter up to 360 times.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from plugin.errors import DependencyNotReady, ThrottledError, TransientError, UnauthorisedError

STEPS = (1, 3, 6, 30)
CAP = 360
JITTER = 0.2
#: So many tries are made however much time has passed: it may have passed without any, while a shop was stopped or all
#: of this was switched off.
LEAST_TRIES = 10


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Try again at `at`. counts: False when nothing was tried, so that no attempt is used up."""

    at: datetime
    counts: bool = True


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A person must look. reason: for that person."""

    reason: str


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """base_s: the first wait in seconds. give_up_after: how long tries go on at least, breaker time not counted.

    spread: gives a number from 0 to 1 for the jitter.
    """

    base_s: float
    give_up_after: timedelta
    spread: Callable[[], float]

    def decide(
        self,
        error: TransientError | DependencyNotReady | UnauthorisedError,
        *,
        attempts: int,
        first_attempt_at: datetime,
        now: datetime,
        breaker_open: timedelta = timedelta(),
    ) -> TryAgain | GiveUp:
        """Decide after a failed try. attempts: tries so far, this one too, at least 1.

        error: a refused key for what must go on although it stops all else, an erasure for one.
        """
        asked = (None if isinstance(error, UnauthorisedError) else error.retry_after) or timedelta()
        if isinstance(error, ThrottledError):
            return TryAgain(now + max(asked, timedelta(seconds=self.base_s / 10)), counts=False)
        tried_for = now - first_attempt_at - breaker_open
        if tried_for >= self.give_up_after and self._tried_enough(attempts):
            hours = self.give_up_after.total_seconds() / 3600
            return GiveUp(f"Gave up after {attempts} tries in more than {hours:g} h. Last: {error}")
        return TryAgain(now + max(asked, self.wait(attempts)))

    def _tried_enough(self, attempts: int) -> bool:
        """Tell whether as many tries were made as the time has room for, LEAST_TRIES at most."""
        before = sum((self.wait(number) for number in range(1, min(attempts, LEAST_TRIES))), timedelta())
        return attempts >= LEAST_TRIES or before + self.wait(attempts) >= self.give_up_after

    def wait(self, attempts: int) -> timedelta:
        """Return the wait after the given number of tries."""
        if attempts <= len(STEPS):
            factor = float(STEPS[attempts - 1])
        else:
            doubled = STEPS[-1] * 2.0 ** min(attempts - len(STEPS), 20)
            factor = min(doubled, CAP) * (1 - JITTER * self.spread())
        return timedelta(seconds=self.base_s * factor)
