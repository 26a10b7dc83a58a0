"""A transport that sends nothing: it notes each call as it would go out, and answers as an Engage that knows nobody.

With `Reads`, calls that only read have Engage's real answers. They are asked between two rehearsals, never during one:
a rehearsal keeps other writers of its database waiting.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from plugin.engage.http.http_errors import Answer
from plugin.engage.http.transport import EngageAccount, Transport
from plugin.engage.operations import Operation
from plugin.errors import EngageError, EngageNotFoundError, TransientError

#: Stands for the id of a contact that Engage would make or find.
UNKNOWN_ID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call as it would be sent. path: with its query; assumed: the answer that the rest of the preview builds on."""

    operation: str
    method: str
    path: str
    body: Any
    assumed: str


class LiveReads:
    """Engage's answers to the calls of rehearsals that only read, by address."""

    def __init__(self, real: Transport) -> None:
        self._real = real
        self._answers: dict[str, Answer | EngageError] = {}
        self._wanted: dict[str, Callable[[], Answer]] = {}

    def answer(self, address: str, ask: Callable[[Transport], Answer]) -> Answer:
        """Return what Engage answered. Raises its EngageError, and TransientError when it is yet to be asked."""
        if address not in self._answers:
            self._wanted[address] = lambda: ask(self._real)
            raise TransientError("Engage is asked before the next rehearsal.", code="rehearsal")
        known = self._answers[address]
        if isinstance(known, EngageError):
            raise known
        return known

    def ask(self) -> bool:
        """Ask Engage what the last rehearsal wanted to know; False when that was nothing."""
        wanted, self._wanted = self._wanted, {}
        for address, ask in wanted.items():
            try:
                self._answers[address] = ask()
            except EngageError as error:
                self._answers[address] = error
        return bool(wanted)


class DryRunTransport(Transport):
    """Notes calls in `calls` instead of sending them. reads: where real answers to look-ups come from."""

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
        """Note a call. Raises EngageNotFoundError for a look-up that is not asked."""
        address = operation.path.format_map(path or {}) + (f"?{urlencode(query)}" if query else "")
        if self._reads is not None and operation.method == "GET":
            self._note(operation, address, body, "asked")
            return self._reads.answer(
                address, lambda real: real.call(account, operation, path=path, query=query, body=body, **options)
            )
        status, data, assumed = _ANSWERS.get(operation.name, (200, None, "it succeeds"))
        if operation.method == "GET" and operation.name not in _ANSWERS:
            status, data, assumed = 200, [], "nothing is there"
        self._note(operation, address, body, assumed)
        if status == 404:
            raise EngageNotFoundError(f"{operation.name}: {assumed}", operation=operation.name, status=404)
        return Answer(status, data, {})

    def _note(self, operation: Operation, address: str, body: Any, assumed: str) -> None:
        self.calls.append(PlannedCall(operation.name, operation.method, address, body, assumed))


_ANSWERS: Mapping[str, tuple[int, Any, str]] = {
    "find_contact_id": (404, None, "no contact is found"),
    "create_contact": (201, {"id": UNKNOWN_ID, "attributes": {}}, f"the contact is created as {UNKNOWN_ID}"),
    "get_contact": (
        200,
        {"id": UNKNOWN_ID, "contactType": "another", "attributes": {}},
        "it is of another contact type",
    ),
}
