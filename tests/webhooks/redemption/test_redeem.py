"""Redeeming under faults: each promotion and voucher is redeemed once or explained, and the receipt is sent once."""

import threading
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bodies import PROMOTION, customer, order, promotion
from support.crash_points import Crash, CrashPoint

from plugin.store.contacts.links import Link
from plugin.store.orders.redemptions import RedemptionState

#: How long a worker of the rig holds an event.
LEASE_S = 60
TRANSIENT = {
    "429": {"rate_429": 1.0},
    "500": {"error_rate": 1.0, "error_statuses": [500]},
    "done but 504": {"done_but_504_rate": 1.0},
    "done but no answer": {"done_but_dropped_rate": 1.0},
    "no answer": {"outage": True, "outage_mode": "drop"},
}
FINAL = {
    "404": {"error_rate": 1.0, "error_statuses": [404]},
    "409": {"error_rate": 1.0, "error_statuses": [409]},
    "400": {"error_rate": 1.0, "error_statuses": [400]},
}
LISTS = ("listPromotionAssignments", "listRewardVouchers")
REDEEMS = ("redeemPromotion", "redeemRewardVoucher")
CALLS = (*LISTS, *REDEEMS, "createReceipt")


@dataclass
class Used:
    """An order and what it uses. number: that of the voucher."""

    order_id: str
    assignment: str
    voucher: str
    number: str
    event: int


class RedemptionScenario:
    """A member whose orders each use a promotion and a voucher of their own."""

    def __init__(self, rig: Any) -> None:
        self.rig, self._numbers = rig, count(1)
        rig.send("customer.created", customer=customer())
        rig.work()
        rig.seed(promotions=[promotion()])
        self.contact = rig.contacts()["ada@example.com"]["id"]

    def buy(self) -> Used:
        """Send a paid order, without processing it."""
        number = next(self._numbers)
        voucher = {
            "contactId": self.contact,
            "voucherNumber": f"V-{number}",
            "value": {"amount": 50, "currency": "SEK"},
        }
        given = {"contactId": self.contact, "promotionId": PROMOTION}
        seeded = self.rig.seed(assignments=[given], vouchers=[voucher])
        assignment = seeded["assignments"][0]
        self.rig.clock.forward(1)
        event = self.rig.send(
            "order.paid",
            order=order(f"o{number}", promotions=[{"assignment_id": assignment}], vouchers=[{"number": f"V-{number}"}]),
        )
        return Used(f"o{number}", assignment, seeded["vouchers"][0], f"V-{number}", event)

    def redeemed(self, item: str) -> int:
        return sum(1 for r in self.rig.redemptions() if r["id"] == item and r["outcome"] == "Redeemed")

    def receipt(self, used: Used) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.rig.receipts().get(f"web-se-{used.order_id}")
        return found

    def is_whole(self, used: Used) -> None:
        """Assert that everything was done once, and that the receipt says so."""
        assert self.rig.event(used.event).state == "delivered", self.rig.event(used.event).last_error
        assert (self.redeemed(used.assignment), self.redeemed(used.voucher)) == (1, 1)
        receipt = self.receipt(used)
        assert receipt is not None
        assert receipt["usedPromotions"] == [{"promotionId": PROMOTION, "couponId": used.assignment}]
        assert receipt["usedRewardVouchers"] == [{"voucherNumber": used.number}]
        states = {row.assignment_id: row.state for row in self.stored(used)}
        assert states == {used.assignment: RedemptionState.REDEEMED, used.voucher: RedemptionState.REDEEMED}

    def stored(self, used: Used) -> list[Any]:
        return list(self.rig.stores.redemptions.of_order(self.rig.standard, used.order_id))

    def retry(self, used: Used) -> None:
        self.rig.desk.retry([used.event], self.rig.clock())
        self.rig.work_for(200, step=40)


@pytest.fixture
def saga(rig: Any) -> RedemptionScenario:
    return RedemptionScenario(rig)


@pytest.mark.parametrize("fault", TRANSIENT)
@pytest.mark.parametrize("operation", CALLS)
def test_a_transient_fault_delays_and_repeats_nothing(saga: RedemptionScenario, operation: str, fault: str) -> None:
    used = saga.buy()
    saga.rig.fault(**TRANSIENT[fault], operations=[operation], next=1)
    assert saga.rig.work() == ["retry"]
    saga.rig.work_for(200, step=40)
    saga.is_whole(used)


