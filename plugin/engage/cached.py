"""Reads for My Pages through requests-cache: per shop, tenant and contact, encrypted at rest, stale only when it is right.

The library's own cache keys leave the API key header out and so would hand one shopper's data to another (library
trap 3.2.1). Here the key is made of shop, tenant, contact, generation, operation and parameters, and nothing else
decides. `stale_if_error` is not used, because it hides 401 and 404 too.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

from cryptography.fernet import Fernet, InvalidToken
from requests import PreparedRequest
from requests_cache import CachedSession
from requests_cache.backends.sqlite import SQLiteCache
from requests_cache.models.response import CachedResponse
from requests_cache.serializers import SerializerPipeline, Stage, json_serializer

from plugin.engage.answers import Answer, parse_body
from plugin.engage.client import EngageClient
from plugin.engage.gate import Gates
from plugin.engage.operations import Lane, Operation
from plugin.engage.transport import CallRecord, EngageAccount, Transport
from plugin.errors import EngageNotFoundError, TransientError, UnauthorisedError

T = TypeVar("T")
#: Seconds that an answer is fresh.
TTL_S: Mapping[str, int] = {"get_contact": 300, "list_promotion_assignments": 60}
DEFAULT_TTL_S = 300
KEEP_STALE = timedelta(hours=24)
READ_TIMEOUT_S = 2.5


@dataclass(frozen=True, slots=True)
class Cached(Generic[T]):
    """A value, when it was fetched (aware UTC), and whether it is shown only because Engage is away."""

    value: T
    fetched_at: datetime
    stale: bool = False


@dataclass(slots=True)
class _Scope:
    """Whose data the calls in progress are for, and how old the oldest answer was."""

    owner: str
    fetched_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    stale: bool = False


_scope: ContextVar[_Scope | None] = ContextVar("whose data is read", default=None)
_key: ContextVar[str] = ContextVar("cache key of the call in progress")


class _FreshSession(CachedSession):
    """Asks Engage each time and keeps the answer: how long an answer is fresh, CachedTransport decides."""

    def send(self, request: PreparedRequest, **options: Any) -> Any:  # type: ignore[override]
        """Send a request and overwrite what was kept."""
        return super().send(request, force_refresh=True, **options)


class CachedTransport(Transport):
    """A transport whose answers are kept. Only calls inside a scope are; everything else is refused."""

    def __init__(
        self,
        gates: Gates,
        path: Path,
        encryption_key: bytes,
        observer: Callable[[CallRecord], None] | None = None,
        count: Callable[[str, str], None] = lambda _operation, _outcome: None,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._cached = _FreshSession(
            backend=SQLiteCache(path, serializer=_encrypted_json(encryption_key), wal=True, busy_timeout=5000),
            key_fn=lambda *_args, **_kwargs: _key.get(),
            allowable_codes=(200,),
            allowable_methods=("GET",),
            expire_after=KEEP_STALE,
            cache_control=False,
            stale_if_error=False,
        )
        super().__init__(gates, observer, self._cached)
        self._locks = [threading.Lock() for _ in range(64)]
        self._count = count

    def call(self, account: EngageAccount, operation: Operation, **options: Any) -> Answer:
        """Answer from the cache while it is fresh; else ask Engage, one call in flight per key.

        Raises what Transport.call raises; a TransientError only when nothing from the last 24 hours is kept.
        """
        scope = _scope.get()
        if scope is None or operation.method != "GET":
            raise ValueError(f"{operation.name} is not read through the cache.")
        key = _cache_key(scope.owner, operation, options)
        kept = self._kept(key)
        if kept is not None and _is_fresh(kept, operation):
            self._count(operation.name, "hit")
            return self._answer(kept, scope)
        with self._locks[int(key[:8], 16) % len(self._locks)]:
            kept = self._kept(key)
            if kept is not None and _is_fresh(kept, operation):
                self._count(operation.name, "hit")
                return self._answer(kept, scope)  # whoever held the lock fetched it
            return self._fetch(account, operation, options, key, kept, scope)

    def forget(self, owner: str, operation: Operation, options: Mapping[str, Any]) -> None:
        """Delete one kept answer."""
        self._cached.cache.delete(_cache_key(owner, operation, options))

    def prune(self) -> None:
        """Delete answers that are too old even to be shown stale."""
        self._cached.cache.delete(older_than=KEEP_STALE)

    def close(self) -> None:
        """Close connections and the cache file."""
        self._cached.cache.close()  # type: ignore[no-untyped-call]
        super().close()

    def _fetch(
        self,
        account: EngageAccount,
        operation: Operation,
        options: dict[str, Any],
        key: str,
        kept: CachedResponse | None,
        scope: _Scope,
    ) -> Answer:
        token = _key.set(key)
        try:
            answer = super().call(account, operation, **options)
        except TransientError:
            if kept is None or _age(kept) > KEEP_STALE:
                raise
            scope.stale = True
            self._count(operation.name, "stale")
            return self._answer(kept, scope)
        except (UnauthorisedError, EngageNotFoundError):
            self._cached.cache.delete(key)
            raise
        else:
            self._count(operation.name, "miss")
            return answer
        finally:
            _key.reset(token)

    def _kept(self, key: str) -> CachedResponse | None:
        try:
            found = self._cached.cache.get_response(key)
        except InvalidToken:  # written under another SECRET_KEY
            return None
        return found if isinstance(found, CachedResponse) else None

    def _answer(self, kept: CachedResponse, scope: _Scope) -> Answer:
        scope.fetched_at = min(scope.fetched_at, _created(kept))
        return Answer(kept.status_code, parse_body(kept.content), kept.headers)


class CachedEngage:
    """Reads one contact's data. client_of gives a client whose transport is the cached one."""

    def __init__(self, transport: CachedTransport) -> None:
        self.transport = transport

    def read(
        self, client: EngageClient, owner: str, ask: Callable[[EngageClient], T], *, timeout_s: float = READ_TIMEOUT_S
    ) -> Cached[T]:
        """Ask Engage through the cache. owner: names shop, tenant, contact and generation, and stands in every key.

        Raises TransientError when Engage is away and nothing is kept, EngageNotFoundError, UnauthorisedError.
        """
        scope = _Scope(owner)
        token = _scope.set(scope)
        try:
            cached = EngageClient(
                client.account,
                self.transport,
                lane=Lane.SHOPPER,
                read_timeout_s=timeout_s,
                transactions_path=client.transactions_path,
            )
            return Cached(ask(cached), scope.fetched_at, scope.stale)
        finally:
            _scope.reset(token)

    @contextmanager
    def closing(self) -> Iterator["CachedEngage"]:
        """Close the cache at the end of the block."""
        try:
            yield self
        finally:
            self.transport.close()


