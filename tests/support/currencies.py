"""Currencies for generated orders, with their decimals by ISO 4217; of the last two people write fewer (CLDR)."""

from decimal import Decimal

DECIMALS = {"SEK": 2, "EUR": 2, "USD": 2, "HUF": 2, "JPY": 0, "KRW": 0, "CLP": 0, "KWD": 3, "RSD": 2, "IQD": 3}


def unit_of(currency: str) -> Decimal:
    """Return the smallest amount of one of these currencies."""
    return Decimal(1).scaleb(-DECIMALS[currency])
