"""Loads Engage's answers from JSON.

Unknown fields are ignored and counted, because Engage may add fields at any time (docs/engage.md#addresses-and-headers).
A missing field that the plugin needs is a ContractError that names it.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar

from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, pre_load

from plugin.engage.data import models
from plugin.errors import ContractError

T = TypeVar("T")
#: Called with (schema name, unknown field name); set by the metrics.
unknown_field_observer: Callable[[str, str], None] | None = None


class Text(fields.Field[str]):
    """A text, or a number that Engage sends in place of an id. Numbers become texts."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:  # noqa: ARG002
        if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
            raise ValidationError("is not a text")
        return str(value)


class Time(fields.AwareDateTime):
    """An aware UTC datetime; a time without a zone counts as UTC. The first and last year, which mean "never", stay as they are."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(default_timezone=UTC, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        time = super()._deserialize(value, attr, data, **kwargs)
        try:
            return time.astimezone(UTC)
        except OverflowError:  # year 1 or 9999, which another zone would leave
            return time.replace(tzinfo=UTC)


class AnswerSchema(Schema):
    """Base of all answers. MODEL: the class that a loaded answer becomes."""

    MODEL: type[Any]

    class Meta:
        """Unknown fields are ignored, not refused."""

        unknown = EXCLUDE

    @pre_load
    def count_unknown(self, data: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Report unknown fields to the observer, and treat null as missing."""
        if not isinstance(data, Mapping):
            return data
        known = {field.data_key or name for name, field in self.fields.items()}
        if unknown_field_observer is not None:
            for name in data.keys() - known:
                unknown_field_observer(type(self).__name__, str(name))
        return {name: value for name, value in data.items() if value is not None}

    @post_load
    def build(self, data: dict[str, Any], **kwargs: Any) -> Any:  # noqa: ARG002
        """Build the model; lists become tuples."""
        return self.MODEL(**{name: tuple(value) if isinstance(value, list) else value for name, value in data.items()})


class MoneySchema(AnswerSchema):
    """An amount."""

    MODEL = models.Money
    amount = fields.Decimal(required=True)
    currency = fields.String(required=True)


class ConsentSchema(AnswerSchema):
    """A consent of a contact."""

    MODEL = models.Consent
    id = Text(required=True)
    value = fields.Boolean(required=True)
    date = Time()
    source = fields.String()
    comment = fields.String()


