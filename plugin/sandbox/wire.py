"""What is sent over HTTP: a call, its answer, an error, and the small checks that all operations share."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING, Any, Final

from plugin.sandbox.options import ErrorShape, SandboxOptions

if TYPE_CHECKING:
    from plugin.sandbox.state import SandboxState

GUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
JSON = "application/json"


class _NoBody:
    """The type of NO_BODY."""


NO_BODY: Final = _NoBody()


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation answers. data: JSON-ready, with Decimal and aware datetime; NO_BODY for an empty body."""

    status: int = 200
    data: Any = NO_BODY
    headers: Mapping[str, str] = field(default_factory=dict)


class ApiError(Exception):
    """A call that Engage refuses. code: Engage's name of the error; field: the field at fault; more: further keys of the body."""

    def __init__(
        self, status: int, code: str, message: str, field: str | None = None, more: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.more = more or {}
        super().__init__(f"{code}: {message}")


@dataclass(slots=True)
class Call:
    """One call of an operation. path: the path's parameters; query: the first value of each query parameter."""

    state: "SandboxState"
    now: datetime
    path: Mapping[str, str]
    query: Mapping[str, str]
    raw_body: bytes

    def body(self) -> dict[str, Any]:
        """Return the body, a JSON object with Decimal numbers. Raises ApiError 400."""
        data = parse_json(self.raw_body)
        if not isinstance(data, dict):
            raise ApiError(400, "InvalidRequestBody", "The body must be a JSON object.")
        return data

    def guid(self, name: str, code: str | None = None) -> str:
        """Return a GUID of the path or the query in lower case. Raises ApiError 400 if it is not one."""
        return guid(self.path.get(name, self.query.get(name, "")), name, code)

    def page(self, items: Sequence[Any], *, default_count: int = 100) -> dict[str, Any]:
        """Return the page of items that offset and count ask for. Raises ApiError 400."""
        offset = self._number("offset", 0, 0)
        count = self._number("count", default_count, 1)
        page = list(items[offset : offset + count])
        return {"items": page, "totalCount": len(items), "offset": offset, "count": count}

    def _number(self, name: str, default: int, least: int) -> int:
        text = self.query.get(name)
        if text is None:
            return default
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
            raise ApiError(400, "InvalidPaging", f"{name} must be a whole number, at least {least}.", name)
        return int(text)


Handler = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the contract. path: with the contract's parameters in braces."""

    operation_id: str
    method: str
    path: str
    handler: Handler


def parse_json(body: bytes) -> Any:
    """Parse a request's body; numbers with a point become Decimal. Raises ApiError 400."""
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ApiError(400, "InvalidRequestBody", "The body is not valid JSON.") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def guid(value: Any, name: str, code: str | None = None) -> str:
    """Return a GUID in lower case. Raises ApiError 400 with the code, or one made from the name."""
    if not isinstance(value, str) or not GUID.fullmatch(value):
        raise ApiError(400, code or f"Invalid{name[:1].upper()}{name[1:]}", f"{name} must be a GUID.", name)
    return value.lower()


def parse_time(value: Any) -> datetime | None:
    """Read an ISO 8601 date-time with an offset as aware UTC; None if it is not one."""
    if not isinstance(value, str) or not re.match(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}", value):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.astimezone(UTC) if parsed.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a number of a plausible size."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return False
    return -(10**15) < value < 10**15 and (not isinstance(value, Decimal) or value.as_tuple().exponent >= -12)  # type: ignore[operator]


def to_json(data: Any) -> bytes:
    """Write an answer as JSON: Decimals as numbers, times in ISO 8601 with their offset."""
    return json.dumps(data, default=_plain, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (frozenset, set)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def with_extra_fields(data: Any) -> Any:
    """Add keys that the contract does not have to every object, except preferences, whose keys the contract closes."""
    if isinstance(data, Mapping):
        more = {name: value if name == "preferences" else with_extra_fields(value) for name, value in data.items()}
        return {**more, "sandboxExtra": "ignore me", "sandboxExtraObject": {"nested": [1, None]}}
    return [with_extra_fields(item) for item in data] if isinstance(data, list) else data


def error_body(refusal: ApiError, shape: ErrorShape) -> tuple[bytes, str]:
    """Return an error's body and content type in the tenant's shape; Engage does not document one (docs/engage.md#errors)."""
    if shape == "empty":
        return b"", JSON
    if shape == "html":
        page = f"<!doctype html><title>{refusal.status}</title><h1>{refusal.status}</h1><p>{escape(refusal.code)}</p>"
        return page.encode(), "text/html; charset=utf-8"
    if shape == "string":
        return to_json(" ".join([refusal.code, *refusal.more.values()])), JSON
    name = "errorCode" if shape == "object-errorCode" else "code"
    body = {name: refusal.code, "message": refusal.message, **refusal.more}
    return to_json({**body, "field": refusal.field} if refusal.field else body), JSON


def answer_body(answer: Answer, options: SandboxOptions) -> bytes:
    """Return an answer's body as bytes."""
    if answer.data is NO_BODY:
        return b""
    return to_json(with_extra_fields(answer.data) if options.extra_fields else answer.data)
