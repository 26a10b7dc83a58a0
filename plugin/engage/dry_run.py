"""A transport for dry runs: it records each call instead of sending it, and answers like a tenant without contacts.

With `LiveReads`, calls that only read get Engage's real answers. Engage is asked between two dry runs, never during one,
because a dry run keeps other writers of its database waiting.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from plugin.engage.http.http_errors import Answer
from plugin.engage.http.transport import EngageAccount, Transport
from plugin.engage.operations import Operation
from plugin.errors import EngageError, EngageNotFoundError, TransientError

#: The id of a contact that Engage would create or find.
UNKNOWN_ID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call as it would be sent. path: with its query; assumed: the answer that the rest of the dry run builds on."""

    operation: str
    method: str
    path: str
    body: Any
    assumed: str


class LiveReads:
    """Engage's answers to the reading calls of dry runs, by address."""

    def __init__(self, real: Transport) -> None:
        self._real = real
        self._answers: dict[str, Answer | EngageError] = {}
        self._missing: dict[str, Callable[[], Answer]] = {}

    def answer(self, address: str, ask: Callable[[Transport], Answer]) -> Answer:
        """Return Engage's answer, or raise the error that it stands for. Raises TransientError if Engage must be asked first."""
        if address not in self._answers:
            self._missing[address] = lambda: ask(self._real)
            raise TransientError("Engage is asked before the next dry run.", code="rehearsal")
        answer = self._answers[address]
        if isinstance(answer, EngageError):
            raise answer
        return answer

    def ask(self) -> bool:
        """Make the reading calls that the last dry run lacked answers to. Return whether there were any."""
        missing, self._missing = self._missing, {}
        for address, ask in missing.items():
            try:
                self._answers[address] = ask()
            except EngageError as error:
                self._answers[address] = error
        return bool(missing)


class DryRunTransport(Transport):
    """Records calls in `calls` instead of sending them. reads: real answers to reading calls."""

    def __init__(self, reads: LiveReads | None = None) -> None:
        self._reads = reads
        self.calls: list[PlannedCall] = []

    def call(
        self,
        account: EngageAccount,
        operation: Operation,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        **options: Any,
    ) -> Answer:
        """Record a call. Raises EngageNotFoundError for a contact look-up, unless reads has an answer."""
        address = operation.path.format_map(path or {}) + (f"?{urlencode(query)}" if query else "")
        if self._reads is not None and operation.method == "GET":
            self._record(operation, address, body, "asked")
            return self._reads.answer(
                address, lambda real: real.call(account, operation, path=path, query=query, body=body, **options)
            )
        status, data, assumed = _ANSWERS.get(operation.name, (200, None, "it succeeds"))
        if operation.method == "GET" and operation.name not in _ANSWERS:
            status, data, assumed = 200, [], "nothing is there"
        self._record(operation, address, body, assumed)
        if status == 404:
            raise EngageNotFoundError(f"{operation.name}: {assumed}", operation=operation.name, status=404)
        return Answer(status, data, {})

    def _record(self, operation: Operation, address: str, body: Any, assumed: str) -> None:
        self.calls.append(PlannedCall(operation.name, operation.method, address, body, assumed))


_ANSWERS: Mapping[str, tuple[int, Any, str]] = {
    "find_contact_id": (404, None, "no contact is found"),
    "create_contact": (201, {"id": UNKNOWN_ID, "attributes": {}}, f"the contact is created as {UNKNOWN_ID}"),
    "get_contact": (
        200,
        {"id": UNKNOWN_ID, "contactType": "another", "attributes": {}},
        "it has another contact type",
    ),
}
