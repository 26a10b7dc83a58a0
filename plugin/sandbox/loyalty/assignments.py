"""Promotion assignments: the promotions of a contact, and their redemption (docs/engage.md#promotions)."""

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from plugin.sandbox.contacts import book
from plugin.sandbox.loyalty.templates import assignment_expiry, status_on
from plugin.sandbox.state import SandboxState, StoredAssignment, StoredPromotion, new_id
from plugin.sandbox.wire import Answer, ApiError, Call, Operation, guid

_PATH = "/api/v3/promotion-assignments"
CHANNELS = ("POS", "ECOM", "OTHER")


def list_promotion_assignments(call: Call) -> Answer:
    """List a contact's assignments, redeemed and expired ones too, for one channel where it is named."""
    state = call.state
    contact = book.get(state, call.guid("contactId", "InvalidContactId"))
    channel = call.query.get("redemptionChannelType")
    if channel is not None and channel not in CHANNELS:
        raise ApiError(
            400, "InvalidRedemptionChannel", f"It must be one of {', '.join(CHANNELS)}.", "redemptionChannelType"
        )
    items = [wire(state, assignment) for assignment in state.data.assignments_of.get(contact.id, [])]
    if channel is not None:
        items = [item for item in items if any(entry["type"] == channel for entry in item["redemptionChannels"])]
    return Answer(data=items if state.options.assignments_answer == "array" else call.page(items))


def assign_promotion(call: Call) -> Answer:
    """Assign an active promotion to a contact; the answer is the assignment."""
    state, body = call.state, call.body()
    contact_id = guid(body.get("contactId"), "contactId", "InvalidContactId")
    promotion_id = guid(body.get("promotionId"), "promotionId", "InvalidPromotionId")
    book.get(state, contact_id)
    promotion = state.data.promotions.get(promotion_id)
    if promotion is None:
        raise ApiError(404, "PromotionNotFound", "No promotion has this id.", "promotionId")
    status = status_on(promotion, call.now)
    if status == "Ended":
        raise ApiError(409, "PromotionExpired", "The promotion has ended.", "promotionId")
    if status == "Draft":
        raise ApiError(409, "PromotionNotActive", "A person must activate the promotion first.", "promotionId")
    assignment = StoredAssignment(new_id(), contact_id, promotion.id, expires_on=assignment_expiry(promotion, call.now))
    add(state, assignment)
    return Answer(data=wire(state, assignment))


def add(state: SandboxState, assignment: StoredAssignment) -> None:
    """Store an assignment."""
    state.data.assignments[assignment.id] = assignment
    state.data.assignments_of[assignment.contact_id].append(assignment)


def redeem_promotion(call: Call) -> Answer:
    """Redeem an assignment in a channel; a template's id redeems nothing."""
    assignment_id = call.guid("assignmentId", "InvalidPromotionAssignmentId")
    channel = call.body().get("redemptionChannel")
    if channel not in CHANNELS:
        raise ApiError(
            400, "InvalidRedemptionChannel", f"It must be one of {', '.join(CHANNELS)}.", "redemptionChannel"
        )
    try:
        _redeem(call.state, assignment_id, str(channel), call.now)
    except ApiError as refusal:
        _record(call, assignment_id, refusal.code, channel)
        raise
    _record(call, assignment_id, "Redeemed", channel)
    return Answer()


def _redeem(state: SandboxState, assignment_id: str, channel: str, now: datetime) -> None:
    assignment = state.data.assignments.get(assignment_id)
    if assignment is None:
        raise ApiError(404, "PromotionAssignmentNotFound", "No assignment has this id; a promotion's id is none.")
    if assignment.redeemed_on is not None:
        raise ApiError(409, "PromotionAlreadyRedeemed", "The assignment is redeemed.")
    promotion = state.data.promotions[assignment.promotion_id]
    expired = assignment.expires_on is not None and assignment.expires_on <= now
    if expired or status_on(promotion, now) == "Ended":
        raise ApiError(409, "PromotionExpired", "The assignment has expired.")
    assignment.redeemed_on = now
    assignment.redeemed_channel = channel