@pytest.mark.parametrize("fault", FINAL)
@pytest.mark.parametrize("operation", REDEEMS)
def test_a_rejected_redemption_is_explained_after_the_receipt_and_a_manual_retry_redeems_once(
    saga: RedemptionScenario, operation: str, fault: str
) -> None:
    used = saga.buy()
    refused = used.assignment if operation == "redeemPromotion" else used.voucher
    saga.rig.fault(**FINAL[fault], operations=[operation], next=1)
    assert saga.rig.work() == ["parked"]
    event = saga.rig.event(used.event)
    assert event.error_code == "redemption_refused"
    assert refused in event.last_error
    assert saga.redeemed(refused) == 0
    receipt = saga.receipt(used)
    assert receipt is not None
    assert refused not in str(receipt.get("usedPromotions"))
    assert ("usedPromotions" in receipt) == (operation != "redeemPromotion")
    assert ("usedRewardVouchers" in receipt) == (operation == "redeemPromotion")
    saga.retry(used)
    assert saga.rig.event(used.event).state == "delivered"
    assert (saga.redeemed(used.assignment), saga.redeemed(used.voucher)) == (1, 1)
    assert saga.receipt(used) == receipt


@pytest.mark.parametrize("fault", FINAL)
@pytest.mark.parametrize("operation", LISTS)
def test_unreadable_lists_do_not_hold_back_the_receipt_and_are_explained(
    saga: RedemptionScenario, operation: str, fault: str
) -> None:
    used = saga.buy()
    saga.rig.fault(**FINAL[fault], operations=[operation], next=1)
    assert saga.rig.work() == ["parked"]
    assert saga.rig.event(used.event).error_code == "promotions_unreadable"
    assert saga.receipt(used) is not None
    saga.retry(used)
    assert saga.rig.event(used.event).state == "delivered"
    assert (saga.redeemed(used.assignment), saga.redeemed(used.voucher)) == (1, 1)


@pytest.mark.parametrize("fault", FINAL)
def test_a_retry_of_a_rejected_receipt_redeems_nothing_again(saga: RedemptionScenario, fault: str) -> None:
    used = saga.buy()
    saga.rig.fault(**FINAL[fault], operations=["createReceipt"], next=1)
    assert saga.rig.work() == ["parked"]
    assert (saga.redeemed(used.assignment), saga.redeemed(used.voucher)) == (1, 1)
    saga.retry(used)
    saga.is_whole(used)
    assert saga.rig.calls().count("redeemPromotion") == 1


def test_a_worker_that_dies_at_any_point_repeats_nothing_and_omits_nothing(rig: Any) -> None:
    saga = RedemptionScenario(rig)
    fuse = CrashPoint()
    fuse.wire(rig)
    used = saga.buy()
    rig.work()
    saga.is_whole(used)
    points = list(fuse.passed)
    assert {"committed intend", "before redeem_promotion", "after redeem_reward_voucher"} <= set(points)
    for at in range(len(points)):
        used = saga.buy()
        fuse.passed, fuse.at = [], at
        with pytest.raises(Crash):
            rig.work()
        fuse.at = None
        rig.clock.forward(LEASE_S + 1)
        rig.sweep.run(rig.clock())
        rig.work_for(100, step=20)
        saga.is_whole(used)
        receipt = saga.receipt(used)
        assert receipt is not None, points[at]
        assert receipt["times_received"] <= 2, points[at]


def test_a_call_that_succeeds_after_its_timeout_is_recognised_as_ours(saga: RedemptionScenario) -> None:
    """The first call succeeds between our lookup and our second call, which is answered with 409."""
    rig = saga.rig
    fuse = CrashPoint()
    fuse.wire(rig)
    used = saga.buy()
    rig.fault(error_rate=1.0, error_statuses=[500], operations=["redeemPromotion"], next=1)
    assert rig.work() == ["retry"]
    path = f"{rig.sandbox.url}/api/v3/promotion-assignments/{used.assignment}/redeem"
    headers = {"apikey": "key-web-se", "User-Agent": "Late/1.0", "Content-Type": "application/json"}

    def late(name: str) -> None:
        if name == "redeem_promotion":
            requests.post(path, json={"redemptionChannel": "ECOM"}, headers=headers, timeout=5)

    rig.transport.before = late
    rig.work_for(40, step=20)
    saga.is_whole(used)


