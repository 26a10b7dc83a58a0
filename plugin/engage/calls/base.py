"""What all operations share: the account, the transport, and lists that may or may not be paged."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from plugin.engage.data import models, schemas
from plugin.engage.http.http_errors import Answer, items_of
from plugin.engage.http.transport import CallRecord, EngageAccount, Transport
from plugin.engage.operations import OPERATIONS, Operation, Priority

PAGE_SIZE = 100
MAX_PAGES = 50


class Calls:
    """A shop's account and the transport that its calls go through."""

    def __init__(
        self,
        account: EngageAccount,
        transport: Transport,
        *,
        priority: Priority | None = None,
        read_timeout_s: float | None = None,
        observer: Callable[[CallRecord], None] | None = None,
        ensure_lease: Callable[[], None] | None = None,
        transactions_path: str = "list_transactions",
        on_transactions_path: Callable[[str], None] | None = None,
    ) -> None:
        self.account = account
        self._transport = transport
        self._priority = priority
        self._read_timeout_s = read_timeout_s
        self._observer = observer
        self._ensure_lease = ensure_lease
        self.transactions_path = transactions_path
        self._on_transactions_path = on_transactions_path

    def with_options(
        self,
        *,
        priority: Priority | None = None,
        read_timeout_s: float | None = None,
        observer: Callable[[CallRecord], None] | None = None,
        ensure_lease: Callable[[], None] | None = None,
    ) -> Self:
        """Return a client with another priority, read time-out (seconds) or observer.

        ensure_lease: called before each call leaves; raises LeaseLostError once another worker holds the lease.
        """
        return type(self)(
            self.account,
            self._transport,
            priority=self._priority if priority is None else priority,
            read_timeout_s=read_timeout_s or self._read_timeout_s,
            observer=observer or self._observer,
            ensure_lease=ensure_lease or self._ensure_lease,
            transactions_path=self.transactions_path,
            on_transactions_path=self._on_transactions_path,
        )

    def over(self, transport: Transport, *, priority: Priority, read_timeout_s: float) -> Self:
        """Return a client that calls through another transport, such as the cached one. read_timeout_s: seconds."""
        copy = self.with_options(priority=priority, read_timeout_s=read_timeout_s)
        copy._transport = transport
        return copy

    def _call(self, name: str, **options: Any) -> Answer:
        return self._call_operation(OPERATIONS[name], **options)

    def _call_operation(self, operation: Operation, **options: Any) -> Answer:
        if self._ensure_lease is not None:
            options["ensure_lease"] = self._ensure_lease
        return self._transport.call(
            self.account,
            operation,
            priority=self._priority,
            read_timeout_s=self._read_timeout_s,
            observer=self._observer,
            **options,
        )

    def _page(
        self, name: str, query: Mapping[str, Any], schema: type[schemas.AnswerSchema], offset: int
    ) -> models.Page[Any]:
        items, total = items_of(self._call(name, query=query).data, name)
        return models.Page(schemas.load_many(schema, items, name), total, offset)

    def _all(self, name: str, query: Mapping[str, Any], schema: type[schemas.AnswerSchema]) -> models.Page[Any]:
        """Read every page. The first request names no page: whether the tenant pages this list is not documented."""
        first = self._page(name, query, schema, 0)
        if first.total_count is None or len(first.items) >= first.total_count:
            return first
        items = list(first.items)
        for page in self._further_pages(name, query, schema, first.total_count, len(items)):
            items.extend(page.items)
        return models.Page(tuple(items), first.total_count)

    def _further_pages(
        self, name: str, query: Mapping[str, Any], schema: type[schemas.AnswerSchema], total: int, have: int
    ) -> Iterator[models.Page[Any]]:
        for _ in range(MAX_PAGES):
            page = self._page(name, {**query, "offset": have, "count": PAGE_SIZE}, schema, have)
            yield page
            have += len(page.items)
            if not page.items or have >= total:
                return