def reactivate_promotion(call: Call) -> Answer:
    """Reactivate a redeemed assignment, where the tenant has this operation (docs/engage.md#reactivating-a-promotion)."""
    if not call.state.options.reactivate_promotions:
        raise ApiError(404, "NotFound", "This tenant has no such path.")
    assignment_id = call.guid("assignmentId", "InvalidPromotionAssignmentId")
    assignment = call.state.data.assignments.get(assignment_id)
    if assignment is None:
        raise ApiError(404, "PromotionAssignmentNotFound", "No assignment has this id; a promotion's id is none.")
    if assignment.redeemed_on is None:
        raise ApiError(409, "PromotionAlreadyActivated", "The assignment is not redeemed.")
    if assignment.expires_on is not None and assignment.expires_on <= call.now:
        raise ApiError(409, "PromotionExpired", "The assignment has expired.")
    assignment.redeemed_on = assignment.redeemed_channel = None
    _record(call, assignment_id, "Reactivated", None)
    return Answer()


def _record(call: Call, assignment_id: str, outcome: str, channel: str | None) -> None:
    assignment = call.state.data.assignments.get(assignment_id)
    call.state.data.redemptions.append(
        {
            "time": call.now,
            "kind": "promotion",
            "id": assignment_id,
            "contactId": assignment.contact_id if assignment else None,
            "channel": channel,
            "outcome": outcome,
        }
    )


def wire(state: SandboxState, assignment: StoredAssignment) -> dict[str, Any]:
    """Return an assignment as Engage answers it."""
    promotion = state.data.promotions[assignment.promotion_id]
    presentation = promotion.wire.get("presentation") or {}
    return {
        "id": assignment.id,
        "promotionId": promotion.id,
        "externalId": assignment.external_id or promotion.wire.get("externalId"),
        "type": "Multichannel",
        "name": promotion.wire["name"],
        "expiresOn": assignment.expires_on,
        "heading": presentation.get("heading") or promotion.wire["name"],
        "description": presentation.get("description") or promotion.wire["name"],
        "redeemed": assignment.redeemed_on is not None,
        "redeemedOn": assignment.redeemed_on,
        "imageUrl": presentation.get("imageUrl"),
        "link": presentation.get("link"),
        "redemptionChannels": [_channel(entry, state.options.group_currency) for entry in _channels(promotion)],
    }


def _channels(promotion: StoredPromotion) -> list[dict[str, Any]]:
    given = promotion.wire.get("redemptionChannels")
    if given:
        return list(given)
    return [{"type": kind, "valueType": "EXTERNALOFFER", "value": promotion.wire["name"]} for kind in ("ECOM", "POS")]


def _channel(channel: dict[str, Any], group_currency: str) -> dict[str, Any]:
    """Return a channel as read: PERCENT as a number, MONEY as an amount with its currency, others as text."""
    local = channel.get("localValues") or None
    return {
        "type": channel["type"],
        "valueType": channel["valueType"],
        "value": _read_value(channel, local, group_currency),
        "localValues": local,
        "instruction": channel.get("instruction"),
    }


def _read_value(channel: dict[str, Any], local: list[Any] | None, group_currency: str) -> Any:
    value = channel.get("value")
    if channel["valueType"] not in {"PERCENT", "MONEY"} or not isinstance(value, str):
        return value
    try:
        number = Decimal(value)
    except InvalidOperation:
        return value
    if channel["valueType"] == "PERCENT":
        return number
    return {"amount": number, "currency": local[0]["currency"] if local else group_currency}


OPERATIONS = (
    Operation("listPromotionAssignments", "GET", _PATH, list_promotion_assignments),
    Operation("assignPromotion", "POST", _PATH, assign_promotion),
    Operation("redeemPromotion", "POST", f"{_PATH}/{{assignmentId}}/redeem", redeem_promotion),
    Operation("reactivatePromotion", "POST", f"{_PATH}/{{assignmentId}}/reactivate", reactivate_promotion),
)
