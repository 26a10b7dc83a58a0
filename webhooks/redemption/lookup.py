"""Which of its contact's promotions and vouchers an order used.

They are found by assignment id, by the code of the offer and by the voucher's number; platforms that know only codes name
vouchers by them too. A code that is none of these is the shop's own discount.
"""

from collections.abc import Sequence
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
from webhooks.attempt.progress import PROMOTION, VOUCHER, RedemptionProblem, RedemptionTarget, ResolvedRedemptions

#: How far a shop's clock may be behind ours: an order paid this shortly before its shop was registered counts as paid after.
REGISTRATION_SKEW = timedelta(minutes=5)
#: An order that is reported this long after its payment is reported because of something else, such as an edit.
LATE_REPORT = timedelta(days=1)


def is_historical(shop: RegisteredShop, order: OrderPaid) -> bool:
    """Return whether an order was paid before its shop was registered, and is reported now because it was edited later.

    What it used was redeemed then, by the predecessor of this plugin; one of its codes may equal a current assignment's
    by chance.
    """
    reported_late = order.reported_at is not None and order.reported_at - order.occurred_at > LATE_REPORT
    return reported_late and order.occurred_at < shop.created_at - REGISTRATION_SKEW


def is_from_history(context: Context, order: OrderPaid) -> bool:
    """Return whether the current event was read by a backfill, or its order is historical."""
    return context.origin is Origin.BACKFILL or is_historical(context.shop, order)


def resolve_redemptions(
    context: Context, client: EngageClient, order: OrderPaid, contact_id: str
) -> ResolvedRedemptions:
    """Find what the order used. The result is stored, because Engage's lists change once something is redeemed.

    Raises EngageError.
    """
    stored = context.progress.resolved
    if stored is not None:
        return stored
    resolver = _Resolver(context, client, order, contact_id)
    resolver.resolve_promotions()
    resolver.resolve_vouchers()
    resolved = ResolvedRedemptions(tuple(resolver.targets.values()), tuple(resolver.problems))
    if resolved.targets or resolved.problems:
        context.progress.resolved = resolved
        context.save()
    return resolved


class _Resolver:
    """Searches the contact's promotions and vouchers; each list is fetched at most once, and only when needed."""

    def __init__(self, context: Context, client: EngageClient, order: OrderPaid, contact_id: str) -> None:
        self._context, self._client, self._order, self._contact_id = context, client, order, contact_id
        redemptions = context.stores.redemptions.of_order(context.shop, order.order_id)
        # also what was reactivated when the order was cancelled: an order that is paid again means the same ones
        states = (*HELD_STATES, RedemptionState.GIVEN_BACK)
        self._own = {(row.kind, row.assignment_id) for row in redemptions if row.state in states}
        self._available: Sequence[RewardVoucher] | None = None
        self._unmatched_codes: list[str] = []
        self.targets: dict[tuple[str, str], RedemptionTarget] = {}
        self.problems: list[RedemptionProblem] = []

    def resolve_promotions(self) -> None:
        """Find named promotions. Ids go first, so that a code beside its id means that very assignment."""
        if not self._order.promotions:
            return
        assignments = self._client.list_promotion_assignments(self._contact_id).items
        for named in sorted(self._order.promotions, key=lambda named: not named.assignment_id):
            assignment: PromotionAssignment | None
            if named.assignment_id:
                assignment = find_assignment(named.assignment_id, assignments)
                if assignment is None:
                    self._add_problem(explain_unknown_assignment(named.assignment_id, assignments))
            else:
                chosen = {key for _, key in (*self.targets, *self._own)}
                assignment = find_by_code(named.code or "", assignments, self._context.now(), chosen=chosen)
                if assignment is None and named.code:
                    self._unmatched_codes.append(named.code)
            if assignment is not None:
                self._add_target(PROMOTION, assignment, assignment.promotion_id, assignment.id)

    def resolve_vouchers(self) -> None:
        """Find named vouchers, and codes that no promotion has: a shop may use a voucher's number as a code."""
        for named in self._order.vouchers:
            voucher = find_voucher(named.voucher_id, named.voucher_number, self._vouchers())
            if voucher is None:
                self._add_problem(
                    LookupFailure(UNKNOWN_VOUCHER, "The order names a reward voucher that its contact does not have.")
                )
            else:
                self._add_target(VOUCHER, voucher, None, voucher.voucher_number or voucher.id)
        for code in self._unmatched_codes:
            voucher = find_voucher(None, code, self._vouchers())
            if voucher is not None:
                self._add_target(VOUCHER, voucher, None, voucher.voucher_number or voucher.id)

    def _vouchers(self) -> Sequence[RewardVoucher]:
        if self._available is None:
            self._available = self._client.list_reward_vouchers(self._contact_id).items
        return self._available

    def _add_target(self, kind: str, item: Any, promotion_id: str | None, label: str) -> None:
        key = (kind, item.id)
        used = item.redeemed and key not in self._own and not self._is_held(kind, item.id)
        self.targets.setdefault(key, RedemptionTarget(kind, item.id, promotion_id, label, used))

    def _is_held(self, kind: str, assignment_id: str) -> bool:
        """Return whether an order of the tenant's shops has an intent for it, which then decides whose it is."""
        return bool(self._context.stores.redemptions.held(self._context.shop, kind, [assignment_id]))

    def _add_problem(self, failure: LookupFailure) -> None:
        self.problems.append(RedemptionProblem(failure.code, failure.text))
