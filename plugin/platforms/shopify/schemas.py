"""The fields of Shopify's bodies that we read (docs/platforms/shopify.md#orders; API versions 2024-10 to 2026-07)."""

from marshmallow import fields

from plugin.platforms.fields import Amount, Identifier, Instant, ShopSchema


class MoneySchema(ShopSchema):
    """An amount in one currency."""

    amount = Amount(required=True)
    currency_code = fields.String(required=True)


class MoneySetSchema(ShopSchema):
    """The same amount in the shop's currency and in the shopper's (presentment)."""

    shop_money = fields.Nested(MoneySchema, allow_none=True)
    presentment_money = fields.Nested(MoneySchema, allow_none=True)


def money_set() -> fields.Nested:
    """Return a field for a money set."""
    return fields.Nested(MoneySetSchema, allow_none=True)


class TaxLineSchema(ShopSchema):
    """One tax on a line."""

    rate = Amount(allow_none=True)
    price = Amount(allow_none=True)
    price_set = money_set()


class AllocationSchema(ShopSchema):
    """A line's share of a discount."""

    amount = Amount(allow_none=True)
    amount_set = money_set()
    discount_application_index = fields.Integer(strict=True, allow_none=True)


class DiscountApplicationSchema(ShopSchema):
    """A discount of the order."""

    type = fields.String(allow_none=True)
    code = fields.String(allow_none=True)
    title = fields.String(allow_none=True)


class DiscountCodeSchema(ShopSchema):
    """A code that the order used; manual discounts are here too, with their title as code."""

    code = fields.String(allow_none=True)


class PropertySchema(ShopSchema):
    """A name and a value that the shop or its theme put on an order or a line."""

    name = fields.Raw(allow_none=True)
    value = fields.Raw(allow_none=True)


class LineSchema(ShopSchema):
    """A line of an order."""

    id = Identifier(required=True)
    product_id = Identifier(allow_none=True)
    variant_id = Identifier(allow_none=True)
    sku = fields.String(allow_none=True)
    title = fields.String(allow_none=True)
    variant_title = fields.String(allow_none=True)
    quantity = fields.Integer(strict=True, required=True)
    price = Amount(allow_none=True)
    price_set = money_set()
    gift_card = fields.Boolean(allow_none=True)
    tip_payment_gateway = fields.Raw(allow_none=True)
    tax_lines = fields.List(fields.Nested(TaxLineSchema), allow_none=True)
    discount_allocations = fields.List(fields.Nested(AllocationSchema), allow_none=True)
    properties = fields.List(fields.Nested(PropertySchema), allow_none=True)


class ShippingLineSchema(ShopSchema):
    """A shipping line."""

    id = Identifier(allow_none=True)
    title = fields.String(allow_none=True)
    price = Amount(allow_none=True)
    price_set = money_set()
    discounted_price = Amount(allow_none=True)
    discounted_price_set = money_set()
    is_removed = fields.Boolean(allow_none=True)
    tax_lines = fields.List(fields.Nested(TaxLineSchema), allow_none=True)
    discount_allocations = fields.List(fields.Nested(AllocationSchema), allow_none=True)


class AddressSchema(ShopSchema):
    """An address; everything in it may be missing."""

    first_name = fields.Raw(allow_none=True)
    last_name = fields.Raw(allow_none=True)
    address1 = fields.Raw(allow_none=True)
    address2 = fields.Raw(allow_none=True)
    zip = fields.Raw(allow_none=True)
    city = fields.Raw(allow_none=True)
    country_code = fields.Raw(allow_none=True)
    phone = fields.Raw(allow_none=True)


class CustomerSchema(ShopSchema):
    """A customer, whole or reduced to few keys as inside an order."""

    id = Identifier(allow_none=True)
    admin_graphql_api_id = fields.String(allow_none=True)
    email = fields.Raw(allow_none=True)
    verified_email = fields.Boolean(allow_none=True)
    phone = fields.Raw(allow_none=True)
    first_name = fields.Raw(allow_none=True)
    last_name = fields.Raw(allow_none=True)
    default_address = fields.Nested(AddressSchema, allow_none=True)
    created_at = Instant(allow_none=True)
    updated_at = Instant(allow_none=True)


class FeeSchema(ShopSchema):
    """An additional fee of an order."""

    name = fields.String(allow_none=True)
    price_set = money_set()


