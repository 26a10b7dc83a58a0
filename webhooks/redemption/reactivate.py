"""Reactivating what an order used, once it is cancelled or completely returned: each at most once for one order.

Engage reactivates a voucher up to three times. For promotions it documents no such operation
(docs/engage.md#reactivating-a-promotion): they stay redeemed unless the shop's setting reactivate_promotions names the
tenant's path.
"""

from dataclasses import dataclass
from typing import Any

from plugin.engage.client import EngageClient
from plugin.engage.data.models import PromotionAssignment, RewardVoucher
from plugin.engage.operations import Priority
from plugin.errors import EngageConflictError, EngageError, TransientError, UnauthorisedError
from plugin.store.orders.orders import StoredOrder
from plugin.store.orders.redemptions import HELD_STATES, RedemptionState, StoredRedemption
from webhooks.attempt.context import Context
from webhooks.attempt.progress import PROMOTION, RedemptionProblem
from webhooks.redemption.redeem import fetch_current, record_result

MAX_REACTIVATIONS = 3
_NO_PATH = "the setting reactivate_promotions is empty"


def reactivate(context: Context, order: StoredOrder) -> list[RedemptionProblem]:
    """Reactivate what an order used; return what failed, for a person.

    Raises TransientError while it may still succeed; what was reactivated by then stays so.
    """
    client = context.client.with_options(priority=Priority.REDEMPTION)
    problems = []
    for row in context.stores.redemptions.of_order(context.shop, order.order_id):
        if row.state in HELD_STATES and order.contact_id is not None:
            problem = _Reactivation(context, client, order.contact_id, row).run()
            if problem is not None:
                problems.append(problem)
    return problems


@dataclass(slots=True)
class _Reactivation:
    """The reactivation of one redemption."""

    context: Context
    client: EngageClient
    contact_id: str
    row: StoredRedemption

    def run(self) -> RedemptionProblem | None:
        """Reactivate it; None when that is done, or not allowed, else the problem for a person."""
        row, path = self.row, self.context.shop.settings.reactivate_promotions
        if row.kind == PROMOTION and not path and row.state is not RedemptionState.INTENDED:
            return self._stays_redeemed(_NO_PATH)
        item = fetch_current(self.client, row.kind, self.contact_id, row.assignment_id)
        if row.state is RedemptionState.INTENDED and (item is None or not item.redeemed):
            self._end(RedemptionState.FAILED, "The order ended before it was redeemed.")
            return None
        if row.kind == PROMOTION and not path:
            self._end(RedemptionState.REDEEMED, None)
            return self._stays_redeemed(_NO_PATH)
        if item is None:
            return RedemptionProblem(
                "not_given_back", f"The {self._name} cannot be reactivated: its contact does not have it any more."
            )
        if not item.redeemed:  # an earlier call of ours did it, or a person in Engage
            return self._reactivated()
        if row.state is RedemptionState.GIVING_BACK and item.redeemed_on != row.seen_redeemed_on:
            return self._reactivated("and was used again since")
        if row.reactivations >= MAX_REACTIVATIONS:
            return self._stays_redeemed(f"it was reactivated {MAX_REACTIVATIONS} times already")
        return self._call(item, path)

    def _call(self, item: PromotionAssignment | RewardVoucher, path: str) -> RedemptionProblem | None:
        """Store the intent, with the time by which a repeat sees whether this call worked, then call."""
        row = self.row
        if row.state is not RedemptionState.GIVING_BACK:
            self._write(state=RedemptionState.GIVING_BACK, seen_redeemed_on=item.redeemed_on)
        self.context.save()
        try:
            if row.kind == PROMOTION:
                self.client.reactivate_promotion(row.assignment_id, path=path)
            else:
                self.client.reactivate_reward_voucher(row.assignment_id)
        except EngageConflictError as error:
            if (error.code or "").lower().endswith("activated"):
                return self._reactivated()
            self._end(RedemptionState.REDEEMED, str(error))
            return self._stays_redeemed(str(error))
        except (TransientError, UnauthorisedError):
            raise
        except EngageError as error:
            self._end(RedemptionState.REDEEMED, str(error))
            return RedemptionProblem("not_given_back", f"The {self._name} could not be reactivated: {error}")
        return self._reactivated()

    def _reactivated(self, remark: str = "") -> RedemptionProblem | None:
        self._end(RedemptionState.GIVEN_BACK, None, reactivations=self.row.reactivations + 1)
        self.context.note("give back", " ".join(filter(None, [f"The {self._name} was reactivated", remark])) + ".")
        return None

    def _stays_redeemed(self, why: str) -> RedemptionProblem | None:
        self.context.note("give back", f"The {self._name} stays redeemed: {why}.")
        return None

    def _end(self, state: RedemptionState, note: str | None, **values: Any) -> None:
        """Store the result, and invalidate cached lists of the contact in the same commit."""
        row = self.row
        record_result(self.context, row.kind, row.assignment_id, self.contact_id, state=state, note=note, **values)
        self.context.save()

    def _write(self, **values: Any) -> None:
        redemptions, shop, row = self.context.stores.redemptions, self.context.shop, self.row
        self.context.on_commit(lambda session: redemptions.write(session, shop, row.kind, row.assignment_id, **values))

    @property
    def _name(self) -> str:
        return f"{self.row.kind} {self.row.assignment_id}"
