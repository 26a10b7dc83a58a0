"""Formatted values: a text in the shopper's locale beside the raw value."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Amount:
    """Money. text: in the shopper's locale; value: major units; currency: ISO 4217, or "" where it is not known."""

    text: str
    value: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Number:
    """A number. text: in the shopper's locale."""

    text: str
    value: Decimal


@dataclass(frozen=True, slots=True)
class Moment:
    """A day or time. text: in the shopper's locale; value: aware UTC (`value.isoformat()` for `<time datetime>`)."""

    text: str
    value: datetime
