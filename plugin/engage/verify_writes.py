"""What to ask before a write is repeated whose answer was lost (Engage facts 1.2; the rule of each operation stands
in `plugin.engage.operations`).

Each check takes the client and what the write was about, and returns what the lost answer would have told, or None
when the write was not done. Checks only read, so they may be repeated themselves.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from plugin.engage.client import EngageClient
from plugin.engage.data.models import Promotion, PromotionAssignment, RewardVoucher
from plugin.engage.promotion_lookup import find_assignment, find_voucher
from plugin.errors import EngageNotFoundError


def created_contact(
    client: EngageClient, *, email: str | None = None, mobile_phone: str | None = None, custom_key: str | None = None
) -> str | None:
    """Return the id of a contact that may have been created. Raises EngageConflictError for several matches."""
    try:
        return client.find_contact_id(email=email, mobile_phone=mobile_phone, custom_key=custom_key)
    except EngageNotFoundError:
        return None


def promotion_assignment(client: EngageClient, *, contact_id: str, assignment_id: str) -> PromotionAssignment | None:
    """Return a contact's assignment as it stands now."""
    return find_assignment(assignment_id, client.list_promotion_assignments(contact_id).items)


def reward_voucher(client: EngageClient, *, contact_id: str, reward_voucher_id: str) -> RewardVoucher | None:
    """Return a contact's voucher as it stands now."""
    return find_voucher(reward_voucher_id, None, client.list_reward_vouchers(contact_id).items)


def redeemed_promotion(client: EngageClient, *, contact_id: str, assignment_id: str) -> str | None:
    """Return the assignment id when it is redeemed."""
    found = promotion_assignment(client, contact_id=contact_id, assignment_id=assignment_id)
    return found.id if found is not None and found.redeemed else None


def assigned_promotion(client: EngageClient, *, contact_id: str, promotion_id: str) -> str | None:
    """Return the id of an open assignment of a promotion."""
    assignments = client.list_promotion_assignments(contact_id).items
    return next((a.id for a in assignments if a.promotion_id == promotion_id and not a.redeemed), None)


def redeemed_voucher(client: EngageClient, *, contact_id: str, reward_voucher_id: str) -> str | None:
    """Return the voucher id when it is redeemed."""
    found = reward_voucher(client, contact_id=contact_id, reward_voucher_id=reward_voucher_id)
    return found.id if found is not None and found.redeemed else None


def reactivated_promotion(client: EngageClient, *, contact_id: str, assignment_id: str) -> str | None:
    """Return the assignment id when it can be used again."""
    found = promotion_assignment(client, contact_id=contact_id, assignment_id=assignment_id)
    return found.id if found is not None and not found.redeemed else None


def reactivated_voucher(client: EngageClient, *, contact_id: str, reward_voucher_id: str) -> str | None:
    """Return the voucher id when it can be used again."""
    found = reward_voucher(client, contact_id=contact_id, reward_voucher_id=reward_voucher_id)
    return found.id if found is not None and not found.redeemed else None


def stored_order(client: EngageClient, *, order_id: str) -> Mapping[str, Any] | None:
    """Return an order that may have been stored."""
    try:
        return client.get_order(order_id)
    except EngageNotFoundError:
        return None


def created_promotion(client: EngageClient, *, external_id: str) -> Promotion | None:
    """Return a promotion that may have been created."""
    try:
        return client.find_promotion(external_id)
    except EngageNotFoundError:
        return None


#: The check of each write that must not simply be repeated.
CHECKS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "create_contact": created_contact,
        "bulk_create_contacts": created_contact,
        "redeem_promotion": redeemed_promotion,
        "reactivate_promotion": reactivated_promotion,
        "assign_promotion": assigned_promotion,
        "redeem_reward_voucher": redeemed_voucher,
        "reactivate_reward_voucher": reactivated_voucher,
        "create_order": stored_order,
        "create_promotion": created_promotion,
    }
)
