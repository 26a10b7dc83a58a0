"""Orders, refunds and redemptions: what Engage receives, field by field."""

from typing import Any

import pytest
from support.bodies import PROMOTION, customer, order, promotion, refund

RECEIPT = "web-se-9001"


@pytest.fixture
def assigned(rig: Any) -> str:
    """Sign a customer up, assign a promotion, and return the assignment's id."""
    rig.send("customer.created", customer=customer())
    rig.work()
    rig.seed(promotions=[promotion()])
    contact_id = rig.contacts()["ada@example.com"]["id"]
    (assignment_id,) = rig.seed(assignments=[{"contactId": contact_id, "promotionId": PROMOTION}])["assignments"]
    return assignment_id


def test_a_paid_order_becomes_one_receipt_field_by_field(rig: Any) -> None:
    rig.stores.shops.change("web-se", {"group_currency": "SEK", "time_zone": "Europe/Stockholm"})
    rig.send("order.paid", order=order(paid_at="2026-03-05T08:30:00+00:00"))
    assert rig.work() == ["delivered"]
    receipt = rig.receipts()[RECEIPT]
    assert receipt["contact"] == {"matchKey": rig.contacts()["ada@example.com"]["id"], "matchKeyType": "contactId"}
    expected = {
        "receiptNumber": "N9001",
        "createdDate": "2026-03-05T09:30:00+01:00",
        "storeExternalId": "web-se",
        "currency": "SEK",
        "exchangeRateToGroupCurrency": 1,
        "totalGrossPrice": 299.00,
        "paymentMethods": [{"type": "card", "value": 299.00}],
        "taxDetails": [{"value": 59.80, "percent": 25}],
        "items": [
            {
                "type": "PURCHASE",
                "sku": "CAP-1",
                "quantity": 1,
                "grossPaidPrice": 250.00,
                "taxAmount": 50.00,
                "taxPercent": 25,
                "articleNumber": "CAP-1",
                "articleName": "Cap",
                "discounts": [{"value": -50.00, "type": "discount", "description": "Spring"}],
            },
            {
                "type": "PURCHASE",
                "sku": "SHIPPING",
                "quantity": 1,
                "grossPaidPrice": 49.00,
                "taxAmount": 9.80,
                "taxPercent": 25,
                "articleNumber": "SHIPPING",
                "articleName": "Parcel",
                "awardsBonus": False,
            },
        ],
    }
    assert {name: receipt[name] for name in expected} == expected


def test_an_order_is_sent_once_however_often_it_is_reported_paid(rig: Any) -> None:
    for _ in range(3):
        rig.send("order.paid", order=order())
    assert rig.work() == ["delivered"] * 3
    assert rig.receipts()[RECEIPT]["times_received"] == 1


def test_a_guest_becomes_a_contact_of_the_guests_type(rig: Any) -> None:
    rig.send("order.paid", order=order(customer={"email": "grace@example.com"}))
    assert rig.work() == ["delivered"]
    assert rig.contacts()["grace@example.com"]["attributes"]["contactType"] == "Contact"


def test_an_order_without_a_customer_is_ignored_and_so_is_its_refund(rig: Any) -> None:
    paid = rig.send("order.paid", order=order(customer=None))
    assert rig.work() == ["ignored"]
    assert rig.event(paid).last_error == "the order has no customer id, e-mail or phone"
    back = rig.send("order.refunded", refund=refund())
    assert rig.work() == ["ignored"]
    assert rig.event(back).state == "ignored"


def test_an_order_that_gets_a_customer_later_has_its_returns(rig: Any) -> None:
    rig.send("order.paid", order=order(customer={}))
    assert rig.work() == ["ignored"]
    rig.clock.forward(1)
    rig.send("order.paid", order=order())
    rig.clock.forward(1)
    rig.send("order.refunded", refund=refund())
    assert rig.work_for(20) == ["delivered", "delivered"]
    assert sorted(rig.receipts()) == ["web-se-9001", "web-se-9001-RR1"]
    kept = rig.stores.orders.get(rig.standard, "9001")
    assert (kept.customer_id, kept.contact_id) == ("1001", rig.contacts()["ada@example.com"]["id"])


def test_a_guest_order_has_its_returns_once_guest_orders_are_enabled(rig: Any) -> None:
    rig.stores.shops.change("web-se", {"guest_orders": "no"})
    guest = order(customer={"email": "ada@example.com"})
    rig.send("order.paid", order=guest)
    assert rig.work() == ["ignored"]
    rig.stores.shops.change("web-se", {"guest_orders": "yes"})
    rig.clock.forward(1)
    rig.send("order.paid", order=guest)
    rig.clock.forward(1)
    rig.send("order.refunded", refund=refund())
    assert rig.work_for(20) == ["delivered", "delivered"]
    assert sorted(rig.receipts()) == ["web-se-9001", "web-se-9001-RR1"]


