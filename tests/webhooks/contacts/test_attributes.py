"""What of a customer's data goes to Engage: refused fields, changes of unknown outcome, and others' changes meanwhile."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from support.bodies import customer, order

from plugin.store.contacts.sync_state import SyncedValue

#: A day that the Standard platform takes and Engage refuses.
REFUSED = {"birth_date": "1870-01-01"}


def test_a_rejected_field_is_not_sent_again_and_does_not_park_the_event(rig: Any) -> None:
    rig.send("customer.created", customer=customer(**REFUSED))
    assert rig.work() == ["delivered"]
    before = len(rig.calls())
    rig.clock.forward(1)
    change = rig.send("customer.updated", customer=customer(**REFUSED))
    rig.clock.forward(1)
    rig.send("order.paid", order=order(customer=customer(**REFUSED)))
    assert rig.work() == ["delivered", "delivered"]
    assert rig.calls()[before:] == ["createReceipt"]
    assert "unchanged" in rig.steps(change)


def test_a_change_with_all_fields_rejected_is_delivered_with_a_note(rig: Any) -> None:
    rig.send("customer.created", customer=customer())
    rig.work()
    for _ in range(2):
        rig.clock.forward(1)
        change = rig.send("customer.updated", customer=customer(**REFUSED))
        assert rig.work() == ["delivered"]
    assert rig.calls().count("updateContact") == 1
    assert "left out" not in rig.steps(change)


def test_a_rejected_field_is_sent_again_once_it_changes(rig: Any) -> None:
    rig.send("customer.created", customer=customer(**REFUSED))
    rig.work()
    rig.clock.forward(1)
    rig.send("customer.updated", customer=customer(birth_date="1970-01-01"))
    assert rig.work() == ["delivered"]
    assert rig.contacts()["ada@example.com"]["attributes"]["birthDay"] == "1970-01-01"


def test_a_discarded_change_of_unknown_outcome_lets_the_shops_value_be_sent_again(rig: Any) -> None:
    rig.send("customer.created", customer=customer())
    rig.work()
    rig.clock.forward(1)
    rig.fault(done_but_504_rate=1, operations=["updateContact"], next=1)
    lost = rig.send("customer.updated", customer=customer(last_name="Lind"))
    assert rig.work() == ["retry"]
    assert rig.contacts()["ada@example.com"]["attributes"]["lastName"] == "Lind"
    rig.desk.discard(lost, "a mistake", rig.clock())
    rig.clock.forward(1)
    rig.send("customer.updated", customer=customer())
    assert rig.work() == ["delivered"]
    assert rig.contacts()["ada@example.com"]["attributes"]["lastName"] == "Berg"


def test_a_change_of_unknown_outcome_still_wins_over_an_older_change(rig: Any) -> None:
    rig.send("customer.created", customer=customer())
    rig.work()
    signed_up = rig.clock()
    rig.clock.forward(1)
    rig.fault(done_but_504_rate=1, operations=["updateContact"], next=1)
    lost = rig.send("customer.updated", customer=customer(last_name="Lind"))
    rig.work()
    rig.desk.discard(lost, "a mistake", rig.clock())
    before = signed_up - timedelta(seconds=1)
    rig.send("customer.updated", customer=customer(last_name="Older", updated_at=before.isoformat()))
    rig.work()
    assert rig.calls().count("updateContact") == 1


def phone(rig: Any) -> str:
    (contact,) = rig.contacts().values()
    return str(contact["attributes"]["mobilePhone"])


def guest_and_customer(rig: Any, before_patch: Callable[[Callable[[], object]], None]) -> Any:
    """Let a guest's order with an older phone read what is known, and the customer's newer phone come before its patch."""
    rig.send("customer.created", customer=customer(phone=None))
    rig.work()
    rig.clock.forward(10)
    guest = {"email": "ada@example.com", "email_verified": True, "phone": "+46701111111"}
    rig.send("order.paid", order=order(customer=guest))
    (bought,) = rig.processor.claim()
    rig.clock.forward(10)
    rig.send("customer.updated", customer=customer(phone="+46702222222"))
    before_patch(rig.work)
    return bought


def test_an_older_value_of_a_concurrent_event_does_not_overtake_a_newer_one(
    rig: Any, before_patch: Callable[[Callable[[], object]], None]
) -> None:
    assert rig.processor.work(guest_and_customer(rig, before_patch)) == "delivered"
    assert rig.work_for(10) == ["delivered"]
    assert phone(rig) == "+46702222222"


def test_a_contact_is_unlocked_after_a_failed_attempt(
    rig: Any, before_patch: Callable[[Callable[[], object]], None]
) -> None:
    bought = guest_and_customer(rig, before_patch)
    rig.fault(error_rate=1, error_statuses=[503], operations=["updateContact"], next=1)
    assert rig.processor.work(bought) == "retry"
    rig.clock.forward(2)
    assert rig.work() == ["delivered"]
    rig.work_for(20)
    assert phone(rig) == "+46702222222"


def test_a_repeated_value_does_not_hide_a_concurrent_change(rig: Any) -> None:
    rig.send("customer.created", customer=customer())
    rig.work()
    states, contact_id = rig.stores.sync_states, rig.contacts()["ada@example.com"]["id"]
    seen = states.get(rig.standard, contact_id).generation
    later, digest = rig.clock.forward(60), rig.stores.vault.digest_of
    changed = {"lastName": SyncedValue(digest("Lind"), later)}
    told_again = {"lastName": SyncedValue(digest("Berg"), rig.clock.forward(60))}
    with rig.database.transaction() as session:
        states.sent_write(rig.standard, contact_id, changed, later)(session)
        states.touch_write(rig.standard, contact_id, told_again, seen, later)(session)
    assert states.get(rig.standard, contact_id).sent["lastName"] == changed["lastName"]


def test_a_worker_paused_for_longer_than_its_lease_sends_nothing(
    rig: Any, before_patch: Callable[[Callable[[], object]], None]
) -> None:
    rig.send("customer.created", customer=customer())
    rig.work()
    for name in ("Lind", "Berg-Lind"):
        rig.clock.forward(1)
        rig.send("customer.updated", customer=customer(last_name=name))
    (paused,) = rig.processor.claim()
    meanwhile: list[str] = []

    def others_go_on() -> None:
        rig.clock.forward(180)
        rig.sweep.run(rig.clock())
        meanwhile.extend(rig.work())

    before_patch(others_go_on)
    before = rig.calls().count("updateContact")
    assert rig.processor.work(paused) == "lease lost"
    assert meanwhile == ["delivered", "delivered"]
    assert rig.contacts()["ada@example.com"]["attributes"]["lastName"] == "Berg-Lind"
    assert rig.calls().count("updateContact") - before == 2
