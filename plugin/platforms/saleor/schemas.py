"""The fields of Saleor's bodies that we read: what the plugin's own queries ask for; each of them may be null.

A field that the app may not see is null (docs/platforms/saleor.md#installation), and a shop that was
installed with an older query sends fewer fields. Amounts are JSON numbers in major units.
"""

from typing import Any

from marshmallow import fields

from plugin.platforms.fields import Amount, Identifier, Instant, ShopSchema


class SaleorSchema(ShopSchema):
    """Base of the schemas here: Saleor names fields in camelCase, we do not."""

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Name the field as Saleor does."""
        first, *rest = field_name.split("_")
        field_obj.data_key = first + "".join(word.capitalize() for word in rest)


class MoneySchema(SaleorSchema):
    """An amount; its currency is here or elsewhere."""

    amount = Amount(required=True)
    currency = fields.String(allow_none=True)


class TaxedMoneySchema(SaleorSchema):
    """An amount with and without tax."""

    currency = fields.String(allow_none=True)
    gross = fields.Nested(MoneySchema, required=True)
    net = fields.Nested(MoneySchema, allow_none=True)
    tax = fields.Nested(MoneySchema, allow_none=True)


def money() -> fields.Nested:
    """Return a field for an amount that may be null."""
    return fields.Nested(MoneySchema, allow_none=True)


def taxed() -> fields.Nested:
    """Return a field for a taxed amount that may be null."""
    return fields.Nested(TaxedMoneySchema, allow_none=True)


class MetadataSchema(SaleorSchema):
    """A pair that the shop, or the shopper, wrote on a user or order."""

    key = fields.Raw(allow_none=True)
    value = fields.Raw(allow_none=True)


class CountrySchema(SaleorSchema):
    """A country."""

    code = fields.Raw(allow_none=True)


class AddressSchema(SaleorSchema):
    """An address."""

    first_name = fields.Raw(allow_none=True)
    last_name = fields.Raw(allow_none=True)
    phone = fields.Raw(allow_none=True)
    street_address1 = fields.Raw(allow_none=True)
    street_address2 = fields.Raw(allow_none=True)
    postal_code = fields.Raw(allow_none=True)
    city = fields.Raw(allow_none=True)
    country = fields.Nested(CountrySchema, allow_none=True)


class UserSchema(SaleorSchema):
    """A customer, whole or reduced as inside an order."""

    id = Identifier(required=True)
    email = fields.Raw(allow_none=True)
    first_name = fields.Raw(allow_none=True)
    last_name = fields.Raw(allow_none=True)
    is_active = fields.Boolean(allow_none=True)
    is_confirmed = fields.Boolean(allow_none=True)
    language_code = fields.Raw(allow_none=True)
    date_joined = Instant(allow_none=True)
    updated_at = Instant(allow_none=True)
    external_reference = fields.Raw(allow_none=True)
    metadata = fields.List(fields.Nested(MetadataSchema), allow_none=True)
    default_billing_address = fields.Nested(AddressSchema, allow_none=True)
    default_shipping_address = fields.Nested(AddressSchema, allow_none=True)
    addresses = fields.List(fields.Nested(AddressSchema), allow_none=True)


class ChannelSchema(SaleorSchema):
    """A sales channel."""

    slug = fields.Raw(allow_none=True)


class ProductTypeSchema(SaleorSchema):
    """A type of products."""

    kind = fields.String(allow_none=True)


class ProductSchema(SaleorSchema):
    """A product."""

    product_type = fields.Nested(ProductTypeSchema, allow_none=True)


class VariantSchema(SaleorSchema):
    """A variant; null once it was deleted."""

    product = fields.Nested(ProductSchema, allow_none=True)


class LineSchema(SaleorSchema):
    """A line of an order."""

    id = Identifier(required=True)
    product_sku = fields.String(allow_none=True)
    product_name = fields.String(allow_none=True)
    variant_name = fields.String(allow_none=True)
    product_variant_id = Identifier(allow_none=True)
    quantity = fields.Integer(strict=True, required=True)
    tax_rate = Amount(allow_none=True)
    is_gift = fields.Boolean(allow_none=True)
    undiscounted_unit_price = taxed()
    total_price = fields.Nested(TaxedMoneySchema, required=True)
    unit_discount_reason = fields.String(allow_none=True)
    voucher_code = fields.String(allow_none=True)
    variant = fields.Nested(VariantSchema, allow_none=True)


class DiscountSchema(SaleorSchema):
    """A discount of the whole order: a voucher, a promotion or staff's own."""

    type = fields.String(allow_none=True)
    name = fields.String(allow_none=True)
    total = money()
    amount = money()


