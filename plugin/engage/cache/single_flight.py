"""One call in flight per key, however many requests wait for its answer: among threads here, among processes by Redis."""

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
_GIVE_BACK = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


@dataclass(slots=True)
class _Flight(Generic[T]):
    done: threading.Event = field(default_factory=threading.Event)
    answer: T | None = None
    error: Exception | None = None


class SingleFlight(Generic[T]):
    """Lets one thread fetch what many wait for. Keys are apart: who waits for one never waits for another.

    redis: lets one process of all fetch too; None, or while it is away, each process fetches for itself.
    """

    def __init__(self, redis: Redis | None = None) -> None:
        self._redis = redis
        self._give_back: Any = None if redis is None else redis.register_script(_GIVE_BACK)
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight[T]] = {}

    def fetch(self, key: str, fetch: Callable[[], T], look: Callable[[], T | None], patience_s: float) -> T:
        """Return what `fetch` brings, to everybody who waits for the key; its error too.

        look: returns what another process has fetched meanwhile, None when there is nothing yet.
        Raises TimeoutError when another's fetch takes longer than patience_s, in seconds.
        """
        with self._lock:
            flight = self._flights.get(key)
            mine = flight is None
            if flight is None:
                flight = self._flights[key] = _Flight()
        if not mine:
            if not flight.done.wait(patience_s):
                raise TimeoutError
            if flight.error is not None:
                raise flight.error
            return cast("T", flight.answer)  # set before `done` is, unless there is an error
        try:
            answer = flight.answer = self._fetch_alone(key, fetch, look, patience_s)
        except Exception as error:
            flight.error = error
            raise
        else:
            return answer
        finally:
            with self._lock:
                del self._flights[key]
            flight.done.set()

    def _fetch_alone(self, key: str, fetch: Callable[[], T], look: Callable[[], T | None], patience_s: float) -> T:
        found = look()  # it may have come between the caller's own look and now
        if found is not None:
            return found
        if self._redis is None:
            return fetch()
        name, token, until = _PREFIX + key, secrets.token_hex(8), time.monotonic() + patience_s
        try:
            while not self._redis.set(name, token, nx=True, px=int(patience_s * 1000) + 1000):
                if time.monotonic() > until:
                    raise TimeoutError
                time.sleep(_POLL_S)
        except RedisError:
            return fetch()
        try:
            found = look()  # whoever held the key may have fetched it
            return fetch() if found is None else found
        finally:
            self._let_go(name, token)

    def _let_go(self, name: str, token: str) -> None:
        try:
            self._give_back(keys=[name], args=[token])
        except RedisError:
            return  # it ends by itself
