"""The sweep: expired leases, lost releases, poison events, retention and clocks, on both databases."""

from datetime import timedelta

import pytest
from sqlalchemy import update
from support.helpers import Clock
from support.inbox_driver import LEASE, InboxDriver

from plugin.event_kinds import EventKind
from plugin.store.database.engine import Database
from plugin.store.inbox.sweep import MAX_LOST_LEASES
from plugin.store.locks import MAX_LOCK_DURATION, NamedLocks
from plugin.store.shops.registry import Shops
from plugin.store.tables.inbox import InboxEvent


def test_the_sweep_returns_due_events_without_a_notified_worker(box: InboxDriver) -> None:
    event_id = box.accept("1")
    box.clock.forward(120)
    swept = box.sweep.run(box.clock())
    assert swept.due == (event_id,)
    assert swept.overdue == 1


def test_the_sweep_releases_a_waiting_event_whose_release_was_lost(box: InboxDriver, database: Database) -> None:
    from sqlalchemy import update

    from plugin.store.tables.inbox import InboxEvent

    event_id = box.accept("1")
    with database.transaction() as session:  # as a crash between two transactions would leave it
        session.execute(update(InboxEvent).values(next_attempt_at=None))
    assert box.claim() is None
    assert box.sweep.run(box.clock()).released == 1
    assert box.claimed_id() == event_id


def test_bodies_of_finished_events_are_erased_after_their_time(
    box: InboxDriver, shops: Shops, database: Database
) -> None:
    from plugin.store.tables.inbox import InboxEvent

    event_id = box.accept("1")
    box.deliver_next()
    box.clock.forward(29 * 86400)
    assert box.sweep.purge_expired(box.clock(), shops.all()) == 0
    box.clock.forward(2 * 86400)
    assert box.sweep.purge_expired(box.clock(), shops.all()) == 1
    with database.reading() as session:
        row = session.get(InboxEvent, event_id)
        assert row is not None
        assert row.body is None


def test_the_sweep_releases_the_event_that_happened_first(box: InboxDriver, clock: Clock, database: Database) -> None:
    box.accept("2", at=clock() + timedelta(seconds=5))
    first = box.accept("1")
    with database.transaction() as session:  # what a crash could leave behind: nobody is due
        session.execute(update(InboxEvent).values(next_attempt_at=None))
    assert box.sweep.run(clock()).released == 1
    assert box.deliver_next() == first


def test_a_poison_event_is_parked_and_others_continue(box: InboxDriver, clock: Clock) -> None:
    killer = box.accept("killer")
    for _ in range(MAX_LOST_LEASES):
        claimed = box.claim()
        assert claimed is not None
        assert claimed.id == killer
        clock.forward(61)
        assert box.sweep.run(clock()).lost_leases == 1
    event, _ = box.desk.show(killer)
    assert (event.state, event.error_code) == ("parked", "lost_lease")
    other = box.accept("other", customer="2")
    assert box.deliver_next() == other
    box.desk.retry([killer], clock())
    assert box.deliver_next() == killer


@pytest.mark.parametrize(
    ("kind", "hold", "follows"),
    [(EventKind.PROFILE_CHANGE, "yes", False), (EventKind.PROFILE_CHANGE, "no", True), (EventKind.REFUND, "yes", True)],
)
def test_a_parked_poison_event_blocks_contact_changes(
    box: InboxDriver, clock: Clock, shops: Shops, kind: EventKind, hold: str, follows: bool
) -> None:
    shops.change(box.shop.name, {"parked_hold_contacts": hold})
    box.accept("killer", kind=kind)
    for _ in range(MAX_LOST_LEASES):
        assert box.claim() is not None
        clock.forward(61)
        box.sweep.run(clock())
    change = box.accept("change")
    assert box.claimed_id() == (change if follows else None)


def test_times_set_by_a_clock_far_ahead_are_corrected(box: InboxDriver, clock: Clock) -> None:
    first, second = box.accept("a", customer="1"), box.accept("b", customer="2")
    right = clock.time
    clock.forward(86400)  # a worker with such a clock takes one event and puts the other off, then dies
    one, other = box.claim(), box.claim()
    assert one is not None
    assert other is not None
    box.inbox.retry_later(other, clock.forward(60), error="away", error_code="away")
    clock.time = right
    assert box.claimed_id() is None
    swept = box.sweep.run(clock())
    assert (swept.lost_leases, set(swept.due)) == (1, {first, second})
    assert {box.deliver_next(), box.deliver_next()} == {first, second}


def test_the_longest_allowed_wait_is_respected(box: InboxDriver, clock: Clock) -> None:
    box.accept("a")
    claimed = box.claim()
    assert claimed is not None
    box.inbox.retry_later(claimed, clock() + timedelta(hours=6), error="away", error_code="away")
    assert box.sweep.run(clock()).due == ()


def test_a_lock_taken_by_a_clock_far_ahead_is_freed(box: InboxDriver, database: Database, clock: Clock) -> None:
    locks = NamedLocks(database)
    assert locks.acquire("far ahead", clock() + timedelta(hours=24), LEASE)
    assert locks.acquire("in use", clock(), MAX_LOCK_DURATION)
    box.sweep.run(clock())
    assert locks.acquire("far ahead", clock(), LEASE)
    assert locks.acquire("in use", clock(), LEASE) is None
