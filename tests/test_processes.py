"""The supervisor: children that die are started again, after pauses that grow while they die early."""

import sys
from collections.abc import Iterator

import pytest
from support.running_plugin import wait_for

from plugin.runtime.supervisor import RAN_WELL_S, Supervisor

DIES = [sys.executable, "-S", "-c", "raise SystemExit(3)"]
LIVES = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


class Time:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def supervisor(time: Time) -> Iterator[Supervisor]:
    made = Supervisor(longest_pause_s=5, clock=time)
    yield made
    made.stop()


def pause_before_the_next_start(supervisor: Supervisor, time: Time) -> float:
    """Wait for the child's death, then let time pass until it is started again."""
    before = supervisor.pids()["child"]
    wait_for(lambda: not supervisor.is_running("child"), 30, "the child does not die")
    died_at = time.now
    for _ in range(1000):
        supervisor.revive_all()
        if supervisor.pids()["child"] != before:
            return time.now - died_at
        time.now += 0.5
    raise AssertionError("the child is not started again")


def test_a_child_that_dies_at_its_start_is_started_after_growing_pauses(supervisor: Supervisor, time: Time) -> None:
    supervisor.add("child", DIES)
    assert [pause_before_the_next_start(supervisor, time) for _ in range(5)] == [1, 2, 4, 5, 5]


def test_a_child_that_ran_well_is_started_at_once_and_its_pauses_begin_anew(supervisor: Supervisor, time: Time) -> None:
    supervisor.add("child", DIES)
    assert [pause_before_the_next_start(supervisor, time) for _ in range(3)] == [1, 2, 4]
    time.now += RAN_WELL_S
    assert [pause_before_the_next_start(supervisor, time) for _ in range(3)] == [0, 1, 2]


def test_a_child_that_lives_is_left_alone_and_ends_with_the_supervisor(supervisor: Supervisor, time: Time) -> None:
    supervisor.add("child", LIVES)
    before = supervisor.pids()
    time.now += 1000
    supervisor.revive_all()
    assert supervisor.pids() == before
    supervisor.stop()
    assert not supervisor.is_running("child")
