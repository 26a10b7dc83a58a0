"""The shop's facts in the plugin's words.

Every platform maps its webhooks to these classes, and the handlers read nothing else. Money is Decimal in major
units of the event's currency (ISO 4217), time is an aware UTC datetime, ids are strings. A value that the shop
does not know is None (or an empty tuple) and is never sent to Engage, where an empty field erases data.
"""

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum


class Channel(StrEnum):
    """What a consent is for. `OTHER` consents are named by `ConsentChange.consent_id`."""

    EMAIL = "email"
    SMS = "sms"
    POSTAL = "postal"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ConsentChange:
    """A shopper's own opt-in (True) or opt-out (False), as the shop collected it.

    at: when the shopper gave it; None when the shop does not know, then the event's time counts.
    source: where it was given, in the shop's words (checkout, account, admin).
    """

    channel: Channel
    value: bool
    at: datetime | None = None
    source: str | None = None
    consent_id: str | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address. country_code: ISO 3166-1 alpha-2, upper case."""

    street: str | None = None
    care_of: str | None = None
    zip_code: str | None = None
    city: str | None = None
    country_code: str | None = None


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer as the shop knows them; a guest has no customer_id.

    email: lower-cased and trimmed. mobile_phone: E.164; None when the shop's value was not a valid number, then
    `dropped` names the field. email_verified, phone_verified: whether the shop verifies it
    (docs/decisions/0011-verified-links.md). extra: further shop fields by name, for the field mapping of the shop
    (`attributes.*`). locale: a BCP 47 tag such as sv-SE.
    """

    customer_id: str | None = None
    email: str | None = None
    email_verified: bool = False
    mobile_phone: str | None = None
    phone_verified: bool = False
    first_name: str | None = None
    last_name: str | None = None
    birth_day: date | None = None
    gender: str | None = None
    address: Address = Address()
    locale: str | None = None
    extra: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()


class LineKind(StrEnum):
    """What a line of an order is. Only GOODS and GIFT_CARD have a SKU of the shop's."""

    GOODS = "goods"
    GIFT_CARD = "gift_card"
    SHIPPING = "shipping"
    FEE = "fee"
    TIP = "tip"
    AMOUNT = "amount"  # a refund of an amount without lines


@dataclass(frozen=True, slots=True)
class Discount:
    """A discount on a line. amount: positive, major units, already taken off the line's gross_paid."""

    amount: Decimal
    description: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an order or refund.

    gross_paid: the row's total paid, including tax, after all discounts; never negative.
    tax_amount: the tax within gross_paid. tax_percent: 25 for 25 %. quantity: positive.
    sku: None where the shop has none; the receipt then uses article_number.
    """

    line_id: str
    kind: LineKind
    quantity: Decimal
    gross_paid: Decimal
    tax_amount: Decimal
    tax_percent: Decimal
    sku: str | None = None
    article_number: str | None = None
    name: str | None = None
    article_group: str | None = None
    discounts: tuple[Discount, ...] = ()


@dataclass(frozen=True, slots=True)
class Payment:
    """How money was paid (positive) or refunded (positive too; the receipt turns the sign)."""

    type: str
    amount: Decimal
    description: str | None = None


@dataclass(frozen=True, slots=True)
class UsedPromotion:
    """A promotion that the order used: by Engage's assignment id, or by a code that may be one of Engage's."""

    assignment_id: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class UsedVoucher:
    """A reward voucher that the order used: by Engage's id or by its voucher number."""

    voucher_id: str | None = None
    voucher_number: str | None = None


@dataclass(frozen=True, slots=True)
class CustomerCreated:
    """Signup."""

    occurred_at: datetime
    customer: Customer
    consents: tuple[ConsentChange, ...] = ()


@dataclass(frozen=True, slots=True)
class CustomerUpdated:
    """Profile change. The customer has all that the shop sent, changed or not."""

    occurred_at: datetime
    customer: Customer
    consents: tuple[ConsentChange, ...] = ()


@dataclass(frozen=True, slots=True)
class ProfileEdited:
    """The shopper changed their own data on My Pages. attributes: Engage's names and the new values, none empty."""

    occurred_at: datetime
    customer_id: str
    attributes: tuple[tuple[str, str], ...] = ()
    consents: tuple[ConsentChange, ...] = ()


