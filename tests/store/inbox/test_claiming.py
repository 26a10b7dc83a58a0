"""Which event is claimed next: order per customer, leases, blocked events and stopped shops, on both databases."""

import threading
from datetime import timedelta

import pytest
from support.helpers import Clock
from support.inbox_driver import LEASE, InboxDriver

from plugin.errors import LeaseLostError
from plugin.event_kinds import EventKind
from plugin.store.shops.registry import Shops
from plugin.store.tables.inbox import State


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
