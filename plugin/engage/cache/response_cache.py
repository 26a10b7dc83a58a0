"""Stored answers of Engage: encrypted JSON in requests-cache's storage, in SQLite or Redis.

Only the storage and serializers of requests-cache are used, not its session: its rules of whether and to whom an answer
is shown would give one user's data to another, and hide 401 and 404 (docs/libraries.md#requests-cache). A failing
cache counts as an empty one: its faults are logged once and never reach a shopper.
"""

import base64
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from cryptography.fernet import Fernet, InvalidToken
from redis import Redis, RedisError
from requests_cache.backends.base import BaseCache
from requests_cache.backends.redis import RedisCache, RedisDict
from requests_cache.backends.sqlite import SQLiteCache
from requests_cache.models.response import CachedResponse
from requests_cache.serializers import SerializerPipeline, Stage, json_serializer

log = logging.getLogger(__name__)
T = TypeVar("T")

#: How long an answer is stored, so that it can be shown while Engage does not answer.
STORED_FOR = timedelta(hours=24)
NAMESPACE = "engage-plugin:my-pages"
RETRY_S = 1.0
_BUSY_MS = 2000


class _RedisResponses(RedisDict):
    """requests-cache's storage, without its way of setting an expiry, which the Redis client has deprecated."""

    def __setitem__(self, key: str, item: CachedResponse) -> None:
        self.connection.set(self._bkey(key), self.serialize(item), ex=STORED_FOR)


class ResponseCache:
    """Bodies of answers by key. A key begins with the prefix of the person whose data it is, followed by a colon.

    lock: held while the storage is used.
    """

    def __init__(
        self,
        cache: BaseCache,
        forget: Callable[[str], None],
        prune: Callable[[], None],
        lock: AbstractContextManager[Any],
    ) -> None:
        self.cache = cache
        self._forget = forget
        self._prune = prune
        self._lock = lock
        self._failing = False
        self._retry_at = 0.0

    @classmethod
    def in_file(cls, path: Path, encryption_key: bytes) -> "ResponseCache":
        """Return a cache in a SQLite file of this machine."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        cache = SQLiteCache(path, serializer=_encrypted_json(encryption_key), wal=True, busy_timeout=_BUSY_MS)
        responses: Any = cache.responses
        with responses.connection() as connection:
            connection.execute("PRAGMA secure_delete=ON")  # deleted data is overwritten

        def run(statement: str, *values: object) -> None:
            with responses.connection(commit=True) as connection:
                connection.execute(statement, values)

        def forget(prefix: str) -> None:
            run("DELETE FROM responses WHERE key >= ? AND key < ?", f"{prefix}:", f"{prefix};")
            with responses.connection() as connection, suppress(sqlite3.OperationalError):
                # the write-ahead log may hold deleted data too; this fails while another process reads
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        # threads share requests-cache's one connection, so one thread at a time uses it
        prune = partial(run, "DELETE FROM responses WHERE expires <= ?")
        return cls(cache, forget, lambda: prune(_now().timestamp()), threading.RLock())

    @classmethod
    def in_redis(cls, redis: Redis, encryption_key: bytes) -> "ResponseCache":
        """Return a cache in Redis, for several machines. Redis deletes answers when they expire."""
        serializer = _encrypted_json(encryption_key)
        cache = RedisCache(NAMESPACE, connection=redis, serializer=serializer)
        cache.responses = _RedisResponses(NAMESPACE, connection=redis, serializer=serializer)

        def forget(prefix: str) -> None:
            keys = list(redis.scan_iter(match=f"{NAMESPACE}:{prefix}:*", count=1000))
            if keys:
                redis.delete(*keys)

        return cls(cache, forget, lambda: None, nullcontext())

    def get(self, key: str) -> CachedResponse | None:
        """Return the answer stored under a key; None if there is none, or if it was written with another SECRET_KEY."""
        try:
            stored = self._safely(lambda: self.cache.responses.get(key))
        except (InvalidToken, ValueError, TypeError):  # another SECRET_KEY, or the format of another version
            return None
        return stored if isinstance(stored, CachedResponse) and stored.content else None

    def put(self, key: str, content: bytes) -> None:
        """Store the body of an answer that came just now, without its address and headers, which name the contact."""
        now = _now()
        entry = CachedResponse(content=content, status_code=200, created_at=now, expires=now + STORED_FOR)
        self._safely(lambda: self.cache.responses.__setitem__(key, entry))

    def delete(self, key: str) -> None:
        """Delete one answer."""
        self._safely(lambda: self.cache.responses.pop(key, None))

    def forget(self, prefix: str) -> bool:
        """Delete everything of one person. Return False when the cache cannot be reached."""
        self._retry_at = 0.0
        return self._safely(lambda: (self._forget(prefix), True)[1]) or False

    def prune(self) -> None:
        """Delete answers that are too old even to be shown stale."""
        self._safely(self._prune)

    def close(self) -> None:
        """Close connections and files."""
        self.cache.close()  # type: ignore[no-untyped-call]

    def _safely(self, work: Callable[[], T]) -> T | None:
        """Return what the work returns; None if the cache fails, and without trying for a second after that."""
        if self._failing and time.monotonic() < self._retry_at:
            return None
        try:
            with self._lock:
                done = work()
        except (sqlite3.Error, RedisError, OSError) as error:
            self._retry_at = time.monotonic() + RETRY_S
            if not self._failing:
                log.warning("cache=unavailable error=%s My Pages are shown without the cache", type(error).__name__)
            self._failing = True
            return None
        self._failing = False
        return done


def created(stored: CachedResponse) -> datetime:
    """Return when an answer was fetched, aware UTC."""
    at: datetime = stored.created_at
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _now() -> datetime:
    return datetime.now(UTC)


def _encrypted_json(key: bytes) -> SerializerPipeline:
    fernet = Fernet(base64.urlsafe_b64encode(key))
    stages = [
        *json_serializer.stages,
        Stage(dumps=str.encode, loads=bytes.decode),
        Stage(dumps=fernet.encrypt, loads=fernet.decrypt),
    ]
    return SerializerPipeline(stages, name="encrypted json", is_binary=True)
