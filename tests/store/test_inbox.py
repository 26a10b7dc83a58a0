"""The inbox on both databases: dedupe, order per customer, leases, parking, sweep."""

import threading
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import update
from support.helpers import Clock, once_before

from plugin.errors import ConflictError, LeaseLostError, NotFoundHereError
from plugin.event_kinds import EventKind
from plugin.store.database.engine import Database
from plugin.store.inbox.admin import EventAdmin, EventFilter
from plugin.store.inbox.claiming import Claimed
from plugin.store.inbox.inbox import Inbox, NewEvent
from plugin.store.inbox.progress_writes import LeasedUpdate, NewTimelineEntry, apply_updates
from plugin.store.inbox.statements import KEEP, RETRY
from plugin.store.inbox.sweep import MAX_LOST_LEASES, Sweep
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.inbox import InboxEvent, State

LEASE = timedelta(seconds=60)


class InboxDriver:
    """An inbox with short words for tests."""

    def __init__(self, database: Database, shop: RegisteredShop, clock: Clock) -> None:
        self.inbox, self.desk, self.sweep = Inbox(database), EventAdmin(database), Sweep(database)
        self.shop, self.clock = shop, clock

    def event(
        self, key: str, *, customer: str = "1", kind: EventKind = EventKind.PROFILE_CHANGE, at: datetime | None = None
    ) -> NewEvent:
        return NewEvent(
            shop_id=self.shop.id,
            platform="standard",
            topic="customer.updated",
            kind=kind,
            dedupe_key=key,
            ordering_key=f"customer:{customer}",
            occurred_at=at or self.clock(),
            received_at=self.clock(),
            body=b"{}",
        )

    def accept(self, key: str, **options: object) -> int:
        return self.inbox.accept(self.event(key, **options)).event_id  # type: ignore[arg-type]

    def claim(self) -> Claimed | None:
        return self.inbox.claim(self.clock(), LEASE)

    def claimed_id(self) -> int | None:
        claimed = self.claim()
        return None if claimed is None else claimed.id

    def deliver_next(self) -> int:
        claimed = self.claim()
        assert claimed is not None
        self.inbox.finish(claimed, State.DELIVERED, self.clock())
        return claimed.id

    def park_next(self) -> int:
        claimed = self.claim()
        assert claimed is not None
        self.inbox.finish(claimed, State.PARKED, self.clock(), error="bad", error_code="bad", blocks_later_changes=True)
        return claimed.id


@pytest.fixture
def box(database: Database, shop: RegisteredShop, clock: Clock) -> InboxDriver:
    return InboxDriver(database, shop, clock)


def test_the_same_delivery_is_stored_once(box: InboxDriver) -> None:
    first = box.inbox.accept(box.event("a"))
    again = box.inbox.accept(box.event("a"))
    assert (first.duplicate, again.duplicate) == (False, True)
    assert again.event_id == first.event_id
    assert box.desk.status() == {
        "accepted": 1, "pending": 1, "leased": 0, "delivered": 0, "ignored": 0, "parked": 0, "spooled": 0, "discarded": 0,
    }  # fmt: skip


def test_the_same_delivery_id_of_two_shops_is_two_events(box: InboxDriver, shops: Shops, clock: Clock) -> None:
    from plugin.store.shops.shops import NewShop

    other = shops.add(
        NewShop("other", "standard", "http://127.0.0.1:9", "k", "whsec_" + "A" * 32, {"store": "x"}), clock()
    )
    box.accept("a")
    assert not box.inbox.accept(replace(box.event("a"), shop_id=other.id)).duplicate


def test_a_parked_event_that_is_sent_again_is_requeued(box: InboxDriver) -> None:
    event_id = box.accept("a")
    box.park_next()
    assert box.claim() is None
    again = box.inbox.accept(box.event("a"))
    assert (again.duplicate, again.requeued) == (True, True)
    assert box.claimed_id() == event_id


def test_events_of_one_customer_go_in_the_order_they_happened(box: InboxDriver, clock: Clock) -> None:
    later = box.accept("later", at=clock() + timedelta(seconds=5))
    earlier = box.accept("earlier", at=clock())
    assert box.deliver_next() == earlier
    assert box.deliver_next() == later


def test_a_second_event_of_a_customer_waits_while_the_first_is_worked_on(box: InboxDriver) -> None:
    first, second = box.accept("1"), box.accept("2")
    claimed = box.claim()
    assert claimed is not None
    assert claimed.id == first
    assert box.claim() is None
    box.inbox.finish(claimed, State.DELIVERED, box.clock())
    assert box.claimed_id() == second


