"""Which promotion assignment or voucher a shop means: by Engage's ids, by the code of the offer, by its number.

A promotion has three ids that are easily mixed up (facts 6.1): the assignment's own id, the only one that can be
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
    """Why a name leads to nothing. code: a short stable word; text: what to do, without personal data."""

    code: str
    text: str


def equals_folded(one: str | None, other: str | None) -> bool:
    """Compare ids, codes and numbers as people type them: case and surrounding space do not count."""
    return one is not None and other is not None and one.strip().lower() == other.strip().lower()


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
    """Return the assignment that a code stands for.

    One code may stand on several assignments of a contact. One that the order names already by its id, or that it has
    used before, is meant (chosen); else an open one, the first to expire first, so that no second one is used up.
    """
    fitting = [a for a in assignments if any(equals_folded(code, known) for known in codes_of(a, channel))]
    never = datetime.max.replace(tzinfo=now.tzinfo)
    return min(
        fitting,
        key=lambda a: (a.id not in chosen, not is_redeemable(a, now), a.expires_on or never, a.id),
        default=None,
    )


def codes_of(assignment: PromotionAssignment, channel: str = RedemptionChannel.ECOM) -> tuple[str, ...]:
    """Return what a shopper or a shop's rule may call an assignment: its offer's code and its externalId."""
    codes = [c.value for c in assignment.redemption_channels if c.type == channel and isinstance(c.value, str)]
    return tuple(code for code in (*codes, assignment.external_id) if code and code.strip())


def is_redeemable(item: PromotionAssignment | RewardVoucher, now: datetime) -> bool:
    """Tell whether an assignment or voucher can still be used."""
    return not item.redeemed and (item.expires_on is None or item.expires_on > now)


def explain_unknown_assignment(assignment_id: str, assignments: Sequence[PromotionAssignment]) -> LookupFailure:
    """Say why an id is none of the contact's assignments; a mix-up of the three ids is named, with the id that is right."""
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
    """Return the voucher with an id or a number; a shop that gives one for the other is understood."""
    names = [name for name in (voucher_id, number) if name]
    return next(
        (v for v in vouchers if any(equals_folded(v.id, n) or equals_folded(v.voucher_number, n) for n in names)), None
    )
