"""Reactivating after a cancellation or complete return, where Engage allows it, and at most once per order."""

from itertools import count
from typing import Any

import pytest
import requests
from support.bodies import PROMOTION, customer, order, promotion, refund
from support.crash_points import Crash, CrashPoint

from plugin.store.orders.redemptions import RedemptionState

PATH = "/api/v3/promotion-assignments/{assignmentId}/reactivate"
LEASE_S = 60


class Returns:
    """A member with one promotion and one voucher, and orders that use them."""

    def __init__(self, rig: Any) -> None:
        self.rig, self._numbers = rig, count(1)
        rig.send("customer.created", customer=customer())
        rig.work()
        rig.seed(promotions=[promotion()])
        self.contact = rig.contacts()["ada@example.com"]["id"]
        voucher = {"contactId": self.contact, "voucherNumber": "V-1", "value": {"amount": 50, "currency": "SEK"}}
        given = {"contactId": self.contact, "promotionId": PROMOTION}
        made = rig.seed(assignments=[given], vouchers=[voucher])
        self.assignment, self.voucher = made["assignments"][0], made["vouchers"][0]

    def buy(self, order_id: str = "9001", *, promotions: bool = True, **changes: Any) -> int:
        self.rig.clock.forward(60)
        used = {"vouchers": [{"number": "V-1"}]}
        if promotions:
            used["promotions"] = [{"assignment_id": self.assignment}]
        event: int = self.rig.send("order.paid", order=order(order_id, **used, **changes))
        assert self.rig.work()[-1] == "delivered", self.rig.event(event).last_error
        return event

    def cancel(self, order_id: str = "9001") -> int:
        self.rig.clock.forward(60)
        event: int = self.rig.send("order.cancelled", order={"id": order_id})
        return event

    def give_money_back(self, refund_id: str = "R1", **changes: Any) -> int:
        self.rig.clock.forward(60)
        event: int = self.rig.send("order.refunded", refund=refund("9001", refund_id, **changes))
        return event

    def outcomes(self, item: str) -> list[str]:
        return [r["outcome"] for r in self.rig.redemptions() if r["id"] == item]

    def state(self, item: str) -> tuple[str, int]:
        (row,) = [r for r in self.rig.stores.redemptions.find(self.rig.standard) if r.assignment_id == item]
        return row.state.value, row.reactivations

    def said(self, event: int) -> str:
        return " ".join(entry.outcome for entry in self.rig.desk.show(event)[1])


@pytest.fixture
def returns(rig: Any) -> Returns:
    return Returns(rig)


def test_a_cancellation_reactivates_the_voucher_and_by_default_not_the_promotion(returns: Returns) -> None:
    returns.buy()
    generation = returns.rig.stores.sync_states.generation(returns.rig.standard, returns.contact)
    event = returns.cancel()
    assert returns.rig.work() == ["delivered"]
    assert returns.outcomes(returns.voucher) == ["Redeemed", "Reactivated"]
    assert returns.outcomes(returns.assignment) == ["Redeemed"]
    assert returns.state(returns.voucher) == ("given_back", 1)
    assert "reactivate_promotions is empty" in returns.said(event)
    assert returns.rig.stores.sync_states.generation(returns.rig.standard, returns.contact) > generation


def test_a_promotion_is_reactivated_when_the_setting_names_the_tenants_path(returns: Returns) -> None:
    returns.rig.options(reactivate_promotions=True)
    returns.rig.stores.shops.change("web-se", {"reactivate_promotions": PATH})
    returns.buy()
    returns.cancel()
    assert returns.rig.work() == ["delivered"]
    assert returns.outcomes(returns.assignment) == ["Redeemed", "Reactivated"]


def test_a_tenant_without_the_reactivation_path_parks_the_event(returns: Returns) -> None:
    returns.rig.stores.shops.change("web-se", {"reactivate_promotions": PATH})
    returns.buy()
    event = returns.cancel()
    assert returns.rig.work() == ["parked"]
    assert returns.rig.event(event).error_code == "not_given_back"
    assert returns.state(returns.assignment) == ("redeemed", 0)
    assert returns.state(returns.voucher) == ("given_back", 1)


