"""Accepting events, attempts and their progress, on both databases."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.helpers import Clock
from support.inbox_driver import LEASE, InboxDriver

from plugin.errors import LeaseLostError
from plugin.store.database.engine import Database
from plugin.store.inbox.progress_writes import LeasedUpdate, apply_updates
from plugin.store.inbox.statements import KEEP, RETRY
from plugin.store.shops.registry import Shops


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


def test_a_refund_finds_the_ordering_key_of_its_order(box: InboxDriver) -> None:
    box.inbox.accept(replace(box.event("paid", customer="7"), order_ref="900"))
    assert box.inbox.ordering_key_of_order(box.shop.id, "900") == "customer:7"
    assert box.inbox.ordering_key_of_order(box.shop.id, "901") is None
