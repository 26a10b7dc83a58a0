"""Signup, profile change, consent, merge and erasure change the contact in Engage."""

import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from support.bodies import customer, order, refund

from plugin.events import MappingResult, OrderRefunded
from plugin.platforms.registry import normalise
from plugin.store.privacy.data_requests import DataRequests, DataSubject
from plugin.store.privacy.person_erasure import RETAINED_DETAILS
from plugin.store.sync.backfill_runs import RejectedRow
from plugin.store.tables.inbox import InboxEvent
from plugin.store.tables.shops import Shop
from plugin.store.tables.sync import BackfillRefusal, Erasure

MEMBER = {"first_name": "Ada", "last_name": "Berg"}


def test_a_signup_creates_a_member_with_all_that_the_shop_knows(rig: Any) -> None:
    event = rig.send("customer.created", customer=customer())
    assert rig.work() == ["delivered"]
    contact = rig.contacts()["ada@example.com"]
    expected = {
        "contactType": "Member",
        "email": "ada@example.com",
        "mobilePhone": "+46701234567",
        "firstName": "Ada",
        "lastName": "Berg",
        "street": "Storgatan 1",
        "zipCode": "111 22",
        "city": "Stockholm",
        "countryCode": "SE",
        "externalId": "1001",
    }
    assert {name: contact["attributes"][name] for name in expected} == expected
    link = rig.stores.links.find(rig.standard, "1001")
    assert (link.contact_id, link.verified, link.reason) == (contact["id"], True, "created")
    assert rig.event(event).state == "delivered"
    assert rig.calls() == ["findContactId", "createContact"]


def test_a_signup_of_a_guest_contact_upgrades_it_to_member(rig: Any) -> None:
    (contact_id,) = rig.seed(contacts=[{"contactType": "Contact", "email": "ada@example.com"}])["contacts"]
    rig.send("customer.created", customer=customer())
    assert rig.work() == ["delivered"]
    (contact,) = rig.contacts().values()
    assert contact["id"] == contact_id
    assert contact["attributes"]["firstName"] == "Ada"
    assert rig.calls()[-2:] == ["getContact", "updateContactType"]
    rig.send("customer.created", customer=customer())
    rig.work()
    assert rig.calls().count("updateContactType") == 1


def test_an_unverified_email_never_changes_another_persons_contact(rig: Any) -> None:
    rig.seed(contacts=[{"contactType": "Member", "email": "ada@example.com", "firstName": "Owner"}])
    event = rig.send("customer.created", customer=customer(email_verified=False, first_name="Mallory"))
    assert rig.work() == ["ignored"]
    assert rig.contacts()["ada@example.com"]["attributes"]["firstName"] == "Owner"
    assert "vouch" in rig.event(event).last_error
    assert rig.stores.links.count_unverified(rig.standard) == 1
    change = rig.send("customer.updated", customer=customer(email_verified=False, first_name="Mallory"))
    rig.work()
    assert rig.event(change).state == "ignored"
    assert rig.contacts()["ada@example.com"]["attributes"]["firstName"] == "Owner"


def test_a_receipt_goes_over_an_unverified_link_and_changes_nothing(rig: Any) -> None:
    rig.seed(contacts=[{"contactType": "Member", "email": "ada@example.com", "firstName": "Owner"}])
    rig.send("order.paid", order=order(customer=customer(email_verified=False, first_name="Mallory")))
    assert rig.work() == ["delivered"]
    assert len(rig.receipts()) == 1
    assert rig.contacts()["ada@example.com"]["attributes"]["firstName"] == "Owner"


def test_a_later_verified_email_makes_the_link_verified(rig: Any) -> None:
    rig.seed(contacts=[{"contactType": "Member", "email": "ada@example.com"}])
    rig.send("customer.created", customer=customer(email_verified=False))
    rig.work()
    rig.send("customer.updated", customer=customer(email_verified=True))
    assert rig.work() == ["delivered"]
    assert rig.contacts()["ada@example.com"]["attributes"]["firstName"] == "Ada"


def test_a_profile_change_sends_only_changed_fields_without_a_look_up(rig: Any) -> None:
    rig.send("customer.created", customer=customer())
    rig.work()
    before = len(rig.calls())
    rig.clock.forward(60)
    rig.send("customer.updated", customer=customer(last_name="Lind"))
    assert rig.work() == ["delivered"]
    assert rig.calls()[before:] == ["updateContact"]
    assert rig.contacts()["ada@example.com"]["attributes"]["lastName"] == "Lind"


