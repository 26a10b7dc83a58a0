"""Fetching what a page shows: in parallel, at once from the cache or within a time limit from Engage."""

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
FETCH_TIMEOUT_S = 2.8
Query = Callable[[EngageClient], Any]


@dataclass(frozen=True, slots=True)
class FetchResult(Generic[T]):
    """The result of a query: a value, or else the error."""

    cached: Cached[T] | None = None
    error: Exception | None = None

    @property
    def is_missing(self) -> bool:
        """Whether Engage answered that it does not exist."""
        return isinstance(self.error, EngageNotFoundError)

    @property
    def is_not_offered(self) -> bool:
        """Whether the tenant, or its API key, lacks the whole feature, rather than the contact having no data."""
        code = (getattr(self.error, "code", None) or "").lower()
        forbidden = isinstance(self.error, UnauthorisedError) and self.error.status == 403
        return forbidden or (
            isinstance(self.error, (EngageNotFoundError, PermanentError))
            and not code.startswith(("contact", "invalidcontact"))
        )


class Fetcher:
    """Runs queries for one shopper. pool: threads for calls that the cache does not answer."""

    def __init__(self, cached: CachedEngage, client: EngageClient, owner: Owner, pool: ThreadPoolExecutor) -> None:
        self._cached, self._client, self._owner, self._pool = cached, client, owner, pool

    def from_cache(self, query: Callable[[EngageClient], T]) -> Cached[T] | None:
        """Return a fresh answer from the cache, or None. Engage is not called."""
        try:
            return self._cached.read(self._client, self._owner, query, cache_only=True)
        except (CacheMissError, EngageError):
            return None

    def fetch(self, queries: Mapping[str, Query]) -> dict[str, FetchResult[Any]]:
        """Return the result of each query, by its name. All of them together take at most FETCH_TIMEOUT_S."""
        deadline = time.monotonic() + FETCH_TIMEOUT_S
        results: dict[str, FetchResult[Any]] = {}
        waiting: dict[str, Future[Cached[Any]]] = {}
        for name, query in queries.items():
            try:
                results[name] = FetchResult(self._cached.read(self._client, self._owner, query, cache_only=True))
            except CacheMissError:
                waiting[name] = self._pool.submit(self._cached.read, self._client, self._owner, query)
            except EngageError as error:
                results[name] = self._failed(name, error)
        for name, future in waiting.items():
            try:
                results[name] = FetchResult(future.result(max(deadline - time.monotonic(), 0)))
            except (EngageError, FutureTimeoutError) as error:
                future.cancel()
                results[name] = self._failed(name, error)
        return results

    def _failed(self, name: str, error: Exception) -> FetchResult[Any]:
        log.info("shop=%s part=%s could not be fetched from Engage: %s", self._owner.shop, name, type(error).__name__)
        return FetchResult(error=error)


def earliest(now: datetime, *times: datetime | None) -> datetime | None:
    """Return the earliest of the times that are in the future, or None."""
    return min((time for time in times if time is not None and time > now), default=None)
