"""Webhooks that come together share a commit; each still gets its own answer."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy.exc import DataError, OperationalError
from support.helpers import Clock

from plugin.event_kinds import EventKind
from plugin.store.database.engine import Database
from plugin.store.database.group_commit import GroupCommit
from plugin.store.inbox.admin import EventAdmin
from plugin.store.inbox.inbox import Accepted, Inbox, NewEvent
from plugin.store.shops.shops import RegisteredShop


class SlowInbox(Inbox):
    """An inbox that notes its batches; the first one waits until it is released, so that others queue behind it."""

    def __init__(self, database: Database, refuse: Callable[[NewEvent], Exception | None] = lambda _new: None) -> None:
        super().__init__(database)
        self.batches: list[int] = []
        self.go = threading.Event()
        self.refuse = refuse

    def accept_waiting(self, waiting: Callable[[], Sequence[NewEvent]]) -> list[Accepted]:
        def noted() -> Sequence[NewEvent]:
            events = waiting()
            self.batches.append(len(events))
            assert self.go.wait(10)
            for new in events:
                error = self.refuse(new)
                if error is not None:
                    raise error
            return events

        return super().accept_waiting(noted)


@pytest.fixture
def new(shop: RegisteredShop, clock: Clock) -> NewEvent:
    return NewEvent(
        shop_id=shop.id, platform="standard", topic="customer.updated", kind=EventKind.PROFILE_CHANGE, dedupe_key="0",
        ordering_key="customer:1", occurred_at=clock(), received_at=clock(), body=b"{}",
    )  # fmt: skip


def send_all(inbox: SlowInbox, events: list[NewEvent]) -> list[Accepted | Exception]:
    group = inbox.receiving()

    def send(event: NewEvent) -> Accepted | Exception:
        try:
            return group.run(event)
        except (DataError, OperationalError) as error:
            return error

    with ThreadPoolExecutor(len(events)) as pool:
        sent = [pool.submit(send, events[0])]
        while not inbox.batches:  # the first one writes; only then do the others come
            threading.Event().wait(0.005)
        sent += [pool.submit(send, event) for event in events[1:]]
        while len(group._queue) < len(events) - 1:
            threading.Event().wait(0.005)
        inbox.go.set()
        return [one.result(10) for one in sent]


def test_waiting_writes_share_a_commit_and_each_gets_its_own_id(database: Database, new: NewEvent) -> None:
    inbox = SlowInbox(database)
    events = [replace(new, dedupe_key=str(n)) for n in range(20)]
    accepted = [one for one in send_all(inbox, events) if isinstance(one, Accepted)]
    assert len(inbox.batches) == 2
    assert sum(inbox.batches) == 20
    assert len({one.event_id for one in accepted}) == 20
    for event, one in zip(events, accepted, strict=True):
        again = Inbox(database).accept(event)
        assert (again.duplicate, again.event_id) == (True, one.event_id)
    assert EventAdmin(database).status()["accepted"] == 20


def test_concurrent_duplicates_are_stored_once(database: Database, new: NewEvent) -> None:
    accepted = [one for one in send_all(SlowInbox(database), [new] * 8) if isinstance(one, Accepted)]
    assert sorted(one.duplicate for one in accepted) == [False] + [True] * 7
    assert len({one.event_id for one in accepted}) == 1
    assert EventAdmin(database).status()["accepted"] == 1


def test_a_rejected_row_does_not_affect_the_others(database: Database, new: NewEvent) -> None:
    inbox = SlowInbox(database, lambda e: DataError("INSERT", {}, ValueError()) if e.dedupe_key == "3" else None)
    results = send_all(inbox, [replace(new, dedupe_key=str(n)) for n in range(8)])
    assert [type(one) for one in results].count(DataError) == 1
    assert isinstance(results[3], DataError)
    assert EventAdmin(database).status()["accepted"] == 7


def test_an_unavailable_database_fails_all_waiting_writes(database: Database, new: NewEvent) -> None:
    inbox = SlowInbox(database, lambda _new: OperationalError("INSERT", {}, OSError()))
    results = send_all(inbox, [replace(new, dedupe_key=str(n)) for n in range(8)])
    assert [type(one) for one in results] == [OperationalError] * 8
    assert len(inbox.batches) == 2
    assert EventAdmin(database).status()["accepted"] == 0


class PausingLock:
    """A lock after which one thread pauses when it has released it the first time."""

    def __init__(self, name: str) -> None:
        self._lock = threading.Lock()
        self._name = name
        self.resting, self.go_on = threading.Event(), threading.Event()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if threading.current_thread().name == self._name and not self.resting.is_set():
            self.resting.set()
            assert self.go_on.wait(10)


def test_a_thread_made_leader_before_it_waits_leads_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first_writes, first_goes_on = threading.Event(), threading.Event()

    def store(waiting: Callable[[], Sequence[str]]) -> list[str]:
        writes = list(waiting())
        if writes == ["first"]:
            first_writes.set()
            assert first_goes_on.wait(10)
        return writes

    group: GroupCommit[str, str] = GroupCommit(store, lambda _error: False)
    lock = PausingLock("second")
    monkeypatch.setattr(group, "_lock", lock)
    results: dict[str, str] = {}

    def write(name: str) -> threading.Thread:
        thread = threading.Thread(target=lambda: results.update({name: group.run(name)}), name=name, daemon=True)
        thread.start()
        return thread

    first = write("first")
    assert first_writes.wait(10)
    second = write("second")
    assert lock.resting.wait(10)  # queued, and not yet waiting for its turn
    third = write("third")
    while len(group._queue) < 2:
        threading.Event().wait(0.005)
    first_goes_on.set()
    first.join(10)
    lock.go_on.set()
    for thread in (second, third):
        thread.join(10)
    assert results == {"first": "first", "second": "second", "third": "third"}


def test_threads_interrupted_anywhere_all_finish() -> None:
    def store(waiting: Callable[[], Sequence[int]]) -> list[int]:
        writes = list(waiting())
        time.sleep(0.00005)  # another thread runs meanwhile, as during a real commit
        return writes

    group: GroupCommit[int, int] = GroupCommit(store, lambda _error: False)
    through: list[int] = []

    def work() -> None:
        for n in range(2500):
            sum(range(2000))  # and others wait for the processor
            assert group.run(n) == n
        through.append(1)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 60
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0))
    finally:
        sys.setswitchinterval(interval)
    assert len(through) == 8


def test_a_leader_that_fails_hands_over_to_the_next() -> None:
    """Whatever ends it: what it would have written is not written, and nobody waits for it."""
    ends = [KeyboardInterrupt()]

    def store(waiting: Callable[[], Sequence[str]]) -> list[str]:
        if ends:
            raise ends.pop()
        return [f"stored {write}" for write in waiting()]

    group: GroupCommit[str, str] = GroupCommit(store, lambda _error: False)
    with pytest.raises(KeyboardInterrupt):
        group.run("first")
    assert group.run("second") == "stored second"
