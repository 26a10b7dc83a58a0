"""Sanitising what Engage sends, which is treated as hostile: too long, of the wrong type, with misleading characters.

A value that cannot be shown becomes empty, and never raises an error.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

MAX_TEXT = 500
MAX_DIGITS = 18
#: Control characters, halves of surrogate pairs, and marks that turn the direction of what follows (UAX 9).
_UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def safe_text(value: Any, max_length: int = MAX_TEXT) -> str:
    """Return a value as short, harmless text; "" for objects that no page can show."""
    if value is None or isinstance(value, (Mapping, list, tuple, bool, bytes)):
        return ""
    if isinstance(value, Decimal):
        value = plain_number(value)
    return _UNSAFE.sub("", str(value)[: 4 * max_length]).strip()[:max_length]


def plain_number(value: Decimal | None) -> str:
    """Return a number without exponent, "" for one that is not sane."""
    return "" if value is None or not is_sane(value) else format(value, "f")


def is_sane(value: Decimal) -> bool:
    """Return whether a number is short enough for a page."""
    return value.is_finite() and len(value.as_tuple().digits) <= 2 * MAX_DIGITS and abs(value.adjusted()) <= MAX_DIGITS


def https_link(value: Any) -> str:
    """Return an https address that a shopper may be led to, or ""."""
    link = safe_text(value, 2000)
    try:
        parts = urlsplit(link)
    except ValueError:
        return ""
    return link if parts.scheme == "https" and parts.hostname and "\\" not in link and " " not in link else ""
