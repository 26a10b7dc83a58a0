"""Waiting profile changes after an outage: merged per contact, sent in bulk, confirmed, and rejected rows sent as single events."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from support.bodies import customer

from plugin.engage.client import EngageClient
from plugin.events import Customer
from plugin.store.contacts.sync_state import SyncedValue
from plugin.store.inbox.bulk import BulkInbox
from plugin.store.inbox.bulk_statements import SEND_SINGLY
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.inbox import InboxEvent
from webhooks.bulk import merging
from webhooks.bulk.batches import BATCH_TIMEOUT_S
from webhooks.bulk.profile_changes import BulkProfileSync

LEASE = timedelta(seconds=60)


@pytest.fixture
def backlog(rig: Any) -> BulkProfileSync:
    rig.stores.shops.change("web-se", {"bulk_from": "3"})
    sync: BulkProfileSync = rig.services.backlog
    return sync


@pytest.fixture(autouse=True)
def members(rig: Any) -> None:
    """Three members, 1 to 3, whose contacts are known."""
    for number in (1, 2, 3):
        rig.send("customer.created", customer=customer(id=str(number), email=f"p{number}@example.com"))
    assert rig.work() == ["delivered"] * 3


def change(rig: Any, number: int, **fields: Any) -> int:
    rig.clock.forward(1)
    fields = {"email": f"p{number}@example.com", **fields}
    return int(rig.send("customer.updated", customer=customer(id=str(number), **fields)))


def later(rig: Any) -> None:
    """Let the waiting changes become a backlog."""
    rig.clock.forward(60)


class Between:
    """A client to Engage that does something after each status request, before the worker gets the answer."""

    def __init__(self, client: EngageClient, after_status: Callable[[], None]) -> None:
        self._client, self._after_status = client, after_status

    def with_options(self, **options: Any) -> Any:
        return Between(self._client.with_options(**options), self._after_status)

    def get_bulk_status(self, batch_id: str) -> Any:
        status = self._client.get_bulk_status(batch_id)
        self._after_status()
        return status

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def with_runtime(backlog: BulkProfileSync, **changes: Any) -> BulkProfileSync:
    return replace(backlog, runtime=replace(backlog.runtime, **changes))


def while_the_batch_runs(rig: Any, backlog: BulkProfileSync, happens: Callable[[], None]) -> BulkProfileSync:
    """Let something happen once, after the first look at the batch."""
    first = iter([happens])

    def after_status() -> None:
        next(first, lambda: None)()

    return with_runtime(
        backlog, client_for=lambda shop: cast("EngageClient", Between(rig.client_for(shop), after_status))
    )


def test_changes_are_merged_per_contact_and_end_with_one_batch(rig: Any, backlog: BulkProfileSync) -> None:
    ada, grace = 1, 2
    events = [change(rig, ada, last_name="A"), change(rig, ada, first_name="Ann", last_name="B")]
    events += [change(rig, grace, last_name="C"), change(rig, ada, last_name="D", first_name="Ann")]
    later(rig)
    before = len(rig.calls())
    assert backlog.run() == 4
    calls = rig.calls()[before:]
    assert calls.count("bulkUpdateContacts") == 1
    assert "updateContact" not in calls
    assert [rig.event(event).state for event in events] == ["delivered"] * 4
    assert rig.steps(events[0]) == ["received", "bulk_patch_contacts"]
    contacts = rig.contacts()
    assert contacts["p1@example.com"]["attributes"]["lastName"] == "D"
    assert contacts["p1@example.com"]["attributes"]["firstName"] == "Ann"
    assert contacts["p2@example.com"]["attributes"]["lastName"] == "C"
    counts = rig.desk.status()
    assert counts["accepted"] == counts["delivered"] == 7


def test_attributes_sent_in_bulk_are_stored_as_sent(rig: Any, backlog: BulkProfileSync) -> None:
    for number in (1, 2, 3):
        change(rig, number, last_name="New")
    later(rig)
    assert backlog.run() == 3
    again = change(rig, 1, last_name="New")
    before = len(rig.calls())
    assert rig.work() == ["delivered"]
    assert rig.calls()[before:] == []
    assert "unchanged" in rig.steps(again)


def test_few_or_fresh_changes_are_sent_as_single_events(rig: Any, backlog: BulkProfileSync) -> None:
    for number in (1, 2):
        change(rig, number, last_name="New")
    later(rig)
    assert backlog.run() == 0
    change(rig, 3, last_name="New")
    assert backlog.run() == 0
    assert set(rig.work()) == {"delivered"}


def test_a_refused_row_is_sent_as_a_single_event_with_the_reason(rig: Any, backlog: BulkProfileSync) -> None:
    good = [change(rig, number, last_name="New") for number in (1, 2)]
    bad = change(rig, 3, last_name="New", address={"country_code": "SE"})
    contact_id = rig.contacts()["p3@example.com"]["id"]
    rig.delete_contact(contact_id)
    later(rig)
    assert backlog.run() == 2
    assert [rig.event(event).state for event in good] == ["delivered"] * 2
    assert (rig.event(bad).state, rig.event(bad).error_code) == ("pending", SEND_SINGLY)
    rig.work()
    assert rig.event(bad).error_code != SEND_SINGLY
    assert "patch_contact" in rig.steps(bad)


def test_signups_consents_and_unknown_customers_are_sent_as_single_events(rig: Any, backlog: BulkProfileSync) -> None:
    for number in (1, 2, 3):
        change(rig, number, last_name="New")
    rig.clock.forward(1)
    said = rig.send(
        "customer.updated",
        customer=customer(id="1", email="p1@example.com", last_name="Newer"),
        consents=[{"channel": "email", "value": False}],
    )
    stranger = change(rig, 77, last_name="Stranger")
    signup = rig.send("customer.created", customer=customer(id="78", email="p78@example.com"))
    later(rig)
    backlog.run()
    rig.work()
    for event in (said, stranger, signup):
        assert rig.event(event).state == "delivered"
        assert "bulk_patch_contacts" not in rig.steps(event)
    assert rig.contacts()["p1@example.com"]["attributes"]["lastName"] == "Newer"


@pytest.mark.parametrize("shape", ["object", "string"])
def test_a_slow_batch_is_awaited_with_both_shapes_of_its_id(rig: Any, backlog: BulkProfileSync, shape: str) -> None:
    rig.options(bulk_answer=shape, bulk_delay_s=0.3)
    for number in (1, 2, 3):
        change(rig, number, last_name="Slow")
    later(rig)
    assert passing(rig, backlog).run() == 3
    assert rig.contacts()["p2@example.com"]["attributes"]["lastName"] == "Slow"


@pytest.mark.parametrize("fault", ["error_rate", "done_but_504_rate"])
def test_a_batch_whose_answer_was_lost_is_sent_again_and_changes_nothing_twice(
    rig: Any, backlog: BulkProfileSync, fault: str
) -> None:
    events = [change(rig, number, last_name="New") for number in (1, 2, 3)]
    later(rig)
    rig.fault(**{fault: 1.0, "next": 1, "operations": ["bulkUpdateContacts"]})
    assert backlog.run() == 0
    assert {rig.event(event).state for event in events} == {"pending"}
    assert {rig.event(event).attempts for event in events} == {0}
    later(rig)
    assert backlog.run() == 3
    assert {rig.event(event).state for event in events} == {"delivered"}


def passing(rig: Any, backlog: BulkProfileSync) -> BulkProfileSync:
    """Let each pause of a worker be one of the rig's clock."""
    return with_runtime(backlog, pause=lambda seconds: rig.clock.forward(seconds) is None)