class OrderSchema(ShopSchema):
    """An order."""

    id = Identifier(required=True)
    admin_graphql_api_id = fields.String(allow_none=True)
    name = fields.String(allow_none=True)
    order_number = Identifier(allow_none=True)
    test = fields.Boolean(allow_none=True)
    financial_status = fields.String(allow_none=True)
    cancelled_at = Instant(allow_none=True)
    cancel_reason = fields.String(allow_none=True)
    created_at = Instant(allow_none=True)
    processed_at = Instant(allow_none=True)
    updated_at = Instant(allow_none=True)
    currency = fields.String(required=True)
    presentment_currency = fields.String(allow_none=True)
    taxes_included = fields.Boolean(allow_none=True)
    total_price = Amount(required=True)
    total_price_set = money_set()
    total_tip_received = Amount(allow_none=True)
    total_tip_received_set = money_set()
    original_total_duties_set = money_set()
    original_total_additional_fees_set = money_set()
    payment_gateway_names = fields.List(fields.String(), allow_none=True)
    discount_applications = fields.List(fields.Nested(DiscountApplicationSchema), allow_none=True)
    discount_codes = fields.List(fields.Nested(DiscountCodeSchema), allow_none=True)
    note_attributes = fields.List(fields.Nested(PropertySchema), allow_none=True)
    line_items = fields.List(fields.Nested(LineSchema), required=True)
    shipping_lines = fields.List(fields.Nested(ShippingLineSchema), allow_none=True)
    customer = fields.Nested(CustomerSchema, allow_none=True)
    email = fields.Raw(allow_none=True)
    contact_email = fields.Raw(allow_none=True)
    phone = fields.Raw(allow_none=True)
    customer_locale = fields.String(allow_none=True)
    billing_address = fields.Nested(AddressSchema, allow_none=True)
    shipping_address = fields.Nested(AddressSchema, allow_none=True)
    source_name = fields.String(allow_none=True)


class RefundLineSchema(ShopSchema):
    """The returned part of a line."""

    line_item_id = Identifier(required=True)
    quantity = fields.Integer(strict=True, required=True)
    subtotal = Amount(allow_none=True)
    subtotal_set = money_set()
    total_tax = Amount(allow_none=True)
    total_tax_set = money_set()


class RefundShippingSchema(ShopSchema):
    """Shipping that was refunded."""

    subtotal_amount_set = money_set()


class AdjustmentSchema(ShopSchema):
    """An amount that was refunded without a line; its amounts are negative."""

    kind = fields.String(allow_none=True)
    amount = Amount(allow_none=True)
    amount_set = money_set()
    tax_amount = Amount(allow_none=True)
    tax_amount_set = money_set()


class RefundTransactionSchema(ShopSchema):
    """A payment back, in the presentment currency."""

    kind = fields.String(allow_none=True)
    status = fields.String(allow_none=True)
    amount = Amount(allow_none=True)
    currency = fields.String(allow_none=True)
    gateway = fields.String(allow_none=True)
    test = fields.Boolean(allow_none=True)


class RefundSchema(ShopSchema):
    """A refund."""

    id = Identifier(required=True)
    order_id = Identifier(required=True)
    created_at = Instant(allow_none=True)
    processed_at = Instant(allow_none=True)
    refund_line_items = fields.List(fields.Nested(RefundLineSchema), allow_none=True)
    refund_shipping_lines = fields.List(fields.Nested(RefundShippingSchema), allow_none=True)
    order_adjustments = fields.List(fields.Nested(AdjustmentSchema), allow_none=True)
    transactions = fields.List(fields.Nested(RefundTransactionSchema), allow_none=True)


class MarketingConsentSchema(ShopSchema):
    """A state of consent; null for a customer who was never asked, as in Shopify's own test deliveries."""

    state = fields.String(required=True, allow_none=True)
    opt_in_level = fields.String(allow_none=True)
    consent_updated_at = Instant(allow_none=True)
    consent_collected_from = fields.String(allow_none=True)


class EmailConsentSchema(ShopSchema):
    """customers_email_marketing_consent/update."""

    customer_id = Identifier(required=True)
    email_address = fields.Raw(allow_none=True)
    email_marketing_consent = fields.Nested(MarketingConsentSchema, allow_none=True)


class SmsConsentSchema(ShopSchema):
    """customers_marketing_consent/update."""

    id = Identifier(required=True)
    phone = fields.Raw(allow_none=True)
    sms_marketing_consent = fields.Nested(MarketingConsentSchema, allow_none=True)


class MergeSchema(ShopSchema):
    """customers/merge."""

    admin_graphql_api_customer_kept_id = fields.String(allow_none=True)
    admin_graphql_api_customer_deleted_id = fields.String(allow_none=True)
    status = fields.String(allow_none=True)


class PrivacySchema(ShopSchema):
    """customers/redact and customers/data_request."""

    customer = fields.Nested(CustomerSchema, required=True)
    orders_to_redact = fields.List(Identifier(), allow_none=True)
    orders_requested = fields.List(Identifier(), allow_none=True)
    data_request = fields.Dict(allow_none=True)


class DeletedCustomerSchema(ShopSchema):
    """customers/delete."""

    id = Identifier(required=True)
    admin_graphql_api_id = fields.String(allow_none=True)
