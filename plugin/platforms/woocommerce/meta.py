"""Meta data: what a shop and its plugins store with customers and orders, and the keys that the companion plugin writes."""

from collections.abc import Collection, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from plugin.events import Channel, ConsentChange, UsedPromotion, UsedVoucher
from plugin.platforms.contact_normalisers import clean_text
from plugin.platforms.woocommerce.schemas import read_gmt

#: Keys by which a shop hands over Engage's ids on an order, a line or a coupon line; the companion writes them to the coupon
#: line, which goes when the coupon is taken off again. A key may repeat.
ASSIGNMENT_KEY = "engage_promotion_assignment_id"
VOUCHER_KEY = "engage_voucher_number"
#: Keys of the companion's checkboxes: engage_consent_email (yes or no), engage_consent_email_at (UTC), ..._source.
CONSENT_KEY = "engage_consent_"
CONSENT_CHANNELS = (Channel.EMAIL, Channel.SMS)
ANSWERS = {"yes": True, "no": False}
MAX_EXTRA = 100

Meta = Iterable[dict[str, Any]] | None


def pairs(meta: Meta) -> list[tuple[str, str]]:
    """Return names and values that are plain: lists and objects of other plugins mean nothing here."""
    found = []
    for entry in meta or ():
        key, value = clean_text(entry.get("key")), entry.get("value")
        if isinstance(value, bool):
            value = "yes" if value else "no"
        elif isinstance(value, (int, Decimal)):
            value = str(value)
        text = clean_text(value)
        if key and text:
            found.append((key, text))
    return found


def extra_of(meta: Meta) -> tuple[tuple[str, str], ...]:
    """Return meta data for the settings that name shop fields; the last value of a repeated key counts."""
    return tuple(dict(pairs(meta)).items())[:MAX_EXTRA]


def consents_of(meta: Meta, latest: datetime) -> tuple[ConsentChange, ...]:
    """Return the answers that the companion's checkboxes stored. An answer without its time is left out: it proves nothing.

    latest: later times are set to it, because no later opt-out could override such an opt-in.
    """
    values = dict(pairs(meta))
    changes = []
    for channel in CONSENT_CHANNELS:
        name = f"{CONSENT_KEY}{channel.value}"
        value, at = ANSWERS.get(values.get(name, "").lower()), read_gmt(values.get(f"{name}_at"))
        if value is not None and at is not None:
            changes.append(
                ConsentChange(channel, value, min(at, latest), values.get(f"{name}_source") or "woocommerce")
            )
    return tuple(changes)


def used_of(
    order_meta: Meta, line_metas: Iterable[Meta], coupons: Collection[dict[str, Any]]
) -> tuple[tuple[UsedPromotion, ...], tuple[UsedVoucher, ...]]:
    """Return promotions (exact ids first, then the codes of coupons) and vouchers that an order names."""
    metas = [order_meta, *line_metas, *(coupon.get("meta_data") for coupon in coupons)]
    named = [pair for meta in metas for pair in pairs(meta)]
    exact = [UsedPromotion(assignment_id=value) for key, value in named if key == ASSIGNMENT_KEY]
    codes = [UsedPromotion(code=code) for coupon in coupons if (code := clean_text(coupon.get("code")))]
    numbers = [value for key, value in named if key == VOUCHER_KEY]
    vouchers = tuple(UsedVoucher(voucher_number=number) for number in dict.fromkeys(numbers))
    return tuple(dict.fromkeys([*exact, *codes])), vouchers
