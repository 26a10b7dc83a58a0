"""What of a customer's data goes to Engage: refused fields, and changes of unknown outcome."""

from datetime import timedelta
from typing import Any

from bodies import customer, order

#: A day that the Standard platform takes and Engage refuses.
REFUSED = {"birth_date": "1870-01-01"}


def test_a_field_that_engage_refused_is_not_sent_again_and_parks_nothing(rig: Any) -> None:
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


def test_a_change_of_which_engage_takes_nothing_is_delivered_with_a_note(rig: Any) -> None:
    rig.send("customer.created", customer=customer())
    rig.work()
    for _ in range(2):
        rig.clock.forward(1)
        change = rig.send("customer.updated", customer=customer(**REFUSED))
        assert rig.work() == ["delivered"]
    assert rig.calls().count("updateContact") == 1
    assert "left out" not in rig.steps(change)


def test_a_refused_field_is_sent_again_once_it_changes(rig: Any) -> None:
    rig.send("customer.created", customer=customer(**REFUSED))
    rig.work()
    rig.clock.forward(1)
    rig.send("customer.updated", customer=customer(birth_date="1970-01-01"))
    assert rig.work() == ["delivered"]
    assert rig.contacts()["ada@example.com"]["attributes"]["birthDay"] == "1970-01-01"


def test_after_a_discarded_change_of_unknown_outcome_the_shops_word_is_sent_again(rig: Any) -> None:
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


def test_a_change_of_unknown_outcome_makes_no_older_one_newer(rig: Any) -> None:
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
