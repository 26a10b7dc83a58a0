"""Where a shopper stands, on both databases: what changes it, and that nothing of another shopper does."""

from datetime import timedelta
from decimal import Decimal

from support.helpers import Clock

from plugin.event_kinds import EventKind
from plugin.store.contacts.links import ContactLinks, Link
from plugin.store.contacts.snapshot import ShopperSnapshot, ShopperSnapshots
from plugin.store.contacts.sync_state import SyncStates
from plugin.store.database.engine import Database
from plugin.store.inbox.admin import EventAdmin, EventFilter
from plugin.store.inbox.edits import Edits
from plugin.store.inbox.inbox import NewEvent
from plugin.store.inbox.keys import customer_key
from plugin.store.orders.orders import Orders, StoredOrder
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.inbox import State

MINUTE = timedelta(minutes=1)


def _edit(shop: RegisteredShop, clock: Clock, customer: str, key: str) -> NewEvent:
    return NewEvent(
        shop_id=shop.id, platform=shop.platform, topic="my-pages.profile-edited", kind=EventKind.PROFILE_EDIT, dedupe_key=key,
        ordering_key=customer_key(customer), occurred_at=clock(), received_at=clock(), body=b"{}",
    )  # fmt: skip


def test_everything_that_changes_a_page_changes_the_snapshot(
    database: Database, shop: RegisteredShop, clock: Clock
) -> None:
    shoppers, links, states = ShopperSnapshots(database), ContactLinks(database), SyncStates(database)
    orders, edits = Orders(database), Edits(database)

    def stand(customer: str = "1") -> ShopperSnapshot:
        return shoppers.standing(shop, customer, customer_key(customer))

    seen = [stand()]
    assert seen[0] == ShopperSnapshot(None, 0, None, "0-0", "")
    links.save(shop, "1", Link("c1", False, "test"), clock())
    assert stand() == seen[0]  # over an unverified link nothing is shown
    links.save(shop, "1", Link("c1", True, "test"), clock())
    links.save(shop, "2", Link("c2", True, "test"), clock())
    seen.append(stand())
    assert seen[-1].contact_id == "c1"
    states.bump_generation(shop, "c1", clock())
    seen.append(stand())
    assert states.invalidate_before(shop, "c1", clock(), MINUTE)
    seen.append(stand())
    order = StoredOrder("9", "9", "1", "c1", "SEK", Decimal(1), clock(), "web", None, {})
    orders.remember(shop, order, 1)
    seen.append(stand())
    edits.accept(_edit(shop, clock, "1", "a"))
    seen.append(stand())
    assert len(set(seen)) == len(seen)
    assert stand("2") == ShopperSnapshot("c2", 0, None, "0-0", "")


def test_newer_data_is_requested_at_most_once_a_pause(database: Database, shop: RegisteredShop, clock: Clock) -> None:
    links, states = ContactLinks(database), SyncStates(database)
    links.save(shop, "1", Link("c1", True, "test"), clock())
    assert states.invalidate_before(shop, "c1", clock(), MINUTE)
    assert states.generation(shop, "c1") == 0  # what is kept stays, to be shown while Engage is away
    clock.forward(59)
    assert not states.invalidate_before(shop, "c1", clock(), MINUTE)
    clock.forward(1)
    assert states.invalidate_before(shop, "c1", clock(), MINUTE)


def test_a_newer_edit_supersedes_a_parked_one(database: Database, shop: RegisteredShop, clock: Clock) -> None:
    edits, desk = Edits(database), EventAdmin(database)
    inbox = edits._inbox
    first = edits.accept(_edit(shop, clock, "1", "a"))
    assert edits.accept(_edit(shop, clock, "1", "a")).duplicate
    (claimed,) = inbox.claim_many(clock(), MINUTE, 1)
    inbox.finish(claimed, State.PARKED, clock(), error="refused")
    (open_edit,) = edits.open_of(shop, "1")
    assert (open_edit.event_id, open_edit.parked) == (first.event_id, True)
    edits.accept(_edit(shop, clock, "1", "b"), instead_of=[first.event_id])
    (open_edit,) = edits.open_of(shop, "1")
    assert not open_edit.parked
    assert [event.id for event in desk.find(EventFilter(state="discarded"))] == [first.event_id]
    (claimed,) = inbox.claim_many(clock(), MINUTE, 1)
    edits.accept(_edit(shop, clock, "1", "c"), instead_of=[claimed.id])  # it is being worked on: it stays
    inbox.finish(claimed, State.DELIVERED, clock())
    assert len(edits.open_of(shop, "1")) == 1
    assert edits.open_of(shop, "2") == []
