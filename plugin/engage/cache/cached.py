"""Reads for My Pages: kept per shop, tenant and contact, one call in flight per key, stale only when it is right.

The key is made of shop, tenant, contact, generation, operation and parameters, and nothing else decides. Fresh data
comes after one increment of the generation (`SyncStates.bump_generation_write`, in the commit of whatever changed the
contact): what was kept before is then never read again, on any machine. `forget_contact` deletes it as well.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import requests
from requests_cache.models.response import CachedResponse

from plugin.engage.cache.response_cache import KEEP, ResponseCache, created
from plugin.engage.cache.single_flight import SingleFlight
from plugin.engage.client import EngageClient
from plugin.engage.http.call_guard import CallGuards
from plugin.engage.http.http_errors import Answer, parse_body
from plugin.engage.http.transport import CallRecord, EngageAccount, Transport
from plugin.engage.operations import Operation, Priority
from plugin.errors import EngageNotFoundError, ThrottledError, TransientError, UnauthorisedError

T = TypeVar("T")
#: Seconds that an answer is fresh.
TTL_S: Mapping[str, int] = {
    "get_contact": 300,
    "list_transactions": 300,
    "list_contact_transactions": 300,
    "list_promotion_assignments": 60,
    "list_available_reward_vouchers": 60,
    "list_reward_vouchers": 60,
    "list_point_accounts": 60,
    "list_point_transactions": 300,
}
DEFAULT_TTL_S = 60
READ_TIMEOUT_S = 2.5
#: How long a shopper whose older data could be shown waits for newer, in seconds.
READ_TIMEOUT_WITH_STALE_S = 1.5
#: After a failed call the same one is not tried again for so long, in seconds: older data is shown at once.
PAUSE_S = 10.0
#: The same where there is no older data: the shopper is told at once, and soon tried for again.
PAUSE_WITHOUT_STALE_S = 2.0
PRUNE_EVERY_S = 600.0
MAX_KEPT_BYTES = 4 * 1024 * 1024
#: Operations whose 404 says that the contact is gone, and so everything of it here.
OF_CONTACT_ITSELF = frozenset({"get_contact"})


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose data is read: entries of one owner are never shown to another.

    fresh_after: what was fetched before counts as stale; aware UTC, None for never.
    """

    shop: str
    tenant: str
    contact_id: str
    generation: int
    fresh_after: datetime | None = None

    @property
    def prefix(self) -> str:
        """What the keys of the contact begin with, whatever the generation."""
        return contact_prefix(self.shop, self.tenant, self.contact_id)


@dataclass(frozen=True, slots=True)
class Cached(Generic[T]):
    """A value, when it was fetched, until when it is fresh (aware UTC), and whether it is shown as Engage is away."""

    value: T
    fetched_at: datetime
    fresh_until: datetime
    stale: bool = False


class CacheMissError(Exception):
    """Nothing fresh is kept, and the caller did not want to wait for Engage."""


@dataclass(slots=True)
class _Scope:
    """Whose data the calls in progress are for, and what is known of the answers so far."""

    owner: Owner
    cache_only: bool
    allow_stale: bool = False
    fetched_at: datetime | None = None
    fresh_until: datetime | None = None
    stale: bool = False

    def note(self, fetched_at: datetime, fresh_until: datetime) -> None:
        self.fetched_at = min(self.fetched_at or fetched_at, fetched_at)
        self.fresh_until = min(self.fresh_until or fresh_until, fresh_until)


_scope: ContextVar[_Scope | None] = ContextVar("whose data is read", default=None)
_key: ContextVar[str] = ContextVar("cache key of the call in progress")


