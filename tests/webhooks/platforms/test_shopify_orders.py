"""Shopify's traps through inbox and sandbox: order, repeats, merges, guests, and what only its own topics say."""

from datetime import timedelta
from typing import Any

import pytest

from plugin.demo.bodies import paid_order, profile_change, signup
from plugin.demo.people import ADA
from plugin.store.tables.inbox import InboxEvent

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def person(rig: Any, number: int, email: str, *, at: int = 0, **changes: Any) -> dict[str, Any]:
    body = {**signup(rig.clock() + timedelta(seconds=at)), "phone": None, **changes}
    return {**body, "id": number, "admin_graphql_api_id": f"gid://shopify/Customer/{number}", "email": email}


def merge(kept: int, merged: int) -> dict[str, Any]:
    return {
        "admin_graphql_api_customer_kept_id": f"gid://shopify/Customer/{kept}",
        "admin_graphql_api_customer_deleted_id": f"gid://shopify/Customer/{merged}",
        "status": "completed",
    }


def link(rig: Any, number: int) -> Any:
    return rig.stores.links.find(rig.shopify, str(number))


def test_an_order_paid_twice_before_its_customer_is_known_is_sent_once(rig: Any) -> None:
    rig.send_shopify("orders/paid", paid_order(rig.clock()))
    rig.work()
    rig.send_shopify("customers/create", signup(rig.clock()))
    rig.send_shopify("orders/paid", paid_order(rig.clock()))
    rig.work()
    (receipt,) = rig.receipts().values()
    assert receipt["times_received"] == 1
    assert list(rig.contacts()) == [ADA["email"]]
    assert rig.parked() == []


def test_an_old_retry_does_not_undo_a_newer_change(rig: Any) -> None:
    rig.send_shopify("customers/create", signup(rig.clock()))
    rig.work()
    old = {**signup(rig.clock() + timedelta(seconds=10)), "last_name": "Old"}
    rig.send_shopify("customers/update", profile_change(rig.clock() + timedelta(seconds=60)))
    rig.work()
    rig.send_shopify("customers/update", old)
    rig.work()
    assert rig.contacts()[ADA["email"]]["attributes"]["lastName"] == "Lind"


def test_a_changed_email_stays_one_contact(rig: Any) -> None:
    rig.send_shopify("customers/create", person(rig, 7, "before@example.com"))
    rig.work()
    contact = link(rig, 7).contact_id
    rig.send_shopify("customers/update", person(rig, 7, "after@example.com", at=60))
    rig.work()
    assert {email: c["id"] for email, c in rig.contacts().items()} == {"after@example.com": contact}
    assert rig.parked() == []


def test_merged_customers_are_one_and_an_unknown_survivor_takes_the_contact_over(rig: Any) -> None:
    rig.send_shopify("customers/create", person(rig, 7, "one@example.com"))
    rig.work()
    contact = link(rig, 7).contact_id
    rig.send_shopify("customers/merge", merge(8, 7))
    rig.work()
    assert link(rig, 7) is None
    assert link(rig, 8).contact_id == contact


def test_a_merge_waits_for_earlier_events_of_the_merged_customer(rig: Any) -> None:
    rig.fault(error_rate=1, error_statuses=[503], next=1)
    rig.send_shopify("customers/create", person(rig, 7, "one@example.com"))
    assert rig.work() == ["retry"]
    rig.clock.forward(1)
    merging = rig.send_shopify("customers/merge", merge(8, 7))
    assert rig.work() == ["retry"]
    rig.work_for(30)
    rig.send_shopify("customers/update", person(rig, 8, "two@example.com"))
    rig.work()
    assert rig.event(merging).state == "delivered"
    assert list(rig.contacts()) == ["two@example.com"]
    assert link(rig, 7) is None


def test_a_signup_does_not_wait_for_its_own_merge(rig: Any) -> None:
    rig.send_shopify("customers/create", person(rig, 8, "one@example.com"))
    rig.work()
    rig.fault(error_rate=1, error_statuses=[503], next=1)
    late = rig.send_shopify("customers/create", person(rig, 7, "one@example.com"))
    rig.work()
    rig.clock.forward(1)
    rig.send_shopify("customers/merge", merge(8, 7))
    rig.work_for(30)
    assert rig.event(late).state == "delivered"
    assert link(rig, 7) is None


@pytest.mark.parametrize("who", [7, 8])
def test_a_merge_moves_the_opt_out_of_a_customer_without_a_contact(rig: Any, who: int) -> None:
    said = rig.clock()
    consent = {"state": "unsubscribed", "opt_in_level": "single_opt_in", "consent_updated_at": said.isoformat()}
    no = {"customer_id": who, "email_address": f"{who}@example.com", "email_marketing_consent": consent}
    rig.send_shopify("customers_email_marketing_consent/update", no)
    rig.work_for(3600, 300)
    assert rig.contacts() == {}
    rig.send_shopify("customers/create", person(rig, 15 - who, "one@example.com"))
    rig.work()
    rig.send_shopify("customers/merge", merge(8, 7))
    rig.work()
    assert rig.contacts()["one@example.com"]["preferences"]["acceptsEmail"] is False


