"""Consents: whatever the order in which answers are delivered, the shopper's newest counts, and an opt-out wins at the same time."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from support.bodies import customer

from plugin.store.privacy.data_requests import DataRequests, DataSubject

WHO = {"id": "1001", "email": "ada@example.com", "email_verified": True}
HOUR = 3600


def say(rig: Any, value: bool, *, who: dict[str, Any] = WHO, ago: int = 0) -> int:
    at = (rig.clock() - timedelta(seconds=ago)).isoformat()
    return int(rig.send("consent.changed", customer=who, consents=[{"channel": "email", "value": value, "at": at}]))


def refuse_before_there_is_a_contact(rig: Any) -> int:
    """Opt out as an unknown customer, and wait until no signup is expected any more."""
    no = say(rig, value=False)
    rig.work_for(HOUR, 300)
    assert rig.event(no).state == "ignored"
    return no


def accepts_email(rig: Any) -> bool | None:
    (contact,) = rig.contacts().values()
    return contact["preferences"].get("acceptsEmail")


def test_an_opt_in_delivered_after_a_newer_opt_out_is_not_sent(rig: Any) -> None:
    refuse_before_there_is_a_contact(rig)
    say(rig, value=True, ago=2 * HOUR)
    rig.work_for(HOUR, 300)
    assert accepts_email(rig) is False


def test_a_signup_delivered_after_a_newer_opt_out_sends_no_opt_in(rig: Any) -> None:
    refuse_before_there_is_a_contact(rig)
    said_at = (rig.clock() - timedelta(hours=2)).isoformat()
    rig.send("customer.created", customer=customer(), consents=[{"channel": "email", "value": True, "at": said_at}])
    assert rig.work() == ["delivered"]
    assert accepts_email(rig) is False


def test_an_opt_out_from_before_the_contact_is_sent_to_an_existing_contact(rig: Any) -> None:
    refuse_before_there_is_a_contact(rig)
    rig.seed(contacts=[{"contactType": "Member", "email": "ada@example.com", "preferences": {"acceptsEmail": True}}])
    rig.send("customer.updated", customer=customer())
    assert rig.work() == ["delivered"]
    assert accepts_email(rig) is False


def test_a_newer_opt_in_overrides_an_opt_out_from_before_the_contact(rig: Any) -> None:
    refuse_before_there_is_a_contact(rig)
    say(rig, value=True)
    rig.work_for(HOUR, 300)
    assert accepts_email(rig) is True


def test_an_opt_out_from_before_the_contact_waits_until_the_link_is_verified(rig: Any) -> None:
    refuse_before_there_is_a_contact(rig)
    rig.seed(contacts=[{"contactType": "Member", "email": "ada@example.com", "preferences": {"acceptsEmail": True}}])
    for vouched in (False, True):
        rig.clock.forward(1)
        rig.send("customer.updated", customer=customer(email_verified=vouched))
        rig.work()
        assert accepts_email(rig) is not vouched


def test_a_pending_opt_out_is_personal_data_and_is_erased_with_the_customer(rig: Any) -> None:
    refuse_before_there_is_a_contact(rig)
    requests = DataRequests(rig.database)
    person = DataSubject("1001", ["customer:1001"], [])
    (kept,) = requests.gather(rig.standard, person)["consents"]
    assert (kept["subject"], kept["value"]) == ("email", False)
    rig.send("customer.deleted", customer={"id": "1001"})
    rig.work()
    assert requests.gather(rig.standard, person)["consents"] == []


@pytest.mark.parametrize("yes_is_first", [True, False])
def test_a_waiting_opt_in_and_a_newer_waiting_opt_out_end_as_opt_out(rig: Any, *, yes_is_first: bool) -> None:
    said = rig.clock()
    first, second = (True, False) if yes_is_first else (False, True)
    for value in (first, second):
        at = said + timedelta(seconds=0 if value else 20)
        rig.send("consent.changed", customer=WHO, consents=[{"channel": "email", "value": value, "at": at.isoformat()}])
        rig.clock.forward(30)
    rig.work_for(2 * HOUR, 300)
    assert accepts_email(rig) is False


def test_a_guests_older_opt_in_does_not_overtake_the_customers_newer_opt_out(
    rig: Any, before_patch: Callable[[Callable[[], object]], None]
) -> None:
    rig.send("customer.created", customer=customer())
    rig.work()
    rig.clock.forward(10)
    say(rig, value=True, who={"email": "ada@example.com", "email_verified": True})
    (yes,) = rig.processor.claim()
    rig.clock.forward(10)
    no = say(rig, value=False)
    outcomes: list[str] = []
    before_patch(lambda: outcomes.extend(rig.work()))
    assert rig.processor.work(yes) == "delivered"
    assert outcomes == ["held back"]
    assert rig.event(no).attempts == 0
    assert rig.work_for(10) == ["delivered"]
    assert accepts_email(rig) is False
