"""Reads for My Pages: cached per shop, tenant and contact, with one call in flight per key.

A key is made of shop, tenant, contact, generation, operation and parameters, and nothing else decides who sees an
answer. Incrementing the generation (`SyncStates.bump_generation_write`, in the transaction that changed the contact)
makes every process read fresh data: older answers are never found again. `forget_contact` deletes them as well.

An answer is fresh for TTL_S. Afterwards it is shown only while Engage does not answer, for at most STORED_FOR.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from requests_cache.models.response import CachedResponse

from plugin.engage.cache.recent_failures import RecentFailures
from plugin.engage.cache.response_cache import STORED_FOR, ResponseCache, created
from plugin.engage.cache.single_flight import SingleFlight
from plugin.engage.client import EngageClient
from plugin.engage.http.call_guard import CallGuards
from plugin.engage.http.http_errors import Answer, parse_body
from plugin.engage.http.transport import CallRecord, EngageAccount, Transport
from plugin.engage.operations import Operation, Priority
from plugin.errors import EngageNotFoundError, ThrottledError, TransientError, UnauthorisedError

T = TypeVar("T")
#: How long an answer is fresh, in seconds.
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
#: How long, in seconds, a shopper waits for newer data when older data could be shown.
READ_TIMEOUT_WITH_STALE_S = 1.5
#: How long, in seconds, a failed call is not tried again while older data can be shown at once.
PAUSE_S = 10.0
#: The same if there is no older data: the shopper sees an error at once, and the call is soon tried again.
PAUSE_WITHOUT_STALE_S = 2.0
PRUNE_EVERY_S = 600.0
MAX_CACHED_BYTES = 4 * 1024 * 1024
#: Operations whose 404 means that the contact is gone, so that everything cached of it is deleted.
CONTACT_OPERATIONS = frozenset({"get_contact"})


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose data is read. Answers of one owner are never shown to another.

    fresh_after: what was fetched earlier counts as stale; aware UTC, None if everything may be fresh.
    """

    shop: str
    tenant: str
    contact_id: str
    generation: int
    fresh_after: datetime | None = None

    @property
    def prefix(self) -> str:
        """The beginning of the contact's keys in every generation."""
        return contact_prefix(self.shop, self.tenant, self.contact_id)


@dataclass(frozen=True, slots=True)
class Cached(Generic[T]):
    """A value with its age: when it was fetched, until when it is fresh (aware UTC).

    stale: older than that, shown because Engage does not answer.
    """

    value: T
    fetched_at: datetime
    fresh_until: datetime
    stale: bool = False


class CacheMissError(Exception):
    """Nothing suitable is stored, and the caller did not want to wait for Engage."""


