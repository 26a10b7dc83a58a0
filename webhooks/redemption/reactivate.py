"""Giving back what an order used, when the order is cancelled or wholly returned: each at most once for one order.

Vouchers can be reactivated three times (Engage facts 7.1). For promotions no operation is documented (facts 6.3): they
stay redeemed unless the shop's setting reactivate_promotions names the tenant's path.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from plugin.engage.client import EngageClient
from plugin.engage.data.models import PromotionAssignment, RewardVoucher
from plugin.engage.operations import Priority
from plugin.errors import EngageConflictError, EngageError, TransientError, UnauthorisedError
from plugin.events import LineKind
from plugin.store.orders.orders import StoredOrder
from plugin.store.orders.redemptions import HELD_STATES, RedemptionState, StoredRedemption
from webhooks.attempt.context import Context
from webhooks.redemption.lookup import PROMOTION
from webhooks.redemption.redeem import Problem, fetch_current, record_result

MAX_REACTIVATIONS = 3
GOODS = {LineKind.GOODS.value, LineKind.GIFT_CARD.value}


def is_wholly_returned(order: StoredOrder, details: Mapping[str, Any]) -> bool:
    """Tell whether all goods of an order came back, or all of its money. details: with all refunds so far."""
    refunds = details.get("refunds", {}).values()
    bought = {
        line["id"]: Decimal(line["quantity"]) for line in details.get("lines", []) if line.get("kind", "goods") in GOODS
    }
    returned: Counter[str] = Counter()
    for refund in refunds:
        returned.update({line: Decimal(quantity) for line, quantity in refund["lines"].items()})
    if bought and all(returned[line] >= quantity for line, quantity in bought.items()):
        return True
    money = sum(
        (Decimal(r["total"]) for r in refunds if r.get("currency", order.currency) == order.currency), Decimal(0)
    )
    return 0 < order.total <= money


def reactivate(context: Context, order: StoredOrder) -> list[Problem]:
    """Give back what an order used; return what a person must be told.

    Raises TransientError while it may still succeed; what is done stays done.
    """
    client = context.client.with_options(priority=Priority.REDEMPTION)
    problems = []
    for row in context.stores.redemptions.of_order(context.shop, order.order_id):
        if row.state in HELD_STATES and order.contact_id is not None:
            problem = _Reactivation(context, client, order.contact_id, row).once()
            if problem is not None:
                problems.append(problem)
    return problems


@dataclass(slots=True)
class _Reactivation:
    """The way back of one redemption."""

    context: Context
    client: EngageClient
    contact_id: str
    row: StoredRedemption

    def once(self) -> Problem | None:
        """Give it back; None when it is, or when it may not be, else the problem for a person."""
        row, path = self.row, self.context.shop.settings.reactivate_promotions
        if row.kind == PROMOTION and not path and row.state is not RedemptionState.INTENDED:
            return self._not_given_back("the setting reactivate_promotions is empty")
        item = fetch_current(self.client, row.kind, self.contact_id, row.assignment_id)
        if row.state is RedemptionState.INTENDED and (item is None or not item.redeemed):
            self._end(RedemptionState.FAILED, "The order ended before it was redeemed.")
            return None
        if row.kind == PROMOTION and not path:
            self._end(RedemptionState.REDEEMED, None)
            return self._not_given_back("the setting reactivate_promotions is empty")
        if item is None:
            return ("not_given_back", f"The {self._name} cannot be given back: its contact does not have it any more.")
        if not item.redeemed:  # an earlier call of ours did it, or a person in Engage
            return self._given_back()
        if row.state is RedemptionState.GIVING_BACK and item.redeemed_on != row.seen_redeemed_on:
            return self._given_back("and was used again since")
        if row.reactivations >= MAX_REACTIVATIONS:
            return self._not_given_back(f"it was given back {MAX_REACTIVATIONS} times already")
        return self._call(item, path)

    def _call(self, item: PromotionAssignment | RewardVoucher, path: str) -> Problem | None:
        """Store the intent with what tells a repeat whether the call worked, then call."""
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
                return self._given_back()
            self._end(RedemptionState.REDEEMED, str(error))
            return self._not_given_back(str(error))
        except (TransientError, UnauthorisedError):
            raise
        except EngageError as error:
            self._end(RedemptionState.REDEEMED, str(error))
            return ("not_given_back", f"The {self._name} could not be given back: {error}")
        return self._given_back()

    def _given_back(self, remark: str = "") -> Problem | None:
        self._end(RedemptionState.GIVEN_BACK, None, reactivations=self.row.reactivations + 1)
        self.context.note("give back", " ".join(filter(None, [f"The {self._name} was given back", remark])) + ".")
        return None

    def _not_given_back(self, why: str) -> Problem | None:
        self.context.note("give back", f"The {self._name} stays redeemed: {why}.")
        return None

    def _end(self, state: RedemptionState, note: str | None, **values: Any) -> None:
        """Store how it ended, and let cached lists of the contact be forgotten in the same commit."""
        row = self.row
        record_result(self.context, row.kind, row.assignment_id, self.contact_id, state=state, note=note, **values)
        self.context.save()

    def _write(self, **values: Any) -> None:
        redemptions, shop, row = self.context.stores.redemptions, self.context.shop, self.row
        self.context.on_commit(lambda session: redemptions.write(session, shop, row.kind, row.assignment_id, **values))

    @property
    def _name(self) -> str:
        return f"{self.row.kind} {self.row.assignment_id}"
