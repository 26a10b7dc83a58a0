"""Pages that this process rendered recently, so that a repeated view costs one read of the database.

The key of a page is everything that decides what it shows: shop and settings, customer, their snapshot (contact,
generation, orders, edits), address and language. Bounded in number, size and time; in memory only.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta

MAX_BYTES = 48 * 1024 * 1024
#: A page is shown again for at most this long, however fresh its data is.
MAX_AGE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class CachedPage:
    """A page ready to be sent. until: aware UTC."""

    body: bytes
    until: datetime


class PageCache:
    """Rendered pages by key. Safe to use from several threads."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._pages: OrderedDict[Hashable, CachedPage] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, now: datetime) -> bytes | None:
        """Return a page that may be shown again now, or None."""
        with self._lock:
            page = self._pages.get(key)
            if page is None:
                return None
            if page.until <= now:
                self._drop(key)
                return None
            self._pages.move_to_end(key)
            return page.body

    def put(self, key: Hashable, body: bytes, until: datetime, now: datetime) -> None:
        """Cache a page until then, or for MAX_AGE if that ends sooner."""
        until = min(until, now + MAX_AGE)
        if until <= now or len(body) > self._max_bytes // 16:
            return
        with self._lock:
            self._drop(key)
            self._pages[key] = CachedPage(body, until)
            self._bytes += len(body)
            while self._pages and (self._bytes > self._max_bytes or self._oldest_has_expired(now)):
                self._drop(next(iter(self._pages)))

    def _oldest_has_expired(self, now: datetime) -> bool:
        """Return whether the least recently used page has expired, so that no personal data stays here unused."""
        return next(iter(self._pages.values())).until <= now

    def _drop(self, key: Hashable) -> None:
        page = self._pages.pop(key, None)
        if page is not None:
            self._bytes -= len(page.body)
