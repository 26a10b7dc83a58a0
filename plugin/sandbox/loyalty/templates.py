"""Multichannel promotions, the templates that assignments are made of (docs/engage.md#templates)."""

import calendar
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from plugin.sandbox.state import SandboxState, StoredPromotion, new_id
from plugin.sandbox.wire import Answer, ApiError, Call, Operation, is_number

_PATH = "/api/v3/promotions/multichannels"
_VALUE_TYPES = ("PERCENT", "MONEY", "EXTERNALOFFER", "MANUAL", "SWIPE")
_FIELDS = ("name", "externalId", "validity", "presentation", "redemptionChannels")


def create_promotion(call: Call) -> Answer:
    """Create a draft; an operator activates it before it can be assigned."""
    wire = checked(call.state, call.body())
    promotion = StoredPromotion(new_id(), "Draft", wire)
    call.state.data.promotions[promotion.id] = promotion
    return Answer(data=as_wire(promotion, call.now))


def get_promotion(call: Call) -> Answer:
    """Get a template by its id."""
    return Answer(data=as_wire(_by_id(call), call.now))


def get_promotion_by_external_id(call: Call) -> Answer:
    """Get a template by its externalId."""
    return Answer(data=as_wire(_by_external_id(call), call.now))


def update_promotion(call: Call) -> Answer:
    """Replace a template while it is a draft."""
    promotion = _by_id(call)
    if promotion.status != "Draft":
        raise ApiError(409, "PromotionNotDraft", "Only a draft can be changed.")
    promotion.wire = checked(call.state, call.body(), promotion.id)
    return Answer(data=as_wire(promotion, call.now))


def delete_promotion(call: Call) -> Answer:
    """Delete a template that is assigned to no contact."""
    return _delete(call.state, _by_id(call))


def delete_promotion_by_external_id(call: Call) -> Answer:
    """Delete a template that is assigned to no contact, by its externalId."""
    return _delete(call.state, _by_external_id(call))


def _delete(state: SandboxState, promotion: StoredPromotion) -> Answer:
    if any(assignment.promotion_id == promotion.id for assignment in state.data.assignments.values()):
        raise ApiError(409, "PromotionAssigned", "The promotion is assigned to contacts.")
    del state.data.promotions[promotion.id]
    return Answer()


def _by_id(call: Call) -> StoredPromotion:
    promotion = call.state.data.promotions.get(call.guid("id", "InvalidPromotionId"))
    if promotion is None:
        raise ApiError(404, "PromotionNotFound", "No promotion has this id.")
    return promotion


def _by_external_id(call: Call) -> StoredPromotion:
    external_id = call.query.get("externalId")
    promotions = [
        p for p in call.state.data.promotions.values() if external_id and p.wire.get("externalId") == external_id
    ]
    if not promotions:
        raise ApiError(404, "PromotionNotFound", "No promotion has this externalId.")
    return promotions[0]


def as_wire(promotion: StoredPromotion, now: datetime) -> dict[str, Any]:
    """Return a template as Engage answers it."""
    return {"id": promotion.id, "status": status_on(promotion, now), **promotion.wire}


def status_on(promotion: StoredPromotion, now: datetime) -> str:
    """Return Draft, Scheduled, Active or Ended at a time. A promotion starts and ends with a whole day."""
    if promotion.status == "Draft":
        return "Draft"
    validity = promotion.wire.get("validity") or {}
    if validity.get("endDate") and now.date() > date.fromisoformat(validity["endDate"]):
        return "Ended"
    if validity.get("startDate") and now.date() < date.fromisoformat(validity["startDate"]):
        return "Scheduled"
    return promotion.status


def assignment_expiry(promotion: StoredPromotion, now: datetime) -> datetime | None:
    """Return when an assignment made now expires: at the end of the last valid day; None for never."""
    validity = promotion.wire.get("validity") or {}
    own = validity.get("assignedValidity")
    if own:
        last = (
            _months_later(now.date(), own["amount"])
            if own["unit"] == "Months"
            else now.date() + timedelta(own["amount"])
        )
    elif validity.get("endDate"):
        last = date.fromisoformat(validity["endDate"])
    else:
        return None
    return datetime.combine(last, time(23, 59, 59), UTC)