def test_the_record_of_a_sent_order_stays_as_it_was_first_paid(rig: Any) -> None:
    rig.send("order.paid", order=order())
    rig.work()
    before = rig.stores.orders.get(rig.standard, "9001")
    rig.clock.forward(1)
    rig.send("order.paid", order=order(customer=customer(id="1002", email="eve@example.com")))
    rig.work()
    assert rig.stores.orders.get(rig.standard, "9001") == before


def test_guest_orders_can_be_disabled(rig: Any) -> None:
    rig.stores.shops.change("web-se", {"guest_orders": "no"})
    rig.send("order.paid", order=order(customer={"email": "grace@example.com"}))
    assert rig.work() == ["ignored"]
    assert rig.contacts() == {}


def test_an_order_before_its_signup_creates_the_contact_that_the_signup_finds(rig: Any) -> None:
    rig.send("order.paid", order=order())
    rig.work()
    rig.clock.forward(1)
    rig.send("customer.created", customer=customer())
    rig.work()
    assert len(rig.contacts()) == 1


def test_lines_that_do_not_add_up_park_the_event_with_both_sums(rig: Any) -> None:
    event = rig.send("order.paid", order=order(total="300.00"))
    assert rig.work() == ["parked"]
    shown = rig.event(event)
    assert "299.00" in shown.last_error
    assert "300.00" in shown.last_error
    assert shown.error_code == "payload:order.lines"


def test_a_country_selects_its_store_and_others_the_default_store(rig: Any) -> None:
    rig.seed(stores=[{"externalId": "web-no", "name": "Norway"}])
    rig.stores.shops.change("web-se", {"country_stores": "NO:web-no"})
    rig.send("order.paid", order=order("1", country_code="NO"))
    rig.send("order.paid", order=order("2", country_code="DK"))
    rig.work()
    assert rig.receipts()["web-se-1"]["storeExternalId"] == "web-no"
    assert rig.receipts()["web-se-2"]["storeExternalId"] == "web-se"


@pytest.mark.parametrize(
    ("settings", "shop_money", "rate"),
    [
        ({"group_currency": "SEK"}, {}, 1),
        ({"group_currency": "EUR"}, {"shop_currency": "EUR", "shop_total": "26.00"}, 0.08695652),
        ({"group_currency": "EUR"}, {}, None),
        ({}, {}, None),
    ],
)
def test_the_exchange_rate_is_the_orders_own_or_left_out(
    rig: Any, settings: dict[str, str], shop_money: dict[str, str], rate: float | None
) -> None:
    rig.stores.shops.change("web-se", settings)
    rig.send("order.paid", order=order(**shop_money))
    rig.work()
    assert rig.receipts()[RECEIPT].get("exchangeRateToGroupCurrency") == rate


def test_a_refund_becomes_a_return_receipt_with_the_documented_signs(rig: Any) -> None:
    rig.send("order.paid", order=order())
    rig.clock.forward(60)
    rig.send("order.refunded", refund=refund())
    assert rig.work() == ["delivered", "delivered"]
    receipt = rig.receipts()[f"{RECEIPT}-RR1"]
    assert receipt["totalGrossPrice"] == -250.00
    assert receipt["paymentMethods"] == [{"type": "card", "value": -250.00}]
    (item,) = receipt["items"]
    expected = {"type": "RETURN", "sku": "CAP-1", "quantity": -1, "grossPaidPrice": 250.00, "taxAmount": 50.00}
    assert {name: item[name] for name in expected} == expected


def test_a_refunded_amount_without_lines_is_one_return_line(rig: Any) -> None:
    rig.send("order.paid", order=order())
    rig.clock.forward(60)
    rig.send("order.refunded", refund=refund(total="20.00", lines=[], payments=[]))
    rig.work()
    (item,) = rig.receipts()[f"{RECEIPT}-RR1"]["items"]
    assert (item["sku"], item["quantity"], item["grossPaidPrice"]) == ("REFUND", -1, 20.00)


def test_a_refund_that_arrives_before_its_order_waits_for_it(rig: Any) -> None:
    back = rig.send("order.refunded", refund=refund())
    assert rig.work() == ["retry"]
    rig.clock.forward(1)
    rig.send("order.paid", order=order())
    rig.work_for(60)
    assert rig.event(back).state == "delivered"


def test_a_refund_whose_order_never_arrives_is_parked(rig: Any) -> None:
    back = rig.send("order.refunded", refund=refund())
    rig.work_for(3 * 3600, step=60)
    assert rig.event(back).state == "parked"
    assert rig.event(back).error_code.startswith("gave_up")


def test_a_cancellation_makes_no_receipt(rig: Any) -> None:
    rig.send("order.paid", order=order())
    rig.send("order.cancelled", order={"id": "9001"})
    assert rig.work() == ["delivered", "delivered"]
    assert list(rig.receipts()) == [RECEIPT]