def test_a_second_webhook_of_an_order_whose_first_was_discarded_finds_its_redemption(saga: RedemptionScenario) -> None:
    rig, used = saga.rig, saga.buy()
    rig.fault(done_but_504_rate=1.0, operations=["redeemPromotion"], next=1)
    assert rig.work() == ["retry"]
    rig.desk.discard(used.event, "a colleague's mistake", rig.clock())
    named = {"promotions": [{"assignment_id": used.assignment}], "vouchers": [{"number": used.number}]}
    used.event = rig.send("order.paid", order=order(used.order_id, **named))
    rig.work_for(40, step=20)
    saga.is_whole(used)


def test_a_redemption_at_a_till_long_after_our_failed_call_is_not_ours(saga: RedemptionScenario) -> None:
    rig, used = saga.rig, saga.buy()
    rig.fault(error_rate=1.0, error_statuses=[500], operations=["redeemPromotion"], next=1)
    assert rig.work() == ["retry"]
    rig.clock.forward(6 * 3600)
    _till(rig, used.assignment)
    rig.sweep.run(rig.clock())
    rig.work_for(40, step=20)
    event = rig.event(used.event)
    assert (event.state, event.error_code) == ("parked", "redeemed_elsewhere")
    assert "not by an order of this shop" in event.last_error
    receipt = saga.receipt(used)
    assert receipt is not None
    assert "usedPromotions" not in receipt
    saga.retry(used)
    assert rig.event(used.event).error_code == "redeemed_elsewhere"
    assert saga.receipt(used) == receipt


@pytest.mark.parametrize("shape", ["object-errorCode", "string", "html", "empty"])
def test_a_redemption_at_a_till_after_our_lookup_is_recognised_for_every_error(
    saga: RedemptionScenario, shape: str
) -> None:
    rig, used = saga.rig, saga.buy()
    rig.options(error_shape=shape)
    fuse = CrashPoint()
    fuse.wire(rig)
    rig.transport.before = lambda name: _till(rig, used.assignment) if name == "redeem_promotion" else None
    assert rig.work() == ["parked"]
    event = rig.event(used.event)
    assert event.error_code == "redeemed_elsewhere"
    assert {r.assignment_id: r.state for r in saga.stored(used)}[used.assignment] == RedemptionState.FAILED


def test_an_expired_promotion_is_distinguished_from_a_used_one(saga: RedemptionScenario) -> None:
    rig = saga.rig
    past = {"contactId": saga.contact, "promotionId": PROMOTION, "expiresOn": "2026-03-01T00:00:00Z"}
    (expired,) = rig.seed(assignments=[past])["assignments"]
    event = rig.send("order.paid", order=order("late", promotions=[{"assignment_id": expired}]))
    assert rig.work() == ["parked"]
    assert rig.event(event).error_code == "expired"


def test_a_code_beside_its_id_redeems_no_second_assignment(saga: RedemptionScenario) -> None:
    """The contact has two assignments with the same code; the order names one of them twice."""
    rig = saga.rig
    given = {"contactId": saga.contact, "promotionId": PROMOTION}
    # the code alone would select the first by id
    first, second = sorted(rig.seed(assignments=[given, given])["assignments"])
    for chosen, order_id in ((second, "a"), (first, "b")):
        rig.send("order.paid", order=order(order_id, promotions=[{"code": "SPRING20"}, {"assignment_id": chosen}]))
        assert rig.work() == ["delivered"]
        assert rig.receipts()[f"web-se-{order_id}"]["usedPromotions"] == [
            {"promotionId": PROMOTION, "couponId": chosen}
        ]


