"""What is sent to Engage: models to JSON-ready data, with Engage's names and formats.

Decimals stay Decimals here and become exact JSON numbers in the transport. Times are ISO 8601 with their offset.
An empty value would erase the stored one, so it is refused here (docs/engage.md#changing-a-contact).
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from marshmallow import Schema, fields, post_dump

from plugin.engage.data import models
from plugin.engage.data.receipts import Receipt


class WriteSchema(Schema):
    """Base of all requests: what is None or an empty list is left out."""

    @post_dump
    def leave_out(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # noqa: ARG002
        """Leave out what is not known."""
        return {name: value for name, value in data.items() if value is not None and value != []}


class NameValueSchema(WriteSchema):
    """A pair of extra data."""

    name = fields.Function(lambda pair: pair[0])
    value = fields.Function(lambda pair: pair[1])


class DiscountSchema(WriteSchema):
    """A discount row."""

    value = fields.Decimal()
    type = fields.String()
    description = fields.String()


class ReceiptItemSchema(WriteSchema):
    """A receipt's row."""

    type = fields.String()
    sku = fields.String()
    quantity = fields.Decimal()
    gross_paid_price = fields.Decimal(data_key="grossPaidPrice")
    tax_amount = fields.Decimal(data_key="taxAmount")
    tax_percent = fields.Decimal(data_key="taxPercent")
    article_number = fields.String(data_key="articleNumber")
    article_name = fields.String(data_key="articleName")
    article_group = fields.String(data_key="articleGroup")
    awards_bonus = fields.Boolean(data_key="awardsBonus")
    discounts = fields.List(fields.Nested(DiscountSchema))
    extra_data = fields.List(fields.Nested(NameValueSchema), data_key="extraData")


class PaymentSchema(WriteSchema):
    """A payment."""

    type = fields.String()
    value = fields.Decimal()
    description = fields.String()


class TaxDetailSchema(WriteSchema):
    """A tax rate."""

    value = fields.Decimal()
    percent = fields.Decimal()
    description = fields.String()


class UsedPromotionSchema(WriteSchema):
    """A used promotion."""

    promotion_id = fields.String(data_key="promotionId")
    coupon_id = fields.String(data_key="couponId")


class ReceiptSchema(WriteSchema):
    """A receipt without its contact and vouchers, which `receipt_body` adds."""

    unique_receipt_id = fields.String(data_key="uniqueReceiptId")
    receipt_number = fields.String(data_key="receiptNumber")
    created_date = fields.DateTime(data_key="createdDate", format="iso")
    store_external_id = fields.String(data_key="storeExternalId")
    currency = fields.String()
    exchange_rate_to_group_currency = fields.Decimal(data_key="exchangeRateToGroupCurrency")
    total_gross_price = fields.Decimal(data_key="totalGrossPrice")
    payment_methods = fields.List(fields.Nested(PaymentSchema), data_key="paymentMethods")
    items = fields.List(fields.Nested(ReceiptItemSchema))
    tax_details = fields.List(fields.Nested(TaxDetailSchema), data_key="taxDetails")
    used_promotions = fields.List(fields.Nested(UsedPromotionSchema), data_key="usedPromotions")
    extra_data = fields.List(fields.Nested(NameValueSchema), data_key="extraData")


_RECEIPT = ReceiptSchema()


def contact_body(write: models.ContactWrite, contact_type: str | None = None) -> dict[str, Any]:
    """Return a contact's flat body. Raises ValueError for an empty value, which would erase the stored one."""
    body: dict[str, Any] = {}
    for name, value in write.attributes.items():
        if value is None or value == "":
            raise ValueError(f"The attribute {name} is empty; sending it would erase it in Engage.")
        body[name] = value.isoformat() if isinstance(value, (date, datetime)) else value
    if contact_type is not None:
        body["contactType"] = contact_type
    if write.preferences:
        body["preferences"] = dict(write.preferences)
    if write.consents:
        body["consents"] = [_consent_body(consent) for consent in write.consents]
    return body


def receipt_body(receipt: Receipt, voucher_field: str) -> dict[str, Any]:
    """Return a receipt's body. voucher_field: the v3 name of the used vouchers' list is inferred (docs/engage.md#receipt-fields)."""
    body: dict[str, Any] = {"contact": {"matchKey": receipt.contact_id, "matchKeyType": "contactId"}}
    body |= _RECEIPT.dump(receipt)
    if receipt.used_reward_vouchers:
        key = "checkNumber" if voucher_field == "usedBonusChecks" else "voucherNumber"
        body[voucher_field] = [{key: number} for number in receipt.used_reward_vouchers]
    return body


def promotion_body(promotion: models.PromotionWrite) -> dict[str, Any]:
    """Return a promotion template's body, for the e-commerce channel."""
    validity: dict[str, Any] = {"startDate": promotion.start_date.isoformat()}
    if promotion.assigned_days is not None:
        validity["assignedValidity"] = {"unit": "Days", "amount": promotion.assigned_days}
    elif promotion.end_date is not None:
        validity["endDate"] = promotion.end_date.isoformat()
    texts = {"heading": promotion.heading or promotion.name, "description": promotion.description}
    channel: dict[str, Any] = {"type": "ECOM", "valueType": promotion.value_type, "value": promotion.value}
    if promotion.local_values:
        channel["localValues"] = [{"amount": v.amount, "currency": v.currency} for v in promotion.local_values]
    return {
        "name": promotion.name,
        "externalId": promotion.external_id,
        "validity": validity,
        "presentation": {name: text for name, text in texts.items() if text},
        "redemptionChannels": [channel],
    }


def _consent_body(consent: models.Consent) -> dict[str, Any]:
    body: Mapping[str, Any] = {
        "id": consent.id,
        "value": consent.value,
        "date": consent.date.isoformat() if consent.date else None,
        "source": consent.source,
        "comment": consent.comment,
    }
    return {name: value for name, value in body.items() if value is not None}
