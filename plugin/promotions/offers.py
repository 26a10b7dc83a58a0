"""The promotions and vouchers of a contact that a cart can use, ready for a shop's checkout. Pure: no I/O.

An amount counts only in the cart's own currency: nothing is converted here. What staff must do manually at the till
(MANUAL, SWIPE) is not an offer for a shop.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from plugin.engage.data.models import Money, PromotionAssignment, PromotionChannel, RewardVoucher
from plugin.engage.promotion_lookup import is_redeemable

TYPES = {"PERCENT": "percent", "MONEY": "money", "EXTERNALOFFER": "code"}


@dataclass(frozen=True, slots=True)
class Cart:
    """What the checkout asks for. currency: ISO 4217. channel: ECOM, POS or OTHER. order_id: where the shop has one."""

    currency: str
    channel: str = "ECOM"
    order_id: str | None = None


def promotion_offers(
    assignments: Sequence[PromotionAssignment], cart: Cart, now: datetime, held: Collection[str]
) -> list[dict[str, Any]]:
    """Return the promotions that apply, the earliest expiry first. held: assignments that an order is using."""
    usable = [a for a in assignments if is_redeemable(a, now) and a.id not in held]
    return [offer for a in sorted(usable, key=_expiry) if (offer := promotion_offer(a, cart)) is not None]


def promotion_offer(assignment: PromotionAssignment, cart: Cart) -> dict[str, Any] | None:
    """Return a promotion as the checkout needs it; None when it does not apply to the cart."""
    channel = next((c for c in assignment.redemption_channels if c.type == cart.channel), None)
    if channel is None:
        return None
    worth = _worth(channel, cart.currency)
    if worth is None:
        return None
    kind, value, code = worth
    return {
        "assignment_id": assignment.id,
        "promotion_id": assignment.promotion_id,
        "external_id": assignment.external_id,
        "name": assignment.heading or assignment.name,
        "description": assignment.description,
        "type": kind,
        "value": value,
        "currency": cart.currency if kind == "money" else None,
        "code": code or assignment.external_id,
        "expires_on": assignment.expires_on.isoformat() if assignment.expires_on else None,
        "instruction": channel.instruction,
    }


def voucher_offers(
    vouchers: Sequence[RewardVoucher], cart: Cart, now: datetime, held: Collection[str]
) -> list[dict[str, Any]]:
    """Return the vouchers that apply, the earliest expiry first."""
    usable = [v for v in vouchers if is_redeemable(v, now) and v.id not in held]
    return [offer for v in sorted(usable, key=_expiry) if (offer := voucher_offer(v, cart)) is not None]


def voucher_offer(voucher: RewardVoucher, cart: Cart) -> dict[str, Any] | None:
    """Return a voucher as the checkout needs it; None when it has no amount in the cart's currency."""
    value = _amount((*voucher.local_values, *((voucher.value,) if voucher.value else ())), cart.currency)
    if value is None:
        return None
    return {
        "voucher_id": voucher.id,
        "number": voucher.voucher_number,
        "name": voucher.name,
        "type": "money",
        "value": value,
        "currency": cart.currency,
        "expires_on": voucher.expires_on.isoformat() if voucher.expires_on else None,
    }


def _worth(channel: PromotionChannel, currency: str) -> tuple[str, str | None, str | None] | None:
    """Return type, value and code; None when the shop cannot apply it or it has no amount in the currency."""
    kind = TYPES.get(channel.value_type)
    if kind == "code":
        return (kind, None, channel.value.strip()) if isinstance(channel.value, str) and channel.value.strip() else None
    if kind == "percent":
        return (kind, _text(channel.value), None) if isinstance(channel.value, Decimal) else None
    if kind == "money":
        own = (channel.value,) if isinstance(channel.value, Money) else ()
        value = _amount((*channel.local_values, *own), currency)
        return None if value is None else (kind, value, None)
    return None


def _amount(values: Sequence[Money], currency: str) -> str | None:
    return next((_text(v.amount) for v in values if v.currency.upper() == currency), None)


def _text(number: Decimal) -> str:
    return f"{number:f}"


def _expiry(item: PromotionAssignment | RewardVoucher) -> tuple[bool, str]:
    return (item.expires_on is None, item.expires_on.isoformat() if item.expires_on else "")
