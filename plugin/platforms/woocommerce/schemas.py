"""The fields of WooCommerce's bodies that we read.

See docs/platforms/woocommerce.md#orders; REST API v3, observed with WooCommerce 9.4.
"""

from datetime import datetime
from typing import Any

from marshmallow import ValidationError, fields

from plugin.platforms.fields import Amount, Identifier, ShopSchema, read_instant


def read_gmt(value: Any) -> datetime | None:
    """Read one of the `_gmt` times, which come without a zone, as aware UTC; None when it is not a time.

    A time that does name its zone is taken at its word: a site may change how WordPress writes times.
    """
    if not isinstance(value, str) or not value.isascii():
        return None
    return read_instant(value.replace(" ", "T", 1)) or read_instant(f"{value.replace(' ', 'T', 1)}+00:00")


class GmtInstant(fields.Field[datetime]):
    """A `_gmt` time, as aware UTC. An empty text is None."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime | None:  # type: ignore[override]  # noqa: ARG002
        if value in ("", 0, "0000-00-00T00:00:00"):
            return None
        found = read_gmt(value)
        if found is None:
            raise ValidationError("is not a time")
        return found


class LooseAmount(Amount):
    """An amount that WooCommerce writes as an empty text where there is none."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return None if value == "" else super()._deserialize(value, attr, data, **kwargs)


class MetaSchema(ShopSchema):
    """A name and a value that the shop or another plugin stores with a resource. Values may be of any shape."""

    key = fields.Raw(allow_none=True)
    value = fields.Raw(allow_none=True)


def meta_data() -> fields.Field[Any]:
    """Return a field for meta data."""
    return fields.List(fields.Nested(MetaSchema), allow_none=True)


class AddressSchema(ShopSchema):
    """A billing or shipping address; everything in it may be empty."""

    first_name = fields.Raw(allow_none=True)
    last_name = fields.Raw(allow_none=True)
    company = fields.Raw(allow_none=True)
    address_1 = fields.Raw(allow_none=True)
    address_2 = fields.Raw(allow_none=True)
    postcode = fields.Raw(allow_none=True)
    city = fields.Raw(allow_none=True)
    country = fields.Raw(allow_none=True)
    email = fields.Raw(allow_none=True)
    phone = fields.Raw(allow_none=True)


class CustomerSchema(ShopSchema):
    """A registered user of the shop."""

    id = Identifier(required=True)
    date_created_gmt = GmtInstant(allow_none=True)
    date_modified_gmt = GmtInstant(allow_none=True)
    email = fields.Raw(allow_none=True)
    first_name = fields.Raw(allow_none=True)
    last_name = fields.Raw(allow_none=True)
    role = fields.String(allow_none=True)
    billing = fields.Nested(AddressSchema, allow_none=True)
    shipping = fields.Nested(AddressSchema, allow_none=True)
    meta_data = meta_data()


class TaxSchema(ShopSchema):
    """The part of a line that a tax rate takes. id: the rate's id, as in the order's tax lines."""

    id = Identifier(allow_none=True)
    total = LooseAmount(allow_none=True)


class LineSchema(ShopSchema):
    """A line of an order or of a refund, where quantity and totals are negative. Amounts are always without tax."""

    id = Identifier(required=True)
    name = fields.Raw(allow_none=True)
    product_id = Identifier(allow_none=True)
    variation_id = Identifier(allow_none=True)
    quantity = Amount(required=True)
    sku = fields.Raw(allow_none=True)
    subtotal = LooseAmount(allow_none=True)
    subtotal_tax = LooseAmount(allow_none=True)
    total = Amount(required=True)
    total_tax = LooseAmount(allow_none=True)
    taxes = fields.List(fields.Nested(TaxSchema), allow_none=True)
    meta_data = meta_data()


class ChargeSchema(ShopSchema):
    """A shipping or fee line, of an order or of a refund."""

    id = Identifier(allow_none=True)
    name = fields.Raw(allow_none=True)
    method_title = fields.Raw(allow_none=True)
    total = LooseAmount(allow_none=True)
    total_tax = LooseAmount(allow_none=True)
    taxes = fields.List(fields.Nested(TaxSchema), allow_none=True)
    meta_data = meta_data()


class TaxLineSchema(ShopSchema):
    """A tax rate of the order. compound: it is taken of the other taxes too."""

    rate_id = Identifier(allow_none=True)
    rate_percent = Amount(allow_none=True)
    compound = fields.Raw(allow_none=True)


class CouponSchema(ShopSchema):
    """A coupon that the order used."""

    code = fields.Raw(allow_none=True)
    meta_data = meta_data()


class GiftCardSchema(ShopSchema):
    """A gift card that paid a part of the order (inferred: extensions add this, WooCommerce itself has none)."""

    amount = LooseAmount(allow_none=True)


class RefundSummarySchema(ShopSchema):
    """A refund as an order's body names it: without lines and time."""

    id = Identifier(required=True)
    total = Amount(required=True)


class RefundSchema(ShopSchema):
    """A refund as GET /orders/{id}/refunds gives it. amount: positive."""

    id = Identifier(required=True)
    date_created_gmt = GmtInstant(allow_none=True)
    amount = LooseAmount(allow_none=True)
    line_items = fields.List(fields.Nested(LineSchema), allow_none=True)
    shipping_lines = fields.List(fields.Nested(ChargeSchema), allow_none=True)
    fee_lines = fields.List(fields.Nested(ChargeSchema), allow_none=True)


class OrderSchema(ShopSchema):
    """An order. engage_refunds: its refunds with lines, as the companion plugin or our own reading adds them.

    engage_refund: the refund that a body of the plugin's own topic order.refunded is about.
    """

    id = Identifier(required=True)
    number = Identifier(allow_none=True)
    status = fields.String(required=True)
    currency = fields.String(required=True)
    created_via = fields.Raw(allow_none=True)
    date_created_gmt = GmtInstant(allow_none=True)
    date_modified_gmt = GmtInstant(allow_none=True)
    date_paid_gmt = GmtInstant(allow_none=True)
    total = Amount(required=True)
    customer_id = Identifier(allow_none=True)
    billing = fields.Nested(AddressSchema, allow_none=True)
    shipping = fields.Nested(AddressSchema, allow_none=True)
    payment_method = fields.Raw(allow_none=True)
    payment_method_title = fields.Raw(allow_none=True)
    line_items = fields.List(fields.Nested(LineSchema), required=True)
    tax_lines = fields.List(fields.Nested(TaxLineSchema), allow_none=True)
    shipping_lines = fields.List(fields.Nested(ChargeSchema), allow_none=True)
    fee_lines = fields.List(fields.Nested(ChargeSchema), allow_none=True)
    coupon_lines = fields.List(fields.Nested(CouponSchema), allow_none=True)
    gift_cards = fields.List(fields.Nested(GiftCardSchema), allow_none=True)
    refunds = fields.List(fields.Nested(RefundSummarySchema), allow_none=True)
    engage_refunds = fields.List(fields.Nested(RefundSchema), allow_none=True)
    engage_refund = Identifier(allow_none=True)
    meta_data = meta_data()


class DeletedSchema(ShopSchema):
    """All that is left of a deleted customer."""

    id = Identifier(required=True)
