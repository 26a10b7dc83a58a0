"""A transport that sends nothing: it notes each call as it would go out, and answers as an Engage that knows nobody.

With `ask`, calls that only read go to Engage, so that look-ups have their real answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from plugin.engage.answers import Answer
from plugin.engage.operations import Operation
from plugin.engage.transport import EngageAccount, Transport
from plugin.errors import EngageNotFoundError

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


class Rehearsal(Transport):
    """Notes calls in `calls` instead of sending them."""

    def __init__(self, real: Transport | None = None) -> None:
        self._real = real
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
        if self._real is not None and operation.method == "GET":
            self._note(operation, address, body, "asked")
            return self._real.call(account, operation, path=path, query=query, body=body, **options)
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
    "create_contact": (201, {"id": UNKNOWN_ID}, f"the contact is created as {UNKNOWN_ID}"),
    "get_contact": (
        200,
        {"id": UNKNOWN_ID, "contactType": "another", "attributes": {}},
        "it is of another contact type",
    ),
}
