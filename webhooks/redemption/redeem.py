"""Redeeming what an order used: an intent is stored before each call, so that each is redeemed once.

When the answer to a call was lost, the assignment itself is read before the call is repeated (docs/engage.md#redeeming).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from plugin.engage.client import EngageClient
from plugin.engage.data.models import PromotionAssignment, RewardVoucher
from plugin.engage.data.receipts import UsedPromotion
from plugin.engage.operations import REDEEM_TIMEOUT_S, Priority
from plugin.engage.promotion_lookup import find_assignment, find_voucher, is_redeemable
from plugin.errors import EngageConflictError, EngageError, TransientError, UnauthorisedError
from plugin.events import OrderPaid
from plugin.store.orders.orders import StoredOrder
from plugin.store.orders.redemptions import RedemptionState, StoredRedemption
from webhooks.attempt.context import Context
from webhooks.attempt.outcomes import Parked
from webhooks.attempt.progress import PROMOTION, RedemptionProblem, RedemptionTarget, ResolvedRedemptions
from webhooks.redemption.lookup import is_from_history, resolve_redemptions

#: How far Engage's times may be from ours: its clock may differ, and it may leave out the zone of a time, whose format is
#: not documented (docs/engage.md#listing-assignments).
ENGAGE_CLOCK_SKEW = timedelta(hours=3)


@dataclass(frozen=True, slots=True)
class RedemptionResult:
    """What the receipt names as redeemed, and the problems for a person.

    waiting: a transient fault of a redemption that no longer holds the receipt back.
    """

    promotions: tuple[UsedPromotion, ...] = ()
    vouchers: tuple[str, ...] = ()
    problems: tuple[RedemptionProblem, ...] = ()
    waiting: TransientError | None = None


def redeem_order(context: Context, order: OrderPaid, contact_id: str, stored: StoredOrder | None) -> RedemptionResult:
    """Redeem each promotion and voucher of an order once. stored: the plugin's record of the order.

    Raises TransientError while a redemption may still succeed and holds the receipt back (setting redeem_wait_s), and
    UnauthorisedError. Any other fault is a problem that parks the event after its receipt.
    """
    if not (order.promotions or order.vouchers):
        return RedemptionResult()
    if is_from_history(context, order):
        context.note("redeem", "Nothing is redeemed: what a historical order used was redeemed then.")
        return RedemptionResult()
    if stored is not None and stored.details.get("ended"):
        context.note("redeem", f"Nothing is redeemed: the order was {stored.details['ended']}.")
        return RedemptionResult()
    # with the priority of redemptions, below that of shoppers
    client = context.client.with_options(priority=Priority.REDEMPTION)
    try:
        resolved = resolve_redemptions(context, client, order, contact_id)
    except TransientError as error:
        return RedemptionResult(waiting=_no_longer_held(context, error))
    except UnauthorisedError:
        raise
    except EngageError as error:
        return RedemptionResult(
            problems=(RedemptionProblem("promotions_unreadable", f"The contact's promotions cannot be read: {error}"),)
        )
    return _redeem_targets(context, client, order.order_id, contact_id, resolved)


def _redeem_targets(
    context: Context, client: EngageClient, order_id: str, contact_id: str, resolved: ResolvedRedemptions
) -> RedemptionResult:
    problems = list(resolved.problems)
    waiting: TransientError | None = None
    promotions, vouchers = [], []
    for target in resolved.targets:
        try:
            problem = _Redemption(context, client, order_id, contact_id, target).run()
        except TransientError as error:
            waiting = error
            continue
        if problem is not None:
            problems.append(problem)
        elif target.kind == PROMOTION:
            promotions.append(UsedPromotion(target.promotion_id, target.id))
        else:
            vouchers.append(target.label)
    waiting = None if waiting is None else _no_longer_held(context, waiting)
    return RedemptionResult(tuple(promotions), tuple(vouchers), tuple(problems), waiting)


def _no_longer_held(context: Context, error: TransientError) -> TransientError:
    """Return the error when the receipt has waited long enough for redemptions; otherwise raise it."""
    waited = (context.now() - context.claimed.received_at).total_seconds()
    if waited < context.shop.settings.redeem_wait_s:
        raise error
    return error


@dataclass(slots=True)
class _Redemption:
    """The redemption of one target for one order."""

    context: Context
    client: EngageClient
    order_id: str
    contact_id: str
    target: RedemptionTarget

    def run(self) -> RedemptionProblem | None:
        """Redeem it; None when it is redeemed for this order, else the problem for a person. Raises TransientError."""
        context, target = self.context, self.target
        if context.progress.is_redeemed(target.kind, target.id):
            return None
        stored = context.progress.problem(target.kind, target.id)
        if stored is not None:
            return stored
        if target.used:
            return self._used_elsewhere("it was redeemed before this order came")
        row = context.stores.redemptions.intend(
            context.shop,
            target.kind,
            target.id,
            target.promotion_id,
            self.order_id,
            context.claimed.id,
            context.now(),
            again=bool(context.progress.reopened),
        )
        if (row.shop_id, row.order_id) != (context.shop.id, self.order_id):
            return self._by_another_order(row)
        if row.state is RedemptionState.REDEEMED:
            context.progress.set_redeemed(target.kind, target.id)
            context.save()
            return None
        if row.state is not RedemptionState.INTENDED:
            return self._problem("given_back", f"The {self._name} was reactivated after this order was cancelled.")
        return self._first_attempt() if row.fresh else self._retry_after_unknown_result(row)

    def _first_attempt(self) -> RedemptionProblem | None:
        """Call for the first time: a conflict means that it was redeemed elsewhere."""
        try:
            self._call()
        except EngageConflictError as error:
            # stored before anything else can fail: a second attempt would take the redemption for its own
            self._record(RedemptionState.FAILED, str(error))
            self.context.save()
            return self._explain_conflict(error)
        except (TransientError, UnauthorisedError):
            raise
        except EngageError as error:
            return self._refused(error)
        return self._done()

    def _retry_after_unknown_result(self, row: StoredRedemption) -> RedemptionProblem | None:
        """Check whether a call whose answer was lost did its work; if not, repeat it."""
        context, target = self.context, self.target
        item = self._fetch()
        # Engage may import a file long after it was written
        until = context.now() if context.progress.is_redemption_filed(target.kind, target.id) else None
        if item is not None and item.redeemed:
            ours = _may_be_ours(row, item.redeemed_on, until)
            return self._done() if ours else self._used_elsewhere(_on(item.redeemed_on))
        redemptions, shop, now = context.stores.redemptions, context.shop, context.now()
        context.on_commit(lambda session: redemptions.write(session, shop, target.kind, target.id, called_at=now))
        context.save()
        try:
            self._call()
        except EngageConflictError as error:
            item = self._fetch()  # a call that timed out here may have succeeded meanwhile
            if item is not None and item.redeemed and _may_be_ours(row, item.redeemed_on, until=context.now()):
                return self._done()
            return self._explain_conflict(error, item)
        except (TransientError, UnauthorisedError):
            raise
        except EngageError as error:
            return self._refused(error)
        return self._done()

    def _call(self) -> None:
        if self.target.kind == PROMOTION:
            self.client.redeem_promotion(self.target.id)
        else:
            self.client.redeem_reward_voucher(self.target.id)

    def _fetch(self) -> PromotionAssignment | RewardVoucher | None:
        return fetch_current(self.client, self.target.kind, self.contact_id, self.target.id)

    def _done(self) -> RedemptionProblem | None:
        if self.context.progress.receipt:
            self.context.note("redeem", f"The {self._name} was redeemed after its receipt was sent without it.")
        self._record(RedemptionState.REDEEMED, None)
        self.context.progress.set_redeemed(self.target.kind, self.target.id)
        self.context.save()
        return None

    def _record(self, state: RedemptionState, note: str | None) -> None:
        record_result(self.context, self.target.kind, self.target.id, self.contact_id, state=state, note=note)

    def _problem(self, code: str, text: str) -> RedemptionProblem:
        problem = RedemptionProblem(code, text)
        self.context.progress.set_problem(self.target.kind, self.target.id, problem)
        self.context.save()
        return problem

    def _failed(self, code: str, text: str) -> RedemptionProblem:
        self._record(RedemptionState.FAILED, text)
        return self._problem(code, text)

    def _refused(self, error: EngageError) -> RedemptionProblem:
        return self._failed("redemption_refused", f"The {self._name} could not be redeemed for this order: {error}")

    def _used_elsewhere(self, when: str) -> RedemptionProblem:
        text = f"The {self._name} was used elsewhere, not by an order of this shop: {when}."
        if self.target.used:
            return self._problem("redeemed_elsewhere", text)
        return self._failed("redeemed_elsewhere", text)

    def _explain_conflict(
        self, error: EngageConflictError, item: PromotionAssignment | RewardVoucher | None = None
    ) -> RedemptionProblem:
        """Return the problem behind a conflict. Engage's codes for promotions are not documented: the assignment is read."""
        code = (error.code or "").lower()
        if item is None and not code.endswith(("redeemed", "expired")):
            try:
                item = self._fetch()
            except TransientError:
                return self._refused(error)
        if code.endswith("redeemed") or (item is not None and item.redeemed):
            return self._used_elsewhere(
                _on(item.redeemed_on) if item is not None else "Engage says that it is redeemed"
            )
        if code.endswith("expired") or (item is not None and not is_redeemable(item, self.context.now())):
            return self._failed("expired", f"The {self._name} has expired; it was not redeemed for this order.")
        return self._refused(error)

    def _by_another_order(self, row: StoredRedemption) -> RedemptionProblem:
        if row.state is RedemptionState.GIVING_BACK:
            raise TransientError(f"The {self._name} is being reactivated after order {row.order_id}.", sent=False)
        where = "" if row.shop_id == self.context.shop.id else f" of the shop {row.shop}"
        return self._problem(
            "redeemed_by_other_order",
            f"The {self._name} of order {self.order_id} was used by order {row.order_id}{where} first.",
        )

    @property
    def _name(self) -> str:
        return f"{self.target.kind} {self.target.id}"


