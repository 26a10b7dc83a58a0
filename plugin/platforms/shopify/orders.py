"""Shopify's paid and cancelled orders in the plugin's words, in the currency the shopper paid in (docs/platforms/shopify.md#orders)."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from plugin.errors import PayloadError
from plugin.events import (
    Discount,
    Line,
    LineKind,
    MappingResult,
    OrderCancelled,
    OrderPaid,
    Payment,
    UsedPromotion,
    UsedVoucher,
)
from plugin.platforms.contact_normalisers import clean_country, clean_email, clean_text
from plugin.platforms.fields import load
from plugin.platforms.money import checked_currency, close_gap, percent_of, rounded, rounding_slack
from plugin.platforms.shopify import schemas
from plugin.platforms.shopify.customers import read_customer

#: Names of order attributes and line properties by which a theme hands over Engage's ids.
ASSIGNMENT_ATTRIBUTE = "engage_promotion_assignment_id"
VOUCHER_ATTRIBUTE = "engage_voucher_number"
PAID_STATES = frozenset({"paid", "partially_refunded", "refunded", "partially_paid", None})


def order_paid(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map orders/paid. at: when Shopify says it was triggered; the body holds no time of payment."""
    order = load(schemas.OrderSchema(), body)
    if order.get("test"):
        return MappingResult(ignored="a test order")
    if order.get("financial_status") not in PAID_STATES:
        return MappingResult(ignored=f"the order's financial status is {order['financial_status']!r}: it is not paid")
    money = Money(order)
    addresses = (order.get("billing_address"), order.get("shipping_address"))
    customer, notes = read_customer(_buyer(order), addresses=addresses)
    total = money.of(order, "total_price")
    shipping = [
        _shipping(line, order, money) for line in order.get("shipping_lines") or () if not line.get("is_removed")
    ]
    lines = [
        *(_goods(line, order, money) for line in order["line_items"] if line["quantity"] > 0),
        *(line for line in shipping if line is not None),
        *_others(order, money),
    ]
    lines += _tip_in_gap(order, lines, total, money)
    payments = _payments(order, total)
    return MappingResult(
        (
            OrderPaid(
                occurred_at=at,
                order_id=order["id"],
                order_number=clean_text(order.get("name")) or order.get("order_number") or order["id"],
                customer=customer,
                currency=money.currency,
                total=total,
                lines=close_gap(lines, total, money.currency),
                payments=payments,
                shop_currency=money.shop_currency,
                shop_total=order["total_price"],
                promotions=_promotions(order),
                vouchers=_vouchers(order),
                channel=clean_text(order.get("source_name")),
                country_code=next(
                    (code for a in reversed(addresses) if a and (code := clean_country(a.get("country_code")))), None
                ),
                extra=tuple(_attributes(order)),
            ),
        ),
        notes=notes,
    )