def test_a_batch_that_never_ends_is_sent_as_single_events_after_a_wait(rig: Any, backlog: BulkProfileSync) -> None:
    events = [change(rig, number, last_name="New") for number in (1, 2, 3)]
    later(rig)
    rig.options(bulk_delay_s=10_000)
    assert passing(rig, backlog).run() == 0
    assert {rig.event(event).error_code for event in events} == {SEND_SINGLY}
    change(rig, 1, last_name="Newer")
    assert rig.work() == []
    rig.clock.forward(BATCH_TIMEOUT_S)
    assert rig.work() == ["delivered"] * 4
    assert rig.contacts()["p1@example.com"]["attributes"]["lastName"] == "Newer"


def test_a_failed_status_request_does_not_end_the_wait_for_a_batch(rig: Any, backlog: BulkProfileSync) -> None:
    events = [change(rig, number, first_name="Ann") for number in (1, 2, 3)]
    later(rig)
    rig.options(bulk_delay_s=200)
    rig.fault(error_rate=1, error_statuses=[503, 429], operations=["getBulkStatus"], next=3)
    newer: list[int] = []

    def pause(seconds: float) -> bool:
        rig.clock.forward(seconds)
        if not newer:  # and what comes meanwhile waits for it
            newer.append(change(rig, 1, first_name="Beth"))
            assert rig.work() == []
        return False

    assert with_runtime(backlog, pause=pause).run() == 3
    assert {rig.event(event).state for event in events} == {"delivered"}
    assert rig.work() == ["delivered"]
    rig.clock.forward(300)
    assert rig.contacts()["p1@example.com"]["attributes"]["firstName"] == "Beth"


