"""Loading what a page shows: only what it needs, side by side, from the cache at once and from Engage with patience."""

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from plugin.engage.cache.cached import Cached, CachedEngage, CacheMissError, Owner
from plugin.engage.client import EngageClient
from plugin.errors import EngageError, EngageNotFoundError, PermanentError, UnauthorisedError

log = logging.getLogger(__name__)
T = TypeVar("T")

#: No shopper waits longer than this for Engage, in seconds.
LOAD_TIMEOUT_S = 2.8
Ask = Callable[[EngageClient], Any]


@dataclass(frozen=True, slots=True)
class FetchResult(Generic[T]):
    """What came of asking: a value, or the error instead."""

    cached: Cached[T] | None = None
    error: Exception | None = None

    @property
    def gone(self) -> bool:
        """Whether Engage said that there is no such thing."""
        return isinstance(self.error, EngageNotFoundError)

    @property
    def not_offered(self) -> bool:
        """Whether Engage said that the tenant, or its key, has nothing of the kind, and not that a contact has nothing."""
        code = (getattr(self.error, "code", None) or "").lower()
        forbidden = isinstance(self.error, UnauthorisedError) and self.error.status == 403
        return forbidden or (
            isinstance(self.error, (EngageNotFoundError, PermanentError))
            and not code.startswith(("contact", "invalidcontact"))
        )


class Loader:
    """Asks Engage for one shopper. pool: threads for calls that are not answered from the cache."""

    def __init__(self, cached: CachedEngage, client: EngageClient, owner: Owner, pool: ThreadPoolExecutor) -> None:
        self._cached, self._client, self._owner, self._pool = cached, client, owner, pool

    def kept(self, ask: Callable[[EngageClient], T]) -> Cached[T] | None:
        """Return what is fresh in the cache, None where that is nothing."""
        try:
            return self._cached.read(self._client, self._owner, ask, cache_only=True)
        except (CacheMissError, EngageError):
            return None

    def load(self, asks: Mapping[str, Ask]) -> dict[str, FetchResult[Any]]:
        """Return what came of each question. None takes longer than PATIENCE_S in all."""
        until = time.monotonic() + LOAD_TIMEOUT_S
        found: dict[str, FetchResult[Any]] = {}
        waiting: dict[str, Future[Cached[Any]]] = {}
        for name, ask in asks.items():
            try:
                found[name] = FetchResult(self._cached.read(self._client, self._owner, ask, cache_only=True))
            except CacheMissError:
                waiting[name] = self._pool.submit(self._cached.read, self._client, self._owner, ask)
            except EngageError as error:
                found[name] = self._missing(name, error)
        for name, future in waiting.items():
            try:
                found[name] = FetchResult(future.result(max(until - time.monotonic(), 0)))
            except (EngageError, FutureTimeoutError) as error:
                future.cancel()
                found[name] = self._missing(name, error)
        return found

    def _missing(self, name: str, error: Exception) -> FetchResult[Any]:
        log.info("shop=%s part=%s is not to be had: %s", self._owner.shop, name, type(error).__name__)
        return FetchResult(error=error)


def earliest(now: datetime, *times: datetime | None) -> datetime | None:
    """Return the earliest of the times that lie ahead, or None."""
    return min((when for when in times if when is not None and when > now), default=None)
