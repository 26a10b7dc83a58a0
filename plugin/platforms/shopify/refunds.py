"""Shopify's refunds in the plugin's words. Payments back are in the shopper's currency (docs/platforms/shopify.md#refunds)."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from plugin.errors import PayloadError
from plugin.events import Line, LineKind, MappingResult, OrderRefunded, Payment
from plugin.platforms.contact_normalisers import clean_text
from plugin.platforms.fields import load
from plugin.platforms.money import checked_currency, fit_refund, percent_of, rounded, rounding_slack
from plugin.platforms.shopify import schemas

#: A transaction that pays money back has one of these. A pending one is on its way: of one that fails after that, no
#: webhook that this plugin receives reports it, so its return stays (docs/shopify.md, limits).
MONEY_KINDS = frozenset({"refund", None})
MONEY_STATES = frozenset({"success", "pending", None})


def refund_created(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map refunds/create: lines, shipping, and what is left over as an amount. Lines add up to what was refunded.

    The transactions say how much money goes back. Where they say none, lines were only put back in stock, a payment was cancelled
    before it was captured (void), or it failed. A body without any list of transactions is taken by its lines.
    """
    refund = load(schemas.RefundSchema(), body)
    transactions = refund.get("transactions")
    if any(t.get("test") for t in transactions or ()):
        return MappingResult(ignored="a refund of a test order")
    paid = [t for t in transactions or () if _is_money(t)]
    if transactions is not None and not paid:
        return MappingResult(ignored="no money was refunded")
    currency = _currency(refund, paid)
    lines = _lines(refund, currency)
    if any(t["amount"] < 0 for t in paid) or any(min(line.gross_paid, line.tax_amount) < 0 for line in lines):
        raise PayloadError("must not be negative", "refund_line_items or transactions")
    summed = sum((line.gross_paid for line in lines), Decimal(0))
    total = sum((t["amount"] for t in paid), Decimal(0)) if paid else summed
    if not total:
        return MappingResult(ignored="no money was refunded")
    payments = tuple(Payment(clean_text(t.get("gateway")) or "other", t["amount"]) for t in paid)
    return MappingResult(
        (
            OrderRefunded(
                occurred_at=refund.get("processed_at") or refund.get("created_at") or at,
                order_id=refund["order_id"],
                refund_id=refund["id"],
                currency=currency,
                total=total,
                lines=_closed(lines, total, currency),
                payments=payments or (Payment("other", total),),
                subtotals=tuple(lines),
            ),
        )
    )


def _is_money(transaction: dict[str, Any]) -> bool:
    """Return whether a transaction pays money back, or is about to."""
    kind, status = transaction.get("kind"), transaction.get("status")
    return kind in MONEY_KINDS and status in MONEY_STATES and bool(transaction.get("amount"))


def _currency(refund: dict[str, Any], paid: list[dict[str, Any]]) -> str:
    named = [t["currency"] for t in paid if t.get("currency")]
    holders = (
        ("refund_line_items", "subtotal_set"),
        ("refund_shipping_lines", "subtotal_amount_set"),
        ("order_adjustments", "amount_set"),
    )
    for list_name, set_name in holders:
        for entry in refund.get(list_name) or ():
            money = (entry.get(set_name) or {}).get("presentment_money")
            if money:
                named.append(money["currency_code"])
    if not named:
        raise PayloadError("no amount names its currency", "transactions")
    return checked_currency(str(named[0]))


def _lines(refund: dict[str, Any], currency: str) -> list[Line]:
    lines = []
    for entry in refund.get("refund_line_items") or ():
        # subtotals hold the tax only in shops whose prices do, and a refund does not say which its shop is
        gross = _amount(entry, "subtotal", currency)
        tax = _amount(entry, "total_tax", currency)
        if entry["quantity"] > 0:
            lines.append(
                Line(
                    entry["line_item_id"],
                    LineKind.GOODS,
                    Decimal(entry["quantity"]),
                    rounded(gross, currency),
                    tax,
                    percent_of(tax, gross),
                )
            )
    shipping = sum(
        (_amount(s, "subtotal_amount", currency) for s in refund.get("refund_shipping_lines") or ()), Decimal(0)
    )
    adjustments = [a for a in refund.get("order_adjustments") or () if a.get("kind") == "shipping_refund"]
    shipping_tax = -sum((_amount(a, "tax_amount", currency) for a in adjustments), Decimal(0))
    if not shipping:
        shipping = -sum((_amount(a, "amount", currency) for a in adjustments), Decimal(0))
    if shipping > 0:
        lines.append(
            Line(
                "shipping",
                LineKind.SHIPPING,
                Decimal(1),
                rounded(shipping, currency),
                max(shipping_tax, Decimal(0)),
                percent_of(shipping_tax, shipping),
                name="Shipping",
            )
        )
    return lines


def _closed(lines: list[Line], total: Decimal, currency: str) -> tuple[Line, ...]:
    """Make lines add up to what was refunded, as far as the sums alone show whether their tax comes on top of them."""
    summed = sum((line.gross_paid for line in lines), Decimal(0))
    tax = sum((line.tax_amount for line in lines), Decimal(0))
    room = rounding_slack(len(lines), currency)
    gap = total - summed
    on_top = abs(gap - tax) <= room and abs(gap - tax) < abs(gap)
    whole = [_with_tax(line, line.tax_amount if on_top else Decimal(0)) for line in lines]
    return fit_refund(whole, total, currency, rounding=room)


def _with_tax(line: Line, on_top: Decimal) -> Line:
    gross = line.gross_paid + on_top
    tax = min(line.tax_amount, gross)
    return replace(line, gross_paid=gross, tax_amount=tax, tax_percent=percent_of(tax, gross))


def _amount(holder: dict[str, Any], name: str, currency: str) -> Decimal:
    both = holder.get(f"{name}_set") or {}
    for money in (both.get("presentment_money"), both.get("shop_money")):
        if money and money["currency_code"].upper() == currency:
            return Decimal(money["amount"])
    plain = holder.get(name)
    return Decimal(plain) if plain is not None and not both else Decimal(0)