def test_an_unchanged_profile_causes_no_call(rig: Any) -> None:
    rig.send("customer.created", customer=customer())
    rig.work()
    before = len(rig.calls())
    event = rig.send("customer.updated", customer=customer())
    assert rig.work() == ["delivered"]
    assert rig.calls()[before:] == []
    assert "unchanged" in rig.steps(event)


def test_an_older_change_that_comes_late_never_overwrites_a_newer_one(rig: Any) -> None:
    rig.send("customer.created", customer=customer())
    rig.work()
    newer = rig.clock.forward(600)
    rig.send("customer.updated", customer=customer(last_name="Newer", updated_at=newer.isoformat()))
    rig.work()
    older = newer - timedelta(seconds=300)
    rig.send("customer.updated", customer=customer(last_name="Older", city="Lund", updated_at=older.isoformat()))
    rig.work()
    assert rig.contacts()["ada@example.com"]["attributes"]["lastName"] == "Newer"


def test_a_change_back_and_forth_ends_with_the_last_value(rig: Any) -> None:
    rig.send("customer.created", customer=customer())
    for name in ("Lind", "Berg", "Lind", "Berg"):
        rig.clock.forward(1)
        rig.send("customer.updated", customer=customer(last_name=name))
    rig.work()
    assert rig.contacts()["ada@example.com"]["attributes"]["lastName"] == "Berg"


def test_an_email_change_keeps_the_contact(rig: Any) -> None:
    rig.send("customer.created", customer=customer())
    rig.work()
    (before,) = rig.contacts().values()
    rig.clock.forward(1)
    rig.send("customer.updated", customer=customer(email="ada.lind@example.com"))
    rig.work()
    (after,) = rig.contacts().values()
    assert (after["id"], after["attributes"]["email"]) == (before["id"], "ada.lind@example.com")


def test_an_invalid_phone_is_left_out_and_noted_and_the_rest_is_sent(rig: Any) -> None:
    event = rig.send("customer.created", customer=customer(phone="12"))
    assert rig.work() == ["delivered"]
    assert "mobilePhone" not in rig.contacts()["ada@example.com"]["attributes"] or not rig.contacts()[
        "ada@example.com"
    ]["attributes"].get("mobilePhone")
    assert "map" in rig.steps(event)


def test_a_missing_key_field_parks_the_event_with_the_reason(rig: Any) -> None:
    event = rig.send("customer.created", customer={"id": "5", "first_name": "No", "last_name": "Mail"})
    assert rig.work() == ["parked"]
    assert rig.event(event).error_code == "missing_key:email"


@pytest.mark.parametrize("answer", ["201-contact", "200-contact", "200-guid", "201-guid", "202-guid"])
def test_every_plausible_answer_to_create_is_understood(rig: Any, answer: str) -> None:
    rig.options(create_answer=answer)
    rig.send("customer.created", customer=customer())
    assert rig.work() == ["delivered"]
    assert rig.stores.links.find(rig.standard, "1001").contact_id == rig.contacts()["ada@example.com"]["id"]


def test_a_create_whose_answer_was_lost_makes_one_verified_contact(rig: Any) -> None:
    rig.fault(done_but_504_rate=1.0, operations=["createContact"], next=1)
    rig.send("customer.created", customer=customer())
    assert rig.work() == ["retry"]
    assert rig.work_for(20) == ["delivered"]
    assert len(rig.contacts()) == 1
    assert rig.calls().count("createContact") == 1
    assert rig.stores.links.find(rig.standard, "1001").verified


def test_a_failing_engage_leads_to_a_retry_and_loses_no_event(rig: Any) -> None:
    rig.fault(outage=True)
    event = rig.send("customer.created", customer=customer())
    assert rig.work() == ["retry"]
    shown = rig.event(event)
    assert (shown.state, shown.attempts) == ("pending", 1)
    assert shown.next_attempt_at == rig.clock() + timedelta(seconds=10)
    rig.no_faults()
    assert rig.work_for(20)[-1] == "delivered"
    assert len(rig.contacts()) == 1


def test_a_rejected_api_key_stops_the_shop_and_costs_no_attempt(rig: Any) -> None:
    rig.options(refused_keys=["key-web-se"])
    event = rig.send("customer.created", customer=customer())
    assert rig.work() == ["held back"]
    assert rig.stores.shops.get("web-se").stopped_reason
    assert rig.event(event).attempts == 0
    rig.options(refused_keys=[])
    assert rig.work() == []
    rig.stores.shops.replace_secrets("web-se", engage_key="key-new")
    assert rig.work() == ["delivered"]


