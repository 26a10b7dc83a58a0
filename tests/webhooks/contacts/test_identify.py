"""Who is who: whose a contact is after answers that were lost or say little."""

from collections.abc import Callable
from typing import Any

import pytest
from support.bodies import customer, order

from plugin.engage.client import EngageClient
from plugin.engage.data.models import ContactWrite, CreatedContact


@pytest.fixture
def owner_is_faster(rig: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what lets somebody else's contact with the same e-mail come up between our look-up and our create."""

    def let(**attributes: str) -> None:
        real = EngageClient.create_contact

        def late(client: EngageClient, write: ContactWrite, **options: Any) -> CreatedContact:
            rig.seed(contacts=[{"contactType": "Member", "email": "ada@example.com", **attributes}])
            return real(client, write, **options)

        monkeypatch.setattr(EngageClient, "create_contact", late)

    return let


def lose_answer(rig: Any, **fault: Any) -> None:
    rig.fault(operations=["createContact"], next=1, **fault)


def test_a_guest_whose_create_failed_does_not_get_a_contact_created_since(rig: Any) -> None:
    lose_answer(rig, error_rate=1, error_statuses=[504])
    guest = {"email": "ada@example.com", "email_verified": False, "first_name": "Mallory"}
    bought = rig.send("order.paid", order=order(customer=guest, consents=[{"channel": "sms", "value": True}]))
    assert rig.work() == ["retry"]
    rig.clock.forward(1)
    rig.send("customer.created", customer=customer())
    rig.work_for(30)
    assert rig.event(bought).state == "delivered"
    (contact,) = rig.contacts().values()
    assert (contact["attributes"]["firstName"], contact["preferences"].get("acceptsSms")) == ("Ada", None)
    assert len(rig.receipts()) == 1


def test_a_lost_create_without_customer_id_is_recognised_by_the_attributes_sent(rig: Any) -> None:
    rig.stores.shops.change("web-se", {"send_external_id": "no"})
    lose_answer(rig, done_but_504_rate=1)
    rig.send("customer.created", customer=customer(email_verified=False))
    assert rig.work_for(20) == ["retry", "delivered"]
    assert rig.calls().count("createContact") == 1
    assert rig.stores.links.find(rig.standard, "1001").reason == "created"
    rig.clock.forward(1)
    rig.send("customer.updated", customer=customer(email_verified=False, last_name="Lind"))
    assert rig.work() == ["delivered"]
    assert rig.contacts()["ada@example.com"]["attributes"]["lastName"] == "Lind"


@pytest.mark.parametrize(
    ("held", "ours"),
    [
        ({"firstName": "Ada"}, True),
        ({"firstName": "Owner"}, False),
        ({}, False),
        ({"firstName": "Ada", "city": "Lund"}, False),
    ],
    ids=["the same", "another", "less", "more"],
)
def test_a_contact_with_exactly_the_attributes_sent_was_created_by_us(
    rig: Any, held: dict[str, str], *, ours: bool
) -> None:
    rig.stores.shops.change("web-se", {"send_external_id": "no"})
    lose_answer(rig, error_rate=1, error_statuses=[504])
    few = {"id": "1001", "email": "ada@example.com", "email_verified": False, "first_name": "Ada"}
    rig.send("customer.created", customer=few)
    assert rig.work() == ["retry"]
    rig.seed(contacts=[{"contactType": "Member", "email": "ada@example.com", **held}])
    rig.work_for(20)
    assert rig.stores.links.find(rig.standard, "1001").verified is ours


def test_an_answer_with_an_id_alone_does_not_prove_a_new_contact(
    rig: Any, owner_is_faster: Callable[..., None]
) -> None:
    rig.options(duplicate_answer="200-guid", create_answer="200-guid")
    owner_is_faster(firstName="Owner")
    rig.send("customer.created", customer=customer(email_verified=False, first_name="Mallory"))
    assert rig.work() == ["ignored"]
    assert not rig.stores.links.find(rig.standard, "1001").verified
    assert rig.contacts()["ada@example.com"]["attributes"]["firstName"] == "Owner"


def test_a_verified_customer_completes_a_contact_created_concurrently(
    rig: Any, owner_is_faster: Callable[..., None]
) -> None:
    rig.options(duplicate_answer="200-guid", create_answer="200-guid")
    owner_is_faster()
    rig.send("customer.created", customer=customer())
    assert rig.work() == ["delivered"]
    (contact,) = rig.contacts().values()
    assert (contact["attributes"]["firstName"], contact["attributes"]["externalId"]) == ("Ada", "1001")


def test_a_guest_is_created_at_a_tenant_that_answers_with_ids_alone(rig: Any) -> None:
    rig.options(create_answer="200-guid")
    guest = {"email": "ada@example.com", "email_verified": False, "first_name": "Ada"}
    rig.send("order.paid", order=order(customer=guest, consents=[{"channel": "sms", "value": True}]))
    assert rig.work() == ["delivered"]
    assert rig.contacts()["ada@example.com"]["preferences"]["acceptsSms"] is True


def address_moves(rig: Any) -> tuple[int, int]:
    """Customer 1 gives a@ up, which Engage does not take yet; customer 2 signs up with it. Returns both events."""
    rig.send("customer.created", customer=customer(id="1", email="a@example.com", first_name="Ann"))
    rig.work()
    rig.fault(error_rate=1, error_statuses=[503], operations=["updateContact"], next=1)
    rig.clock.forward(1)
    gives_up = rig.send("customer.updated", customer=customer(id="1", email="b@example.com", first_name="Ann"))
    assert rig.work() == ["retry"]
    rig.clock.forward(1)
    return gives_up, rig.send("customer.created", customer=customer(id="2", email="a@example.com", first_name="Bob"))


def test_an_email_that_moved_to_another_customer_does_not_join_two_people(rig: Any) -> None:
    address_moves(rig)
    assert rig.work() == ["retry"]
    assert rig.work_for(30) == ["delivered", "delivered"]
    names = {email: contact["attributes"]["firstName"] for email, contact in rig.contacts().items()}
    assert names == {"b@example.com": "Ann", "a@example.com": "Bob"}


def test_an_email_that_moved_does_not_join_two_people_while_the_change_is_parked(rig: Any) -> None:
    gives_up, signs_up = address_moves(rig)
    rig.fault(error_rate=1, error_statuses=[400], operations=["updateContact"], next=1)
    rig.work_for(60)
    assert (rig.event(gives_up).state, rig.event(signs_up).state) == ("parked", "pending")
    rig.desk.retry([gives_up], rig.clock())
    rig.work_for(300)
    assert sorted(rig.contacts()) == ["a@example.com", "b@example.com"]


def test_a_guest_with_an_email_that_moved_gets_a_contact_of_their_own(rig: Any) -> None:
    address_moves(rig)
    rig.send("order.paid", order=order(customer={"email": "a@example.com", "email_verified": True}))
    rig.work_for(60)
    (receipt,) = rig.receipts().values()
    assert receipt["contact"]["matchKey"] == rig.contacts()["a@example.com"]["id"]


def test_two_accounts_with_one_verified_email_share_a_contact(rig: Any) -> None:
    rig.send("customer.created", customer=customer())
    rig.clock.forward(1)
    rig.send("customer.updated", customer=customer(last_name="Lind"))
    rig.clock.forward(1)
    second = rig.send("customer.created", customer=customer(id="1002", last_name="Lind"))
    assert set(rig.work_for(20)) == {"delivered"}
    one, two = (rig.stores.links.find(rig.standard, number) for number in ("1001", "1002"))
    assert (two.contact_id, two.verified) == (one.contact_id, True)
    assert "shared" in rig.steps(second)