@pytest.mark.parametrize("value", ["/api/v3/x", "https://evil.example/{assignmentId}", "/api/{assignmentId}?a=b", "x"])
def test_an_invalid_reactivation_path_is_rejected(returns: Returns, value: str) -> None:
    from plugin.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="assignmentId"):
        returns.rig.stores.shops.change("web-se", {"reactivate_promotions": value})


def test_a_partial_return_reactivates_nothing_and_the_rest_reactivates_all_once(returns: Returns) -> None:
    lines = [
        {"id": "1", "sku": "CAP-1", "name": "Cap", "quantity": 2, "gross_paid": "250.00", "tax_amount": "50.00", "tax_percent": 25}
    ]  # fmt: skip
    returns.buy(lines=lines, total="250.00", payments=[{"type": "card", "amount": "250.00"}])
    half = {
        "total": "125.00",
        "lines": [{"id": "1", "quantity": 1, "gross_paid": "125.00", "tax_amount": "25.00"}],
        "payments": [{"type": "card", "amount": "125.00"}],
    }
    returns.give_money_back("R1", **half)
    assert returns.rig.work() == ["delivered"]
    assert returns.outcomes(returns.voucher) == ["Redeemed"]
    returns.give_money_back("R2", **half)
    returns.cancel()
    assert returns.rig.work() == ["delivered"] * 2
    assert returns.outcomes(returns.voucher) == ["Redeemed", "Reactivated"]
    assert returns.state(returns.voucher) == ("given_back", 1)


def test_a_refund_of_all_money_is_a_complete_return_and_of_some_is_not(returns: Returns) -> None:
    returns.buy()
    returns.give_money_back("R1", total="298.99", lines=[], payments=[])
    assert returns.rig.work() == ["delivered"]
    assert returns.outcomes(returns.voucher) == ["Redeemed"]
    returns.give_money_back("R2", total="0.01", lines=[], payments=[])
    assert returns.rig.work() == ["delivered"]
    assert returns.outcomes(returns.voucher) == ["Redeemed", "Reactivated"]


def test_an_order_paid_by_a_promotion_alone_is_returned_without_money(returns: Returns) -> None:
    free = [{"id": "1", "sku": "CAP-1", "name": "Cap", "quantity": 1, "gross_paid": "0.00", "tax_amount": "0.00"}]
    returns.buy(lines=free, total="0.00", payments=[])
    back = {"total": "0.00", "lines": [{"id": "1", "quantity": 1, "gross_paid": "0.00", "tax_amount": "0.00"}]}
    event = returns.give_money_back("R1", **back, payments=[])
    assert returns.rig.work() == ["delivered"], returns.rig.event(event).last_error
    assert returns.outcomes(returns.voucher) == ["Redeemed", "Reactivated"]
    assert list(returns.rig.receipts()) == ["web-se-9001"]


def test_a_voucher_is_reactivated_three_times_and_not_a_fourth(returns: Returns) -> None:
    returns.rig.options(max_voucher_reactivations=10)  # our own limit applies, whatever Engage allows
    for number in range(4):
        returns.buy(f"o{number}", promotions=False)
        event = returns.cancel(f"o{number}")
        assert returns.rig.work() == ["delivered"]
    assert returns.outcomes(returns.voucher).count("Reactivated") == 3
    assert returns.state(returns.voucher) == ("redeemed", 3)
    assert "reactivated 3 times" in returns.said(event)


def test_a_reactivation_that_engage_no_longer_allows_is_noted_and_parks_nothing(returns: Returns) -> None:
    returns.rig.options(max_voucher_reactivations=0)
    returns.buy(promotions=False)
    event = returns.cancel()
    assert returns.rig.work() == ["delivered"]
    assert "ReactivationLimitReached" in returns.said(event)
    assert returns.state(returns.voucher) == ("redeemed", 0)