def test_an_opt_out_survives_a_merge_of_two_customers_without_a_contact(rig: Any) -> None:
    def says(who: int, state: str, at: str) -> None:
        consent = {"state": state, "opt_in_level": "single_opt_in", "consent_updated_at": at}
        told = {"customer_id": who, "email_address": "one@example.com", "email_marketing_consent": consent}
        rig.send_shopify("customers_email_marketing_consent/update", told)

    before, said = rig.clock().isoformat(), rig.clock.forward(60).isoformat()
    says(7, "unsubscribed", said)
    rig.work_for(3600, 300)
    rig.send_shopify("customers/merge", merge(8, 7))
    rig.work()
    rig.send_shopify("customers/create", person(rig, 8, "one@example.com"))
    rig.work()
    says(8, "subscribed", before)
    rig.work()
    assert rig.contacts()["one@example.com"]["preferences"]["acceptsEmail"] is False


def test_a_merge_moves_orders_and_they_are_erased_with_the_remaining_customer(rig: Any) -> None:
    bought = rig.send_shopify("orders/paid", paid_order(rig.clock()))
    rig.work()
    (receipt,) = rig.receipts()
    order_id = receipt.removeprefix("kiosk-")
    buyer = rig.stores.orders.get(rig.shopify, order_id).customer_id
    rig.send_shopify("customers/merge", merge(8, int(buyer)))
    rig.work()
    assert [order.order_id for order in rig.stores.orders.newest_of(rig.shopify, "8")] == [order_id]
    rig.send_shopify("customers/delete", {"id": 8})
    rig.work()
    left = rig.stores.orders.get(rig.shopify, order_id)
    assert (left.customer_id, left.details) == (None, {})
    with rig.database.reading() as session:
        assert session.get(InboxEvent, bought).body is None


def test_two_contacts_of_merged_customers_are_reported_and_stay_two(rig: Any) -> None:
    for number, email in ((7, "one@example.com"), (8, "two@example.com")):
        rig.send_shopify("customers/create", person(rig, number, email))
    rig.work()
    event = rig.send_shopify("customers/merge", merge(8, 7))
    rig.work()
    assert "two contacts" in rig.steps(event)
    assert len(rig.contacts()) == 2
    assert link(rig, 7) is None


def test_a_consent_is_read_from_its_own_topic_only(rig: Any) -> None:
    bought = {
        **paid_order(rig.clock()),
        "buyer_accepts_marketing": True,
        "email_marketing_consent": {"state": "subscribed"},
    }
    rig.send_shopify("customers/create", {**signup(rig.clock()), "accepts_marketing": True})
    rig.send_shopify("orders/paid", bought)
    rig.work()
    preferences = lambda: rig.contacts()[ADA["email"]]["preferences"]  # noqa: E731
    assert not preferences().get("acceptsEmail")
    says = {"customer_id": ADA["id"], "email_address": ADA["email"]}
    for state, minutes, wanted in (
        ("pending", 1, False),
        ("subscribed", 5, True),
        ("unsubscribed", 9, False),
        ("subscribed", 7, False),
    ):
        at = (rig.clock() + timedelta(minutes=minutes - 10)).isoformat()
        consent = {"state": state, "opt_in_level": "single_opt_in", "consent_updated_at": at}
        rig.send_shopify("customers_email_marketing_consent/update", {**says, "email_marketing_consent": consent})
        rig.work()
        assert bool(preferences().get("acceptsEmail")) is wanted, state


def test_an_opt_in_from_the_future_is_overridden_by_a_later_opt_out(rig: Any) -> None:
    rig.send_shopify("customers/create", signup(rig.clock()))
    says = {"customer_id": ADA["id"], "email_address": ADA["email"]}
    for state, years in (("subscribed", 10), ("unsubscribed", 0)):
        rig.clock.forward(60)
        at = (rig.clock() + timedelta(days=365 * years)).isoformat()
        consent = {"state": state, "opt_in_level": "single_opt_in", "consent_updated_at": at}
        rig.send_shopify("customers_email_marketing_consent/update", {**says, "email_marketing_consent": consent})
        rig.work()
    assert rig.contacts()[ADA["email"]]["preferences"]["acceptsEmail"] is False


def test_an_order_with_another_persons_email_changes_nothing_of_their_contact(rig: Any) -> None:
    rig.send_shopify("customers/create", signup(rig.clock()))
    rig.work()
    before = rig.contacts()[ADA["email"]]["attributes"]
    buyer = {"id": 666, "email": None, "phone": "+46701111111", "verified_email": True, "first_name": "Mallory"}
    rig.clock.forward(60)
    rig.send_shopify("orders/paid", {**paid_order(rig.clock()), "customer": buyer, "email": ADA["email"]})
    rig.work()
    assert rig.contacts()[ADA["email"]]["attributes"] == before
    assert not link(rig, 666).verified
    assert len(rig.receipts()) == 1


def test_an_order_without_a_customer_is_ignored_with_the_reason(rig: Any) -> None:
    nobody = {**paid_order(rig.clock()), "customer": None, "email": "", "contact_email": None, "phone": None}
    event = rig.send_shopify("orders/paid", nobody)
    rig.work()
    assert rig.event(event).state == "ignored"
    assert rig.receipts() == {}
