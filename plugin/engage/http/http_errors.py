"""Turns an HTTP answer of Engage into data or into one of the plugin's errors.

Engage documents symbolic codes but not the shape of an error body, so every plausible shape is read: a JSON string, an
object, HTML, nothing (docs/engage.md#errors). Texts may echo what was sent, so personal data is removed from them.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

from plugin.errors import (
    ContractError,
    EngageConflictError,
    EngageError,
    EngageNotFoundError,
    PermanentError,
    TransientError,
    UnauthorisedError,
)

_CODE = re.compile(r"^[A-Z][A-Za-z]{3,60}$")
_GUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_FIELD = re.compile(r"^[A-Za-z][A-Za-z0-9_.\[\]]{0,60}$")
_PERSONAL = re.compile(r"\S*@\S*|\+?\d[\d\s\-]{4,}\d|(['\"‘’“”]).*?\1|<[^>]*>")
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
#: Values of these fields are not personal, and help whoever reads an error.
_TECHNICAL = frozenset(
    {"contactType", "contactTypeId", "currency", "matchKeyType", "source", "storeExternalId", "type"}
)
#: How much of an error text is read, in characters.
_MAX_TEXT = 1000
MAX_RETRY_AFTER = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of Engage. data: the body as JSON with Decimal numbers; None if it is empty or not JSON."""

    status: int
    data: Any
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)


def parse_body(body: bytes) -> Any:
    """Parse the body of an answer; None if it is empty or not JSON."""
    try:
        return json.loads(body, parse_float=Decimal) if body.strip() else None
    except (ValueError, RecursionError):
        return None


def raise_for_status(answer: Answer, operation: str, now: datetime, sent: Any = None) -> None:
    """Raise the error that an answer means; return for 2xx.

    sent: what was sent; Engage may echo its values, which must not appear in the error's text.
    Raises TransientError, PermanentError, EngageNotFoundError, EngageConflictError, UnauthorisedError or, for a
    redirect, EngageError.
    """
    if 200 <= answer.status < 300:
        return
    code, field, text = _read_error(answer.data)
    sent_values = _sent_values(sent)
    text = _scrubbed(text, sent_values)
    if code is not None and code.casefold() in sent_values:
        code = None
    details = " ".join(filter(None, [code, f"(field {field})" if field else None, text if text != code else None]))
    message = f"Engage answered {answer.status} to {operation}" + (f": {details}" if details else "")
    if answer.status in {401, 403}:
        raise UnauthorisedError(
            f"{message.rstrip('.')}. The key is not accepted: check it under Administration > API connections and set it again.",
            operation=operation,
            status=answer.status,
            code=code,
        )
    if answer.status in TRANSIENT_STATUSES:
        raise TransientError(
            message,
            operation=operation,
            status=answer.status,
            code=code,
            retry_after=_retry_after(answer.headers, now),
        )
    if answer.status == 404:
        raise EngageNotFoundError(message, operation=operation, status=404, code=code, field=field)
    if answer.status == 409:
        raise EngageConflictError(message, operation=operation, code=code, contact_id=_guid(answer.data))
    if 400 <= answer.status < 500:
        raise PermanentError(message, operation=operation, status=answer.status, code=code, field=field)
    if answer.status >= 500:
        raise TransientError(message, operation=operation, status=answer.status, code=code)
    raise EngageError(
        f"{message}. A redirect is not followed: check the shop's Engage address.",
        operation=operation,
        status=answer.status,
    )


def contact_id_of(data: Any, operation: str) -> str:
    """Read a contact id from a bare GUID string or an object with an id. Raises ContractError."""
    if isinstance(data, Mapping):
        for name in ("id", "contactId"):
            if isinstance(data.get(name), str) and data[name]:
                return str(data[name])
    if isinstance(data, str) and data.strip():
        return data.strip()
    raise ContractError(f"Engage's answer to {operation} has no contact id.", operation=operation, field="id")


def items_of(data: Any, operation: str) -> tuple[list[Any], int | None]:
    """Read a list from a bare array or a page (items, or Items as one documented example spells it).

    Returns the items and the total count where the answer has one. Raises ContractError.
    """
    if isinstance(data, list):
        return data, None
    if isinstance(data, Mapping):
        for name in ("items", "Items"):
            if isinstance(data.get(name), list):
                total = data.get("totalCount")
                return data[name], total if isinstance(total, int) else None
    raise ContractError(
        f"Engage's answer to {operation} is not a list and has no items.", operation=operation, field="items"
    )


def _read_error(data: Any) -> tuple[str | None, str | None, str | None]:
    """Return symbolic code, field and text of an error body of any shape."""
    if isinstance(data, str):
        stripped = data.strip()
        return (stripped, None, None) if _CODE.match(stripped) else (None, None, stripped)
    if not isinstance(data, Mapping):
        return None, None, None
    code = next((str(data[n]) for n in ("errorCode", "code", "error") if _CODE.match(str(data.get(n) or ""))), None)
    text = next((str(data[n]) for n in ("message", "title", "detail") if isinstance(data.get(n), str)), None)
    field = next((str(data[n]) for n in ("field", "property") if _FIELD.match(str(data.get(n) or ""))), None)
    errors = data.get("errors")
    if field is None and isinstance(errors, Mapping) and errors:
        field = next((str(name) for name in errors if _FIELD.match(str(name))), None)
    if field is None and isinstance(errors, list) and errors and isinstance(errors[0], Mapping):
        inner = _read_error(errors[0])
        code, field, text = code or inner[0], inner[1], text or inner[2]
    if code is None and text and _CODE.match(text):
        code = text
    return code, field, text


def _scrubbed(text: str | None, sent_values: Collection[str]) -> str | None:
    """Remove what may be personal: addresses, numbers, quoted values, mark-up, and values that were sent.

    The result has at most 160 characters.
    """
    if not text or text.lstrip().startswith("<"):
        return None
    text = text[:_MAX_TEXT]
    folded = text.casefold()
    echoed = sorted((value for value in sent_values if value in folded), key=len, reverse=True)
    if echoed:
        values = "|".join(re.escape(value) for value in echoed)
        text = re.sub(rf"(?<!\w)(?:{values})(?!\w)", "…", text, flags=re.IGNORECASE)
    return " ".join(_PERSONAL.sub("…", text).split())[:160] or None


def _sent_values(sent: Any) -> set[str]:
    """Return all texts that were sent, whole and word by word, case-folded."""
    if isinstance(sent, Mapping):
        return set().union(*(_sent_values(value) for name, value in sent.items() if name not in _TECHNICAL))
    if isinstance(sent, list | tuple):
        return set().union(*(_sent_values(value) for value in sent))
    if not isinstance(sent, str):
        return set()
    whole = sent.strip().casefold()
    return {word for word in (whole, *whole.split()) if len(word) > 1}


def _guid(data: Any) -> str | None:
    values = [data, *data.values()] if isinstance(data, Mapping) else [data]
    return next((match.group() for v in values if isinstance(v, str) and (match := _GUID.search(v))), None)


def _retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Read Retry-After, seconds or a date (RFC 9110 10.2.3), limited to 0 s to MAX_RETRY_AFTER."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isdigit():
        wait = timedelta(seconds=min(int(value), int(MAX_RETRY_AFTER.total_seconds())))
    else:
        at = http_date(value)
        if at is None:
            return None
        wait = at - now
    return min(max(wait, timedelta()), MAX_RETRY_AFTER)


def http_date(text: str | None) -> datetime | None:
    """Read the time of a header (RFC 9110 5.6.7), aware UTC; None if it is missing or not a time."""
    try:
        at = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
