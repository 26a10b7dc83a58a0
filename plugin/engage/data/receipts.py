"""Receipts as they are sent to Engage: frozen dataclasses, money as Decimal in major units, times aware."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class ReceiptPayment:
    """value: negative on a return."""

    type: str
    value: Decimal
    description: str | None = None


@dataclass(frozen=True, slots=True)
class ReceiptDiscount:
    """value: negative, as in the documented example."""

    value: Decimal
    type: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class ReceiptItem:
    """One row. type: PURCHASE or RETURN. quantity: negative on a RETURN row, the amounts stay positive there.

    gross_paid_price: the row's total including tax after discounts. tax_percent: 25 for 25 %.
    awards_bonus: None leaves it to Engage.
    """

    type: str
    sku: str
    quantity: Decimal
    gross_paid_price: Decimal
    tax_amount: Decimal
    tax_percent: Decimal
    article_number: str
    article_name: str
    article_group: str | None = None
    awards_bonus: bool | None = None
    discounts: tuple[ReceiptDiscount, ...] = ()
    extra_data: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TaxDetail:
    """One tax rate of a receipt: value is the tax, percent 25 for 25 %."""

    value: Decimal
    percent: Decimal
    description: str | None = None


@dataclass(frozen=True, slots=True)
class UsedPromotion:
    """A promotion named on a receipt: template and assignment."""

    promotion_id: str | None
    coupon_id: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """A purchase or a return, matched to its contact by contactId.

    total_gross_price: including tax, negative for a return. created_date: aware.
    exchange_rate_to_group_currency: None leaves it out. used_reward_vouchers: voucher numbers.
    """

    contact_id: str
    unique_receipt_id: str
    receipt_number: str
    created_date: datetime
    store_external_id: str
    currency: str
    total_gross_price: Decimal
    payment_methods: tuple[ReceiptPayment, ...]
    items: tuple[ReceiptItem, ...]
    exchange_rate_to_group_currency: Decimal | None = None
    tax_details: tuple[TaxDetail, ...] = ()
    used_promotions: tuple[UsedPromotion, ...] = ()
    used_reward_vouchers: tuple[str, ...] = ()
    extra_data: tuple[tuple[str, str], ...] = ()
