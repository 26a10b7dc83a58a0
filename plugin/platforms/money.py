"""Money to the last minor unit: how many decimals a currency has, and where the remainder of a rounding goes."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from plugin.errors import PayloadError
from plugin.events import Line, LineKind

#: Currencies whose minor unit is not a hundredth (ISO 4217, list one). CLDR, and so Babel, counts the decimals that people
#: write, which is 0 for RSD, ALL or IQD although shops charge hundredths and thousandths.
_DECIMALS = {
    **dict.fromkeys(
        (
            *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV"),
            *("XAF", "XOF", "XPF"),
        ),
        0,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}


def checked_currency(code: str, field: str = "currency") -> str:
    """Return a currency code (ISO 4217) in capitals. Raises PayloadError, which names the field."""
    if len(code) != 3 or not code.isascii() or not code.isalpha():
        raise PayloadError("is not a currency code", field)
    return code.upper()


def minor_unit(currency: str) -> Decimal:
    """Return the smallest amount of a currency (ISO 4217): 0.01 for SEK, 1 for JPY, 0.001 for KWD."""
    return Decimal(1).scaleb(-_DECIMALS.get(currency, 2))


def rounded(amount: Decimal, currency: str) -> Decimal:
    """Round an amount half up to the currency's minor unit. Raises PayloadError for an impossibly large amount."""
    try:
        return amount.quantize(minor_unit(currency), ROUND_HALF_UP)
    except InvalidOperation:
        raise PayloadError("is larger than any amount of money", "amount") from None


def rounding_slack(lines: int, currency: str, shown: Decimal | None = None) -> Decimal:
    """Return by how much that number of lines may miss their total through rounding alone, in major units of the currency.

    Shops round per line, per unit or per order, so the sum may be off by about one minor unit a line and tax rate.
    shown: what the shop rounds to, where that is coarser than the minor unit (whole kronor).
    """
    return max(minor_unit(currency), shown or Decimal(0)) * 2 * max(lines, 1)


def close_gap(
    lines: Sequence[Line], total: Decimal, currency: str, *, shown: Decimal | None = None
) -> tuple[Line, ...]:
    """Make lines add up to the total: a remainder of roundings goes to the largest line.

    shown: as in `rounding_slack`. Raises PayloadError when it is off by more than that: then something is missing, and
    money must not be invented.
    """
    gap = total - sum((line.gross_paid for line in lines), Decimal(0))
    if not gap:
        return tuple(lines)
    allowed = rounding_slack(len(lines), currency, shown)
    largest = max(range(len(lines)), key=lambda i: lines[i].gross_paid, default=None)
    if largest is None or abs(gap) > allowed or lines[largest].gross_paid + gap < 0:
        raise PayloadError(
            f"the lines add up to {total - gap} {currency}, the total is {total} {currency}", "line_items"
        )
    closed = list(lines)
    closed[largest] = replace(closed[largest], gross_paid=closed[largest].gross_paid + gap)
    return tuple(closed)


def amount_line(amount: Decimal) -> Line:
    """Return the line for a refunded amount that belongs to no line of the order."""
    return Line("amount", LineKind.AMOUNT, Decimal(1), amount, Decimal(0), Decimal(0), name="Refund")


def fit_refund(
    lines: Sequence[Line], total: Decimal, currency: str, *, rounding: Decimal = Decimal(0)
) -> tuple[Line, ...]:
    """Make the lines of a refund add up to what was refunded.

    More than the lines: the rest is an amount without a line. Less: the shop retained a part of each line's price.
    rounding: a remainder up to that is due to rounding, and goes to the largest line.
    """
    summed = sum((line.gross_paid for line in lines), Decimal(0))
    if lines and summed < total <= summed + rounding:
        return close_gap(lines, total, currency)
    if total > summed:
        return (*lines, amount_line(total - summed))
    if total == summed:
        return tuple(lines)
    shares = [rounded(line.gross_paid * total / summed, currency) for line in lines]
    left = total - sum(shares, Decimal(0))
    for i in sorted(range(len(lines)), key=lambda i: shares[i], reverse=True):
        part = max(left, -shares[i])
        shares[i], left = shares[i] + part, left - part
    return tuple(
        replace(line, gross_paid=share, tax_amount=rounded(line.tax_amount * share / line.gross_paid, currency))
        if line.gross_paid
        else line
        for line, share in zip(lines, shares, strict=True)
    )


def percent_of(tax: Decimal, gross: Decimal) -> Decimal:
    """Return the tax rate in percent that a tax within a gross amount means, rounded to a hundredth. Raises PayloadError."""
    net = gross - tax
    if net <= 0 or tax <= 0:
        return Decimal(0)
    try:
        return (tax * 100 / net).quantize(Decimal("0.01"), ROUND_HALF_UP).normalize() + Decimal(0)
    except InvalidOperation:
        raise PayloadError("makes an impossible tax rate", "tax") from None
