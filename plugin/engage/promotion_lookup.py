"""Which promotion assignment or voucher a shop means: by Engage's ids, by the code of the offer, by its number.

A promotion has three ids that are easily mixed up (docs/engage.md#three-ids): the assignment's own id, the only one that can be
redeemed; the template's id (promotionId), which all assignments share; and the externalId. Pure: no I/O.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from plugin.engage.data.models import PromotionAssignment, RedemptionChannel, RewardVoucher

NOT_AN_ASSIGNMENT_ID = "not_an_assignment_id"
UNKNOWN_ASSIGNMENT = "unknown_assignment"
UNKNOWN_VOUCHER = "unknown_voucher"
UNKNOWN_CODE = "unknown_code"
CODE_LENGTH = 512


@dataclass(frozen=True, slots=True)
class LookupFailure:
    """Why nothing was found. code: a short stable word; text: what to do, without personal data."""

    code: str
    text: str


def equals_folded(left: str | None, right: str | None) -> bool:
    """Return whether two ids, codes or numbers are equal apart from case and surrounding space."""
    return left is not None and right is not None and left.strip().lower() == right.strip().lower()


def find_assignment(assignment_id: str, assignments: Sequence[PromotionAssignment]) -> PromotionAssignment | None:
    """Return the assignment with an id."""
    return next((a for a in assignments if equals_folded(a.id, assignment_id)), None)


def find_by_code(
    code: str,
    assignments: Sequence[PromotionAssignment],
    now: datetime,
    *,
    chosen: Collection[str] = (),
    channel: str = RedemptionChannel.ECOM,
) -> PromotionAssignment | None:
    """Return the assignment that a code means.

    Several assignments of a contact may have the same code. Assignments in `chosen`, which the order names by id or has
    used before, come first, then redeemable ones, the soonest to expire first.
    """
    matches = [a for a in assignments if any(equals_folded(code, own) for own in codes_of(a, channel))]
    never = datetime.max.replace(tzinfo=now.tzinfo)
    return min(
        matches,
        key=lambda a: (a.id not in chosen, not is_redeemable(a, now), a.expires_on or never, a.id),
        default=None,
    )


def codes_of(assignment: PromotionAssignment, channel: str = RedemptionChannel.ECOM) -> tuple[str, ...]:
    """Return what a shopper or a shop's rule may call an assignment: its offer's code and its externalId."""
    codes = [c.value for c in assignment.redemption_channels if c.type == channel and isinstance(c.value, str)]
    return tuple(code for code in (*codes, assignment.external_id) if code and code.strip())


def is_redeemable(item: PromotionAssignment | RewardVoucher, now: datetime) -> bool:
    """Return whether an assignment or voucher can still be used."""
    return not item.redeemed and (item.expires_on is None or item.expires_on > now)


def explain_unknown_assignment(assignment_id: str, assignments: Sequence[PromotionAssignment]) -> LookupFailure:
    """Explain why the contact has no assignment with an id; a mix-up of the three ids is explained with the right id."""
    shown = assignment_id[:64]
    for what, ids in (
        (
            "the id of a promotion (its template, promotionId)",
            [a for a in assignments if equals_folded(a.promotion_id, shown)],
        ),
        ("the externalId of a promotion", [a for a in assignments if equals_folded(a.external_id, assignment_id)]),
    ):
        if ids:
            right = ", ".join(a.id for a in ids[:3])
            return LookupFailure(
                NOT_AN_ASSIGNMENT_ID,
                f"{shown} is {what}, which all contacts share; redeeming needs the contact's own assignment id: {right}.",
            )
    return LookupFailure(UNKNOWN_ASSIGNMENT, f"The contact has no promotion assignment {shown}.")


def find_voucher(voucher_id: str | None, number: str | None, vouchers: Sequence[RewardVoucher]) -> RewardVoucher | None:
    """Return the voucher with an id or a number; either may be given in place of the other."""
    names = [name for name in (voucher_id, number) if name]
    return next(
        (v for v in vouchers if any(equals_folded(v.id, n) or equals_folded(v.voucher_number, n) for n in names)), None
    )