def test_a_voucher_is_found_by_a_code_when_the_shop_knows_only_codes(saga: RedemptionScenario) -> None:
    rig, used = saga.rig, saga.buy()
    rig.desk.discard(used.event, "not this one", rig.clock())
    event = rig.send("order.paid", order=order("c", promotions=[{"code": used.number.lower()}, {"code": "SUMMER"}]))
    assert rig.work() == ["delivered"], rig.event(event).last_error
    assert rig.receipts()["web-se-c"]["usedRewardVouchers"] == [{"voucherNumber": used.number}]
    assert saga.redeemed(used.voucher) == 1


def test_cached_lists_are_invalidated_with_the_redemption(saga: RedemptionScenario) -> None:
    rig, used = saga.rig, saga.buy()
    before = rig.stores.sync_states.generation(rig.standard, saga.contact)
    rig.fault(error_rate=1.0, error_statuses=[500], operations=["createReceipt"])
    assert rig.work() == ["retry"]
    assert saga.redeemed(used.assignment) == 1
    assert rig.stores.sync_states.generation(rig.standard, saga.contact) > before


def test_of_ten_orders_racing_for_one_promotion_one_wins_and_nine_are_explained(rig: Any) -> None:
    saga = RedemptionScenario(rig)
    given = {"contactId": saga.contact, "promotionId": PROMOTION}
    (assignment,) = rig.seed(assignments=[given])["assignments"]
    events = {}
    for number in range(10):
        link = Link(saga.contact, verified=True, reason="a test")
        rig.stores.links.save(rig.standard, f"c{number}", link, rig.clock())
        body = order(f"race{number}", customer={"id": f"c{number}"}, promotions=[{"assignment_id": assignment}])
        events[f"race{number}"] = rig.send("order.paid", order=body)
    claimed = rig.processor.claim(10)
    assert len(claimed) == 10
    start, outcomes = threading.Barrier(10), []

    def work(event: Any) -> None:
        start.wait(timeout=30)
        outcomes.append(rig.processor.work(event))

    threads = [threading.Thread(target=work, args=(event,)) for event in claimed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(outcomes) == ["delivered"] + ["parked"] * 9
    (winner,) = [name for name, event in events.items() if rig.event(event).state == "delivered"]
    for name, event in events.items():
        row = rig.event(event)
        if name != winner:
            assert row.error_code == "redeemed_by_other_order"
            assert name in row.last_error
            assert f"order {winner} first" in row.last_error
    assert saga.redeemed(assignment) == 1
    receipts = rig.receipts()
    assert len(receipts) == 10
    assert [name for name, r in receipts.items() if "usedPromotions" in r] == [f"web-se-{winner}"]


_faults = st.lists(
    st.tuples(st.sampled_from(CALLS), st.sampled_from([*TRANSIENT, *FINAL]), st.none() | st.integers(0, 14)), max_size=4
)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=_faults)
def test_random_faults_and_crashes_redeem_everything_once(
    saga: RedemptionScenario, script: list[tuple[str, str, int | None]]
) -> None:
    """Return a strategy of attempts: a fault at one operation, and perhaps a crash at some point."""
    rig, used, fuse = saga.rig, saga.buy(), CrashPoint()
    fuse.wire(rig)
    for operation, fault, crash_at in script:
        rig.fault(**(TRANSIENT | FINAL)[fault], operations=[operation], next=1)
        fuse.passed, fuse.at = [], crash_at
        try:
            rig.work()
        except Crash:
            rig.clock.forward(LEASE_S + 1)
        rig.no_faults()
        fuse.at = None
        rig.clock.forward(90)
        rig.sweep.run(rig.clock())
    rig.work_for(400, step=80)
    for _ in range(2):
        event = rig.event(used.event)
        assert event.state in {"delivered", "parked"}
        if event.state == "parked":
            assert event.last_error
            assert event.error_code
            saga.retry(used)
    assert rig.event(used.event).state == "delivered", rig.event(used.event).last_error
    assert (saga.redeemed(used.assignment), saga.redeemed(used.voucher)) == (1, 1)
    assert saga.receipt(used) is not None


def _till(rig: Any, assignment_id: str) -> None:
    headers = {"apikey": "a-till", "User-Agent": "Till/1.0", "Content-Type": "application/json"}
    path = f"{rig.sandbox.url}/api/v3/promotion-assignments/{assignment_id}/redeem"
    requests.post(path, json={"redemptionChannel": "POS"}, headers=headers, timeout=5).raise_for_status()