class TransactionEventSchema(SaleorSchema):
    """Something that happened to a payment, with an id of its own."""

    id = Identifier(required=True)
    type = fields.String(allow_none=True)
    created_at = Instant(allow_none=True)
    amount = money()


class TransactionSchema(SaleorSchema):
    """A payment of the present API."""

    id = Identifier(allow_none=True)
    name = fields.String(allow_none=True)
    created_at = Instant(allow_none=True)
    charged_amount = money()
    refunded_amount = money()
    events = fields.List(fields.Nested(TransactionEventSchema), allow_none=True)


class PaymentTransactionSchema(SaleorSchema):
    """A step of a payment of the former API."""

    id = Identifier(required=True)
    kind = fields.String(allow_none=True)
    is_success = fields.Boolean(allow_none=True)
    created = Instant(allow_none=True)
    amount = money()


class PaymentSchema(SaleorSchema):
    """A payment of the former API."""

    gateway = fields.String(allow_none=True)
    captured_amount = money()
    transactions = fields.List(fields.Nested(PaymentTransactionSchema), allow_none=True)


class NamedSchema(SaleorSchema):
    """Something of which only the id is asked."""

    id = Identifier(required=True)


class ReturnedLineSchema(SaleorSchema):
    """The returned part of a line."""

    quantity = fields.Integer(strict=True, required=True)
    order_line = fields.Nested(NamedSchema, allow_none=True)


class GrantedRefundSchema(SaleorSchema):
    """A refund that staff granted: says which lines it is for; the money moves in a transaction."""

    id = Identifier(required=True)
    amount = money()
    shipping_costs_included = fields.Boolean(allow_none=True)
    lines = fields.List(fields.Nested(ReturnedLineSchema), allow_none=True)
    transaction_events = fields.List(fields.Nested(NamedSchema), allow_none=True)


class FulfillmentSchema(SaleorSchema):
    """A fulfilment; refunds of the former API are fulfilments too."""

    id = Identifier(allow_none=True)
    status = fields.String(allow_none=True)
    total_refunded_amount = money()
    shipping_refunded_amount = money()
    lines = fields.List(fields.Nested(ReturnedLineSchema), allow_none=True)


class OrderSchema(SaleorSchema):
    """An order."""

    id = Identifier(required=True)
    number = Identifier(allow_none=True)
    external_reference = fields.Raw(allow_none=True)
    created = Instant(allow_none=True)
    updated_at = Instant(allow_none=True)
    status = fields.String(allow_none=True)
    language_code_enum = fields.Raw(allow_none=True)
    user_email = fields.Raw(allow_none=True)
    user = fields.Nested(UserSchema, allow_none=True)
    channel = fields.Nested(ChannelSchema, allow_none=True)
    metadata = fields.List(fields.Nested(MetadataSchema), allow_none=True)
    is_paid = fields.Boolean(allow_none=True)
    charge_status = fields.String(allow_none=True)
    voucher_code = fields.String(allow_none=True)
    total = fields.Nested(TaxedMoneySchema, required=True)
    shipping_price = taxed()
    shipping_tax_rate = Amount(allow_none=True)
    shipping_method_name = fields.Raw(allow_none=True)
    total_charged = money()
    total_refunded = money()
    discounts = fields.List(fields.Nested(DiscountSchema), allow_none=True)
    gift_cards = fields.List(fields.Nested(NamedSchema), allow_none=True)
    billing_address = fields.Nested(AddressSchema, allow_none=True)
    shipping_address = fields.Nested(AddressSchema, allow_none=True)
    lines = fields.List(fields.Nested(LineSchema), required=True)
    transactions = fields.List(fields.Nested(TransactionSchema), allow_none=True)
    payments = fields.List(fields.Nested(PaymentSchema), allow_none=True)
    granted_refunds = fields.List(fields.Nested(GrantedRefundSchema), allow_none=True)
    fulfillments = fields.List(fields.Nested(FulfillmentSchema), allow_none=True)


class CustomerEventSchema(SaleorSchema):
    """A body about a customer."""

    issued_at = Instant(allow_none=True)
    user = fields.Nested(UserSchema, required=True)


class OrderEventSchema(SaleorSchema):
    """A body about an order."""

    issued_at = Instant(allow_none=True)
    order = fields.Nested(OrderSchema, required=True)


class AppEventSchema(SaleorSchema):
    """A body about an app."""

    issued_at = Instant(allow_none=True)
    app = fields.Nested(NamedSchema, required=True)
    recipient = fields.Nested(NamedSchema, allow_none=True)
