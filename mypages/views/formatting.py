"""How values are written for a shopper: Babel's money, dates and numbers, and texts that nothing can be hidden in.

What Engage sends is taken as hostile: too long, of the wrong kind, with characters that turn the page around. What
cannot be shown becomes nothing, and never an error.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_timedelta
from babel.numbers import (
    UnknownCurrencyError,
    format_currency,
    format_decimal,
    format_percent,
    get_currency_precision,
)

from mypages.views.models import Amount, Moment, Number

MAX_TEXT = 500
MAX_DIGITS = 18
#: Control characters, halves of surrogate pairs, and marks that turn the direction of what follows (UAX 9).
_ODD = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_CURRENCY = re.compile(r"^[A-Z]{3}$")
#: Years outside of these are a system's way of saying "never" or "nothing".
FIRST_YEAR, LAST_YEAR = 1900, 9000


def text(value: Any, most: int = MAX_TEXT) -> str:
    """Return a value as short, harmless text; objects that no page can show become nothing."""
    if value is None or isinstance(value, (Mapping, list, tuple, bool, bytes)):
        return ""
    if isinstance(value, Decimal):
        value = plain_number(value)
    return _ODD.sub("", str(value)[: 4 * most]).strip()[:most]


def plain_number(value: Decimal | None) -> str:
    """Return a number without exponent, "" for one that is absurd."""
    return "" if value is None or not is_sane(value) else format(value, "f")


def is_sane(value: Decimal) -> bool:
    """Tell whether a number is one that a page can show."""
    return value.is_finite() and len(value.as_tuple().digits) <= 2 * MAX_DIGITS and abs(value.adjusted()) <= MAX_DIGITS


def https_link(value: Any) -> str:
    """Return an address that a shopper may be led to, or ""."""
    link = text(value, 2000)
    try:
        parts = urlsplit(link)
    except ValueError:
        return ""
    return link if parts.scheme == "https" and parts.hostname and "\\" not in link and " " not in link else ""


@dataclass(frozen=True, slots=True)
class Formatter:
    """Writes values in a shopper's locale and the shop's time zone."""

    locale: Locale
    zone: ZoneInfo

    def money(self, amount: Decimal | None, currency: str | None) -> Amount | None:
        """Return an amount; without its currency where that is not known. None for no amount, or an absurd one."""
        if amount is None or not is_sane(amount):
            return None
        code = currency if currency is not None and _CURRENCY.match(currency) else ""
        # people write some currencies without the decimals that were paid: then the locale's pattern decides
        usual = get_currency_precision(code) > 0 or not amount % 1
        try:
            words = (
                format_currency(amount, code, locale=self.locale, currency_digits=usual)
                if code
                else self._decimal(amount)
            )
        except (UnknownCurrencyError, ValueError):
            words = f"{self._decimal(amount)} {code}"
        return Amount(words, amount, code)

    def number(self, value: Decimal | int | None) -> Number | None:
        """Return a number; None for none, or an absurd one."""
        if value is None or not is_sane(Decimal(value)):
            return None
        return Number(self._decimal(Decimal(value)), Decimal(value))

    def percent(self, value: Decimal) -> str:
        """Return a percentage; value: 20 for 20 %."""
        return (
            format_percent(value / 100, "#,##0.##\u00a0%" if value % 1 else None, locale=self.locale)
            if is_sane(value)
            else ""
        )

    def day(self, value: datetime | None) -> Moment | None:
        """Return the day of a time in the shop's zone; None for none, or one that means "never"."""
        if value is None or not FIRST_YEAR <= value.year <= LAST_YEAR:
            return None
        return Moment(
            format_date(value.astimezone(self.zone), format="medium", locale=self.locale), value.astimezone(UTC)
        )

    def plain_date(self, value: str) -> str:
        """Return a date without time (ISO 8601, perhaps with a time that is not looked at), or the text as it is."""
        try:
            return format_date(date.fromisoformat(value[:10]), format="long", locale=self.locale)
        except ValueError:
            return value

    def country(self, code: str) -> str:
        """Return the name of a country, or the code where it is not known."""
        return str(self.locale.territories.get(code.upper(), code))

    def age(self, fetched_at: datetime, now: datetime) -> str:
        """Return how old something is, in words."""
        return format_timedelta(max(now - fetched_at, timedelta(minutes=1)), granularity="minute", locale=self.locale)

    def _decimal(self, value: Decimal) -> str:
        return format_decimal(value, locale=self.locale)