class CachedEngage:
    """Reads one contact's data through the cache. One per process; safe to use from several threads.

    observer: called after each call to Engage. count: called with operation and hit, miss or stale for each answer.
    """

    def __init__(
        self,
        call_guards: CallGuards,
        responses: ResponseCache,
        flights: SingleFlight[Answer],
        observer: Callable[[CallRecord], None] | None = None,
        count: Callable[[str, str], None] = lambda _operation, _outcome: None,
    ) -> None:
        self.responses = responses
        self.flights = flights
        self.count = count
        self.failures = RecentFailures()
        self.transport = Transport(call_guards, observer, max_answer_bytes=MAX_CACHED_BYTES)
        self._prune_at = time.monotonic() + PRUNE_EVERY_S

    def read(
        self,
        client: EngageClient,
        owner: Owner,
        query: Callable[[EngageClient], T],
        *,
        cache_only: bool = False,
        allow_stale: bool = False,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> Cached[T]:
        """Run a query whose calls are answered from the cache where possible.

        cache_only: do not wait for Engage; allow_stale: then older data will do as well.
        Raises TransientError when Engage does not answer and nothing is stored, EngageNotFoundError, UnauthorisedError,
        other EngageErrors, and CacheMissError when cache_only and nothing suitable is stored.
        """
        reads = _CachedReads(self, owner, cache_only=cache_only, allow_stale=allow_stale)
        value = query(client.over(reads, priority=Priority.SHOPPER, read_timeout_s=timeout_s))
        now = datetime.now(UTC)
        return Cached(value, reads.fetched_at or now, reads.fresh_until or now, reads.stale)

    def forget_contact(self, shop: str, tenant: str, contact_id: str) -> bool:
        """Delete everything that is cached of a contact; False when the cache cannot be reached now."""
        return self.responses.forget(contact_prefix(shop, tenant, contact_id))

    def prune(self) -> None:
        """Delete answers that are too old even to be shown stale, every PRUNE_EVERY_S at most."""
        if time.monotonic() >= self._prune_at:
            self._prune_at = time.monotonic() + PRUNE_EVERY_S
            self.responses.prune()

    def close(self) -> None:
        """Close connections and the cache."""
        self.responses.close()
        self.transport.close()


class _CachedReads(Transport):
    """The calls of one read: for one owner, with what is known about the age of the answers so far.

    Overrides `call` alone; what must be fetched goes through the transport that all reads share.
    """

    def __init__(self, engage: CachedEngage, owner: Owner, *, cache_only: bool, allow_stale: bool) -> None:
        self._engage = engage
        self._owner = owner
        self._cache_only = cache_only
        self._allow_stale = allow_stale
        self.fetched_at: datetime | None = None
        self.fresh_until: datetime | None = None
        self.stale = False

    def call(self, account: EngageAccount, operation: Operation, **options: Any) -> Answer:
        """Answer from the cache while it is fresh; otherwise ask Engage, with one call in flight per key.

        Raises what Transport.call raises; a TransientError only if no answer of the last STORED_FOR is stored;
        CacheMissError.
        """
        if operation.method != "GET":
            raise ValueError(f"{operation.name} is not read through the cache.")
        key = _cache_key(self._owner, operation, options)
        stored = self._engage.responses.get(key)
        answer = self._fresh(stored, operation) or self._after_failure(key, stored, operation)
        if answer is not None:
            return answer
        if self._cache_only:
            if self._allow_stale and stored is not None and _is_usable(stored):
                return self._stale(stored, operation)
            raise CacheMissError
        return self._ask(account, operation, options, key, stored)

    def _fresh(self, stored: CachedResponse | None, operation: Operation) -> Answer | None:
        if stored is None:
            return None
        at = created(stored)
        until = at + _ttl(operation)
        fresh_after = self._owner.fresh_after
        if datetime.now(UTC) >= until or (fresh_after is not None and at < fresh_after):
            return None
        self._engage.count(operation.name, "hit")
        self._note_age(at, until)
        return _answer(stored)

    def _after_failure(self, key: str, stored: CachedResponse | None, operation: Operation) -> Answer | None:
        """Answer with older data, or raise, while the same call has failed too recently to be tried again."""
        older = stored if stored is not None and _is_usable(stored) else None
        pause_s = PAUSE_WITHOUT_STALE_S if older is None else PAUSE_S
        if not self._engage.failures.is_recent(key, pause_s, self._owner.fresh_after):
            return None
        if older is None:
            raise ThrottledError("Engage was asked just now and did not answer.", operation=operation.name, sent=False)
        return self._stale(older, operation)

    def _stale(self, stored: CachedResponse, operation: Operation) -> Answer:
        self._engage.count(operation.name, "stale")
        self.stale = True
        self._note_age(created(stored), datetime.now(UTC) + timedelta(seconds=PAUSE_S))
        return _answer(stored)

    def _ask(
        self,
        account: EngageAccount,
        operation: Operation,
        options: dict[str, Any],
        key: str,
        stored: CachedResponse | None,
    ) -> Answer:
        older = stored if stored is not None and _is_usable(stored) else None
        timeout_s = float(options.get("read_timeout_s") or READ_TIMEOUT_S)
        if older is not None:
            timeout_s = min(timeout_s, READ_TIMEOUT_WITH_STALE_S)
        options = {**options, "read_timeout_s": timeout_s}
        engage = self._engage
        try:
            answer = engage.flights.fetch(
                key,
                lambda: self._fetch(account, operation, options, key),
                lambda: self._fresh(engage.responses.get(key), operation),
                timeout_s,
            )
        except (TransientError, TimeoutError) as error:
            engage.failures.note(key)
            if older is not None:
                return self._stale(older, operation)
            if isinstance(error, TimeoutError):
                raise TransientError("Engage takes too long.", operation=operation.name) from None
            raise
        engage.failures.clear(key)
        now = datetime.now(UTC)
        self._note_age(now, now + _ttl(operation))
        return answer

    def _fetch(self, account: EngageAccount, operation: Operation, options: dict[str, Any], key: str) -> Answer:
        engage = self._engage
        try:
            answer = engage.transport.call(account, operation, **options)
        except UnauthorisedError:
            engage.responses.delete(key)
            raise
        except EngageNotFoundError:
            engage.responses.delete(key)
            if operation.name in CONTACT_OPERATIONS:
                engage.responses.forget(self._owner.prefix)
            raise
        if answer.status == 200 and answer.data is not None:  # the page of a proxy on the way is not JSON
            engage.responses.put(key, answer.body)
        engage.count(operation.name, "miss")
        engage.prune()
        return answer

    def _note_age(self, fetched_at: datetime, fresh_until: datetime) -> None:
        self.fetched_at = min(self.fetched_at or fetched_at, fetched_at)
        self.fresh_until = min(self.fresh_until or fresh_until, fresh_until)


def contact_prefix(shop: str, tenant: str, contact_id: str) -> str:
    """Return the beginning of all keys of a contact."""
    return hashlib.sha256(json.dumps([shop, tenant, contact_id]).encode()).hexdigest()[:32]


def _cache_key(owner: Owner, operation: Operation, options: Mapping[str, Any]) -> str:
    path, query = dict(options.get("path") or {}), dict(options.get("query") or {})
    parts = [
        owner.shop, owner.tenant, owner.contact_id, owner.generation,
        operation.name, sorted(path.items()), sorted(query.items()),
    ]  # fmt: skip
    return f"{owner.prefix}:{hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()}"


def _answer(stored: CachedResponse) -> Answer:
    return Answer(stored.status_code, parse_body(stored.content), {})


def _ttl(operation: Operation) -> timedelta:
    return timedelta(seconds=TTL_S.get(operation.name, DEFAULT_TTL_S))


def _is_usable(stored: CachedResponse) -> bool:
    """Return whether an answer may still be shown while Engage does not answer."""
    return datetime.now(UTC) - created(stored) <= STORED_FOR