class _KeepingSession(requests.Session):
    """Keeps each good answer under the key of the call in progress."""

    def __init__(self, kept: ResponseCache) -> None:
        super().__init__()
        self._kept = kept

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request and keep the answer if it is 200 and JSON: a page of a proxy on the way is neither."""
        response = super().send(request, **options)
        if response.status_code == 200:
            content = bytearray()
            for chunk in response.iter_content(64 * 1024):
                content += chunk
                if len(content) > MAX_KEPT_BYTES:
                    raise requests.exceptions.ContentDecodingError("too large")
            response._content = bytes(content)
            if parse_body(response._content) is not None:
                self._kept.put(_key.get(), response._content)
        return response


@dataclass(slots=True)
class _Failures:
    """Which calls failed just now: (when, monotonic; when, aware UTC). Bounded."""

    most: int = 10_000
    _failed: dict[str, tuple[float, datetime]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, key: str) -> None:
        with self._lock:
            if len(self._failed) >= self.most:
                self._failed.clear()
            self._failed[key] = (time.monotonic(), datetime.now(UTC))

    def rests(self, key: str, pause_s: float, fresh_after: datetime | None) -> bool:
        at = self._failed.get(key)
        if at is None or time.monotonic() - at[0] >= pause_s:
            return False
        return fresh_after is None or at[1] > fresh_after

    def clear(self, key: str) -> None:
        if key in self._failed:
            with self._lock:
                self._failed.pop(key, None)


class CachedTransport(Transport):
    """A transport whose answers are kept. Only calls inside a scope are; everything else is refused."""

    def __init__(
        self,
        call_guards: CallGuards,
        kept: ResponseCache,
        flights: SingleFlight[Answer],
        observer: Callable[[CallRecord], None] | None = None,
        count: Callable[[str, str], None] = lambda _operation, _outcome: None,
    ) -> None:
        super().__init__(call_guards, observer, _KeepingSession(kept))
        self.kept = kept
        self._flights = flights
        self._failures = _Failures()
        self._count = count
        self._prune_at = time.monotonic() + PRUNE_EVERY_S

    def call(self, account: EngageAccount, operation: Operation, **options: Any) -> Answer:
        """Answer from the cache while it is fresh; else ask Engage, one call in flight per key.

        Raises what Transport.call raises; a TransientError only when nothing of the last 24 hours is kept; CacheMissError.
        """
        scope = _scope.get()
        if scope is None or operation.method != "GET":
            raise ValueError(f"{operation.name} is not read through the cache.")
        key = _cache_key(scope.owner, operation, options)
        kept = self.kept.get(key)
        answer = self._fresh(kept, operation, scope) or self._resting(key, kept, operation, scope)
        if answer is not None:
            return answer
        if scope.cache_only and scope.allow_stale and kept is not None and _age(kept) <= KEEP:
            return self._stale(kept, operation, scope)
        if scope.cache_only:
            raise CacheMissError
        return self._ask(account, operation, options, key, kept, scope)

    def forget_contact(self, shop: str, tenant: str, contact_id: str) -> bool:
        """Delete everything that is kept of a contact; False when the cache cannot be reached now."""
        return self.kept.forget(contact_prefix(shop, tenant, contact_id))

    def close(self) -> None:
        """Close connections and the cache."""
        self.kept.close()
        super().close()

    def _fresh(self, kept: CachedResponse | None, operation: Operation, scope: _Scope) -> Answer | None:
        if kept is None:
            return None
        at = created(kept)
        until = at + timedelta(seconds=TTL_S.get(operation.name, DEFAULT_TTL_S))
        asked = scope.owner.fresh_after
        if datetime.now(UTC) >= until or (asked is not None and at < asked):
            return None
        self._count(operation.name, "hit")
        scope.note(at, until)
        return _answer(kept)

    def _resting(self, key: str, kept: CachedResponse | None, operation: Operation, scope: _Scope) -> Answer | None:
        """Answer with older data, or raise, while a call that failed just now is not worth another try."""
        older = kept is not None and _age(kept) <= KEEP
        if not self._failures.rests(key, PAUSE_S if older else PAUSE_WITHOUT_STALE_S, scope.owner.fresh_after):
            return None
        if kept is None or not older:
            raise ThrottledError("Engage was asked just now and did not answer.", operation=operation.name, sent=False)
        return self._stale(kept, operation, scope)

    def _stale(self, kept: CachedResponse, operation: Operation, scope: _Scope) -> Answer:
        self._count(operation.name, "stale")
        scope.stale = True
        scope.note(created(kept), datetime.now(UTC) + timedelta(seconds=PAUSE_S))
        return _answer(kept)

    def _ask(
        self,
        account: EngageAccount,
        operation: Operation,
        options: dict[str, Any],
        key: str,
        kept: CachedResponse | None,
        scope: _Scope,
    ) -> Answer:
        older = kept is not None and _age(kept) <= KEEP
        patience_s = float(options.get("read_timeout_s") or READ_TIMEOUT_S)
        if older:
            patience_s = min(patience_s, READ_TIMEOUT_WITH_STALE_S)
        options = {**options, "read_timeout_s": patience_s}

        def look() -> Answer | None:
            return self._fresh(self.kept.get(key), operation, scope)

        try:
            answer = self._flights.fetch(
                key, lambda: self._fetch(account, operation, options, key, scope), look, patience_s
            )
        except (TransientError, TimeoutError) as error:
            self._failures.note(key)
            if kept is not None and older:
                return self._stale(kept, operation, scope)
            if isinstance(error, TimeoutError):
                raise TransientError("Engage takes too long.", operation=operation.name) from None
            raise
        self._failures.clear(key)
        now = datetime.now(UTC)
        scope.note(now, now + timedelta(seconds=TTL_S.get(operation.name, DEFAULT_TTL_S)))
        return answer

    def _fetch(
        self, account: EngageAccount, operation: Operation, options: dict[str, Any], key: str, scope: _Scope
    ) -> Answer:
        token = _key.set(key)
        try:
            answer = super().call(account, operation, **options)
        except UnauthorisedError:
            self.kept.delete(key)
            raise
        except EngageNotFoundError:
            self.kept.delete(key)
            if operation.name in OF_CONTACT_ITSELF:
                self.kept.forget(scope.owner.prefix)
            raise
        finally:
            _key.reset(token)
        self._count(operation.name, "miss")
        if time.monotonic() >= self._prune_at:
            self._prune_at = time.monotonic() + PRUNE_EVERY_S
            self.kept.prune()
        return answer


class CachedEngage:
    """Reads one contact's data through the cache."""

    def __init__(self, transport: CachedTransport) -> None:
        self.transport = transport

    def read(
        self,
        client: EngageClient,
        owner: Owner,
        ask: Callable[[EngageClient], T],
        *,
        cache_only: bool = False,
        allow_stale: bool = False,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> Cached[T]:
        """Ask Engage through the cache. cache_only: do not wait for Engage; allow_stale: then older data will do too.

        Raises TransientError when Engage is away and nothing is kept, EngageNotFoundError, UnauthorisedError, other
        EngageErrors, and CacheMissError when cache_only and nothing fresh is.
        """
        scope = _Scope(owner, cache_only, allow_stale)
        token = _scope.set(scope)
        try:
            value = ask(client.over(self.transport, priority=Priority.SHOPPER, read_timeout_s=timeout_s))
        finally:
            _scope.reset(token)
        now = datetime.now(UTC)
        return Cached(value, scope.fetched_at or now, scope.fresh_until or now, scope.stale)

    def close(self) -> None:
        """Close connections and the cache."""
        self.transport.close()


def contact_prefix(shop: str, tenant: str, contact_id: str) -> str:
    """Return what the keys of one contact's entries begin with."""
    return hashlib.sha256(json.dumps([shop, tenant, contact_id]).encode()).hexdigest()[:32]


def _cache_key(owner: Owner, operation: Operation, options: Mapping[str, Any]) -> str:
    path, query = dict(options.get("path") or {}), dict(options.get("query") or {})
    words = [
        owner.shop, owner.tenant, owner.contact_id, owner.generation,
        operation.name, sorted(path.items()), sorted(query.items()),
    ]  # fmt: skip
    return f"{owner.prefix}:{hashlib.sha256(json.dumps(words, default=str).encode()).hexdigest()}"


def _answer(kept: CachedResponse) -> Answer:
    return Answer(kept.status_code, parse_body(kept.content), {})


def _age(kept: CachedResponse) -> timedelta:
    return datetime.now(UTC) - created(kept)