def test_a_late_older_event_waits_for_the_leased_one(box: InboxDriver, clock: Clock) -> None:
    box.accept("new", at=clock())
    claimed = box.claim()
    assert claimed is not None
    late = box.accept("old", at=clock() - timedelta(hours=1))
    assert box.claim() is None
    box.inbox.finish(claimed, State.DELIVERED, box.clock())
    assert box.claimed_id() == late


def test_a_retry_of_one_customer_does_not_delay_others(box: InboxDriver) -> None:
    box.accept("1", customer="1")
    claimed = box.claim()
    assert claimed is not None
    box.inbox.retry_later(claimed, box.clock() + timedelta(hours=1), error="away", error_code="away")
    follower = box.accept("2", customer="1")
    other = box.accept("3", customer="2")
    assert box.claimed_id() == other
    assert box.claim() is None
    box.clock.forward(3601)
    assert box.deliver_next() == claimed.id
    assert box.deliver_next() == follower


def test_a_thousand_waiting_events_of_one_customer_go_in_order(box: InboxDriver, clock: Clock) -> None:
    ids = [box.accept(str(n), at=clock() + timedelta(milliseconds=n)) for n in range(60)]
    assert [box.deliver_next() for _ in ids] == ids


def test_a_parked_event_blocks_contact_changes_but_not_receipts(box: InboxDriver) -> None:
    parked = box.accept("bad")
    assert box.park_next() == parked
    change = box.accept("change")
    receipt = box.accept("receipt", kind=EventKind.ORDER_PAID)
    assert box.deliver_next() == receipt
    assert box.claim() is None
    assert box.desk.show(change)[0].held_by == parked
    box.desk.discard(parked, "was a test", box.clock())
    assert box.deliver_next() == change


def test_a_non_blocking_parked_event_blocks_nothing(box: InboxDriver) -> None:
    box.accept("bad")
    claimed = box.claim()
    assert claimed is not None
    box.inbox.finish(claimed, State.PARKED, box.clock(), error="bad", error_code="bad", blocks_later_changes=False)
    change = box.accept("change")
    assert box.deliver_next() == change


def test_blocked_events_follow_a_retried_parked_one(box: InboxDriver) -> None:
    parked = box.accept("bad")
    box.park_next()
    change = box.accept("change")
    assert box.claim() is None
    box.desk.retry([parked], box.clock())
    assert box.deliver_next() == parked
    assert box.deliver_next() == change


def test_an_attempt_is_counted_at_the_claim_and_uncounted_when_nothing_was_tried(box: InboxDriver) -> None:
    box.accept("1")
    claimed = box.claim()
    assert claimed is not None
    assert claimed.attempts == 1
    box.inbox.retry_later(claimed, box.clock(), error="held", error_code="held", counts=False)
    again = box.claim()
    assert again is not None
    assert again.attempts == 1


def test_first_attempt_time_is_reset_when_no_attempt_counts(box: InboxDriver) -> None:
    box.accept("1")
    began = box.clock()
    for hours in (0, 1):
        claimed = box.claim()
        assert claimed is not None
        assert claimed.first_attempt_at == began + timedelta(hours=hours)
        at = box.clock.forward(3600)
        box.inbox.retry_later(claimed, at, error="x", error_code="x", counts=hours > 0)
    claimed = box.claim()
    assert claimed is not None
    assert (claimed.attempts, claimed.first_attempt_at) == (2, began + timedelta(hours=1))


@pytest.mark.parametrize("how", ["start", "new key", "new address"])
def test_restarting_a_shop_resets_attempts_of_waiting_events(box: InboxDriver, shops: Shops, how: str) -> None:
    box.accept("1")
    claimed = box.claim()
    assert claimed is not None
    box.inbox.retry_later(claimed, box.clock(), error="away", error_code="away")
    shops.stop(box.shop.id, "the key is wrong")
    box.clock.forward(4 * 86400)
    if how == "start":
        shops.start(box.shop.id)
    elif how == "new key":
        shops.replace_secrets(box.shop.name, engage_key="another")
    else:
        shops.replace_secrets(box.shop.name, engage_url="http://127.0.0.1:8")
    again = box.claim()
    assert again is not None
    assert (again.attempts, again.first_attempt_at) == (1, box.clock())