@dataclass(frozen=True, slots=True)
class ConsentChanged:
    """The shopper opted in or out outside of a profile change. customer may hold an id or an e-mail only."""

    occurred_at: datetime
    customer: Customer
    consents: tuple[ConsentChange, ...]


@dataclass(frozen=True, slots=True)
class OrderPaid:
    """An order was paid.

    total: what the shopper paid, in `currency` (the currency paid in); the lines' gross_paid add up to it.
    shop_currency and shop_total: the same order in the shop's own currency, where the platform gives it; they
    imply the exchange rate. channel: the shop's market or sales channel, for the choice of the store. active_as_of: when
    the shop wrote that the order is valid, paid and not cancelled, so that an earlier cancellation no longer counts; None
    where the order is cancelled by now, or where a cancelled order is never paid again. reported_at: when the order changed
    last, on platforms that report each change; None where the event reports the payment itself.
    """

    occurred_at: datetime
    order_id: str
    order_number: str
    customer: Customer
    currency: str
    total: Decimal
    lines: tuple[Line, ...]
    payments: tuple[Payment, ...]
    shop_currency: str | None = None
    shop_total: Decimal | None = None
    promotions: tuple[UsedPromotion, ...] = ()
    vouchers: tuple[UsedVoucher, ...] = ()
    consents: tuple[ConsentChange, ...] = ()
    channel: str | None = None
    country_code: str | None = None
    extra: tuple[tuple[str, str], ...] = ()
    active_as_of: datetime | None = None
    reported_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class OrderRefunded:
    """Money was refunded. lines: what was returned, by the order's line ids; for an amount alone, one AMOUNT line.

    total_refunded: what was refunded of the order up to now, where the shop gives it: never more than that is
    returned, so that a refund which the shop names twice, or by its sum only, counts once. only_if_known: its purchase may
    never be reported; where it stays unknown here, the refund is ignored and not parked.
    subtotals: the lines as the shop names them, where it does not say whether their gross_paid holds their tax or the tax comes
    on top; `lines` are then the best guess, and what the order's lines cost decides (`webhooks/orders/refund_lines.py`).
    """

    occurred_at: datetime
    order_id: str
    refund_id: str
    currency: str
    total: Decimal
    lines: tuple[Line, ...]
    payments: tuple[Payment, ...]
    total_refunded: Decimal | None = None
    only_if_known: bool = False
    subtotals: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderCancelled:
    """An order was cancelled. Reactivates its promotions by setting; makes no receipt.

    only_if_known: as in `OrderRefunded`.
    """

    occurred_at: datetime
    order_id: str
    reason: str | None = None
    only_if_known: bool = False


@dataclass(frozen=True, slots=True)
class CustomerDeleted:
    """The shop deleted the customer: what this plugin stores about them is erased."""

    occurred_at: datetime
    customer_id: str


@dataclass(frozen=True, slots=True)
class CustomerErased:
    """The shopper has the right to be forgotten (redact). order_ids: the orders that the shop names."""

    occurred_at: datetime
    customer_id: str | None
    email: str | None = None
    mobile_phone: str | None = None
    order_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CustomerMerged:
    """The shop merged two customers."""

    occurred_at: datetime
    kept_id: str
    merged_id: str


@dataclass(frozen=True, slots=True)
class DataRequested:
    """The shopper asks what is stored about them: a person must answer, so the event is parked."""

    occurred_at: datetime
    customer_id: str | None
    request_id: str | None = None
    email: str | None = None
    mobile_phone: str | None = None
    order_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShopUninstalled:
    """The shop removed the plugin. erase: the shop's data must go too."""

    occurred_at: datetime
    erase: bool = False


Event = (
    CustomerCreated
    | CustomerUpdated
    | ProfileEdited
    | ConsentChanged
    | OrderPaid
    | OrderRefunded
    | OrderCancelled
    | CustomerDeleted
    | CustomerErased
    | CustomerMerged
    | DataRequested
    | ShopUninstalled
)


@dataclass(frozen=True, slots=True)
class MappingResult:
    """The result of mapping a webhook: events in the order they happened, or the reason for ignoring it.

    notes: remarks for the operator about fields left out, without personal data.
    """

    events: tuple[Event, ...] = ()
    ignored: str | None = None
    notes: tuple[str, ...] = field(default=())
