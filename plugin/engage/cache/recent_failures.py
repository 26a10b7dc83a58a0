"""Which calls failed a moment ago, so that the next request does not wait for the same failure again."""

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(slots=True)
class RecentFailures:
    """Which calls failed recently: key to (monotonic seconds, aware UTC). Bounded."""

    max_keys: int = 10_000
    _failed: dict[str, tuple[float, datetime]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, key: str) -> None:
        """Record that a call failed now."""
        with self._lock:
            if len(self._failed) >= self.max_keys:
                self._failed.clear()
            self._failed[key] = (time.monotonic(), datetime.now(UTC))

    def is_recent(self, key: str, pause_s: float, fresh_after: datetime | None) -> bool:
        """Return whether a call failed within pause_s seconds, and after the shopper last asked for fresh data."""
        at = self._failed.get(key)
        if at is None or time.monotonic() - at[0] >= pause_s:
            return False
        return fresh_after is None or at[1] > fresh_after

    def clear(self, key: str) -> None:
        """Forget the failure of a call."""
        if key in self._failed:
            with self._lock:
                self._failed.pop(key, None)
