"""Formatting values for a shopper: money, dates, numbers and ages, with Babel."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
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

from mypages.data.sanitise import is_sane
from mypages.views.values import Amount, Moment, Number

_CURRENCY = re.compile(r"^[A-Z]{3}$")
#: Systems write years outside of these for "never" or "none".
FIRST_YEAR, LAST_YEAR = 1900, 9000


@dataclass(frozen=True, slots=True)
class Formatter:
    """Formats values in a shopper's locale and the shop's time zone."""

    locale: Locale
    zone: ZoneInfo

    def money(self, amount: Decimal | None, currency: str | None) -> Amount | None:
        """Return an amount, without its currency where that is not known. None for no amount, or one that is not sane."""
        if amount is None or not is_sane(amount):
            return None
        code = currency if currency is not None and _CURRENCY.match(currency) else ""
        # people write some currencies without the decimals that were paid: then the locale's pattern decides
        currency_digits = get_currency_precision(code) > 0 or not amount % 1
        try:
            formatted = (
                format_currency(amount, code, locale=self.locale, currency_digits=currency_digits)
                if code
                else self._decimal(amount)
            )
        except (UnknownCurrencyError, ValueError):
            formatted = f"{self._decimal(amount)} {code}"
        return Amount(formatted, amount, code)

    def number(self, value: Decimal | int | None) -> Number | None:
        """Return a number; None for None, or for a number that is not sane."""
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
        """Return the day of a time in the shop's zone; None for None, or for a year that means "never"."""
        if value is None or not FIRST_YEAR <= value.year <= LAST_YEAR:
            return None
        return Moment(
            format_date(value.astimezone(self.zone), format="medium", locale=self.locale), value.astimezone(UTC)
        )

    def plain_date(self, value: str) -> str:
        """Return an ISO 8601 date, or the text unchanged. A time after the date is ignored."""
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
