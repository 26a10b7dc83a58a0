"""The journal of an attempt over real databases: its lease, what goes with its next commit, and locks of contacts."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select
from support.helpers import Clock

from plugin.engage.client import EngageClient
from plugin.errors import LeaseLostError, ThrottledError
from plugin.store.contacts.links import Link
from plugin.store.database.engine import Database
from plugin.store.inbox.inbox import NewEvent
from plugin.store.shops.shops import RegisteredShop
from plugin.store.shops.vault import Vault
from plugin.store.tables.inbox import DeliveryAttempt, InboxEvent, State
from webhooks.attempt.journal import Journal
from webhooks.attempt.runtime import DeliveryRuntime, Stores

LEASE = timedelta(seconds=60)
LINK = Link("c-1", True, "test")
Begin = Callable[[str], Journal]


def no_engage(_shop: RegisteredShop) -> EngageClient:
    raise AssertionError("a journal calls no Engage")


@pytest.fixture
def stores(database: Database, vault: Vault) -> Stores:
    return Stores.on(database, vault)


@pytest.fixture
def begin(stores: Stores, shop: RegisteredShop, clock: Clock) -> Begin:
    """Return what stores and claims an event of a customer and begins its journal."""
    runtime = DeliveryRuntime(stores, no_engage, clock, LEASE, 1.0, lambda _seconds: False)

    def begin_for(customer_id: str) -> Journal:
        new = NewEvent(
            shop_id=shop.id,
            platform=shop.platform,
            topic="customer.updated",
            kind="customer_updated",
            dedupe_key=f"delivery-{customer_id}",
            ordering_key=f"customer:{customer_id}",
            occurred_at=clock(),
            received_at=clock(),
            body=b"{}",
        )
        stores.inbox.accept(new)
        (claimed,) = stores.inbox.claim_many(clock(), LEASE, 1)
        return Journal(runtime, claimed, shop)

    return begin_for


def timeline(database: Database) -> list[tuple[str, str]]:
    with database.reading() as session:
        rows = session.execute(select(DeliveryAttempt.operation, DeliveryAttempt.outcome).order_by(DeliveryAttempt.id))
        return [(operation, outcome) for operation, outcome in rows]


def write_link(journal: Journal, stores: Stores, shop: RegisteredShop, clock: Clock) -> None:
    now = clock()
    journal.on_commit(lambda session: stores.links.write(session, shop, "1001", LINK, now))


def test_a_lease_holds_until_its_time_is_over(begin: Begin, clock: Clock) -> None:
    journal = begin("1001")
    clock.forward(59)
    journal.ensure_lease()
    clock.forward(1)
    with pytest.raises(LeaseLostError):
        journal.ensure_lease()


def test_saving_extends_the_lease(begin: Begin, clock: Clock) -> None:
    journal = begin("1001")
    clock.forward(50)
    journal.save()
    clock.forward(50)
    journal.ensure_lease()


def test_remarks_and_writes_are_stored_with_the_next_commit_and_once(
    begin: Begin, stores: Stores, shop: RegisteredShop, clock: Clock, database: Database
) -> None:
    journal = begin("1001")
    journal.note("mapped", "CustomerUpdated")
    write_link(journal, stores, shop, clock)
    assert (timeline(database), stores.links.find(shop, "1001")) == ([], None)
    journal.save()
    assert stores.links.find(shop, "1001") == LINK
    journal.save()
    assert timeline(database) == [("mapped", "CustomerUpdated")]


def test_a_worker_that_lost_its_lease_stores_nothing(
    begin: Begin, stores: Stores, shop: RegisteredShop, clock: Clock, database: Database
) -> None:
    journal = begin("1001")
    with database.transaction() as session:
        session.execute(InboxEvent.__table__.update().values(lease_token="of another worker"))  # type: ignore[attr-defined]
    journal.note("mapped", "CustomerUpdated")
    write_link(journal, stores, shop, clock)
    with pytest.raises(LeaseLostError):
        journal.save()
    with pytest.raises(LeaseLostError):
        journal.finish(State.DELIVERED, None, None, blocks_later_changes=False)
    assert (timeline(database), stores.links.find(shop, "1001")) == ([], None)


def test_the_end_of_an_event_stores_its_reason_and_the_writes(
    begin: Begin, stores: Stores, shop: RegisteredShop, clock: Clock, database: Database
) -> None:
    journal = begin("1001")
    write_link(journal, stores, shop, clock)
    journal.finish(State.PARKED, "The key field is missing.", "missing_key:email", blocks_later_changes=False)
    assert stores.links.find(shop, "1001") == LINK
    assert timeline(database) == [("parked", "The key field is missing.")]


def test_a_locked_contact_is_free_again_after_the_next_commit(begin: Begin) -> None:
    first, second = begin("1001"), begin("1002")
    assert first.lock_contact("c-1") is True
    assert first.lock_contact("c-1") is False
    assert second.lock_contact("c-2") is True
    with pytest.raises(ThrottledError):
        second.lock_contact("c-1")
    first.save()
    assert second.lock_contact("c-1") is True


def test_a_worker_without_its_lease_locks_no_contact(begin: Begin, clock: Clock) -> None:
    first = begin("1001")
    clock.forward(61)
    with pytest.raises(LeaseLostError):
        first.lock_contact("c-1")