def test_consents_are_sent_as_answered_and_a_newer_opt_out_wins(rig: Any) -> None:
    rig.send("customer.created", customer=customer(), consents=[{"channel": "email", "value": True}])
    rig.work()
    assert rig.contacts()["ada@example.com"]["preferences"]["acceptsEmail"] is True
    no_at = rig.clock.forward(100)
    no = {"channel": "email", "value": False, "at": no_at.isoformat()}
    rig.send("consent.changed", customer={"id": "1001"}, consents=[no])
    rig.work()
    rig.clock.forward(100)
    late_yes = {"channel": "email", "value": True, "at": (no_at - timedelta(seconds=50)).isoformat()}
    rig.send("consent.changed", customer={"id": "1001"}, consents=[late_yes])
    rig.work()
    preferences = rig.contacts()["ada@example.com"]["preferences"]
    assert preferences["acceptsEmail"] is False
    assert not preferences.get("acceptsSms")


def test_a_consent_that_comes_before_its_signup_waits_for_it(rig: Any) -> None:
    consent = rig.send("consent.changed", customer={"id": "1001"}, consents=[{"channel": "email", "value": True}])
    assert rig.work() == ["retry"]
    rig.clock.forward(1)
    rig.send("customer.created", customer=customer())
    rig.work_for(30)
    assert rig.event(consent).state == "delivered"
    assert rig.contacts()["ada@example.com"]["preferences"]["acceptsEmail"] is True


def test_a_deleted_customer_is_erased_here_and_stays_in_engage(rig: Any, database: Any) -> None:
    first = rig.send("customer.created", customer=customer())
    rig.work()
    erasure = rig.send("customer.deleted", customer={"id": "1001"})
    assert rig.work() == ["delivered"]
    assert rig.stores.links.find(rig.standard, "1001") is None
    assert len(rig.contacts()) == 1
    with database.reading() as session:
        bodies = [session.get(InboxEvent, event_id).body for event_id in (first, erasure)]
    assert bodies == [None, b""]