class ContactSchema(AnswerSchema):
    """A contact. Where its type is found is not documented, so every plausible place is read (docs/engage.md#contact-model)."""

    MODEL = models.Contact
    id = Text(required=True)
    attributes = fields.Dict(keys=fields.String())
    meta = fields.Dict(keys=fields.String())
    preferences = fields.Dict(keys=fields.String(), values=fields.Boolean(allow_none=True))
    consents = fields.List(fields.Nested(ConsentSchema))
    contact_type = fields.String(data_key="contactType")

    @pre_load
    def find_type(self, data: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Read the contact type from the top, from attributes or from meta, as a text or as an object with an id."""
        if not isinstance(data, Mapping):
            return data
        for place in (data, data.get("attributes"), data.get("meta")):
            value = place.get("contactType") if isinstance(place, Mapping) else None
            if isinstance(value, Mapping):
                value = value.get("id") or value.get("name")
            if isinstance(value, str) and value:
                return {**data, "contactType": value}
        return {name: value for name, value in data.items() if name != "contactType"}


class TransactionSchema(AnswerSchema):
    """A line of the purchase history."""

    MODEL = models.Transaction
    id = Text()
    transaction_number = Text(data_key="transactionNumber")
    external_id = Text(data_key="externalId")
    created_date = Time(data_key="createdDate")
    store_name = fields.String(data_key="storeName")
    store_type = fields.String(data_key="storeType")
    number_of_items = fields.Decimal(data_key="numberOfItems")
    net_price_sum = fields.Decimal(data_key="netPriceSum")
    local_net_price_sum = fields.Decimal(data_key="localNetPriceSum")
    local_currency = fields.String(data_key="localCurrency")
    group_currency = fields.String(data_key="groupCurrency")
    line_items = fields.List(fields.Dict(), data_key="lineItems")


class PromotionValue(fields.Field[object]):
    """The value of a promotion: a number, an amount with its currency, or a text."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> object:  # noqa: ARG002
        if isinstance(value, Mapping):
            return MoneySchema().load(dict(value))
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            return Decimal(value)
        if isinstance(value, str):
            return value
        raise ValidationError("is not a number, an amount or a text")


class PromotionChannelSchema(AnswerSchema):
    """How a promotion is used in a channel."""

    MODEL = models.PromotionChannel
    type = fields.String(required=True)
    value_type = fields.String(required=True, data_key="valueType")
    value = PromotionValue()
    local_values = fields.List(fields.Nested(MoneySchema), data_key="localValues")
    instruction = fields.String()

    @pre_load
    def amounts_only(self, data: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Keep only local values that are amounts: their shape is not documented (docs/engage.md#listing-assignments)."""
        if not isinstance(data, Mapping) or not isinstance(data.get("localValues"), list):
            return data
        amounts = [v for v in data["localValues"] if isinstance(v, Mapping) and {"amount", "currency"} <= v.keys()]
        return {**data, "localValues": amounts}


class PromotionAssignmentSchema(AnswerSchema):
    """A promotion assignment."""

    MODEL = models.PromotionAssignment
    id = Text(required=True)
    promotion_id = Text(data_key="promotionId")
    external_id = Text(data_key="externalId")
    type = fields.String()
    name = fields.String()
    expires_on = Time(data_key="expiresOn")
    heading = fields.String()
    description = fields.String()
    redeemed = fields.Boolean()
    redeemed_on = Time(data_key="redeemedOn")
    image_url = fields.String(data_key="imageUrl")
    link = fields.String()
    redemption_channels = fields.List(fields.Nested(PromotionChannelSchema), data_key="redemptionChannels")


class RewardVoucherSchema(AnswerSchema):
    """A reward voucher."""

    MODEL = models.RewardVoucher
    id = Text(required=True)
    voucher_number = Text(data_key="voucherNumber")
    name = fields.String()
    redeemed = fields.Boolean()
    redeemed_on = Time(data_key="redeemedOn")
    expires_on = Time(data_key="expiresOn")
    value = fields.Nested(MoneySchema)
    local_values = fields.List(fields.Nested(MoneySchema), data_key="localValues")
    points = fields.Decimal()


class PointAccountSchema(AnswerSchema):
    """A point account."""

    MODEL = models.PointAccount
    id = Text(required=True)
    contact_id = Text(data_key="contactId")
    definition_id = Text(data_key="definitionId")
    balance = fields.Decimal()
    pending_points = fields.Decimal(data_key="pendingPoints")
    balance_expires = Time(data_key="balanceExpires")


class PointTransactionSchema(AnswerSchema):
    """A point transaction."""

    MODEL = models.PointTransaction
    id = Text(required=True)
    account_id = Text(data_key="accountId")
    description = fields.String()
    source = fields.String()
    amount = fields.Decimal()
    type = fields.String()
    transaction_date = Time(data_key="transactionDate")
    valid_to = Time(data_key="validTo")


class StoreSchema(AnswerSchema):
    """A store."""

    MODEL = models.Store
    external_id = Text(required=True, data_key="externalId")
    name = fields.String(required=True)
    type = fields.String()
    active = fields.Boolean()
    country_code = fields.String(data_key="countryCode")
    time_zone = fields.String(data_key="timeZone")


class ConsentDefinitionSchema(AnswerSchema):
    """A consent definition."""

    MODEL = models.ConsentDefinition
    id = Text(required=True)
    name = fields.String()


class PromotionSchema(AnswerSchema):
    """A promotion template."""

    MODEL = models.Promotion
    id = Text(required=True)
    name = fields.String(required=True)
    status = fields.String()
    external_id = Text(data_key="externalId")
    heading = fields.String()
    redemption_channels = fields.List(fields.Nested(PromotionChannelSchema), data_key="redemptionChannels")


def load(schema: type[AnswerSchema], data: Any, operation: str) -> Any:
    """Load one answer. Raises ContractError that names the field."""
    try:
        return _instance(schema).load(data)
    except ValidationError as error:
        field = _first_path(error.messages)
        raise ContractError(
            f"Engage's answer to {operation} does not fit the contract at {field}: compare `engage-plugin doctor --contract` "
            "with the tenant's Swagger.",
            operation=operation,
            field=field,
        ) from None  # marshmallow's own text may hold the value


@cache
def _instance(schema: type[AnswerSchema]) -> AnswerSchema:
    """Return the shared instance of a schema: it has no state, and creating one takes longer than a load."""
    return schema()


def load_many(schema: type[AnswerSchema], items: list[Any], operation: str) -> tuple[Any, ...]:
    """Load a list of answers. Raises ContractError that names the field."""
    return tuple(load(schema, item, operation) for item in items)


def _first_path(messages: Any) -> str:
    path = []
    while isinstance(messages, Mapping) and messages:
        name, messages = next(iter(messages.items()))
        if name != "_schema":
            path.append(str(name))
    return ".".join(path) or "the whole answer"