def test_a_lost_lease_is_claimed_again_and_fences_off_the_former_worker(box: InboxDriver) -> None:
    event_id = box.accept("1")
    slow = box.claim()
    assert slow is not None
    slow.progress["contact"] = "known"
    box.inbox.save_progress(slow, [], box.clock(), LEASE)
    box.clock.forward(61)
    assert box.claim() is None
    assert box.sweep.run(box.clock()).lost_leases == 1
    fast = box.claim()
    assert fast is not None
    assert (fast.id, fast.attempts, fast.progress) == (event_id, 2, {"contact": "known"})
    with pytest.raises(LeaseLostError):
        box.inbox.save_progress(slow, [], box.clock(), LEASE)
    with pytest.raises(LeaseLostError):
        box.inbox.finish(slow, State.DELIVERED, box.clock())
    box.inbox.finish(fast, State.DELIVERED, box.clock())


@pytest.mark.parametrize("order", [1, -1])
def test_two_workers_of_one_event_in_one_commit_are_distinguished(
    box: InboxDriver, database: Database, order: int
) -> None:
    event_id = box.accept("1")
    slow = box.claim()
    box.clock.forward(61)
    box.sweep.run(box.clock())
    fast = box.claim()
    assert slow is not None
    assert fast is not None
    late = {"progress": {}, "tries": 1, "error": "late", "code": "late", "due": box.clock(), "non_blocking": False}
    steps = [
        LeasedUpdate(RETRY, slow, late, (), ()),
        LeasedUpdate(KEEP, fast, {"progress": {"contact": "known"}, "until": box.clock() + LEASE}, (), ()),
    ]
    with database.transaction() as session:
        told = apply_updates(session, steps[::order])[::order]
    assert [type(one) for one in told] == [LeaseLostError, type(None)]
    event = box.desk.show(event_id)[0]
    assert (event.state, event.progress, event.last_error) == ("leased", {"contact": "known"}, None)


def test_saving_progress_extends_the_lease(box: InboxDriver) -> None:
    box.accept("1")
    claimed = box.claim()
    assert claimed is not None
    box.clock.forward(50)
    box.inbox.save_progress(claimed, (), box.clock(), LEASE)
    box.clock.forward(50)
    assert box.sweep.run(box.clock()).lost_leases == 0


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


def test_events_of_a_stopped_shop_wait_but_erasures_run(box: InboxDriver, shops: Shops) -> None:
    box.accept("1", customer="1")
    erasure = box.accept("2", customer="2", kind=EventKind.ERASURE)
    shops.stop(box.shop.id, "the key is wrong")
    assert box.deliver_next() == erasure
    assert box.claim() is None
    shops.start(box.shop.id)
    assert box.claim() is not None


def test_an_erasure_does_not_wait_for_earlier_events_of_its_customer_while_the_shop_is_stopped(
    box: InboxDriver, shops: Shops
) -> None:
    change, waiting = box.accept("1"), box.accept("2")
    erasure, request = box.accept("3", kind=EventKind.ERASURE), box.accept("4", kind=EventKind.DATA_REQUEST)
    at_work = box.claim()
    assert at_work is not None
    assert at_work.id == change
    assert box.claim() is None  # and the others have stepped aside
    shops.stop(box.shop.id, "the key is wrong")
    box.sweep.run(box.clock())
    assert box.claim() is None  # one that is being worked on is waited for
    box.inbox.retry_later(at_work, box.clock(), error="key", error_code="key", counts=False)
    for one in (erasure, request):
        box.sweep.run(box.clock())
        assert box.deliver_next() == one
    box.sweep.run(box.clock())
    assert box.claim() is None
    shops.start(box.shop.id)
    assert [box.deliver_next(), box.deliver_next()] == [change, waiting]


def test_workers_side_by_side_never_hold_two_events_of_one_customer(box: InboxDriver) -> None:
    customers, each = 5, 8
    expected = {
        str(customer): [box.accept(f"{customer}-{n}", customer=str(customer)) for n in range(each)]
        for customer in range(customers)
    }
    done: dict[str, list[int]] = {str(customer): [] for customer in range(customers)}
    at_work: set[str] = set()
    faults: list[str] = []
    lock = threading.Lock()

    def work() -> None:
        idle = 0
        while idle < 50:
            claimed = box.claim()
            if claimed is None:
                idle += 1
                continue
            idle = 0
            customer = claimed.ordering_key.removeprefix("customer:")
            with lock:
                if customer in at_work:
                    faults.append(customer)
                at_work.add(customer)
                done[customer].append(claimed.id)
            with lock:
                at_work.discard(customer)
            box.inbox.finish(claimed, State.DELIVERED, box.clock())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert done == expected