def test_a_batch_whose_status_is_refused_counts_as_not_ended(rig: Any, backlog: BulkProfileSync) -> None:
    events = [change(rig, number, last_name="New") for number in (1, 2, 3)]
    later(rig)
    rig.fault(error_rate=1, error_statuses=[400], operations=["getBulkStatus"])
    assert backlog.run() == 0
    assert {rig.event(event).error_code for event in events} == {SEND_SINGLY}
    assert {rig.event(event).next_attempt_at for event in events} == {rig.clock() + timedelta(seconds=BATCH_TIMEOUT_S)}


def test_an_event_of_another_kind_keeps_its_place(rig: Any, backlog: BulkProfileSync) -> None:
    ada = 1
    first = change(rig, ada, last_name="A")
    rig.clock.forward(1)
    said = rig.send(
        "consent.changed",
        customer={"id": "1", "email": "p1@example.com", "email_verified": True},
        consents=[{"channel": "email", "value": False}],
    )
    last = change(rig, ada, last_name="B")
    for number in (2, 3):
        change(rig, number, last_name="New")
    later(rig)
    assert backlog.run() == 3
    assert [rig.event(event).state for event in (first, said, last)] == ["delivered", "pending", "pending"]
    rig.work()
    assert rig.contacts()["p1@example.com"]["attributes"]["lastName"] == "B"


def test_a_worker_that_stops_releases_its_changes(rig: Any, backlog: BulkProfileSync) -> None:
    events = [change(rig, number, last_name="New") for number in (1, 2, 3)]
    later(rig)
    rig.options(bulk_delay_s=10_000)
    assert with_runtime(backlog, pause=lambda seconds: seconds > 0).run() == 0  # told to stop while it waits
    assert {rig.event(event).state for event in events} == {"pending"}
    assert {rig.event(event).attempts for event in events} == {0}
    assert {rig.event(event).error_code for event in events} == {"bulk"}
    assert {rig.event(event).next_attempt_at for event in events} == {rig.clock() + LEASE}


def test_a_worker_that_stops_sends_no_further_batch(rig: Any, backlog: BulkProfileSync) -> None:
    events = [change(rig, number, last_name="New") for number in (1, 2, 3)]
    later(rig)
    before = len(rig.calls())
    assert with_runtime(backlog, pause=lambda _seconds: True).run() == 0
    assert rig.calls()[before:] == []
    assert {(rig.event(event).state, rig.event(event).attempts) for event in events} == {("pending", 0)}
    assert backlog.run() == 3


def test_a_worker_that_lost_its_leases_ends_no_change_of_another_worker(rig: Any, backlog: BulkProfileSync) -> None:
    first, *others = [change(rig, number, first_name="Ann") for number in (1, 2, 3)]
    second = change(rig, 1, first_name="Beth")
    later(rig)

    def machine_sleeps() -> None:
        later(rig)
        rig.clock.forward(60)
        rig.sweep.run(rig.clock())
        (claimed,) = rig.processor.claim()  # another worker takes the first of them over
        assert claimed.id == first
        rig.processor.work(claimed)

    assert while_the_batch_runs(rig, backlog, machine_sleeps).run() == 0
    assert [rig.event(event).state for event in (first, second, *others)] == ["delivered"] + ["pending"] * 3
    rig.work()
    assert "patch_contact" in rig.steps(second)
    assert rig.contacts()["p1@example.com"]["attributes"]["firstName"] == "Beth"


def test_changes_whose_lease_was_not_lost_end_with_their_batch(rig: Any, backlog: BulkProfileSync) -> None:
    lost, *kept = [change(rig, number, first_name="Ann") for number in (1, 2, 3)]
    later(rig)

    def taken_over() -> None:
        with rig.database.transaction() as session:
            session.execute(update(InboxEvent).where(InboxEvent.id == lost).values(lease_token="of another worker"))

    assert while_the_batch_runs(rig, backlog, taken_over).run() == 2
    assert [rig.event(event).state for event in (lost, *kept)] == ["leased", "delivered", "delivered"]
    contact_id = rig.contacts()["p1@example.com"]["id"]
    sent = rig.stores.sync_states.get(rig.standard, contact_id).sent
    assert sent["firstName"].digest == rig.stores.vault.digest_of("Ada")


