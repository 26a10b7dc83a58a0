"""Promotions, points and reward vouchers as a shopper sees them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from babel.numbers import get_territory_currencies

from mypages.data.sanitise import https_link, safe_text
from mypages.views import models
from mypages.views.formatting import Formatter
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
#: The types of point transactions that templates name, see docs/engage.md#points.
CHANGES = frozenset({"addition", "deduction", "expiry", "cancellation"})


def likely_currencies(own: Iterable[str], formatter: Formatter) -> tuple[str, ...]:
    """Return the currencies that a shopper is likely to use: first those of their orders, then of their country."""
    territory = formatter.locale.territory
    return tuple(dict.fromkeys([*own, *(get_territory_currencies(territory) if territory else ())]))


def promotions(
    page: Page[PromotionAssignment], formatter: Formatter, now: datetime, wanted: tuple[str, ...]
) -> tuple[tuple[models.Promotion, ...], tuple[models.Promotion, ...]]:
    """Return the promotions that can be used in the shop, and the used ones. Expired ones are left out."""
    active, used = [], []
    for assignment in page.items:
        channel = next((c for c in assignment.redemption_channels if c.type.upper() == RedemptionChannel.ECOM), None)
        if assignment.redeemed:
            used.append((assignment.redeemed_on or _START, assignment, channel))
        elif channel is not None and (assignment.expires_on is None or assignment.expires_on > now):
            active.append((assignment.expires_on or _END, assignment, channel))
    active.sort(key=lambda entry: entry[0])
    used.sort(key=lambda entry: entry[0], reverse=True)
    return (
        tuple(_promotion(assignment, channel, formatter, wanted) for _, assignment, channel in active),
        tuple(_promotion(assignment, channel, formatter, wanted) for _, assignment, channel in used[:MAX_USED]),
    )


def point_accounts(page: Page[PointAccount], formatter: Formatter) -> tuple[models.PointAccount, ...]:
    """Return the balances."""
    return tuple(
        models.PointAccount(
            safe_text(account.id, 200),
            formatter.number(account.balance),
            formatter.number(account.pending_points) if account.pending_points else None,
            formatter.day(account.balance_expires),
        )
        for account in page.items
    )


def point_changes(page: Page[PointTransaction], formatter: Formatter) -> tuple[models.PointChange, ...]:
    """Return changes of points, newest first."""
    newest_first = sorted(page.items, key=lambda change: change.transaction_date or _START, reverse=True)
    return tuple(
        models.PointChange(
            formatter.day(change.transaction_date),
            kind if (kind := (change.type or "").strip().lower()) in CHANGES else "",
            safe_text(change.description) or safe_text(change.source),
            formatter.number(change.amount),
            formatter.day(change.valid_to),
        )
        for change in newest_first
    )


def usable_vouchers(
    page: Page[RewardVoucher], formatter: Formatter, now: datetime, wanted: tuple[str, ...]
) -> tuple[models.Voucher, ...]:
    """Return vouchers that can be used, soonest to end first."""
    usable = [
        voucher
        for voucher in page.items
        if not voucher.redeemed and (voucher.expires_on is None or voucher.expires_on > now)
    ]
    return tuple(
        _voucher(voucher, formatter, wanted)
        for voucher in sorted(usable, key=lambda voucher: voucher.expires_on or _END)
    )


def used_vouchers(
    page: Page[RewardVoucher], formatter: Formatter, wanted: tuple[str, ...]
) -> tuple[models.Voucher, ...]:
    """Return used vouchers, newest first."""
    used = sorted(
        (voucher for voucher in page.items if voucher.redeemed),
        key=lambda voucher: voucher.redeemed_on or _START,
        reverse=True,
    )
    return tuple(_voucher(voucher, formatter, wanted) for voucher in used[:MAX_USED])


def _voucher(voucher: RewardVoucher, formatter: Formatter, wanted: tuple[str, ...]) -> models.Voucher:
    value = _in_currency(voucher.value, voucher.local_values, wanted)
    return models.Voucher(
        id=safe_text(voucher.id, 200),
        number=safe_text(voucher.voucher_number),
        name=safe_text(voucher.name),
        value=formatter.money(value.amount, value.currency) if value else None,
        points=formatter.number(voucher.points) if voucher.points else None,
        until=formatter.day(voucher.expires_on),
        used=voucher.redeemed,
        used_on=formatter.day(voucher.redeemed_on),
    )


def _promotion(
    assignment: PromotionAssignment, channel: PromotionChannel | None, formatter: Formatter, wanted: tuple[str, ...]
) -> models.Promotion:
    kind, gives = _gives(channel, formatter, wanted)
    external = channel is not None and channel.value_type.upper() == "EXTERNALOFFER"
    return models.Promotion(
        id=safe_text(assignment.id, 200),
        heading=safe_text(assignment.heading) or safe_text(assignment.name),
        description=safe_text(assignment.description, 2000),
        gives_kind=kind,
        gives=gives,
        code=safe_text(channel.value, 100) if channel is not None and external else "",
        until=formatter.day(assignment.expires_on),
        link=https_link(assignment.link),
        used=assignment.redeemed,
        used_on=formatter.day(assignment.redeemed_on),
    )


def _gives(channel: PromotionChannel | None, formatter: Formatter, wanted: tuple[str, ...]) -> tuple[str, str]:
    """Return what a promotion is worth in a channel: its kind, and the text for it."""
    if channel is None:
        return "", ""
    kind, value = channel.value_type.upper(), channel.value
    if kind == "PERCENT":
        share = value if isinstance(value, Decimal) else _number(value)
        return ("percent", formatter.percent(share)) if share is not None else ("", "")
    if kind == "MONEY":
        money = _in_currency(value if isinstance(value, Money) else None, channel.local_values, wanted)
        amount = formatter.money(money.amount, money.currency) if money else None
        return ("money", amount.text) if amount else ("", "")
    if kind == "EXTERNALOFFER":
        return "code", ""
    description = safe_text(channel.instruction) or safe_text(value)
    return ("text", description) if description else ("", "")


def _in_currency(value: Money | None, local: tuple[Money, ...], wanted: tuple[str, ...]) -> Money | None:
    """Return the amount in the first of the wanted currencies that has one, else the tenant's own."""
    by_currency = {money.currency.upper(): money for money in (*((value,) if value else ()), *local)}
    match = next((by_currency[currency] for currency in wanted if currency in by_currency), None)
    return match or value or (local[0] if local else None)


def _number(value: object) -> Decimal | None:
    digits = str(value).strip()
    is_number = isinstance(value, str) and digits.replace(".", "", 1).isdecimal() and digits.isascii()
    return Decimal(digits) if is_number else None
