"""The lines of a Saleor order as they were paid: gross, after discounts, adding up to the order's total."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from plugin.errors import PayloadError
from plugin.events import (
    Discount,
    Line,
    LineKind,
)
from plugin.platforms.contact_normalisers import clean_text
from plugin.platforms.money import checked_currency, close_gap, percent_of, rounded, rounding_slack


def amount_of(holder: dict[str, Any], name: str) -> Decimal:
    """Return an amount, zero where it is null."""
    found = holder.get(name)
    return Decimal(found["amount"]) if found else Decimal(0)


def currency_of(order: dict[str, Any]) -> str:
    """Return the currency that the order was paid in. Raises PayloadError."""
    total = order["total"]
    return checked_currency(total.get("currency") or total["gross"].get("currency") or "", "order.total.currency")


def lines_of(order: dict[str, Any], currency: str) -> tuple[list[Line], Decimal]:
    """Return an order's lines as they were paid, shipping included, and the amount of them that gift cards paid.

    Raises PayloadError when they do not add up to the total.
    """
    lines = [_goods(line, order, currency) for line in order["lines"] if line["quantity"] > 0]
    shipping = _shipping(order, currency)
    total = rounded(order["total"]["gross"]["amount"], currency)
    if total < 0:
        raise PayloadError("is negative", "order.total.gross")
    everything = [*lines, *([shipping] if shipping else [])]
    above = sum((line.gross_paid for line in everything), Decimal(0)) - total
    slack = rounding_slack(len(everything), currency)
    if above > 0 and order.get("gift_cards"):  # a gift card lowers the order's total: it is a payment, not a discount
        return everything, above
    # within the slack it is a rounding, unless no single line is worth as much
    if lines and (above > slack or above > max(line.gross_paid for line in everything)):
        lines = _spread(lines, order, above, currency)
        everything = [*lines, *([shipping] if shipping else [])]
    return list(close_gap(everything, total, currency)), Decimal(0)


def _goods(line: dict[str, Any], order: dict[str, Any], currency: str) -> Line:
    quantity = Decimal(line["quantity"])
    gross, tax = _gross_and_tax(line["total_price"], currency, "order.lines.totalPrice")
    before = (line.get("undiscounted_unit_price") or {}).get("gross")
    taken_off = rounded(before["amount"] * quantity, currency) - gross if before else Decimal(0)
    code = clean_text(line.get("voucher_code")) or clean_text(order.get("voucher_code"))
    discounts = (
        (Discount(taken_off, clean_text(line.get("unit_discount_reason")) or code, code),) if taken_off > 0 else ()
    )
    variant_id = line.get("product_variant_id")
    variant = clean_text(line.get("variant_name"))
    name = " - ".join(filter(None, (clean_text(line.get("product_name")), None if variant == variant_id else variant)))
    product = (line.get("variant") or {}).get("product") or {}
    kind = (product.get("product_type") or {}).get("kind")
    return Line(
        line_id=line["id"],
        kind=LineKind.GIFT_CARD if kind == "GIFT_CARD" else LineKind.GOODS,
        quantity=quantity,
        gross_paid=gross,
        tax_amount=tax,
        tax_percent=_percent(line.get("tax_rate"), tax, gross),
        sku=clean_text(line.get("product_sku")),
        article_number=variant_id or line["id"],
        name=name or None,
        discounts=discounts,
    )


def _shipping(order: dict[str, Any], currency: str) -> Line | None:
    price = order.get("shipping_price")
    if not price:
        return None
    gross, tax = _gross_and_tax(price, currency, "order.shippingPrice")
    if not gross:
        return None
    return Line(
        line_id="shipping",
        kind=LineKind.SHIPPING,
        quantity=Decimal(1),
        gross_paid=gross,
        tax_amount=tax,
        tax_percent=_percent(order.get("shipping_tax_rate"), tax, gross),
        name=clean_text(order.get("shipping_method_name")),
    )


def _gross_and_tax(price: dict[str, Any], currency: str, field: str) -> tuple[Decimal, Decimal]:
    gross = rounded(price["gross"]["amount"], currency)
    if gross < 0:
        raise PayloadError("is negative", field)
    tax = (
        amount_of(price, "tax")
        if price.get("tax")
        else gross - (amount_of(price, "net") if price.get("net") else gross)
    )
    return gross, min(max(rounded(tax, currency), Decimal(0)), gross)


def _percent(rate: Decimal | None, tax: Decimal, gross: Decimal) -> Decimal:
    """Return the rate in percent: Saleor's 0.25 is 25; the rate that the tax itself means where there is none."""
    if not tax:
        return Decimal(0)
    if rate is not None and 0 < rate <= 1:
        return (rate * 100).normalize() + Decimal(0)
    return percent_of(tax, gross)


def _spread(lines: Sequence[Line], order: dict[str, Any], above: Decimal, currency: str) -> list[Line]:
    """Spread a discount of the whole order that the lines do not show yet, where the order names a discount of about that size.

    Saleor shows it in the lines' own totals since it takes part in their tax; orders that staff discounted need not.
    """
    named = [d for d in order.get("discounts") or () if amount_of(d, "total") or amount_of(d, "amount")]
    largest = sum((amount_of(d, "total") or amount_of(d, "amount") for d in named), Decimal(0))
    # a discount may be named without the tax that it saves
    if not named or above > largest * 2 or above > sum((line.gross_paid for line in lines), Decimal(0)):
        return list(lines)
    code = clean_text(order.get("voucher_code"))
    reason = clean_text(named[0].get("name")) or code
    return spread_off(lines, above, currency, reason, code)


def spread_off(
    lines: Sequence[Line], amount: Decimal, currency: str, reason: str | None, code: str | None
) -> list[Line]:
    """Take an amount off lines in proportion to what each cost; what rounding leaves goes off the largest line that can bear it."""
    summed = sum((line.gross_paid for line in lines), Decimal(0))
    shares = [rounded(line.gross_paid * amount / summed, currency) for line in lines]
    left = amount - sum(shares, Decimal(0))
    for i in sorted(range(len(lines)), key=lambda i: lines[i].gross_paid - shares[i], reverse=True):
        part = min(left, lines[i].gross_paid - shares[i]) if left > 0 else max(left, -shares[i])
        shares[i] += part
        left -= part
    return [
        replace(
            line,
            gross_paid=line.gross_paid - share,
            tax_amount=rounded(line.tax_amount * (line.gross_paid - share) / line.gross_paid, currency),
            discounts=(*line.discounts, Discount(share, reason, code)),
        )
        if share
        else line
        for line, share in zip(lines, shares, strict=True)
    ]
