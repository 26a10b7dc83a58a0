"""What an operator sees of the inbox and may do to it, on both databases."""

import pytest
from support.helpers import once_before
from support.inbox_driver import InboxDriver

from plugin.errors import ConflictError, NotFoundHereError
from plugin.store.database.engine import Database
from plugin.store.inbox.admin import EventFilter
from plugin.store.inbox.progress_writes import NewTimelineEntry
from plugin.store.shops.registry import Shops
from plugin.store.tables.inbox import State


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
