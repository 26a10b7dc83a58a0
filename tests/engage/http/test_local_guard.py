"""Rate limiter and circuit breaker of one process."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin.engage.http.guard_rules import GuardRules
from plugin.engage.http.local_guard import LocalCallGuard
from plugin.engage.operations import Priority
from plugin.errors import ThrottledError


class FakeClock:
    """A clock whose sleep moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0)


@settings(max_examples=50, deadline=None, print_blob=True)
@given(st.integers(1, 200), st.lists(st.tuples(st.sampled_from(list(Priority)), st.floats(0, 0.1)), max_size=300))
def test_no_second_ever_sees_more_grants_than_the_rate(rate: int, calls: list[tuple[Priority, float]]) -> None:
    clock = FakeClock()
    guard = LocalCallGuard(GuardRules(rate=rate, share=1.0), sleep=clock.sleep, clock=clock)
    grants = []
    for priority, pause in calls:
        clock.sleep(pause)
        try:
            guard.acquire(priority)
        except ThrottledError:
            continue
        grants.append(clock())
    grants.sort()
    assert all(late - early > 1.0 for early, late in zip(grants, grants[rate:], strict=False))


def test_the_breaker_opens_lets_one_probe_through_and_closes() -> None:
    clock = FakeClock()
    guard = LocalCallGuard(GuardRules(rate=200, share=1.0, probe_s=10, open_after=3), sleep=clock.sleep, clock=clock)
    for _ in range(3):
        guard.acquire(Priority.CONTACT)
        guard.failed()
    assert guard.open_since() is not None
    with pytest.raises(ThrottledError) as caught:
        guard.acquire(Priority.SHOPPER)
    assert caught.value.retry_after is not None
    clock.sleep(10.1)
    guard.acquire(Priority.CONTACT)
    with pytest.raises(ThrottledError):
        guard.acquire(Priority.CONTACT)
    clock.sleep(10.1)  # the probe crashed without an answer: another is sent
    guard.acquire(Priority.CONTACT)
    guard.succeeded()
    guard.acquire(Priority.CONTACT)
    assert guard.open_since() is None
    assert guard.breaker_open_duration().total_seconds() == pytest.approx(20.2, abs=0.5)


def test_parallel_calls_of_a_page_leave_at_once_while_there_is_room() -> None:
    clock = FakeClock()
    guard = LocalCallGuard(GuardRules(rate=50, share=1.0), sleep=clock.sleep, clock=clock)
    began = clock()
    for _ in range(5):
        guard.acquire(Priority.SHOPPER)
    assert clock() == began
    guard.acquire(Priority.RECEIPT)  # the slots are used up all the same
    assert clock() >= began + 5 / 50
