"""How often a caller may cause calls to Engage: a token bucket per key, in each process."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_KEYS = 100_000


@dataclass(slots=True)
class Limit:
    """A token bucket. burst: calls that may come at once; per_s: how many are added each second. Times are monotonic seconds."""

    burst: float
    per_s: float
    clock: Callable[[], float] = time.monotonic
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_s(self, key: str) -> float:
        """Take a call; return 0, or the seconds until the next call is allowed."""
        now = self.clock()
        with self._lock:
            if len(self._left) >= MAX_KEYS:  # an attacker's keys must not fill the memory; all buckets start full again
                self._left.clear()
            left, at = self._left.get(key, (self.burst, now))
            left = min(self.burst, left + (now - at) * self.per_s)
            if left < 1:
                self._left[key] = (left, now)
                return (1 - left) / self.per_s
            self._left[key] = (left - 1, now)
            return 0.0
