"""The jobs of a worker process: single events, and a batch of the backlog beside them."""

import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from webhooks.processing.worker import InboxWorker

PATIENCE_S = 20


class Events:
    """Event processor and wake-ups in one: processes what is due."""

    def __init__(self) -> None:
        self.due: list[str] = []
        self.worked: list[str] = []

    def claim(self, most: int, *, live_first: bool) -> list[str]:
        del live_first
        claimed, self.due = self.due[:most], self.due[most:]
        return claimed

    def work(self, claimed: str) -> None:
        self.worked.append(claimed)

    def more_is_due(self) -> bool:
        return bool(self.due)

    def clear_pending(self, event_id: int) -> None:
        """The flag of a wake-up is of no interest here."""

    def wake(self, event_id: int) -> None:
        raise AssertionError(f"event {event_id} was left over")


class SlowBatches:
    """Batches on which Engage works for as long as the test wants."""

    def __init__(self) -> None:
        self.sent = 0
        self.began = threading.Semaphore(0)
        self.may_end = threading.Event()

    def send(self) -> int:
        self.sent += 1
        self.began.release()
        assert self.may_end.wait(PATIENCE_S)
        return 0


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def batches() -> Iterator[SlowBatches]:
    made = SlowBatches()
    yield made
    made.may_end.set()


def drain_with(events: Events, backlog: Any, stopping: threading.Event | None = None) -> InboxWorker:
    return InboxWorker(cast("Any", events), cast("Any", events), 4, backlog, stopping or threading.Event())


def within_patience(work: Any, *arguments: Any) -> None:
    """Do something in a thread of its own and fail when it does not end."""
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_running_batch_delays_neither_a_job_nor_live_events(events: Events, batches: SlowBatches) -> None:
    drain = drain_with(events, batches.send)
    within_patience(drain.run, 1)
    assert batches.began.acquire(timeout=PATIENCE_S)
    events.due = ["live", "and live"]
    within_patience(drain.run, 2)
    assert sorted(events.worked) == ["and live", "live"]
    assert batches.sent == 1  # the job that came meanwhile began no second one


def test_the_job_after_a_batch_starts_the_next_batch(events: Events, batches: SlowBatches) -> None:
    drain = drain_with(events, batches.send)
    batches.may_end.set()
    for event_id in (1, 2):
        within_patience(drain.run, event_id)
        assert batches.began.acquire(timeout=PATIENCE_S)
        _end_of_backlog()


def test_a_process_that_stops_waits_until_its_batch_is_released(events: Events) -> None:
    stopping = threading.Event()
    began, given_back = threading.Event(), []

    def send() -> int:
        began.set()
        assert stopping.wait(PATIENCE_S)
        given_back.append("all of it")
        return 0

    drain = drain_with(events, send, stopping)
    within_patience(drain.run, 1)
    assert began.wait(PATIENCE_S)
    within_patience(drain.stop)
    assert given_back == ["all of it"]
    within_patience(drain.run, 2)
    assert given_back == ["all of it"]  # and it begins no other


def test_a_fault_of_the_backlog_is_logged_and_ends_nothing_else(
    events: Events, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)

    def send() -> int:
        raise KeyError("a name of somebody")

    drain = drain_with(events, send)
    events.due = ["live"]
    within_patience(drain.run, 1)
    _end_of_backlog()
    assert events.worked == ["live"]
    assert "unexpected KeyError" in caplog.text
    assert "a name of somebody" not in caplog.text
    assert raised == []


def _end_of_backlog() -> None:
    """Wait for the end of the thread that sends batches."""
    for thread in threading.enumerate():
        if thread.name == "backlog":
            thread.join(PATIENCE_S)
