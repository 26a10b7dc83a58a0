"""The numbers that every call guard goes by, whether it lives in Redis or in this process."""

from dataclasses import dataclass
from datetime import timedelta

from plugin.engage.operations import Priority
from plugin.errors import ThrottledError

#: How far ahead, in seconds, calls of a priority may reserve a slot. A lower priority reserves less far ahead, so that
#: a call of a higher one finds a free slot within that time, however many calls of lower priority wait.
HORIZON_S = {
    Priority.SHOPPER: 1.0,
    Priority.REDEMPTION: 0.5,
    Priority.RECEIPT: 0.3,
    Priority.CONTACT: 0.2,
    Priority.BACKFILL: 0.1,
}
#: How long, in seconds, a call waits until it may reserve a slot before it is refused with ThrottledError.
ACQUIRE_TIMEOUT_S = {
    Priority.SHOPPER: 1.0,
    Priority.REDEMPTION: 5.0,
    Priority.RECEIPT: 5.0,
    Priority.CONTACT: 5.0,
    Priority.BACKFILL: 5.0,
}
#: Slots are a little further apart than the rate asks for, so that calls that leave some milliseconds late do not
#: crowd a second.
SPACING = 1.015
#: Priorities whose calls leave at once, before their slots, while fewer calls than the rate leave in the second before
#: and the second after: a page makes several calls in parallel, and its shopper waits for the last. The slots are used
#: up all the same, so that no second ever sees more calls than the rate.
EARLY_PRIORITIES = frozenset({Priority.SHOPPER})
#: After this many failures in a row the circuit breaker opens.
OPEN_AFTER = 5
#: How long, in seconds, the rate takes to recover after a 429.
RECOVERY_S = 30.0
#: Slots are at most this many times further apart than usual, however many 429s come.
MAX_SLOWDOWN = 8.0


@dataclass(frozen=True, slots=True)
class GuardRules:
    """rate: requests a second; probe_s: seconds between probes while open; share: of the rate without Redis."""

    rate: int = 50
    probe_s: float = 10.0
    open_after: int = OPEN_AFTER
    share: float = 0.25


def breaker_is_open(wait_s: float) -> ThrottledError:
    """Return the error of a call that the open circuit breaker refuses; the next probe may go out in wait_s seconds."""
    return _throttled("Engage does not answer; only a probe goes out", wait_s)


def no_slot(wait_s: float) -> ThrottledError:
    """Return the error of a call for which no slot came in time; one is free in about wait_s seconds."""
    return _throttled("The rate budget is used up by calls of higher priority", max(wait_s, 0.1))


def _throttled(reason: str, wait_s: float) -> ThrottledError:
    return ThrottledError(f"{reason}; nothing was sent.", retry_after=timedelta(seconds=wait_s), sent=False)
