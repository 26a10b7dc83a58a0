"""Reading a request: JSON objects of known fields, each of its kind. A fault is answered 400 and named."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from plugin.errors import PluginError

MAX_BODY_BYTES = 256 * 1024


class RequestError(PluginError):
    """A request cannot be answered as it is. status: the HTTP status; code: a short stable word."""

    def __init__(self, message: str, code: str = "bad_request", status: int = 400) -> None:
        self.code = code
        self.status = status
        super().__init__(message)


def json_object(raw: bytes) -> dict[str, Any]:
    """Parse a body; numbers with a fraction become Decimal. Raises RequestError."""
    if len(raw) > MAX_BODY_BYTES:
        raise RequestError(f"The body is larger than {MAX_BODY_BYTES} bytes.", "too_large", 413)

    def refuse(name: str) -> Decimal:
        raise ValueError(name)

    try:
        value = json.loads(raw.decode("utf-8"), parse_float=Decimal, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise RequestError("The body is not JSON in UTF-8.") from None
    if not isinstance(value, dict):
        raise RequestError("The body is not a JSON object.")
    return value


def only(fields: Mapping[str, Any], *known: str) -> None:
    """Raise RequestError for a field that is not known: a misspelt field must not be ignored silently."""
    unknown = sorted(str(name)[:40] for name in fields if name not in known)
    if unknown:
        raise RequestError(f"Unknown: {', '.join(unknown[:5])}. Known are {', '.join(known)}.", "unknown_field")


def text(fields: Mapping[str, Any], name: str, max_length: int, *, needed: bool = False) -> str | None:
    """Return a text of at most max_length printable characters, without surrounding space. Raises RequestError."""
    value = fields.get(name)
    if value is None and not needed:
        return None
    if not isinstance(value, str) or not 0 < len(value.strip()) <= max_length or not _is_clean(value):
        raise RequestError(f"{name} must be a text of 1 to {max_length} printable characters.")
    return value.strip()


def currency(fields: Mapping[str, Any], name: str = "currency") -> str:
    """Return a currency code. Raises RequestError."""
    value = fields.get(name)
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z]{3}", value, re.ASCII):
        raise RequestError(f"{name} must be the cart's currency code of three letters (ISO 4217).")
    return value.upper()


def choice(fields: Mapping[str, Any], name: str, allowed: tuple[str, ...], default: str) -> str:
    """Return a value out of those allowed. Raises RequestError."""
    value = fields.get(name, default)
    if value not in allowed:
        raise RequestError(f"{name} must be one of {', '.join(allowed)}.")
    return str(value)


def objects(fields: Mapping[str, Any], name: str, max_count: int) -> list[dict[str, Any]]:
    """Return a list of objects, empty when it is not there. Raises RequestError."""
    value = fields.get(name, [])
    if not isinstance(value, list) or len(value) > max_count or not all(isinstance(entry, dict) for entry in value):
        raise RequestError(f"{name} must be a list of at most {max_count} objects.")
    return value


def _is_clean(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return value.strip().isprintable()
