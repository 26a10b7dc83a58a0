"""What an order used: its promotions and vouchers, found among those of its contact.

What the order names is looked for by assignment id, by the code of the offer and by the voucher's number; platforms
that know only codes name vouchers by them too. A code that is none of them is the shop's own discount.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from plugin.engage.client import EngageClient
from plugin.engage.data.models import PromotionAssignment, RewardVoucher
from plugin.engage.promotion_lookup import (
    UNKNOWN_VOUCHER,
    LookupFailure,
    explain_unknown_assignment,
    find_assignment,
    find_by_code,
    find_voucher,
)
from plugin.events import OrderPaid
from plugin.store.orders.redemptions import HELD_STATES, RedemptionState
from plugin.store.shops.shops import RegisteredShop
from webhooks.attempt.context import Context, Origin

PROMOTION, VOUCHER = "promotion", "voucher"
STEP_REDEEM = "redeem"
#: The step of an event that found its order cancelled and says that it is paid again.
STEP_REOPENED = "reopened"
#: How far a shop's clock may be behind ours: an order paid so shortly before its shop was registered counts as paid since.
REGISTRATION_SKEW = timedelta(minutes=5)
#: A shop that tells of an order so long after its payment tells of something else.
LATE_REPORT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class RedemptionTarget:
    """One assignment or voucher to redeem. promotion_id: its template. label: what a receipt calls it.

    used: it was redeemed already when this order came, and by no order of ours.
    """

    kind: str
    id: str
    promotion_id: str | None
    label: str
    used: bool = False


@dataclass(frozen=True, slots=True)
class ResolvedRedemptions:
    """What is to be redeemed, and what the order names and its contact does not have: (code, text)."""

    targets: tuple[RedemptionTarget, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()


def is_historical(shop: RegisteredShop, order: OrderPaid) -> bool:
    """Tell that an order was paid before its shop was registered here, and is told because it was edited or refunded since.

    What it used was used up then, by whatever stood in this plugin's place: one of its codes may be one of today's
    assignments by chance.
    """
    told_later = order.reported_at is not None and order.reported_at - order.occurred_at > LATE_REPORT
    return told_later and order.occurred_at < shop.created_at - REGISTRATION_SKEW


def is_from_history(context: Context, order: OrderPaid) -> bool:
    """Tell that the event at hand tells of the past: it was read as history, or its order is of the past."""
    return context.origin is Origin.BACKFILL or is_historical(context.shop, order)


def resolve_redemptions(
    context: Context, client: EngageClient, order: OrderPaid, contact_id: str
) -> ResolvedRedemptions:
    """Find what the order used; found once, it is remembered, because Engage's lists change when we redeem.

    Raises EngageError.
    """
    kept = context.get_step(STEP_REDEEM)
    if kept is not None:
        return ResolvedRedemptions(
            tuple(RedemptionTarget(**target) for target in kept["targets"]),
            tuple((code, text) for code, text in kept["problems"]),
        )
    search = _Resolver(context, client, order, contact_id)
    search.promotions()
    search.vouchers()
    if search.targets or search.problems:
        rows = [asdict(target) for target in search.targets.values()]
        context.complete_step(STEP_REDEEM, {"targets": rows, "problems": search.problems})
    return ResolvedRedemptions(tuple(search.targets.values()), tuple(search.problems))


class _Resolver:
    """One look through the contact's promotions and vouchers, each list asked for at most once and only when needed."""

    def __init__(self, context: Context, client: EngageClient, order: OrderPaid, contact_id: str) -> None:
        self._context, self._client, self._order, self._contact_id = context, client, order, contact_id
        before = context.stores.redemptions.of_order(context.shop, order.order_id)
        # what it gave back when it was called off, too: an order that is paid again means the same
        states = (*HELD_STATES, RedemptionState.GIVEN_BACK)
        self._own = {(row.kind, row.assignment_id) for row in before if row.state in states}
        self._available: Sequence[RewardVoucher] | None = None
        self._codes: list[str] = []
        self.targets: dict[tuple[str, str], RedemptionTarget] = {}
        self.problems: list[tuple[str, str]] = []

    def promotions(self) -> None:
        """Ids go first, so that a code beside its id means that very assignment."""
        if not self._order.promotions:
            return
        assignments = self._client.list_promotion_assignments(self._contact_id).items
        for named in sorted(self._order.promotions, key=lambda named: not named.assignment_id):
            found: PromotionAssignment | None
            if named.assignment_id:
                found = find_assignment(named.assignment_id, assignments)
                if found is None:
                    self._problem(explain_unknown_assignment(named.assignment_id, assignments))
            else:
                chosen = {key for _, key in (*self.targets, *self._own)}
                found = find_by_code(named.code or "", assignments, self._context.now(), chosen=chosen)
                if found is None and named.code:
                    self._codes.append(named.code)
            if found is not None:
                self._add(PROMOTION, found, found.promotion_id, found.id)

    def vouchers(self) -> None:
        """Look for named vouchers, and for codes that no promotion has: a shop may use a voucher's number as a code."""
        for named in self._order.vouchers:
            found = find_voucher(named.voucher_id, named.voucher_number, self._vouchers())
            if found is None:
                self._problem(
                    LookupFailure(UNKNOWN_VOUCHER, "The order names a reward voucher that its contact does not have.")
                )
            else:
                self._add(VOUCHER, found, None, found.voucher_number or found.id)
        for code in self._codes:
            found = find_voucher(None, code, self._vouchers())
            if found is not None:
                self._add(VOUCHER, found, None, found.voucher_number or found.id)

    def _vouchers(self) -> Sequence[RewardVoucher]:
        if self._available is None:
            self._available = self._client.list_reward_vouchers(self._contact_id).items
        return self._available

    def _add(self, kind: str, item: Any, promotion_id: str | None, label: str) -> None:
        key = (kind, item.id)
        used = item.redeemed and key not in self._own and not self._is_held(kind, item.id)
        self.targets.setdefault(key, RedemptionTarget(kind, item.id, promotion_id, label, used))

    def _is_held(self, kind: str, assignment_id: str) -> bool:
        """Tell whether another order of the tenant's shops has it: then the intent tells which."""
        return bool(self._context.stores.redemptions.held(self._context.shop, kind, [assignment_id]))

    def _problem(self, mismatch: LookupFailure) -> None:
        self.problems.append((mismatch.code, mismatch.text))