def _months_later(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def checked(state: SandboxState, body: dict[str, Any], own_id: str | None = None) -> dict[str, Any]:
    """Return the fields of a template. Raises ApiError 400 BadRequest that names the field."""
    name, external_id = body.get("name"), body.get("externalId")
    if not isinstance(name, str) or not name.strip() or len(name) > 450:
        raise _bad("name", "must be a text of 1 to 450 characters")
    if external_id is not None:
        if not isinstance(external_id, str) or not 1 <= len(external_id) <= 450:
            raise _bad("externalId", "must be a text of 1 to 450 characters")
        if any(p.wire.get("externalId") == external_id and p.id != own_id for p in state.data.promotions.values()):
            raise _bad("externalId", "is used by another promotion")
    _check_validity(body.get("validity"))
    _check_presentation(body.get("presentation"))
    _check_channels(body.get("redemptionChannels"))
    return {field: body[field] for field in _FIELDS if body.get(field) is not None}


def _check_validity(validity: Any) -> None:
    if validity is None:
        return
    if not isinstance(validity, dict):
        raise _bad("validity", "must be an object")
    start = _day(validity.get("startDate"), "validity.startDate")
    end, own = validity.get("endDate"), validity.get("assignedValidity")
    if end is not None and own is not None:
        raise _bad("validity", "must have either endDate or assignedValidity")
    if end is not None and _day(end, "validity.endDate") < start:
        raise _bad("validity.endDate", "must not be before startDate")
    if own is not None:
        if not isinstance(own, dict) or own.get("unit") not in ("Days", "Months"):
            raise _bad("validity.assignedValidity", "must have unit Days or Months and amount")
        amount = own.get("amount")
        if isinstance(amount, bool) or not isinstance(amount, int) or not 1 <= amount <= 1_200:
            raise _bad("validity.assignedValidity.amount", "must be a whole number from 1 to 1200")


def _day(value: Any, field: str) -> date:
    try:
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise _bad(field, "must be a day without a time, such as 2024-03-01")


def _check_presentation(presentation: Any) -> None:
    if presentation is None:
        return
    if not isinstance(presentation, dict):
        raise _bad("presentation", "must be an object")
    for name in ("heading", "description", "link", "imageUrl"):
        if name in presentation and not isinstance(presentation[name], str):
            raise _bad(f"presentation.{name}", "must be a text")


def _check_channels(channels: Any) -> None:
    if channels is None:
        return
    if not isinstance(channels, list):
        raise _bad("redemptionChannels", "must be a list")
    for index, channel in enumerate(channels):
        field = f"redemptionChannels[{index}]"
        if not isinstance(channel, dict) or channel.get("type") not in ("POS", "ECOM", "OTHER"):
            raise _bad(f"{field}.type", "must be POS, ECOM or OTHER")
        if channel.get("valueType") not in _VALUE_TYPES:
            raise _bad(f"{field}.valueType", f"must be one of {', '.join(_VALUE_TYPES)}")
        value = channel.get("value")
        if "value" in channel and (not isinstance(value, str) or len(value) > 512):
            raise _bad(f"{field}.value", "must be a text of at most 512 characters")
        if channel["valueType"] in {"PERCENT", "MONEY"} and not _is_amount(value):
            raise _bad(f"{field}.value", 'must be a number in a text, such as "20" or "20.5"')
        _check_local_values(channel.get("localValues", []), field)
        if not isinstance(channel.get("instruction", ""), (str, type(None))):
            raise _bad(f"{field}.instruction", "must be a text")


def _check_local_values(values: Any, field: str) -> None:
    whole = isinstance(values, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("currency"), str) and is_number(entry.get("amount"))
        for entry in values
    )
    if not whole:
        raise _bad(f"{field}.localValues", "must be a list of amounts with their currency")


def _is_amount(value: Any) -> bool:
    try:
        return is_number(Decimal(value)) and Decimal(value) > 0
    except (InvalidOperation, TypeError, ValueError):
        return False


def _bad(field: str, why: str) -> ApiError:
    return ApiError(400, "BadRequest", f"{field} {why}.", field)


OPERATIONS = (
    Operation("createPromotion", "POST", _PATH, create_promotion),
    Operation("getPromotionByExternalId", "GET", _PATH, get_promotion_by_external_id),
    Operation("deletePromotionByExternalId", "DELETE", _PATH, delete_promotion_by_external_id),
    Operation("getPromotion", "GET", f"{_PATH}/{{id}}", get_promotion),
    Operation("updatePromotion", "PUT", f"{_PATH}/{{id}}", update_promotion),
    Operation("deletePromotion", "DELETE", f"{_PATH}/{{id}}", delete_promotion),
)