def test_a_batch_with_every_lease_lost_is_not_awaited(rig: Any, backlog: BulkProfileSync) -> None:
    events = [change(rig, number, first_name="Ann") for number in (1, 2, 3)]
    later(rig)
    rig.options(bulk_delay_s=10_000)

    def taken_over() -> None:
        with rig.database.transaction() as session:
            session.execute(update(InboxEvent).where(InboxEvent.id.in_(events)).values(lease_token="of another worker"))

    before = len(rig.calls())
    assert while_the_batch_runs(rig, backlog, taken_over).run() == 0
    looks = rig.calls()[before:].count("getBulkStatus")
    assert looks < 20  # until the leases are next prolonged
    assert {rig.event(event).state for event in events} == {"leased"}


def test_a_newer_change_with_the_same_value_is_not_overwritten_by_an_older_one(
    rig: Any, backlog: BulkProfileSync
) -> None:
    rig.clock.forward(600)
    before_them = rig.clock()
    for number in (1, 2, 3):  # the first name is as it was
        change(rig, number, last_name="New")
    later(rig)
    assert backlog.run() == 3
    older = before_them - timedelta(seconds=300)
    change(rig, 1, first_name="Old", last_name="Old", updated_at=older.isoformat())
    assert rig.work() == ["delivered"]
    attributes = rig.contacts()["p1@example.com"]["attributes"]
    assert (attributes["firstName"], attributes["lastName"]) == ("Ada", "New")


def test_changes_without_news_confirm_stored_values_and_keep_cached_pages(rig: Any, backlog: BulkProfileSync) -> None:
    contact_id = rig.contacts()["p1@example.com"]["id"]
    generation = rig.stores.sync_states.generation(rig.standard, contact_id)
    for number in (1, 2, 3):
        change(rig, number)
    reported_at = rig.clock() - timedelta(seconds=2)
    later(rig)
    before = len(rig.calls())
    assert backlog.run() == 3
    assert rig.calls()[before:] == []
    sent = rig.stores.sync_states.get(rig.standard, contact_id).sent
    assert sent["firstName"].at == reported_at
    assert rig.stores.sync_states.generation(rig.standard, contact_id) == generation


@pytest.mark.parametrize("newer_first", [True, False])
def test_two_customers_of_one_contact_end_with_the_newer_value(
    rig: Any, backlog: BulkProfileSync, newer_first: bool
) -> None:
    rig.send("customer.created", customer=customer(id="4", email="p1@example.com"))
    assert rig.work() == ["delivered"]
    now = rig.clock.forward(60)
    newer = {"id": "1", "first_name": "Ada", "updated_at": (now - timedelta(seconds=1)).isoformat()}
    older = {"id": "4", "first_name": "Old", "updated_at": (now - timedelta(seconds=5)).isoformat()}
    for fields in (newer, older) if newer_first else (older, newer):
        rig.send("customer.updated", customer=customer(email="p1@example.com", **fields))
    for number in (2, 3):
        change(rig, number, last_name="New")
    later(rig)
    assert backlog.run() == 2  # a contact that both are is changed by one event at a time
    rig.work_for(10)
    assert rig.parked() == []
    assert rig.contacts()["p1@example.com"]["attributes"]["firstName"] == "Ada"


def test_a_value_sent_later_to_a_contact_stays_stored(rig: Any, backlog: BulkProfileSync) -> None:
    for number in (1, 2, 3):
        change(rig, number, last_name="New")
    later(rig)
    contact_id = rig.contacts()["p1@example.com"]["id"]
    said = SyncedValue(rig.stores.vault.digest_of("Eve"), rig.clock())

    def another_customer_of_the_contact() -> None:
        with rig.database.transaction() as session:
            rig.stores.sync_states.sent_write(rig.standard, contact_id, {"firstName": said}, rig.clock())(session)

    assert while_the_batch_runs(rig, backlog, another_customer_of_the_contact).run() == 3
    sent = rig.stores.sync_states.get(rig.standard, contact_id).sent
    assert sent["firstName"] == said
    assert sent["lastName"].digest == rig.stores.vault.digest_of("New")


@pytest.mark.parametrize(("key", "changed"), [("email", "email"), ("mobilePhone", "phone")])
def test_changes_of_key_fields_are_sent_as_single_events(
    rig: Any, backlog: BulkProfileSync, key: str, changed: str
) -> None:
    rig.stores.shops.change("web-se", {"key_attribute": key})
    for number in (2, 3):
        change(rig, number, last_name="New")
    moved = change(rig, 1, **{changed: {"email": "q1@example.com", "phone": "+46705550100"}[changed]})
    later(rig)
    assert backlog.run() == 2
    assert (rig.event(moved).state, rig.event(moved).error_code) == ("pending", SEND_SINGLY)
    assert rig.work() == ["delivered"]
    assert "patch_contact" in rig.steps(moved)


