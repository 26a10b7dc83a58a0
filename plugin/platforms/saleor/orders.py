"""Saleor's paid and cancelled orders in the plugin's words (docs/platforms/saleor.md#orders)."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from plugin.events import (
    MappingResult,
    OrderCancelled,
    OrderPaid,
    Payment,
    UsedPromotion,
    UsedVoucher,
)
from plugin.platforms.contact_normalisers import clean_email, clean_text
from plugin.platforms.fields import load
from plugin.platforms.money import rounded
from plugin.platforms.saleor import schemas
from plugin.platforms.saleor.customers import country_of, language_tag, metadata_of, read_customer
from plugin.platforms.saleor.lines import amount_of, currency_of, lines_of

#: Keys of an order's metadata by which a storefront hands over Engage's ids; several are separated by commas.
ASSIGNMENT_KEY = "metadata.engage_promotion_assignment_id"
VOUCHER_KEY = "metadata.engage_voucher_number"
#: Staff may still change the lines of these: the receipt waits for order_confirmed.
UNSETTLED = {
    "DRAFT": "a draft",
    "UNCONFIRMED": "not confirmed by staff yet; order_confirmed follows",
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
        return MappingResult(ignored="the order is not paid yet; order_fully_paid follows")
    return order_fully_paid(body, at)


def order_cancelled(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map order_cancelled; an order that was never paid is ignored."""
    found = load(schemas.OrderEventSchema(), body)
    order = found["order"]
    if not was_paid(order) or order.get("status") == "EXPIRED":
        return MappingResult(ignored="cancelled before it was paid")
    return MappingResult((OrderCancelled(min(found.get("issued_at") or at, at), order["id"]),))


def was_paid(order: dict[str, Any]) -> bool:
    """Return whether an order was ever paid in full, whatever was refunded since."""
    if order.get("charge_status") in PAID_STATES or order.get("is_paid"):
        return True
    events = [e for t in order.get("transactions") or () for e in t.get("events") or ()]
    charged = sum((amount_of(e, "amount") for e in events if e.get("type") == "CHARGE_SUCCESS"), Decimal(0))
    # an app may take a refund off the charged amount, or not: together they are at least what was paid
    together = amount_of(order, "total_charged") + amount_of(order, "total_refunded")
    return bool(max(charged, together) >= order["total"]["gross"]["amount"])


def _paid(order: dict[str, Any], paid_at: datetime) -> MappingResult:
    currency = currency_of(order)
    lines, by_gift_card = lines_of(order, currency)
    if not lines:
        return MappingResult(ignored="the order has no lines")
    total = sum((line.gross_paid for line in lines), Decimal(0))
    # the invoice goes to the buyer, the parcel may go to another person
    addresses = (order.get("billing_address"), order.get("shipping_address"))
    user = dict(order.get("user") or {})
    if not clean_email(user.get("email")):
        # typed at the checkout: `isConfirmed` is about the account's own address and no other
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
