"""Kept answers of Engage: requests-cache's storage in SQLite or Redis, encrypted JSON, everything of one person deletable.

Of requests-cache the storage alone is used, not its session: what decides there whether and to whom an answer is shown
hands one user's data to another by default, and hides 401 and 404 (library trap 3.2). A cache that fails is no cache:
its faults are logged once and never reach a shopper.
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

#: How long an answer is kept at all, also for being shown while Engage is away.
KEEP = timedelta(hours=24)
NAMESPACE = "engage-plugin:my-pages"
LOOK_AGAIN_S = 1.0
_BUSY_MS = 2000


class _RedisAnswers(RedisDict):
    """requests-cache's storage, which asks for a lifetime in a way that the Redis client no longer wants."""

    def __setitem__(self, key: str, item: CachedResponse) -> None:
        self.connection.set(self._bkey(key), self.serialize(item), ex=KEEP)


class ResponseCache:
    """Bodies of answers by key. A key begins with the prefix of the person whose data it is, and a colon."""

    def __init__(
        self,
        cache: BaseCache,
        forget: Callable[[str], None],
        prune: Callable[[], None],
        turn: AbstractContextManager[Any],
    ) -> None:
        self.cache = cache
        self._forget = forget
        self._prune = prune
        self._turn = turn
        self._failing = False
        self._look_again_at = 0.0

    @classmethod
    def in_file(cls, path: Path, encryption_key: bytes) -> "ResponseCache":
        """Keep answers in a SQLite file of this machine."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        cache = SQLiteCache(path, serializer=_encrypted_json(encryption_key), wal=True, busy_timeout=_BUSY_MS)
        responses: Any = cache.responses
        with responses.connection() as connection:
            connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten

        def run(statement: str, *values: object) -> None:
            with responses.connection(commit=True) as connection:
                connection.execute(statement, values)

        def forget(prefix: str) -> None:
            run("DELETE FROM responses WHERE key >= ? AND key < ?", f"{prefix}:", f"{prefix};")
            with responses.connection() as connection, suppress(sqlite3.OperationalError):
                connection.execute(
                    "PRAGMA wal_checkpoint(TRUNCATE)"
                )  # the log held it too, unless another process reads

        # requests-cache's threads share one connection, which reads while it writes: one at a time is safe and quick enough
        prune = partial(run, "DELETE FROM responses WHERE expires <= ?")
        return cls(cache, forget, lambda: prune(_now().timestamp()), threading.RLock())

    @classmethod
    def in_redis(cls, redis: Redis, encryption_key: bytes) -> "ResponseCache":
        """Keep answers in Redis, for several machines. Redis itself deletes them when they are too old."""
        serializer = _encrypted_json(encryption_key)
        cache = RedisCache(NAMESPACE, connection=redis, serializer=serializer)
        cache.responses = _RedisAnswers(NAMESPACE, connection=redis, serializer=serializer)

        def forget(prefix: str) -> None:
            found = list(redis.scan_iter(match=f"{NAMESPACE}:{prefix}:*", count=1000))
            if found:
                redis.delete(*found)

        return cls(cache, forget, lambda: None, nullcontext())

    def get(self, key: str) -> CachedResponse | None:
        """Return what is kept under a key; None for nothing, or what was written under another SECRET_KEY."""
        try:
            found = self._safely(lambda: self.cache.responses.get(key))
        except (InvalidToken, ValueError, TypeError):  # another key, or another version's form
            return None
        return found if isinstance(found, CachedResponse) and found.content else None

    def put(self, key: str, content: bytes) -> None:
        """Keep the body of an answer that came just now. Address and headers, which name the contact, are not kept."""
        now = _now()
        entry = CachedResponse(content=content, status_code=200, created_at=now, expires=now + KEEP)
        self._safely(lambda: self.cache.responses.__setitem__(key, entry))

    def delete(self, key: str) -> None:
        """Delete one answer."""
        self._safely(lambda: self.cache.responses.pop(key, None))

    def forget(self, prefix: str) -> bool:
        """Delete everything of one person; False when the cache cannot be reached."""
        self._look_again_at = 0.0
        return self._safely(lambda: (self._forget(prefix), True)[1]) or False

    def prune(self) -> None:
        """Delete answers that are too old even to be shown stale."""
        self._safely(self._prune)

    def close(self) -> None:
        """Close connections and files."""
        self.cache.close()  # type: ignore[no-untyped-call]

    def _safely(self, work: Callable[[], T]) -> T | None:
        """Return what the work returns; None when the cache fails, and for a second after that, so that nobody waits."""
        if self._failing and time.monotonic() < self._look_again_at:
            return None
        try:
            with self._turn:
                done = work()
        except (sqlite3.Error, RedisError, OSError) as error:
            self._look_again_at = time.monotonic() + LOOK_AGAIN_S
            if not self._failing:
                log.warning("The cache of My Pages cannot be used (%s); pages go on without it", type(error).__name__)
            self._failing = True
            return None
        self._failing = False
        return done


def created(kept: CachedResponse) -> datetime:
    """Return when an answer was fetched, aware UTC."""
    at: datetime = kept.created_at
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
