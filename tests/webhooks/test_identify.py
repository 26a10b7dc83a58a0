"""Who is who: whose a contact is after answers that were lost or say little."""

from collections.abc import Callable
from typing import Any

import pytest
from bodies import customer, order

from plugin.engage.client import EngageClient
from plugin.engage.models import ContactWrite, CreatedContact


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


def test_a_guest_whose_create_failed_does_not_get_the_contact_that_somebody_made_since(rig: Any) -> None:
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


def test_a_lost_create_is_known_by_what_was_sent_where_no_customer_id_is(rig: Any) -> None:
    rig.stores.shops.change("web-se", {"send_external_id": "no"})
    lose_answer(rig, done_but_504_rate=1)
    rig.send("customer.created", customer=customer(email_verified=False))
    assert rig.work_for(20) == ["retry", "delivered"]
    assert rig.calls().count("createContact") == 1
    assert rig.stores.contacts.link(rig.standard, "1001").reason == "created"
    rig.clock.forward(1)
    rig.send("customer.updated", customer=customer(email_verified=False, last_name="Lind"))
    assert rig.work() == ["delivered"]
    assert rig.contacts()["ada@example.com"]["attributes"]["lastName"] == "Lind"


@pytest.mark.parametrize(
    ("held", "ours"),
    [({"firstName": "Ada"}, True), ({"firstName": "Owner"}, False), ({}, False), ({"firstName": "Ada", "city": "Lund"}, False)],
    ids=["the same", "another", "less", "more"],
)
def test_a_contact_is_ours_that_holds_just_what_was_sent(rig: Any, held: dict[str, str], *, ours: bool) -> None:
    rig.stores.shops.change("web-se", {"send_external_id": "no"})
    lose_answer(rig, error_rate=1, error_statuses=[504])
    few = {"id": "1001", "email": "ada@example.com", "email_verified": False, "first_name": "Ada"}
    rig.send("customer.created", customer=few)
    assert rig.work() == ["retry"]
    rig.seed(contacts=[{"contactType": "Member", "email": "ada@example.com", **held}])
    rig.work_for(20)
    assert rig.stores.contacts.link(rig.standard, "1001").verified is ours


def test_an_id_alone_says_not_whose_contact_it_is(rig: Any, owner_is_faster: Callable[..., None]) -> None:
    rig.options(duplicate_answer="200-guid", create_answer="200-guid")
    owner_is_faster(firstName="Owner")
    rig.send("customer.created", customer=customer(email_verified=False, first_name="Mallory"))
    assert rig.work() == ["ignored"]
    assert not rig.stores.contacts.link(rig.standard, "1001").verified
    assert rig.contacts()["ada@example.com"]["attributes"]["firstName"] == "Owner"


def test_a_vouched_customer_completes_the_contact_that_another_made_faster(
    rig: Any, owner_is_faster: Callable[..., None]
) -> None:
    rig.options(duplicate_answer="200-guid", create_answer="200-guid")
    owner_is_faster()
    rig.send("customer.created", customer=customer())
    assert rig.work() == ["delivered"]
    (contact,) = rig.contacts().values()
    assert (contact["attributes"]["firstName"], contact["attributes"]["externalId"]) == ("Ada", "1001")


def test_a_guest_of_a_tenant_that_answers_with_ids_alone_is_still_created(rig: Any) -> None:
    rig.options(create_answer="200-guid")
    guest = {"email": "ada@example.com", "email_verified": False, "first_name": "Ada"}
    rig.send("order.paid", order=order(customer=guest, consents=[{"channel": "sms", "value": True}]))
    assert rig.work() == ["delivered"]
    assert rig.contacts()["ada@example.com"]["preferences"]["acceptsSms"] is True