def owner_of(shop: str, tenant: str, contact_id: str, generation: int) -> str:
    """Return the words that keep one contact's entries apart from everybody else's."""
    return json.dumps([shop, tenant, contact_id, generation])


def _cache_key(owner: str, operation: Operation, options: Mapping[str, Any]) -> str:
    path, query = dict(options.get("path") or {}), dict(options.get("query") or {})
    words = json.dumps([owner, operation.name, sorted(path.items()), sorted(query.items())], default=str)
    return hashlib.sha256(words.encode()).hexdigest()


def _is_fresh(kept: CachedResponse, operation: Operation) -> bool:
    return _age(kept).total_seconds() < TTL_S.get(operation.name, DEFAULT_TTL_S)


def _age(kept: CachedResponse) -> timedelta:
    return datetime.now(UTC) - _created(kept)


def _created(kept: CachedResponse) -> datetime:
    created: datetime = kept.created_at
    return created if created.tzinfo else created.replace(tzinfo=UTC)


def _encrypted_json(key: bytes) -> SerializerPipeline:
    fernet = Fernet(base64.urlsafe_b64encode(key))
    stages = [
        *json_serializer.stages,
        Stage(dumps=str.encode, loads=bytes.decode),
        Stage(dumps=fernet.encrypt, loads=fernet.decrypt),
    ]
    return SerializerPipeline(stages, name="encrypted json", is_binary=True)