def test_a_changed_email_is_sent_as_a_single_event_even_where_it_is_not_the_key(
    rig: Any, backlog: BulkProfileSync
) -> None:
    rig.stores.shops.change("web-se", {"key_attribute": "mobilePhone"})
    events = [change(rig, number, email=f"q{number}@example.com") for number in (1, 2, 3)]
    later(rig)
    assert backlog.run() == 0
    assert {rig.event(event).error_code for event in events} == {SEND_SINGLY}


def test_a_mapping_fault_affects_its_own_event_only(
    rig: Any, backlog: BulkProfileSync, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    good = [change(rig, number, last_name="New") for number in (1, 2)]
    bad = change(rig, 3, last_name="Odd")
    later(rig)
    attributes_of = merging.attributes_of

    def faulty(shop: RegisteredShop, known: Customer) -> dict[str, object]:
        if known.last_name == "Odd":
            raise KeyError("p3@example.com")
        return attributes_of(shop, known)

    monkeypatch.setattr(merging, "attributes_of", faulty)
    assert backlog.run() == 2
    assert {rig.event(event).state for event in good} == {"delivered"}
    assert (rig.event(bad).state, rig.event(bad).error_code) == ("pending", SEND_SINGLY)
    assert f"event={bad} shop=web-se unexpected KeyError" in caplog.text
    assert "p3@example.com" not in caplog.text


def test_an_unexpected_fault_releases_all_changes_for_single_events(
    rig: Any, backlog: BulkProfileSync, caplog: pytest.LogCaptureFixture
) -> None:
    events = [change(rig, number, last_name="New") for number in (1, 2, 3)]
    later(rig)

    def fault() -> None:
        raise KeyError("p1@example.com")

    assert while_the_batch_runs(rig, backlog, fault).run() == 0
    assert {(rig.event(event).state, rig.event(event).error_code) for event in events} == {("pending", SEND_SINGLY)}
    assert {rig.event(event).attempts for event in events} == {0}
    assert "shop=web-se bulk met an unexpected KeyError" in caplog.text
    assert "p1@example.com" not in caplog.text
    assert rig.work() == ["delivered"] * 3


def test_a_fault_of_one_shop_does_not_delay_other_shops(
    rig: Any, backlog: BulkProfileSync, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2, 3):
        change(rig, number, last_name="New")
    later(rig)
    assert [shop.name for shop in rig.stores.shops.all()] == ["kiosk", "web-se"]

    class FaultyFirst(BulkInbox):
        def waiting(self, shop: RegisteredShop, now: datetime, most: int) -> int:
            if shop.name == "kiosk":
                raise KeyError("a fault of ours")
            return super().waiting(shop, now, most)

    assert replace(backlog, inbox=FaultyFirst(rig.database)).run() == 3
    assert "shop=kiosk bulk met an unexpected KeyError" in caplog.text


def test_a_database_that_goes_away_raises_to_the_caller(rig: Any, backlog: BulkProfileSync) -> None:
    events = [change(rig, number, last_name="New") for number in (1, 2, 3)]
    later(rig)

    def away() -> None:
        raise OperationalError("SELECT 1", {}, Exception("the server closed the connection"))

    with pytest.raises(OperationalError):
        while_the_batch_runs(rig, backlog, away).run()
    assert {rig.event(event).state for event in events} == {"leased"}


@pytest.mark.parametrize("operation", ["bulkUpdateContacts", "getBulkStatus"])
def test_a_rejected_api_key_stops_the_shop(rig: Any, backlog: BulkProfileSync, operation: str) -> None:
    events = [change(rig, number, last_name="New") for number in (1, 2, 3)]
    later(rig)
    rig.fault(error_rate=1, error_statuses=[401], operations=[operation])
    assert backlog.run() == 0
    assert rig.stores.shops.get("web-se").stopped_reason
    assert {(rig.event(event).state, rig.event(event).attempts) for event in events} == {("pending", 0)}
    before = len(rig.calls())
    assert backlog.run() == 0
    assert rig.calls()[before:] == []
    rig.no_faults()
    rig.stores.shops.start(rig.standard.id)
    assert backlog.run() == 3  # in bulk, as before
