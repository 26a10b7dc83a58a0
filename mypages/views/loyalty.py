"""Promotions, points and reward vouchers as a shopper sees them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from babel.numbers import get_territory_currencies

from mypages.views import models
from mypages.views.formatting import Formatter, https_link, text
from plugin.engage.data.models import (
    Money,
    Page,
    PointAccount,
    PointTransaction,
    PromotionAssignment,
    PromotionChannel,
    RedemptionChannel,
    RewardVoucher,
)

MAX_USED = 50
_END = datetime.max.replace(tzinfo=UTC)
_START = datetime.min.replace(tzinfo=UTC)
#: Engage's words for a change of points (facts 7.2) and ours.
CHANGES = frozenset({"addition", "deduction", "expiry", "cancellation"})


def currencies(own: Iterable[str], form: Formatter) -> tuple[str, ...]:
    """Return the currencies that a shopper thinks in, the likeliest first: of their orders, then of their country."""
    territory = form.locale.territory
    return tuple(dict.fromkeys([*own, *(get_territory_currencies(territory) if territory else ())]))


def promotions(
    page: Page[PromotionAssignment], form: Formatter, now: datetime, wanted: tuple[str, ...]
) -> tuple[tuple[models.Promotion, ...], tuple[models.Promotion, ...]]:
    """Return promotions that can be used in the shop, and used ones apart. Expired ones are not shown."""
    active, used = [], []
    for one in page.items:
        channel = next((c for c in one.redemption_channels if c.type.upper() == RedemptionChannel.ECOM), None)
        if one.redeemed:
            used.append((one.redeemed_on or _START, one, channel))
        elif channel is not None and (one.expires_on is None or one.expires_on > now):
            active.append((one.expires_on or _END, one, channel))
    active.sort(key=lambda entry: entry[0])
    used.sort(key=lambda entry: entry[0], reverse=True)
    return (
        tuple(_promotion(one, channel, form, wanted) for _, one, channel in active),
        tuple(_promotion(one, channel, form, wanted) for _, one, channel in used[:MAX_USED]),
    )


def point_accounts(page: Page[PointAccount], form: Formatter) -> tuple[models.PointAccount, ...]:
    """Return the balances."""
    return tuple(
        models.PointAccount(
            text(one.id, 200),
            form.number(one.balance),
            form.number(one.pending_points) if one.pending_points else None,
            form.day(one.balance_expires),
        )
        for one in page.items
    )


def point_changes(page: Page[PointTransaction], form: Formatter) -> tuple[models.PointChange, ...]:
    """Return changes of points, newest first."""
    newest_first = sorted(page.items, key=lambda one: one.transaction_date or _START, reverse=True)
    return tuple(
        models.PointChange(
            form.day(one.transaction_date),
            kind if (kind := (one.type or "").strip().lower()) in CHANGES else "",
            text(one.description) or text(one.source),
            form.number(one.amount),
            form.day(one.valid_to),
        )
        for one in newest_first
    )


def usable_vouchers(
    page: Page[RewardVoucher], form: Formatter, now: datetime, wanted: tuple[str, ...]
) -> tuple[models.Voucher, ...]:
    """Return vouchers that can be used, soonest to end first."""
    usable = [one for one in page.items if not one.redeemed and (one.expires_on is None or one.expires_on > now)]
    return tuple(_voucher(one, form, wanted) for one in sorted(usable, key=lambda one: one.expires_on or _END))


def used_vouchers(page: Page[RewardVoucher], form: Formatter, wanted: tuple[str, ...]) -> tuple[models.Voucher, ...]:
    """Return used vouchers, newest first."""
    used = sorted((one for one in page.items if one.redeemed), key=lambda one: one.redeemed_on or _START, reverse=True)
    return tuple(_voucher(one, form, wanted) for one in used[:MAX_USED])


def _voucher(one: RewardVoucher, form: Formatter, wanted: tuple[str, ...]) -> models.Voucher:
    value = _in_currency(one.value, one.local_values, wanted)
    return models.Voucher(
        id=text(one.id, 200),
        number=text(one.voucher_number),
        name=text(one.name),
        value=form.money(value.amount, value.currency) if value else None,
        points=form.number(one.points) if one.points else None,
        until=form.day(one.expires_on),
        used=one.redeemed,
        used_on=form.day(one.redeemed_on),
    )


def _promotion(
    one: PromotionAssignment, channel: PromotionChannel | None, form: Formatter, wanted: tuple[str, ...]
) -> models.Promotion:
    kind, gives = _gives(channel, form, wanted)
    external = channel is not None and channel.value_type.upper() == "EXTERNALOFFER"
    return models.Promotion(
        id=text(one.id, 200),
        heading=text(one.heading) or text(one.name),
        description=text(one.description, 2000),
        gives_kind=kind,
        gives=gives,
        code=text(channel.value, 100) if channel is not None and external else "",
        until=form.day(one.expires_on),
        link=https_link(one.link),
        used=one.redeemed,
        used_on=form.day(one.redeemed_on),
    )


def _gives(channel: PromotionChannel | None, form: Formatter, wanted: tuple[str, ...]) -> tuple[str, str]:
    """Return what a promotion is worth in a channel: its kind and the words for it."""
    if channel is None:
        return "", ""
    kind, value = channel.value_type.upper(), channel.value
    if kind == "PERCENT":
        share = value if isinstance(value, Decimal) else _number(value)
        return ("percent", form.percent(share)) if share is not None else ("", "")
    if kind == "MONEY":
        money = _in_currency(value if isinstance(value, Money) else None, channel.local_values, wanted)
        amount = form.money(money.amount, money.currency) if money else None
        return ("money", amount.text) if amount else ("", "")
    if kind == "EXTERNALOFFER":
        return "code", ""
    words = text(channel.instruction) or text(value)
    return ("text", words) if words else ("", "")


def _in_currency(value: Money | None, local: tuple[Money, ...], wanted: tuple[str, ...]) -> Money | None:
    """Return the amount in the first currency wanted that there is one for, else the tenant's own."""
    by_currency = {one.currency.upper(): one for one in (*((value,) if value else ()), *local)}
    found = next((by_currency[currency] for currency in wanted if currency in by_currency), None)
    return found or value or (local[0] if local else None)


def _number(value: object) -> Decimal | None:
    words = str(value).strip()
    return (
        Decimal(words) if isinstance(value, str) and words.replace(".", "", 1).isdecimal() and words.isascii() else None
    )