def test_a_used_promotion_is_redeemed_once_and_named_on_the_receipt(rig: Any, assigned: str) -> None:
    rig.send("order.paid", order=order(promotions=[{"code": "spring20"}]))
    assert rig.work() == ["delivered"]
    assert rig.receipts()[RECEIPT]["usedPromotions"] == [{"promotionId": PROMOTION, "couponId": assigned}]
    assert len(rig.redemptions()) == 1
    calls = rig.calls()
    assert calls.index("redeemPromotion") < calls.index("createReceipt")


def test_a_code_unknown_to_engage_is_the_shops_own_discount(rig: Any, assigned: str) -> None:
    rig.send("order.paid", order=order(promotions=[{"code": "SUMMER"}]))
    assert rig.work() == ["delivered"]
    assert rig.redemptions() == []
    assert "usedPromotions" not in rig.receipts()[RECEIPT]


def test_a_mix_up_of_a_promotions_three_ids_is_explained(rig: Any, assigned: str) -> None:
    event = rig.send("order.paid", order=order(promotions=[{"assignment_id": PROMOTION}]))
    assert rig.work() == ["parked"]
    assert rig.event(event).error_code == "not_an_assignment_id"
    assert RECEIPT in rig.receipts()


@pytest.mark.parametrize("fault", [{"done_but_504_rate": 1.0}, {"done_but_dropped_rate": 1.0}])
def test_a_redemption_whose_answer_was_lost_is_redeemed_once(rig: Any, assigned: str, fault: dict[str, float]) -> None:
    rig.fault(**fault, operations=["redeemPromotion"], next=1)
    rig.send("order.paid", order=order(promotions=[{"assignment_id": assigned}]))
    assert rig.work() == ["retry"]
    assert RECEIPT not in rig.receipts()
    rig.work_for(20)
    assert rig.receipts()[RECEIPT]["usedPromotions"] == [{"promotionId": PROMOTION, "couponId": assigned}]
    assert rig.calls().count("redeemPromotion") == 1


def test_a_promotion_used_in_a_store_meanwhile_parks_the_order_after_its_receipt(rig: Any, assigned: str) -> None:
    import requests

    headers = {"apikey": "a-till", "User-Agent": "Till/1.0", "Content-Type": "application/json"}
    path = f"{rig.sandbox.url}/api/v3/promotion-assignments/{assigned}/redeem"
    requests.post(path, json={"redemptionChannel": "POS"}, headers=headers, timeout=5).raise_for_status()
    event = rig.send("order.paid", order=order(promotions=[{"assignment_id": assigned}]))
    assert rig.work() == ["parked"]
    assert rig.event(event).error_code == "redeemed_elsewhere"
    assert "usedPromotions" not in rig.receipts()[RECEIPT]


def test_of_two_orders_for_one_promotion_the_first_wins_and_the_other_is_explained(rig: Any, assigned: str) -> None:
    rig.send("order.paid", order=order("1", promotions=[{"assignment_id": assigned}]))
    second = rig.send("order.paid", order=order("2", promotions=[{"assignment_id": assigned}]))
    assert rig.work() == ["delivered", "parked"]
    assert "order 1" in rig.event(second).last_error
    assert len(rig.redemptions()) == 1
    assert len(rig.receipts()) == 2


def test_a_failing_redemption_no_longer_holds_back_the_receipt_after_redeem_wait(rig: Any, assigned: str) -> None:
    rig.fault(error_rate=1.0, error_statuses=[503], operations=["redeemPromotion"])
    event = rig.send("order.paid", order=order(promotions=[{"assignment_id": assigned}]))
    rig.work_for(3000, step=100)
    assert RECEIPT not in rig.receipts()
    rig.work_for(4000, step=100)
    assert RECEIPT in rig.receipts()
    assert rig.event(event).state == "pending"
    rig.no_faults()
    rig.work_for(4000, step=100)
    assert rig.event(event).state == "delivered"
    assert rig.calls().count("createReceipt") == 1


def test_a_purchase_updates_the_contacts_address(rig: Any) -> None:
    rig.send("customer.created", customer=customer())
    rig.work()
    rig.clock.forward(60)
    moved = customer(address={"street": "Nygatan 7", "zip_code": "222 22", "city": "Lund", "country_code": "SE"})
    rig.send("order.paid", order=order(customer=moved, paid_at=rig.clock().isoformat()))
    rig.work()
    assert rig.contacts()["ada@example.com"]["attributes"]["city"] == "Lund"


def test_a_receipt_whose_answer_was_lost_is_stored_once(rig: Any) -> None:
    rig.fault(done_but_504_rate=1.0, operations=["createReceipt"], next=1)
    rig.send("order.paid", order=order())
    assert rig.work() == ["retry"]
    rig.work_for(20)
    assert rig.receipts()[RECEIPT]["times_received"] == 2
    assert len(rig.receipts()) == 1