def test_a_refund_finds_the_ordering_key_of_its_order(box: InboxDriver) -> None:
    box.inbox.accept(replace(box.event("paid", customer="7"), order_ref="900"))
    assert box.inbox.ordering_key_of_order(box.shop.id, "900") == "customer:7"
    assert box.inbox.ordering_key_of_order(box.shop.id, "901") is None


def test_the_timeline_lists_each_step(box: InboxDriver) -> None:
    event_id = box.accept("1")
    claimed = box.claim()
    assert claimed is not None
    entry = NewTimelineEntry(box.clock(), "create_receipt", "ok", "items, total", 202, 12)
    box.inbox.finish(claimed, State.DELIVERED, box.clock(), entries=[entry])
    event, timeline = box.desk.show(event_id)
    assert event.state == "delivered"
    assert timeline[0].operation == "received"
    assert [(t.operation, t.sent, t.status, t.duration_ms) for t in timeline[1:]] == [
        ("create_receipt", "items, total", 202, 12)
    ]


def test_only_parked_and_pending_events_are_retried_or_discarded(box: InboxDriver) -> None:
    event_id = box.accept("1")
    box.deliver_next()
    with pytest.raises(ConflictError):
        box.desk.retry([event_id], box.clock())
    with pytest.raises(ConflictError):
        box.desk.discard(event_id, "why", box.clock())
    with pytest.raises(NotFoundHereError):
        box.desk.retry([event_id + 1], box.clock())


def test_an_event_being_discarded_is_not_claimed(box: InboxDriver, database: Database) -> None:
    if database.sqlite:
        pytest.skip("SQLite lets one transaction write at a time")
    event_id = box.accept("1")
    with once_before(database, "UPDATE inbox_events SET state", box.claimed_id) as taken:
        box.desk.discard(event_id, "was a test", box.clock())
    assert taken == [None]
    assert box.desk.show(event_id)[0].state == "discarded"


def test_an_event_claimed_meanwhile_is_not_discarded(box: InboxDriver, database: Database) -> None:
    if database.sqlite:
        pytest.skip("SQLite lets one transaction write at a time")
    event_id = box.accept("1")
    with once_before(database, "SELECT inbox_events.state", box.deliver_next), pytest.raises(ConflictError):
        box.desk.discard(event_id, "was a test", box.clock())
    event, timeline = box.desk.show(event_id)
    assert (event.state, [step.operation for step in timeline]) == ("delivered", ["received"])


def test_events_are_found_by_state_and_error(box: InboxDriver) -> None:
    parked = box.accept("1", customer="1")
    box.park_next()
    box.accept("2", customer="2")
    assert [row.id for row in box.desk.find(EventFilter(state="parked", error_code="bad"))] == [parked]
    assert box.desk.find(EventFilter(error_code="worse")) == []


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


def test_a_late_older_event_is_released_when_the_leased_one_loses_its_lease(box: InboxDriver, clock: Clock) -> None:
    """Found by the state machine: both waited for each other, and the sweep released the wrong one for ever."""
    first, _second = box.accept("1"), box.accept("2")
    assert box.claimed_id() == first
    late = box.accept("late", at=clock() - timedelta(seconds=1))
    clock.forward(45)
    assert box.claim() is None
    clock.forward(16)
    box.sweep.run(clock())
    assert [box.deliver_next() for _ in range(3)] == [late, first, _second]


def test_the_sweep_releases_the_event_that_happened_first(box: InboxDriver, clock: Clock, database: Database) -> None:
    box.accept("2", at=clock() + timedelta(seconds=5))
    first = box.accept("1")
    with database.transaction() as session:  # what a crash could leave behind: nobody is due
        session.execute(update(InboxEvent).values(next_attempt_at=None))
    assert box.sweep.run(clock()).released == 1
    assert box.deliver_next() == first


def test_a_late_older_event_does_not_wait_for_the_retry_of_the_leased_one(box: InboxDriver, clock: Clock) -> None:
    first = box.accept("first")
    held = box.claim()
    assert held is not None
    late = box.accept("late", at=clock() - timedelta(seconds=30))
    assert box.claim() is None
    box.inbox.retry_later(held, clock() + timedelta(hours=1), error="away", error_code="away")
    clock.forward(15)
    box.sweep.run(clock())
    assert box.claimed_id() == late
    assert first != late


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
