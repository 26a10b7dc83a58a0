"""Phones, e-mail addresses, names and countries as shops send them."""

import re
from collections.abc import Iterable
from typing import Any

import phonenumbers

_EMAIL = re.compile(r"^[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+$")
MAX_TEXT = 255


def clean_text(value: Any) -> str | None:
    """Return a text trimmed, without control characters, at most 255 long; None when it is empty then."""
    if not isinstance(value, str):
        return None
    text = "".join(character for character in value if character.isprintable() or character == " ").strip()
    return text[:MAX_TEXT] or None


def clean_email(value: Any) -> str | None:
    """Return an address trimmed and in lower case; None when it is not an address."""
    text = clean_text(value)
    if text is None or len(text) > 254 or not _EMAIL.match(text):
        return None
    return text.lower()


def dropped_notes(dropped: Iterable[str]) -> tuple[str, ...]:
    """Return the remarks for the operator on a customer's fields that were left out."""
    return tuple(f"{name} is not valid and was left out." for name in dropped)


def clean_country(value: Any) -> str | None:
    """Return an ISO 3166-1 alpha-2 code in capitals; None when it is not such a code."""
    text = clean_text(value)
    return text.upper() if text and len(text) == 2 and text.isascii() and text.isalpha() else None


def e164(value: Any, countries: Iterable[str | None] = ()) -> str | None:
    """Return a phone number as E.164, read as a number of the first country that makes it valid; None when none does."""
    text = clean_text(value)
    if text is None:
        return None
    for country in [*countries, None]:
        try:
            number = phonenumbers.parse(text, country)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    return None