def order_cancelled(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map orders/cancelled; an order that was never paid is ignored."""
    order = load(schemas.OrderSchema(), body)
    if order.get("test"):
        return MappingResult(ignored="a test order")
    if order.get("financial_status") in {"pending", "voided", "authorized", "expired"}:
        return MappingResult(ignored="cancelled before it was paid")
    reason = clean_text(order.get("cancel_reason"))
    return MappingResult((OrderCancelled(order.get("cancelled_at") or at, order["id"], reason),))


def _buyer(order: dict[str, Any]) -> dict[str, Any]:
    """Return the order's customer, with what was typed at the checkout where the account has no e-mail or phone.

    Shopify's `verified_email` is about the account's own address and no other.
    """
    buyer = dict(order.get("customer") or {})
    own = clean_email(buyer.get("email"))
    if own is None:
        typed = (order.get("email"), order.get("contact_email"))
        buyer["email"] = next((email for email in typed if clean_email(email)), None)
        buyer["verified_email"] = False
    buyer["phone"] = buyer.get("phone") or order.get("phone")
    return buyer


class Money:
    """Reads amounts in the currency the shopper paid in."""

    def __init__(self, order: dict[str, Any]) -> None:
        total = (order.get("total_price_set") or {}).get("presentment_money")
        self.shop_currency = checked_currency(order["currency"])
        self.currency = checked_currency(total["currency_code"], "total_price_set") if total else self.shop_currency

    def of(self, holder: dict[str, Any], name: str) -> Decimal:
        """Return an amount by its set, else by its plain field, which is in the shop's currency."""
        found = self.maybe(holder, name)
        if found is None:
            raise PayloadError(f"is missing in {self.currency}", f"{name}_set")
        return found

    def maybe(self, holder: dict[str, Any], name: str) -> Decimal | None:
        """Return an amount, or None when it is not there in the shopper's currency."""
        both = holder.get(f"{name}_set") or {}
        for money in (both.get("presentment_money"), both.get("shop_money")):
            if money and money["currency_code"].upper() == self.currency:
                return Decimal(money["amount"])
        plain = holder.get(name)
        return Decimal(plain) if plain is not None and self.currency == self.shop_currency else None


def _goods(line: dict[str, Any], order: dict[str, Any], money: Money) -> Line:
    discounts = _discounts(line, order, money)
    quantity = Decimal(line["quantity"])
    before_tax = money.of(line, "price") * quantity - sum((d.amount for d in discounts), Decimal(0))
    title = " - ".join(filter(None, (clean_text(line.get("title")), clean_text(line.get("variant_title")))))
    gross, tax, percent = _taxed(before_tax, line, order, money)
    number = line.get("variant_id") or line.get("product_id") or line["id"]
    kind = LineKind.TIP if _is_tip(line) else LineKind.GIFT_CARD if line.get("gift_card") else LineKind.GOODS
    return Line(
        line_id=line["id"],
        kind=kind,
        quantity=quantity,
        gross_paid=gross,
        tax_amount=tax,
        tax_percent=percent,
        sku=clean_text(line.get("sku")),
        article_number=number,
        name=title or None,
        discounts=discounts,
    )


def _shipping(line: dict[str, Any], order: dict[str, Any], money: Money) -> Line | None:
    discounts = _discounts(line, order, money)
    price = money.maybe(line, "price") or Decimal(0)
    # the discounted price leaves out discounts of the whole cart; the allocations hold them all
    paid = None if discounts else money.maybe(line, "discounted_price")
    if paid is None:
        paid = price - sum((d.amount for d in discounts), Decimal(0))
    gross, tax, percent = _taxed(paid, line, order, money)
    if not gross and not discounts:
        return None
    return Line(
        line_id=f"shipping-{line.get('id') or 'line'}",
        kind=LineKind.SHIPPING,
        quantity=Decimal(1),
        gross_paid=gross,
        tax_amount=tax,
        tax_percent=percent,
        name=clean_text(line.get("title")),
        discounts=discounts,
    )


def _taxed(
    amount: Decimal, line: dict[str, Any], order: dict[str, Any], money: Money
) -> tuple[Decimal, Decimal, Decimal]:
    """Return gross amount, tax within it, and rate in percent; with taxes_included false the tax comes on top."""
    taxes = line.get("tax_lines") or ()
    tax = sum((money.maybe(t, "price") or Decimal(0) for t in taxes), Decimal(0))
    rate = sum((t.get("rate") or Decimal(0) for t in taxes), Decimal(0)) * 100
    gross = rounded(amount if order.get("taxes_included") else amount + tax, money.currency)
    if gross < 0:
        raise PayloadError("discounts are larger than the price", "line_items.discount_allocations")
    percent = (rate if tax else Decimal(0)) or percent_of(tax, gross)
    return gross, tax, percent.normalize() + Decimal(0)


def _discounts(line: dict[str, Any], order: dict[str, Any], money: Money) -> tuple[Discount, ...]:
    """Read discounts from the allocations: a line's total_discount is zero for order-wide ones."""
    applications = order.get("discount_applications") or ()
    found = []
    for allocation in line.get("discount_allocations") or ():
        amount = money.maybe(allocation, "amount")
        index = allocation.get("discount_application_index")
        named = applications[index] if index is not None and 0 <= index < len(applications) else {}
        if amount:
            code = clean_text(named.get("code"))
            found.append(Discount(amount, clean_text(named.get("title")) or code, code))
    return tuple(found)


def _others(order: dict[str, Any], money: Money) -> list[Line]:
    """Return tips, duties and additional fees as lines of their own; a tip that is a line already is in it."""
    kinds = (
        ("total_tip_received", LineKind.TIP, "Tip"),
        ("original_total_duties", LineKind.FEE, "Duties"),
        ("original_total_additional_fees", LineKind.FEE, "Additional fees"),
    )
    return [
        Line(name, kind, Decimal(1), rounded(amount, money.currency), Decimal(0), Decimal(0), name=title)
        for name, kind, title in kinds
        if (amount := money.maybe(order, name)) and not (kind is LineKind.TIP and _has_tip(order))
    ]


def _tip_in_gap(order: dict[str, Any], lines: list[Line], total: Decimal, money: Money) -> list[Line]:
    """Return the tip of an order paid in another currency, in which Shopify does not give it: what the lines leave of the total.

    That is the tip only where it equals the given one at the order's own rate, up to what `close_gap` allows for roundings.
    """
    in_shop_currency = order.get("total_tip_received")
    if (
        not in_shop_currency
        or not order["total_price"]
        or money.maybe(order, "total_tip_received") is not None
        or _has_tip(order)
    ):
        return []
    gap = total - sum((line.gross_paid for line in lines), Decimal(0))
    expected = in_shop_currency * total / order["total_price"]
    if gap <= 0 or abs(gap - expected) > rounding_slack(len(lines), money.currency):
        return []
    return [Line("total_tip_received", LineKind.TIP, Decimal(1), gap, Decimal(0), Decimal(0), name="Tip")]


def _has_tip(order: dict[str, Any]) -> bool:
    return any(_is_tip(line) for line in order["line_items"])


def _is_tip(line: dict[str, Any]) -> bool:
    """Return whether a line is a tip: those alone have this field, which may be null in them."""
    return "tip_payment_gateway" in line


def _payments(order: dict[str, Any], total: Decimal) -> tuple[Payment, ...]:
    """Return one payment: the body names the gateways, but not what each of them paid."""
    names = [name for raw in order.get("payment_gateway_names") or () if (name := clean_text(raw))]
    if not names:
        return (Payment("other", total),)
    return (Payment(names[0], total, ", ".join(names) if len(names) > 1 else None),)


def _attributes(order: dict[str, Any]) -> list[tuple[str, str]]:
    found = [*(order.get("note_attributes") or ())]
    for line in order["line_items"]:
        found += line.get("properties") or ()
    return [
        (name, value)
        for pair in found
        if (name := clean_text(pair.get("name"))) and (value := clean_text(pair.get("value")))
    ]


def _promotions(order: dict[str, Any]) -> tuple[UsedPromotion, ...]:
    explicit = [
        UsedPromotion(assignment_id=value) for name, value in _attributes(order) if name == ASSIGNMENT_ATTRIBUTE
    ]
    codes = [code for entry in order.get("discount_codes") or () if (code := clean_text(entry.get("code")))]
    return tuple(dict.fromkeys([*explicit, *(UsedPromotion(code=code) for code in codes)]))


def _vouchers(order: dict[str, Any]) -> tuple[UsedVoucher, ...]:
    numbers = [value for name, value in _attributes(order) if name == VOUCHER_ATTRIBUTE]
    return tuple(UsedVoucher(voucher_number=number) for number in dict.fromkeys(numbers))