def test_an_erasure_whose_worker_dies_is_repeated_and_recorded_once(
    rig: Any, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.send("customer.created", customer=customer())
    rig.work()
    erasure = rig.send("customer.deleted", customer={"id": "1001"})
    (claimed,) = rig.processor.claim()
    with monkeypatch.context() as dying:
        dying.setattr(rig.stores.inbox, "finish", lambda *_, **__: sys.exit())
        with pytest.raises(SystemExit):
            rig.processor.work(claimed)
    rig.clock.forward(61)
    rig.sweep.run(rig.clock())
    assert rig.work() == ["delivered"]
    with database.reading() as session:
        assert session.get(InboxEvent, erasure).body == b""
        (record,) = session.scalars(select(Erasure)).all()
    assert (record.event_id, record.done["links"], record.done["bodies"]) == (erasure, 1, 1)


def test_an_amount_refunded_before_an_erasure_is_not_returned_again(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_all(platform: str, *rest: Any) -> MappingResult:
        """Map as for a shop that names the total refunded so far."""
        mapped = normalise(platform, *rest)
        events = (replace(e, total_refunded=e.total) if isinstance(e, OrderRefunded) else e for e in mapped.events)
        return replace(mapped, events=tuple(events))

    monkeypatch.setattr("webhooks.attempt.mapping.normalise", in_all)
    rig.send("order.paid", order=order())
    rig.work()
    for refund_id, total in (("a", "40.00"), ("b", "70.00")):
        paid_back = [{"type": "card", "amount": total}]
        rig.send("order.refunded", refund=refund(refund_id=refund_id, total=total, lines=[], payments=paid_back))
        rig.work()
        rig.send("customer.deleted", customer={"id": "1001"})
        rig.work()
    returned = [row["totalGrossPrice"] for name, row in rig.receipts().items() if "-R" in name]
    assert returned == [-40, -30]
    details = rig.stores.orders.get(rig.standard, "9001").details
    assert (set(details), set(details["refunds"])) == ({"refunds"}, {"a", "b"})


def test_an_erasure_reaches_engage_where_the_shop_wants_it(rig: Any) -> None:
    rig.stores.shops.change("web-se", {"erase_in_engage": "yes"})
    rig.send("customer.created", customer=customer())
    rig.work()
    rig.send("customer.deleted", customer={"id": "1001"})
    rig.work()
    assert rig.contacts() == {}


def test_a_contact_shared_with_another_customer_stays_in_engage(rig: Any) -> None:
    rig.stores.shops.change("web-se", {"erase_in_engage": "yes"})
    for number in ("1001", "1002"):
        rig.send("customer.created", customer=customer(id=number))
    rig.work()
    first = rig.send("customer.deleted", customer={"id": "1002"})
    rig.work()
    assert len(rig.contacts()) == 1
    assert "another customer" in " ".join(step.outcome for step in rig.desk.show(first)[1])
    rig.send("customer.deleted", customer={"id": "1001"})
    rig.work()
    assert rig.contacts() == {}


def test_an_erasure_with_a_rejected_api_key_backs_off_until_the_key_is_fixed(rig: Any) -> None:
    rig.stores.shops.change("web-se", {"erase_in_engage": "yes"})
    rig.send("customer.created", customer=customer())
    rig.work()
    rig.fault(error_rate=1, error_statuses=[401])
    erasure = rig.send("customer.deleted", customer={"id": "1001"})
    waits = []
    for _ in range(4):
        assert rig.work() == ["retry"]
        due = rig.event(erasure).next_attempt_at
        waits.append((due - rig.clock()).total_seconds())
        rig.clock.time = due
    assert waits == [10, 30, 60, 300]
    assert "401" in rig.stores.shops.get("web-se").stopped_reason
    rig.no_faults()
    assert rig.work() == ["delivered"]
    assert rig.contacts() == {}


def test_a_shop_that_is_stopped_keeps_its_first_reason(rig: Any) -> None:
    rig.stores.shops.uninstall(rig.standard.id, "The shop removed the plugin.")
    rig.stores.shops.stop(rig.standard.id, "Engage refuses the key.")
    assert rig.stores.shops.get("web-se").stopped_reason == "The shop removed the plugin."


@pytest.mark.parametrize("fault", [{"error_rate": 1, "error_statuses": [401]}, {"outage": True}])
def test_the_first_fault_after_uncounted_days_gives_up_no_event(rig: Any, fault: dict[str, Any]) -> None:
    """Only Redis knows how long an outage was, and Redis may have been emptied."""
    rig.processor = replace(rig.processor, breaker_open_duration=lambda _shop: timedelta())
    rig.fault(**fault)
    event = rig.send("customer.created", customer=customer())
    rig.work()
    rig.clock.forward(4 * 86400)
    if rig.stores.shops.get("web-se").stopped_reason is not None:
        rig.stores.shops.start(rig.standard.id)
    rig.no_faults()
    rig.fault(error_rate=1, error_statuses=[503], next=1)
    rig.work_for(60)
    assert rig.event(event).state == "delivered"


def test_a_field_mapping_feeds_a_tenant_attribute(rig: Any) -> None:
    rig.options(tenant_attributes=["shoeSize"])
    rig.stores.shops.change("web-se", {"attributes": "customer.size:shoeSize"})
    rig.send("customer.created", customer=customer(extra={"size": 42}))
    rig.work()
    assert rig.contacts()["ada@example.com"]["attributes"]["shoeSize"] == "42"


def test_an_unexpected_fault_is_retried_and_logs_no_values(
    rig: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from webhooks.handlers import signup

    def burst(*_: object) -> None:
        raise KeyError("ada@example.com")

    monkeypatch.setattr(signup, "ensure_contact", burst)
    event = rig.send("customer.created", customer=customer())
    assert rig.work() == ["retry"]
    assert "ada@example.com" not in rig.event(event).last_error
    assert "ada@example.com" not in caplog.text


def test_registering_with_another_persons_email_neither_erases_nor_discloses_their_data(
    rig: Any, database: Any
) -> None:
    rig.send("customer.created", customer=customer(), consents=[{"channel": "email", "value": False}])
    rig.send("customer.created", customer=customer(id="666", email_verified=False))
    rig.work()
    owner, other = (rig.stores.links.find(rig.standard, number) for number in ("1001", "666"))
    assert (other.contact_id, other.verified) == (owner.contact_id, False)
    before = rig.stores.sync_states.get(rig.standard, owner.contact_id)
    told = DataRequests(database).gather(rig.standard, DataSubject("666", ["customer:666"], []))
    assert (told["consents"], told["told_to_engage"]) == ([], [])
    rig.send("customer.deleted", customer={"id": "666"})
    rig.work()
    assert rig.stores.links.find(rig.standard, "666") is None
    assert rig.stores.consents.latest(rig.standard, owner.contact_id)["email"][0] is False
    assert rig.stores.sync_states.get(rig.standard, owner.contact_id) == before


def test_an_opt_out_stays_while_another_account_of_the_person_exists(rig: Any) -> None:
    rig.send("customer.created", customer=customer(), consents=[{"channel": "email", "value": False}])
    rig.send("customer.created", customer=customer(id="1002"))
    rig.work()
    link = rig.stores.links.find(rig.standard, "1001")
    for number, left in (("1002", {"email": False}), ("1001", {})):
        rig.send("customer.deleted", customer={"id": number})
        rig.work()
        consents = rig.stores.consents.latest(rig.standard, link.contact_id)
        assert {subject: value for subject, (value, _) in consents.items()} == left


def test_an_erasure_reaches_rows_that_only_the_order_identifies(rig: Any, database: Any) -> None:
    """A refund came before its order, an order was a guest's, and the history refused a row of each."""
    early = rig.send("order.refunded", refund=refund())
    rig.work()
    rig.send("order.paid", order=order())
    by_guest = rig.send("order.paid", order=order("9002", customer={"email": "ada@example.com"}))
    rig.work_for(30)
    runs = rig.stores.backfill_runs
    for what, ids in (("customers", ("1001", "7")), ("orders", ("9001", "9002", "8"))):
        run = runs.start(rig.standard, what, "api", None, None, {}, rig.clock())
        runs.advance(run, None, {}, [RejectedRow(one, "unreadable", "it is bad") for one in ids], rig.clock())
    gone = rig.send("customer.deleted", customer={"id": "1001"})
    rig.work()
    guest = [rig.event(by_guest).ordering_key]
    rig.stores.erasures.erase(
        rig.standard,
        customer_id=None,
        contact_id=None,
        ordering_keys=guest,
        order_ids=[],
        event_id=gone,
        now=rig.clock(),
    )
    with database.reading() as session:
        assert session.get(InboxEvent, early).body is None
        left = session.scalars(select(BackfillRefusal.resource_id)).all()
    assert sorted(left) == ["7", "8"]
    for number in ("9001", "9002"):
        kept = rig.stores.orders.get(rig.standard, number)
        assert (kept.customer_id, set(kept.details) - set(RETAINED_DETAILS)) == (None, set())


def test_the_log_names_the_error_code_and_no_personal_data(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        rig.send("customer.created", customer={"id": "7", "first_name": "Nobody"})
        rig.work()
    assert "outcome=parked code=missing_key:email" in caplog.text
    assert "Nobody" not in caplog.text


@pytest.mark.parametrize(
    "fault",
    [{"engage_key_encrypted": b"sealed with a lost key"}, {"settings": {"store": "web-se", "give_up_after_h": "x"}}],
)
def test_events_of_an_unreadable_shop_wait_and_others_are_delivered(rig: Any, fault: dict[str, Any]) -> None:
    event = rig.send("customer.created", customer=customer())
    with rig.database.transaction() as session:
        kept = session.execute(select(Shop).where(Shop.name == "web-se")).scalar_one()
        before = {name: getattr(kept, name) for name in fault}
        session.execute(update(Shop).where(Shop.name == "web-se").values(fault))
    rig.stores.shops._recent.clear()
    rig.send_shopify("customers/create", {"id": 5, "email": "bo@example.com", "verified_email": True})
    assert sorted(rig.work()) == ["delivered", "held back"]
    waiting = rig.event(event)
    assert (waiting.state, waiting.error_code, waiting.attempts) == ("pending", "configuration", 0)
    with rig.database.transaction() as session:  # ten lost leases in a row, as workers that die would leave it
        died = {"state": "leased", "lease_expires_at": rig.clock(), "lease_token": "of a dead worker", "lost_leases": 9}
        session.execute(update(InboxEvent).where(InboxEvent.id == event).values(died))
    rig.sweep.run(rig.clock.forward(1))
    assert (rig.event(event).state, rig.event(event).error_code) == ("parked", "lost_lease")
    with rig.database.transaction() as session:
        session.execute(update(Shop).where(Shop.name == "web-se").values(before))
    rig.stores.shops._recent.clear()
    rig.desk.retry([event], rig.clock())
    assert rig.work() == ["delivered"]
