"""Engage's nouns as frozen dataclasses, both what is sent and what is read.

Money is Decimal in major units, times are aware datetimes, ids are strings. The camelCase names of the wire are
in `schemas` alone. Sources: sections of the project's Engage contract (`contract/engage-v3.yaml`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class RedemptionChannel(StrEnum):
    """Where a promotion is used."""

    ECOM = "ECOM"
    POS = "POS"
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list. total_count is None where the tenant answers with a bare array."""

    items: tuple[T, ...]
    total_count: int | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in major units and its ISO 4217 currency."""

    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Consent:
    """A consent as stored or sent. Once set it can become yes or no, never unset."""

    id: str
    value: bool
    date: datetime | None = None
    source: str | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Contact:
    """A contact as Engage answers it. attributes is open: its names are the tenant's."""

    id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    preferences: Mapping[str, bool] = field(default_factory=dict)
    consents: tuple[Consent, ...] = ()
    contact_type: str | None = None


@dataclass(frozen=True, slots=True)
class ContactWrite:
    """What is sent of a contact: attributes under Engage's own names, flat on the wire.

    Only these values are sent; an empty value would erase the stored one, so the client refuses None and "".
    """

    attributes: Mapping[str, Any] = field(default_factory=dict)
    preferences: Mapping[str, bool] = field(default_factory=dict)
    consents: tuple[Consent, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.attributes or self.preferences or self.consents)


@dataclass(frozen=True, slots=True)
class CreatedContact:
    """The answer to create contact. contact is None where the tenant answered with the id alone."""

    contact_id: str
    contact: Contact | None = None


@dataclass(frozen=True, slots=True)
class Transaction:
    """One line of a contact's purchase history. external_id equals the receipt's unique_receipt_id (inferred)."""

    id: str | None = None
    transaction_number: str | None = None
    external_id: str | None = None
    created_date: datetime | None = None
    store_name: str | None = None
    store_type: str | None = None
    number_of_items: Decimal | None = None
    net_price_sum: Decimal | None = None
    local_net_price_sum: Decimal | None = None
    local_currency: str | None = None
    group_currency: str | None = None
    line_items: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class PromotionChannel:
    """How a promotion is used in one channel.

    value: Decimal for PERCENT, Money for MONEY, text otherwise, None when absent. local_values: per currency.
    """

    type: str
    value_type: str
    value: Decimal | Money | str | None = None
    local_values: tuple[Money, ...] = ()
    instruction: str | None = None


@dataclass(frozen=True, slots=True)
class PromotionAssignment:
    """A promotion given to one contact. id is the one to redeem; promotion_id is the template."""

    id: str
    promotion_id: str | None = None
    external_id: str | None = None
    type: str | None = None
    name: str | None = None
    expires_on: datetime | None = None
    heading: str | None = None
    description: str | None = None
    redeemed: bool = False
    redeemed_on: datetime | None = None
    image_url: str | None = None
    link: str | None = None
    redemption_channels: tuple[PromotionChannel, ...] = ()


@dataclass(frozen=True, slots=True)
class RewardVoucher:
    """A voucher of a contact. local_values: its worth per currency; pick the cart's."""

    id: str
    voucher_number: str | None = None
    name: str | None = None
    redeemed: bool = False
    redeemed_on: datetime | None = None
    expires_on: datetime | None = None
    value: Money | None = None
    local_values: tuple[Money, ...] = ()
    points: Decimal | None = None


@dataclass(frozen=True, slots=True)
class PointAccount:
    """A contact's balance of one kind of points."""

    id: str
    contact_id: str | None = None
    definition_id: str | None = None
    balance: Decimal | None = None
    pending_points: Decimal | None = None
    balance_expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class PointTransaction:
    """One change of a point account. type: Addition, Deduction, Expiry, Cancellation."""

    id: str
    account_id: str | None = None
    description: str | None = None
    source: str | None = None
    amount: Decimal | None = None
    type: str | None = None
    transaction_date: datetime | None = None
    valid_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Store:
    """A store of the tenant. external_id is what contacts and receipts name."""

    external_id: str
    name: str
    type: str | None = None
    active: bool | None = None
    country_code: str | None = None
    time_zone: str | None = None


@dataclass(frozen=True, slots=True)
class ConsentDefinition:
    """A consent that the tenant knows."""

    id: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Promotion:
    """A multichannel promotion: the template of assignments. status: Draft, Scheduled, Active, Ended, Temporary."""

    id: str
    name: str
    status: str | None = None
    external_id: str | None = None
    heading: str | None = None
    redemption_channels: tuple[PromotionChannel, ...] = ()


@dataclass(frozen=True, slots=True)
class PromotionWrite:
    """A promotion to create. Dates without time: a promotion cannot start or end within a day (docs/engage.md#templates).

    assigned_days: validity counted from the assignment, instead of end_date. value_type: PERCENT, MONEY or
    EXTERNALOFFER; value: "20", "20.5" or the shop's price rule, as text. local_values: what MONEY is in other currencies.
    """

    name: str
    external_id: str
    start_date: date
    value_type: str
    value: str
    end_date: date | None = None
    assigned_days: int | None = None
    heading: str | None = None
    description: str | None = None
    local_values: tuple[Money, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """How a bulk request went. refused: (row's position or key as text, reason).

    finished: None if the tenant's answer, whose fields are not documented, does not say.
    """

    finished: bool | None
    refused: tuple[tuple[str, str], ...] = ()
    text: str | None = None