def test_a_reactivated_voucher_belongs_to_the_next_order_that_uses_it(returns: Returns) -> None:
    returns.buy("first", promotions=False)
    returns.cancel("first")
    returns.rig.work()
    returns.buy("second", promotions=False)
    returns.cancel("first")
    assert returns.rig.work() == ["delivered"]
    assert returns.outcomes(returns.voucher) == ["Redeemed", "Reactivated", "Redeemed"]
    assert returns.state(returns.voucher) == ("redeemed", 1)


@pytest.mark.parametrize(
    "fault", [{"done_but_504_rate": 1.0}, {"done_but_dropped_rate": 1.0}, {"error_rate": 1.0, "error_statuses": [500]}]
)
def test_a_lost_answer_reactivates_once(returns: Returns, fault: dict[str, Any]) -> None:
    returns.buy(promotions=False)
    returns.rig.fault(**fault, operations=["reactivateRewardVoucher"], next=1)
    event = returns.cancel()
    assert returns.rig.work() == ["retry"]
    assert returns.state(returns.voucher)[0] == "giving_back"
    returns.rig.work_for(40, step=20)
    assert returns.rig.event(event).state == "delivered"
    assert returns.outcomes(returns.voucher) == ["Redeemed", "Reactivated"]
    assert returns.state(returns.voucher) == ("given_back", 1)


def test_a_voucher_used_again_after_a_lost_answer_is_not_reactivated_twice(returns: Returns) -> None:
    returns.buy(promotions=False)
    returns.rig.fault(done_but_504_rate=1.0, operations=["reactivateRewardVoucher"], next=1)
    event = returns.cancel()
    assert returns.rig.work() == ["retry"]
    headers = {"apikey": "a-till", "User-Agent": "Till/1.0", "Content-Type": "application/json"}
    path = f"{returns.rig.sandbox.url}/api/v3/reward-vouchers/{returns.voucher}/redeem"
    requests.post(path, headers=headers, timeout=5).raise_for_status()
    returns.rig.work_for(40, step=20)
    assert returns.rig.event(event).state == "delivered"
    assert returns.outcomes(returns.voucher) == ["Redeemed", "Reactivated", "Redeemed"]
    assert "used again" in returns.said(event)


def test_a_refund_whose_worker_dies_at_any_point_reactivates_once(returns: Returns) -> None:
    rig = returns.rig
    rig.options(max_voucher_reactivations=1000)
    fuse = CrashPoint()
    fuse.wire(rig)
    at = 0
    while True:
        with rig.database.transaction() as session:
            rig.stores.redemptions.write(session, rig.standard, "voucher", returns.voucher, reactivations=0)
        before = len(returns.outcomes(returns.voucher))
        fuse.at = None
        returns.buy(f"o{at}", promotions=False)
        rig.clock.forward(60)
        event = rig.send("order.refunded", refund=refund(f"o{at}", "R1"))
        fuse.passed, fuse.at = [], at
        try:
            rig.work()
        except Crash:
            fuse.at = None
            rig.clock.forward(LEASE_S + 1)
            rig.sweep.run(rig.clock())
            rig.work_for(40, step=20)
        else:
            break
        assert rig.event(event).state == "delivered"
        assert returns.outcomes(returns.voucher)[before:] == ["Redeemed", "Reactivated"], at
        at += 1
    assert at > 6


def test_an_order_cancelled_while_its_redemption_waits_is_not_redeemed_later(returns: Returns) -> None:
    rig = returns.rig
    rig.stores.shops.change("web-se", {"redeem_wait_s": "0", "give_up_after_h": "1"})
    rig.fault(error_rate=1.0, error_statuses=[503], operations=["redeemPromotion"])
    used = {"promotions": [{"assignment_id": returns.assignment}]}
    paid = rig.send("order.paid", order=order(**used))
    rig.work_for(3 * 3600, step=300)
    assert rig.event(paid).state == "parked"
    assert returns.state(returns.assignment)[0] == RedemptionState.INTENDED
    rig.no_faults()
    returns.cancel()
    assert rig.work() == ["delivered"]
    assert returns.state(returns.assignment)[0] == RedemptionState.FAILED
    rig.desk.retry([paid], rig.clock())
    assert rig.work() == ["delivered"]
    assert returns.outcomes(returns.assignment) == []
    assert "order was cancelled" in returns.said(paid)
