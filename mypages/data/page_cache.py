"""Pages that this process built a moment ago, so that a shopper who looks again costs one read of the database.

A page is found by everything that decides what it shows: shop and settings, customer, where they stand (contact,
generation, orders, edits), address and language. Bounded in number, size and time; nothing of it is written anywhere.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta

MOST_BYTES = 48 * 1024 * 1024
#: A page is shown again for at most so long, fresh as its data may be.
MAX_AGE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class CachedPage:
    """A page ready to be sent. until: aware UTC."""

    body: bytes
    until: datetime


class PageCache:
    """Built pages by key. Safe to use from several threads."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._pages: OrderedDict[Hashable, CachedPage] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, now: datetime) -> bytes | None:
        """Return a page that may be shown again now, or None."""
        with self._lock:
            found = self._pages.get(key)
            if found is None:
                return None
            if found.until <= now:
                self._drop(key)
                return None
            self._pages.move_to_end(key)
            return found.body

    def put(self, key: Hashable, body: bytes, until: datetime, now: datetime) -> None:
        """Keep a page until then, or for a minute if that is sooner."""
        until = min(until, now + MAX_AGE)
        if until <= now or len(body) > self._most_bytes // 16:
            return
        with self._lock:
            self._drop(key)
            self._pages[key] = CachedPage(body, until)
            self._bytes += len(body)
            while self._pages and (self._bytes > self._most_bytes or self._first_is_over(now)):
                self._drop(next(iter(self._pages)))

    def _first_is_over(self, now: datetime) -> bool:
        """Tell whether the page that was looked at longest ago is too old, so that nobody's data stays here unused."""
        return next(iter(self._pages.values())).until <= now

    def _drop(self, key: Hashable) -> None:
        found = self._pages.pop(key, None)
        if found is not None:
            self._bytes -= len(found.body)