def fetch_current(
    client: EngageClient, kind: str, contact_id: str, assignment_id: str
) -> PromotionAssignment | RewardVoucher | None:
    """Return the current state of an assignment or voucher, or None when the contact does not have it."""
    if kind == PROMOTION:
        return find_assignment(assignment_id, client.list_promotion_assignments(contact_id).items)
    return find_voucher(assignment_id, None, client.list_reward_vouchers(contact_id).items)


def record_result(context: Context, kind: str, assignment_id: str, contact_id: str, **values: Any) -> None:
    """Write a redemption with the next step that is stored, and invalidate cached lists of the contact with it."""
    stores, shop, now = context.stores, context.shop, context.now()
    context.on_commit(
        lambda session: stores.redemptions.write(session, shop, kind, assignment_id, finished_at=now, **values)
    )
    context.on_commit(stores.sync_states.bump_generation_write(shop, contact_id, now))


def _may_be_ours(row: StoredRedemption, redeemed_on: datetime | None, until: datetime | None = None) -> bool:
    """Return whether a redemption can be ours by its time. One without a time counts as ours."""
    if redeemed_on is None:
        return True
    last = (until or row.called_at or row.intended_at) + timedelta(seconds=REDEEM_TIMEOUT_S) + ENGAGE_CLOCK_SKEW
    if redeemed_on.time() == datetime.min.time():  # a day without a time
        return row.intended_at.date() <= redeemed_on.date() <= last.date()
    return row.intended_at - ENGAGE_CLOCK_SKEW <= redeemed_on <= last


def _on(redeemed_on: datetime | None) -> str:
    return (
        f"redeemed on {redeemed_on.isoformat(timespec='minutes')}" if redeemed_on else "Engage says that it is redeemed"
    )


def parked_for_problems(context: Context, problems: Sequence[RedemptionProblem]) -> Parked | None:
    """Return the outcome of what could not be redeemed, and drop what was found, so that a person's retry searches again."""
    if not problems:
        return None
    context.progress.forget_problems()
    return Parked(" ".join(problem.text for problem in problems), problems[0].code, blocks_later_changes=False)
