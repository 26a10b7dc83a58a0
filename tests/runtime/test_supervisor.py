"""The supervisor: children that end are restarted, after pauses that double while they end early."""

import sys
from collections.abc import Iterator

import pytest
from support.running_plugin import wait_for

from plugin.runtime.supervisor import RAN_WELL_S, Supervisor

ENDS = [sys.executable, "-S", "-c", "raise SystemExit(3)"]
RUNS = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


class FakeTime:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def supervisor(time: FakeTime) -> Iterator[Supervisor]:
    supervisor = Supervisor(longest_pause_s=5, clock=time)
    yield supervisor
    supervisor.stop()


def restart_pause(supervisor: Supervisor, time: FakeTime) -> float:
    """Wait for the child's end, let time pass until it is restarted, and return the seconds that took."""
    before = supervisor.pids()["child"]
    wait_for(lambda: not supervisor.is_running("child"), 30, "the child does not end")
    ended_at = time.now
    for _ in range(1000):
        supervisor.restart_ended()
        if supervisor.pids()["child"] != before:
            return time.now - ended_at
        time.now += 0.5
    raise AssertionError("the child is not restarted")


def test_child_that_ends_early_is_restarted_after_doubling_pauses(supervisor: Supervisor, time: FakeTime) -> None:
    supervisor.add("child", ENDS)
    assert [restart_pause(supervisor, time) for _ in range(5)] == [1, 2, 4, 5, 5]


def test_child_that_ran_well_is_restarted_at_once_and_its_pauses_start_over(
    supervisor: Supervisor, time: FakeTime
) -> None:
    supervisor.add("child", ENDS)
    assert [restart_pause(supervisor, time) for _ in range(3)] == [1, 2, 4]
    time.now += RAN_WELL_S
    assert [restart_pause(supervisor, time) for _ in range(3)] == [0, 1, 2]


def test_running_child_is_left_alone_and_stops_with_the_supervisor(supervisor: Supervisor, time: FakeTime) -> None:
    supervisor.add("child", RUNS)
    before = supervisor.pids()
    time.now += 1000
    supervisor.restart_ended()
    assert supervisor.pids() == before
    supervisor.stop()
    assert not supervisor.is_running("child")
