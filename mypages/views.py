"""What the pages show, ready to print: money, dates and numbers in the shopper's locale (Babel)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_timedelta
from babel.numbers import UnknownCurrencyError, format_currency, format_decimal, format_percent

from plugin.engage.models import Contact, Money, Page, PromotionAssignment, PromotionChannel, Transaction
from plugin.store.orders import StoredOrder

PROFILE_FIELDS = (
    ("firstName", "First name"),
    ("lastName", "Last name"),
    ("email", "E-mail"),
    ("mobilePhone", "Mobile phone"),
    ("street", "Street"),
    ("careOf", "Care of"),
    ("zipCode", "Postal code"),
    ("city", "City"),
    ("countryCode", "Country"),
    ("birthDay", "Birthday"),
    ("memberNumber", "Member number"),
)
PREFERENCES = (("acceptsEmail", "E-mail"), ("acceptsSms", "Text message"), ("acceptsPostal", "Post"))
MAX_TEXT = 500


@dataclass(frozen=True, slots=True)
class Row:
    """A label and a value."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class PurchaseView:
    """A purchase or return. status: set while Engage has not imported it yet."""

    number: str
    date: str
    amount: str
    place: str
    count: str
    is_return: bool = False
    status: str = ""


@dataclass(frozen=True, slots=True)
class PromotionView:
    """A promotion. gives: what it is worth in words; code: what to type at the checkout."""

    heading: str
    description: str
    gives: str
    code: str
    until: str
    link: str
    used_on: str = ""


def locale_of(*tags: str | None) -> Locale:
    """Return the first locale that Babel knows, English at last."""
    for tag in tags:
        try:
            if tag:
                return Locale.parse(tag.replace("_", "-"), sep="-")
        except (ValueError, UnknownLocaleError):
            continue
    return Locale("en")


def profile_rows(contact: Contact) -> list[Row]:
    """Return the personal data that is known."""
    return [Row(label, text) for name, label in PROFILE_FIELDS if (text := _text(contact.attributes.get(name)))]


def preference_rows(contact: Contact) -> list[Row]:
    """Return by which ways the shopper wants to hear from the shop."""
    return [
        Row(label, "yes" if contact.preferences[name] else "no")
        for name, label in PREFERENCES
        if contact.preferences.get(name) is not None
    ]


def purchases(page: Page[Transaction], orders: Sequence[StoredOrder], shop: str, locale: Locale) -> list[PurchaseView]:
    """Return fetched purchases, newest first.

    Engage's history has net sums only; of this shop's own orders the total that was paid is shown.
    """
    newest_first = sorted(page.items, key=lambda t: t.created_date.timestamp() if t.created_date else 0, reverse=True)
    paid = {f"{shop}-{order.order_id}": order for order in orders}
    return [_purchase(transaction, paid.get(transaction.external_id or ""), locale) for transaction in newest_first]


def not_yet_imported(
    orders: Sequence[StoredOrder], page: Page[Transaction] | None, shop: str, locale: Locale
) -> list[PurchaseView]:
    """Return this shop's own newest orders that the fetched history does not show yet: Engage imports with a delay."""
    known = {transaction.external_id for transaction in page.items} if page else set()
    return [
        PurchaseView(
            number=order.order_number,
            date=_date(order.occurred_at, locale),
            amount=money(order.total, order.currency, locale),
            place="",
            count="",
            status="being registered",
        )
        for order in orders
        if f"{shop}-{order.order_id}" not in known
    ]


def promotions(
    page: Page[PromotionAssignment], locale: Locale, now: datetime
) -> tuple[list[PromotionView], list[PromotionView]]:
    """Return active promotions for the shop, and used ones apart. Expired ones are not shown."""
    active, used = [], []
    for promotion in page.items:
        channel = next((c for c in promotion.redemption_channels if c.type == "ECOM"), None)
        if promotion.redeemed:
            used.append(_promotion(promotion, channel, locale))
        elif channel is not None and (promotion.expires_on is None or promotion.expires_on > now):
            active.append(_promotion(promotion, channel, locale))
    return active, used


def money(amount: Decimal, currency: str | None, locale: Locale) -> str:
    """Return an amount with its currency; a plain number when the currency is unknown."""
    try:
        return (
            format_currency(amount, currency or "", locale=locale)
            if currency
            else format_decimal(amount, locale=locale)
        )
    except (UnknownCurrencyError, ValueError):
        return f"{format_decimal(amount, locale=locale)} {currency}"


def age(fetched_at: datetime, now: datetime, locale: Locale) -> str:
    """Return how old something is, in words."""
    return format_timedelta(now - fetched_at, locale=locale)


def _purchase(transaction: Transaction, order: StoredOrder | None, locale: Locale) -> PurchaseView:
    amount, currency = transaction.local_net_price_sum, transaction.local_currency
    if order is not None:
        amount, currency = order.total, order.currency
    elif amount is None:
        amount, currency = transaction.net_price_sum, transaction.group_currency
    count = transaction.number_of_items
    return PurchaseView(
        number=_text(transaction.transaction_number) or _text(transaction.external_id),
        date=_date(transaction.created_date, locale),
        amount="" if amount is None else money(amount, currency, locale),
        place=_text(transaction.store_name),
        count="" if count is None else format_decimal(count, locale=locale),
        is_return=amount is not None and amount < 0,
    )


def _promotion(promotion: PromotionAssignment, channel: PromotionChannel | None, locale: Locale) -> PromotionView:
    link = promotion.link or ""
    return PromotionView(
        heading=_text(promotion.heading) or _text(promotion.name) or "Offer",
        description=_text(promotion.description),
        gives=_gives(channel, locale),
        code=_text(channel.value) if channel and channel.value_type == "EXTERNALOFFER" else "",
        until=_date(promotion.expires_on, locale),
        link=link if urlsplit(link).scheme == "https" else "",
        used_on=_date(promotion.redeemed_on, locale),
    )


def _gives(channel: PromotionChannel | None, locale: Locale) -> str:
    if channel is None:
        return ""
    if channel.value_type == "PERCENT" and isinstance(channel.value, Decimal):
        return f"{format_percent(channel.value / 100, locale=locale)} off"
    if channel.value_type == "MONEY":
        values = (*channel.local_values, *((channel.value,) if isinstance(channel.value, Money) else ()))
        return " / ".join(dict.fromkeys(money(v.amount, v.currency, locale) for v in values)) + " off" if values else ""
    return _text(channel.instruction)


def _date(value: datetime | None, locale: Locale) -> str:
    return format_date(value, locale=locale) if value else ""


def _text(value: Any) -> str:
    """Return a value as short text; objects that no page can show become nothing."""
    if value is None or isinstance(value, (Mapping, list, bool)):
        return ""
    return str(value)[:MAX_TEXT]
