"""Refused webhooks are counted and logged: a shop that signs with another secret looks healthy otherwise."""

import logging
import threading
import time
from collections.abc import Callable

from plugin.store.shops.shops import RegisteredShop

log = logging.getLogger(__name__)

#: Seconds between two log lines of a shop: anyone on the internet can send what is refused.
LOG_EVERY_S = 60.0
#: The name under which shops that are not registered are counted: anyone may invent one.
UNKNOWN = "(unregistered)"


class RejectionLog:
    """Counts what the receiver refused. Safe to share between threads.

    count: called with shop, topic and outcome. monotonic: seconds.
    """

    def __init__(self, count: Callable[[str, str, str], None], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._unlogged: dict[tuple[str, str], tuple[float, int]] = {}

    def note(self, shop: RegisteredShop | None, platform: str, reason: str) -> None:
        """Count a refusal; log it unless the same shop's was logged within LOG_EVERY_S. reason: without personal data."""
        name = UNKNOWN if shop is None else shop.name
        self._count(name, "other", "refused")
        now = self._monotonic()
        with self._lock:
            reported_at, unlogged = self._unlogged.get((platform, name), (now - LOG_EVERY_S, 0))
            due = now - reported_at >= LOG_EVERY_S
            self._unlogged[platform, name] = (now, 0) if due else (reported_at, unlogged + 1)
        if due:
            more = f" ({unlogged} more since the last line)" if unlogged else ""
            log.warning("shop=%s platform=%s step=refused reason=%r%s", name, platform, reason, more)
