"""Redeeming what an order used: the intent is stored first, each assignment is redeemed once, answers are proved.

What the order names is looked for among the contact's own promotion assignments and vouchers: by assignment id, by
the code of the offer, by the voucher's number. A code that is none of them is the shop's own discount.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from plugin.engage import repeat
from plugin.engage.models import PromotionAssignment, RewardVoucher, UsedPromotion
from plugin.errors import EngageConflictError, EngageNotFoundError, ParkedError, PermanentError, TransientError
from plugin.events import OrderPaid
from plugin.events import UsedPromotion as NamedPromotion
from plugin.events import UsedVoucher as NamedVoucher
from plugin.store.redemptions import RedemptionState
from webhooks.context import Context

PROMOTION, VOUCHER = "promotion", "voucher"


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What goes on the receipt, and what a person must be told after it. problems: (code, text).

    waiting: a transient fault of a redemption that no longer holds the receipt.
    """

    promotions: tuple[UsedPromotion, ...] = ()
    vouchers: tuple[str, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    waiting: TransientError | None = None


@dataclass(frozen=True, slots=True)
class _Target:
    kind: str
    id: str
    promotion_id: str | None
    label: str


def redeem_used(context: Context, order: OrderPaid, contact_id: str) -> Redeemed:
    """Redeem each promotion and voucher of an order once.

    Raises TransientError while a redemption may still succeed and holds the receipt (setting redeem_wait_s).
    """
    targets, problems = _targets(context, order, contact_id)
    promotions, vouchers, waiting = [], [], None
    for target in targets:
        try:
            problem = _redeem_once(context, order.order_id, contact_id, target)
        except TransientError as error:
            waited = (context.now() - context.claimed.received_at).total_seconds()
            if waited < context.shop.settings.redeem_wait_s:
                raise
            waiting = error
            continue
        if problem is not None:
            problems.append(problem)
        elif target.kind == PROMOTION:
            promotions.append(UsedPromotion(target.promotion_id, target.id))
        else:
            vouchers.append(target.label)
    return Redeemed(tuple(promotions), tuple(vouchers), tuple(problems), waiting)


def _targets(context: Context, order: OrderPaid, contact_id: str) -> tuple[list[_Target], list[tuple[str, str]]]:
    """Find what the order names; found once, it is remembered, because Engage's list changes when we redeem."""
    kept = context.recall("redeem")
    if kept is not None:
        return [_Target(*target) for target in kept["targets"]], [tuple(p) for p in kept["problems"]]
    targets: list[_Target] = []
    problems: list[tuple[str, str]] = []
    if order.promotions:
        assignments = context.client.list_promotion_assignments(contact_id).items
        for named in order.promotions:
            found = _assignment(named, assignments)
            if found is not None:
                targets.append(_Target(PROMOTION, found.id, found.promotion_id, found.id))
            elif named.assignment_id:
                problems.append(_unknown(named.assignment_id, assignments))
    if order.vouchers:
        available = context.client.list_reward_vouchers(contact_id).items
        for voucher in order.vouchers:
            match = _voucher(voucher, available)
            if match is not None:
                targets.append(_Target(VOUCHER, match.id, None, match.voucher_number or match.id))
            else:
                problems.append(("unknown_voucher", "The order names a reward voucher that its contact does not have."))
    targets = list({(target.kind, target.id): target for target in targets}.values())
    if targets or problems:
        rows = [[t.kind, t.id, t.promotion_id, t.label] for t in targets]
        context.remember("redeem", {"targets": rows, "problems": [list(p) for p in problems]})
    return targets, problems


def _redeem_once(context: Context, order_id: str, contact_id: str, target: _Target) -> tuple[str, str] | None:
    """Redeem one target; None when it is redeemed for this order, else the problem for a person."""
    step = f"redeemed:{target.kind}:{target.id}"
    if context.recall(step):
        return None
    redemptions = context.stores.redemptions
    intent = redemptions.intend(
        context.shop, target.kind, target.id, target.promotion_id, order_id, context.claimed.id, context.now()
    )
    if (intent.shop_id, intent.order_id) != (context.shop.id, order_id):
        return (
            "redeemed_by_other_order",
            f"The {target.kind} {target.id} of order {order_id} was used by order {intent.order_id} first.",
        )
    tried = bool(context.recall(f"tried:{target.kind}:{target.id}"))
    if not (tried and _is_redeemed(context, contact_id, target)):
        if not tried:
            context.remember(f"tried:{target.kind}:{target.id}")
        try:
            _call(context, target)
        except EngageConflictError as error:
            if not (tried and _is_redeemed(context, contact_id, target)):
                return _failed(context, target, "redeemed_elsewhere", error)
        except (EngageNotFoundError, PermanentError) as error:
            return _failed(context, target, "redemption_refused", error)
    redemptions.finish(context.shop, target.kind, target.id, RedemptionState.REDEEMED, context.now())
    context.remember(step)
    return None


def _call(context: Context, target: _Target) -> None:
    if target.kind == PROMOTION:
        context.client.redeem_promotion(target.id)
    else:
        context.client.redeem_reward_voucher(target.id)


def _is_redeemed(context: Context, contact_id: str, target: _Target) -> bool:
    """Ask Engage whether an earlier call, whose answer was lost, did its work (facts 1.2)."""
    if target.kind == PROMOTION:
        return repeat.redeemed_promotion(context.client, contact_id=contact_id, assignment_id=target.id) is not None
    return repeat.redeemed_voucher(context.client, contact_id=contact_id, reward_voucher_id=target.id) is not None


def _failed(context: Context, target: _Target, code: str, error: Exception) -> tuple[str, str]:
    text = f"The {target.kind} {target.id} could not be redeemed for this order: {error}"
    context.stores.redemptions.finish(
        context.shop, target.kind, target.id, RedemptionState.FAILED, context.now(), note=str(error)
    )
    return code, text


def _assignment(named: NamedPromotion, assignments: Sequence[PromotionAssignment]) -> PromotionAssignment | None:
    if named.assignment_id:
        return next((a for a in assignments if a.id.lower() == named.assignment_id.lower()), None)
    code = (named.code or "").strip().lower()
    fitting = [a for a in assignments if code and code in _codes(a)]
    # one code may stand on several assignments: an unused one goes first
    return min(fitting, key=lambda a: a.redeemed, default=None)


def _codes(assignment: PromotionAssignment) -> set[str]:
    codes = {
        channel.value.strip().lower()
        for channel in assignment.redemption_channels
        if channel.type == "ECOM" and isinstance(channel.value, str)
    }
    return codes | ({assignment.external_id.strip().lower()} if assignment.external_id else set())


def _unknown(assignment_id: str, assignments: Sequence[PromotionAssignment]) -> tuple[str, str]:
    """Explain an id that is no assignment of the contact; the three ids of a promotion are easily mixed up (facts 6.1)."""
    if any(assignment_id in {a.promotion_id, a.external_id} for a in assignments):
        return (
            "not_an_assignment_id",
            f"The order names {assignment_id}, which is a promotion's template or external id; redeeming needs the "
            "assignment's own id.",
        )
    return "unknown_assignment", f"The order's contact has no promotion assignment {assignment_id}."


def _voucher(named: NamedVoucher, vouchers: Sequence[RewardVoucher]) -> RewardVoucher | None:
    return next(
        (
            v
            for v in vouchers
            if (named.voucher_id and v.id == named.voucher_id)
            or (named.voucher_number and v.voucher_number == named.voucher_number)
        ),
        None,
    )


def raise_problems(problems: Sequence[tuple[str, str]]) -> None:
    """Park the event for what could not be redeemed, after its receipt is sent."""
    if problems:
        raise ParkedError(" ".join(text for _, text in problems), problems[0][0], holds=False)
