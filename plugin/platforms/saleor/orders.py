"""Saleor's paid and cancelled orders in our words (platform facts 3.2, 3.5)."""

from collections.abc import Sequence
from dataclasses import replace
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
from plugin.platforms.contact_normalisers import clean_email, clean_text
from plugin.platforms.fields import load
from plugin.platforms.money import checked_currency, close_gap, percent_of, rounded, rounding_slack
from plugin.platforms.saleor import schemas
from plugin.platforms.saleor.customers import country_of, language_tag, metadata_of, read_customer

#: Keys of an order's metadata by which a storefront hands over Engage's ids; several are separated by commas.
ASSIGNMENT_KEY = "metadata.engage_promotion_assignment_id"
VOUCHER_KEY = "metadata.engage_voucher_number"
#: Staff may still change the lines of these: the receipt waits for order_confirmed.
UNSETTLED = {
    "DRAFT": "a draft",
    "UNCONFIRMED": "not confirmed by staff yet; order_confirmed will tell",
    "EXPIRED": "expired",
}
CANCELED = "CANCELED"
PAID_STATES = frozenset({"FULL", "OVERCHARGED"})


def order_fully_paid(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map order_fully_paid. The body may show a later state than the event: refunded already, for example."""
    found = load(schemas.OrderEventSchema(), body)
    order = found["order"]
    if order.get("status") in UNSETTLED:
        return MappingResult(ignored=f"the order is {UNSETTLED[order['status']]}")
    return _paid(order, _paid_at(found, at))


def order_confirmed(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map order_confirmed: the order of a channel where staff confirm orders, paid before that."""
    found = load(schemas.OrderEventSchema(), body)
    if not was_paid(found["order"]):
        return MappingResult(ignored="the order is not paid yet; order_fully_paid will tell")
    return order_fully_paid(body, at)


def order_cancelled(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map order_cancelled; what was never paid never came here."""
    found = load(schemas.OrderEventSchema(), body)
    order = found["order"]
    if not was_paid(order) or order.get("status") == "EXPIRED":
        return MappingResult(ignored="cancelled before it was paid")
    return MappingResult((OrderCancelled(min(found.get("issued_at") or at, at), order["id"]),))


def was_paid(order: dict[str, Any]) -> bool:
    """Tell whether an order was ever paid in full, whatever was given back since."""
    if order.get("charge_status") in PAID_STATES or order.get("is_paid"):
        return True
    events = [e for t in order.get("transactions") or () for e in t.get("events") or ()]
    charged = sum((amount_of(e, "amount") for e in events if e.get("type") == "CHARGE_SUCCESS"), Decimal(0))
    # an app may take a refund off the charged amount, or not: together they are at least what was paid
    together = amount_of(order, "total_charged") + amount_of(order, "total_refunded")
    return bool(max(charged, together) >= order["total"]["gross"]["amount"])


def amount_of(holder: dict[str, Any], name: str) -> Decimal:
    """Return an amount, zero where it is null."""
    found = holder.get(name)
    return Decimal(found["amount"]) if found else Decimal(0)


def currency_of(order: dict[str, Any]) -> str:
    """Return the currency that the order was paid in. Raises PayloadError."""
    total = order["total"]
    return checked_currency(total.get("currency") or total["gross"].get("currency") or "", "order.total.currency")


def lines_of(order: dict[str, Any], currency: str) -> tuple[list[Line], Decimal]:
    """Return an order's lines as they were paid, shipping among them, and what gift cards paid of them.

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
    if above > slack and lines:
        lines = _spread(lines, order, above, currency)
        everything = [*lines, *([shipping] if shipping else [])]
    return list(close_gap(everything, total, currency)), Decimal(0)


def _paid(order: dict[str, Any], paid_at: datetime) -> MappingResult:
    currency = currency_of(order)
    lines, by_gift_card = lines_of(order, currency)
    if not lines:
        return MappingResult(ignored="the order has no lines")
    total = sum((line.gross_paid for line in lines), Decimal(0))
    # the invoice goes to who buys, the parcel may go to somebody else
    addresses = (order.get("billing_address"), order.get("shipping_address"))
    user = dict(order.get("user") or {})
    if not clean_email(user.get("email")):
        # typed at the checkout: `isConfirmed` is about the account's own address and vouches for no other
        user["email"], user["is_confirmed"] = order.get("user_email") or user.get("email"), False
    if not order.get("user"):
        user["language_code"] = order.get("language_code_enum")
    customer, notes = read_customer(user, addresses=addresses)
    metadata = metadata_of(order)
    channel = clean_text((order.get("channel") or {}).get("slug"))
    return MappingResult(
        (
            OrderPaid(
                occurred_at=paid_at,
                order_id=order["id"],
                order_number=order.get("number") or order["id"],
                customer=customer,
                currency=currency,
                total=total,
                lines=tuple(lines),
                payments=_payments(order, total - by_gift_card, by_gift_card, currency),
                promotions=_promotions(order, dict(metadata)),
                vouchers=tuple(UsedVoucher(voucher_number=number) for number in _listed(dict(metadata), VOUCHER_KEY)),
                channel=channel,
                country_code=next((code for place in reversed(addresses) if (code := country_of(place))), None),
                extra=_extra(order, metadata, channel),
            ),
        ),
        notes=notes,
    )


def _paid_at(found: dict[str, Any], at: datetime) -> datetime:
    """Return when an order was paid: the event's time, else its last charge, else when it was made (read from the API)."""
    order = found["order"]
    issued_at: datetime | None = found.get("issued_at")
    if issued_at is not None:
        return min(issued_at, at)
    transactions = order.get("transactions") or ()
    charges = [
        e["created_at"]
        for t in transactions
        for e in t.get("events") or ()
        if e.get("type") == "CHARGE_SUCCESS" and e.get("created_at")
    ]
    made = charges or [t["created_at"] for t in transactions if t.get("created_at")]
    return min(max(made, default=order.get("created") or at), at)


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
    """Return the rate in percent: Saleor's 0.25 is 25; what the tax itself says where there is no rate."""
    if not tax:
        return Decimal(0)
    if rate is not None and 0 < rate <= 1:
        return (rate * 100).normalize() + Decimal(0)
    return percent_of(tax, gross)


def _spread(lines: Sequence[Line], order: dict[str, Any], above: Decimal, currency: str) -> list[Line]:
    """Spread a discount of the whole order that the lines do not show yet, where one of about that size is named.

    Saleor shows it in the lines' own totals since it takes part in their tax; orders that staff discounted need not.
    """
    named = [d for d in order.get("discounts") or () if amount_of(d, "total") or amount_of(d, "amount")]
    most = sum((amount_of(d, "total") or amount_of(d, "amount") for d in named), Decimal(0))
    # a discount may be named without the tax that it saves
    if not named or above > most * 2 or above > sum((line.gross_paid for line in lines), Decimal(0)):
        return list(lines)
    code = clean_text(order.get("voucher_code"))
    reason = clean_text(named[0].get("name")) or code
    return spread_off(lines, above, currency, reason, code)


def spread_off(
    lines: Sequence[Line], amount: Decimal, currency: str, reason: str | None, code: str | None
) -> list[Line]:
    """Take an amount off lines in proportion to what each cost; what rounding leaves goes off the largest that can bear it."""
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


def _payments(order: dict[str, Any], due: Decimal, by_gift_card: Decimal, currency: str) -> tuple[Payment, ...]:
    """Return what each payment brought where they add up to what was due, else one payment of that."""
    gift = (Payment("gift_card", by_gift_card),) if by_gift_card else ()
    parts = [
        Payment(clean_text(t.get("name")) or "other", rounded(_ever_charged(t), currency))
        for t in order.get("transactions") or ()
    ] + [
        Payment(clean_text(p.get("gateway")) or "other", rounded(amount_of(p, "captured_amount"), currency))
        for p in order.get("payments") or ()
    ]
    paid = [part for part in parts if part.amount > 0]
    if sum((part.amount for part in paid), Decimal(0)) == due and paid:
        return (*paid, *gift)
    if not due and gift:
        return gift
    names = list(dict.fromkeys(part.type for part in paid or parts))
    main = Payment(names[0] if names else "other", due, ", ".join(names) if len(names) > 1 else None)
    return (main, *gift)


def _ever_charged(transaction: dict[str, Any]) -> Decimal:
    events = transaction.get("events")
    if events:
        return sum((amount_of(e, "amount") for e in events if e.get("type") == "CHARGE_SUCCESS"), Decimal(0))
    return amount_of(transaction, "charged_amount")


def _promotions(order: dict[str, Any], metadata: dict[str, str]) -> tuple[UsedPromotion, ...]:
    explicit = [UsedPromotion(assignment_id=value) for value in _listed(metadata, ASSIGNMENT_KEY)]
    codes = [order.get("voucher_code"), *(line.get("voucher_code") for line in order["lines"])]
    return tuple(dict.fromkeys([*explicit, *(UsedPromotion(code=code) for raw in codes if (code := clean_text(raw)))]))


def _listed(metadata: dict[str, str], key: str) -> list[str]:
    return list(dict.fromkeys(filter(None, (part.strip() for part in metadata.get(key, "").split(",")))))


def _extra(
    order: dict[str, Any], metadata: tuple[tuple[str, str], ...], channel: str | None
) -> tuple[tuple[str, str], ...]:
    named = (
        ("channel", channel),
        ("externalReference", clean_text(order.get("external_reference"))),
        ("language", language_tag(order.get("language_code_enum"))),
    )
    return (*((name, value) for name, value in named if value), *metadata)
