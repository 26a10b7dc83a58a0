"""One call in flight per key, however many requests wait for its answer: among threads in memory, among processes by Redis."""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from redis import Redis, RedisError

T = TypeVar("T")

_PREFIX = "engage-plugin:my-pages-flight:"
_POLL_S = 0.02
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


@dataclass(slots=True)
class _Flight(Generic[T]):
    done: threading.Event = field(default_factory=threading.Event)
    answer: T | None = None
    error: Exception | None = None


class SingleFlight(Generic[T]):
    """Lets one thread fetch what several wait for. Requests for different keys never wait for each other.

    redis: makes one of all processes fetch as well. Without it, or while it cannot be reached, each process fetches itself.
    """

    def __init__(self, redis: Redis | None = None) -> None:
        self._redis = redis
        self._release_script: Any = None if redis is None else redis.register_script(_RELEASE)
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight[T]] = {}

    def fetch(self, key: str, fetch: Callable[[], T], get_fetched: Callable[[], T | None], timeout_s: float) -> T:
        """Return what `fetch` returns, or raise its error, in every thread that waits for the key.

        get_fetched: returns what another process has fetched meanwhile, None if there is nothing yet.
        Raises TimeoutError if another thread or process takes longer than timeout_s, in seconds.
        """
        with self._lock:
            flight = self._flights.get(key)
            leads = flight is None
            if flight is None:
                flight = self._flights[key] = _Flight()
        if not leads:
            if not flight.done.wait(timeout_s):
                raise TimeoutError
            if flight.error is not None:
                raise flight.error
            return cast("T", flight.answer)  # set before `done` is, unless there is an error
        try:
            answer = flight.answer = self._fetch_alone(key, fetch, get_fetched, timeout_s)
        except Exception as error:
            flight.error = error
            raise
        else:
            return answer
        finally:
            with self._lock:
                del self._flights[key]
            flight.done.set()

    def _fetch_alone(
        self, key: str, fetch: Callable[[], T], get_fetched: Callable[[], T | None], timeout_s: float
    ) -> T:
        fetched = get_fetched()  # it may have come since the caller checked
        if fetched is not None:
            return fetched
        if self._redis is None:
            return fetch()
        name, token, deadline = _PREFIX + key, secrets.token_hex(8), time.monotonic() + timeout_s
        try:
            while not self._redis.set(name, token, nx=True, px=int(timeout_s * 1000) + 1000):
                if time.monotonic() > deadline:
                    raise TimeoutError
                time.sleep(_POLL_S)
        except RedisError:
            return fetch()
        try:
            fetched = get_fetched()  # the process that held the key may have fetched it
            return fetch() if fetched is None else fetched
        finally:
            self._release(name, token)

    def _release(self, name: str, token: str) -> None:
        try:
            self._release_script(keys=[name], args=[token])
        except RedisError:
            return  # the key expires
