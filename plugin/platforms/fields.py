"""marshmallow fields and a base schema for what shops send: unknown fields are ignored, money is Decimal, ids are texts."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields

from plugin.errors import PayloadError

MAX_DIGITS = 18
MAX_ID = 128
#: How far a shop's clock may be ahead of ours.
MAX_CLOCK_LEAD = timedelta(minutes=5)


class ShopSchema(Schema):
    """Base of every schema of a shop's body. Shops add fields at any time."""

    class Meta:
        """Unknown fields are left out, in nested schemas too, because each of them is one of these."""

        unknown = EXCLUDE


class Amount(fields.Field[Decimal]):
    """An amount in major units, as a JSON text or number, exact. Refuses what is not finite or absurdly long."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Decimal:  # noqa: ARG002
        if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
            raise ValidationError("is not an amount")
        try:
            amount = Decimal(value)
        except InvalidOperation:
            raise ValidationError("is not an amount") from None
        if not is_plausible(amount):
            raise ValidationError("is not an amount")
        return amount


class Instant(fields.Field[datetime]):
    """A time with its offset, as aware UTC. Fractions beyond microseconds are cut; a time without a zone is refused."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:  # noqa: ARG002
        instant = read_instant(value)
        if instant is None:
            raise ValidationError("is not a time with its zone")
        return instant


class Identifier(fields.Field[str]):
    """An id, as text, from a number or text of at most MAX_ID characters."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:  # noqa: ARG002
        text = read_identifier(value)
        if text is None or len(text) > MAX_ID:
            raise ValidationError("is not an id")
        return text


def is_plausible(amount: Decimal) -> bool:
    """Return whether an amount is finite and has at most MAX_DIGITS digits before and behind the point."""
    return amount.is_finite() and len(amount.as_tuple().digits) <= MAX_DIGITS and abs(amount.adjusted()) <= MAX_DIGITS


def as_object(value: Any) -> dict[str, Any]:
    """Return a JSON object; empty for any other value."""
    return value if isinstance(value, dict) else {}


def as_objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a JSON array; any other value is left out."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def read_identifier(value: Any) -> str | None:
    """Read an id tolerantly, of any length, as text; None when it is not valid."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    try:
        text = str(value).strip()
    except ValueError:  # a number of thousands of digits
        return None
    return text if text and text.isprintable() else None


def read_instant(value: Any) -> datetime | None:
    """Read an ISO 8601 time with offset, up to nanoseconds, as aware UTC; None when it is not valid."""
    if not isinstance(value, str) or "T" not in value or len(value) > 40:
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        return None
    try:
        return None if instant.tzinfo is None else instant.astimezone(UTC)
    except (OverflowError, ValueError):
        return None


def clamp_to_received_at(at: datetime | None, received_at: datetime) -> datetime:
    """Return the shop's time of a fact; the time of receipt where it is None or too far ahead.

    A time only a little ahead is left as it is: set back to the receipt, facts received by machines with different clocks
    would change places.
    """
    return received_at if at is None or at - received_at > MAX_CLOCK_LEAD else at


def parse_json(body: bytes) -> dict[str, Any]:
    """Parse a body as a JSON object. Raises PayloadError.

    Numbers with a fraction become Decimal, never float; NaN and Infinity are refused.
    """

    def refuse(name: str) -> Decimal:
        raise PayloadError(f"the body holds {name}, which is not a number in JSON")

    try:
        value = json.loads(body.decode("utf-8"), parse_float=Decimal, parse_constant=refuse)
    except UnicodeDecodeError as error:
        raise PayloadError("the body is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise PayloadError("the body is not JSON") from error
    if not isinstance(value, dict):
        raise PayloadError("the body is not a JSON object")
    return value


def load(schema: Schema, body: dict[str, Any]) -> Any:
    """Load a body. Raises PayloadError that names the field and never shows its value."""
    try:
        return schema.load(body)
    except ValidationError as error:
        path, text = first_fault(error.messages)
        raise PayloadError(text, path) from None  # marshmallow's own error holds the values
    except RecursionError:
        raise PayloadError("is nested too deeply", "body") from None


def first_fault(messages: Any) -> tuple[str, str]:
    """Return the path and the text of the first fault of a marshmallow error."""
    path = []
    while isinstance(messages, dict) and messages:
        name, messages = next(iter(messages.items()))
        if name != "_schema":
            path.append(str(name))
    text = messages[0] if isinstance(messages, list) and messages else messages
    return ".".join(path) or "body", str(text).rstrip(".").lower()
