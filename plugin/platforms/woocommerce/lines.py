"""The lines of an order, gross and after discounts (docs/platforms/woocommerce.md#orders).

WooCommerce writes every line without tax, whatever the shop's prices include, and `price` as an unrounded float that is
not read. What other plugins take off with negative fees is spread over the goods: discounts are never items.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from plugin.errors import PayloadError
from plugin.events import Discount, Line, LineKind
from plugin.platforms.contact_normalisers import clean_text
from plugin.platforms.money import percent_of, rounded

ZERO = Decimal(0)


def open_lines(order: dict[str, Any], currency: str) -> tuple[Line, ...]:
    """Return the lines as the shop rounded them: their sum may miss the total. Raises PayloadError."""
    rates = _rates(order)
    coupons = [code for entry in order.get("coupon_lines") or () if (code := clean_text(entry.get("code")))]
    raw = [
        *(_goods(line, rates, coupons, currency) for line in order["line_items"] if line["quantity"] > 0),
        *(_charge(line, LineKind.SHIPPING, rates, currency) for line in order.get("shipping_lines") or ()),
        *(_charge(line, LineKind.FEE, rates, currency) for line in order.get("fee_lines") or ()),
    ]
    taken_off = [line for line in raw if line.gross_paid < 0]
    lines = [line for line in raw if line.kind is LineKind.GOODS and line.gross_paid >= 0]
    lines += [line for line in raw if line.kind is not LineKind.GOODS and line.gross_paid > 0]
    for line in taken_off:
        lines = spread(lines, Discount(-line.gross_paid, line.name), currency)
    return tuple(lines)


def gross_of(line: Mapping[str, Any]) -> Decimal:
    """Return a line's total with its tax."""
    return (line.get("total") or ZERO) + (line.get("total_tax") or ZERO)


def shares(weights: Sequence[Decimal], amount: Decimal, currency: str) -> list[Decimal]:
    """Split an amount in proportion to the weights, to the last minor unit; no share is larger than its weight.

    Raises PayloadError when the weights come to less than the amount.
    """
    whole = sum(weights, ZERO)
    if amount > whole:
        raise PayloadError(f"{amount} is taken off {whole}", "fee_lines")
    parts = [min(rounded(weight * amount / whole, currency), weight) if whole else ZERO for weight in weights]
    left = amount - sum(parts, ZERO)
    for position in sorted(range(len(parts)), key=lambda i: -weights[i]):
        step = max(min(left, weights[position] - parts[position]), -parts[position])
        parts[position] += step
        left -= step
    return parts


def _goods(line: dict[str, Any], rates: Mapping[str, Decimal], coupons: list[str], currency: str) -> Line:
    gross, tax = rounded(gross_of(line), currency), line.get("total_tax") or ZERO
    before = (line.get("subtotal") or ZERO) + (line.get("subtotal_tax") or ZERO)
    off = rounded(before - gross_of(line), currency)
    # the body does not say which of several coupons took how much off a line
    discount = Discount(off, ", ".join(coupons) or None, coupons[0] if len(coupons) == 1 else None)
    number = next((n for name in ("variation_id", "product_id") if (n := line.get(name)) not in {None, "0"}), None)
    return Line(
        line_id=line["id"],
        kind=LineKind.GOODS,
        quantity=line["quantity"],
        gross_paid=gross,
        tax_amount=tax,
        tax_percent=_percent(line, gross, tax, rates),
        sku=clean_text(line.get("sku")),
        article_number=number or line["id"],
        name=_name(line.get("name")),
        discounts=(discount,) if off > 0 else (),
    )


def _charge(line: dict[str, Any], kind: LineKind, rates: Mapping[str, Decimal], currency: str) -> Line:
    gross, tax = rounded(gross_of(line), currency), line.get("total_tax") or ZERO
    return Line(
        line_id=f"{kind.value}-{line.get('id') or 'line'}",
        kind=kind,
        quantity=Decimal(1),
        gross_paid=gross,
        tax_amount=tax,
        tax_percent=_percent(line, gross, tax, rates),
        name=_name(line.get("method_title")) or _name(line.get("name")),
    )


def _name(value: Any) -> str | None:
    """Return a name as people read it: WordPress stores some characters as HTML entities."""
    return clean_text(html.unescape(value)) if isinstance(value, str) else None


def _rates(order: dict[str, Any]) -> dict[str, Decimal]:
    """Return the percent of each tax rate; none where a rate is taken of other taxes, because then they do not add up."""
    lines = order.get("tax_lines") or ()
    if any(line.get("compound") is True for line in lines):
        return {}
    return {line["rate_id"]: line["rate_percent"] for line in lines if line.get("rate_id") and line.get("rate_percent")}


def _percent(line: dict[str, Any], gross: Decimal, tax: Decimal, rates: Mapping[str, Decimal]) -> Decimal:
    used = [entry.get("id") for entry in line.get("taxes") or () if entry.get("total")]
    if tax > 0 and used and all(name in rates for name in used):
        return sum((max(rates[str(name)], ZERO) for name in used), ZERO).normalize() + ZERO
    return percent_of(tax, gross)


def spread(lines: Sequence[Line], discount: Discount, currency: str) -> list[Line]:
    """Take an amount off the goods, and off everything where the goods do not cover it.

    Raises PayloadError when the lines come to less.
    """
    goods = sum((line.gross_paid for line in lines if line.kind is LineKind.GOODS), ZERO)
    weights = [line.gross_paid if line.kind is LineKind.GOODS or goods < discount.amount else ZERO for line in lines]
    parts = shares(weights, discount.amount, currency)
    return [
        _less(line, replace(discount, amount=part), currency) if part else line
        for line, part in zip(lines, parts, strict=True)
    ]


def _less(line: Line, discount: Discount, currency: str) -> Line:
    left = line.gross_paid - discount.amount
    return replace(
        line,
        gross_paid=left,
        tax_amount=rounded(line.tax_amount * left / line.gross_paid, currency),
        discounts=(*line.discounts, discount),
    )


def shown_unit(order: dict[str, Any]) -> Decimal:
    """Return what the shop rounds amounts to, in major units: some write whole kronor, and their lines are off by that much."""
    amounts = [order["total"], *(line["total"] for line in order["line_items"])]
    return Decimal(1).scaleb(min(min(int(amount.as_tuple().exponent), 0) for amount in amounts))
