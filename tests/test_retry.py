"""Retry as a value: a table."""

from datetime import UTC, datetime, timedelta

import pytest

from plugin.retry import GiveUp, RetryPolicy, TryAgain

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
POLICY = RetryPolicy(10, timedelta(hours=72), lambda: 0.5)


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [(1, 10), (2, 30), (3, 60), (4, 300), (5, 540), (6, 1080), (7, 2160), (8, 3240), (9, 3240), (1000, 3240)],
)
def test_waits_grow_as_engage_advises_and_then_to_an_hour_with_jitter(attempts: int, seconds: float) -> None:
    decision = POLICY.decide("x", attempts=attempts, first_attempt_at=NOW, now=NOW)
    assert decision == TryAgain(NOW + timedelta(seconds=seconds))


def test_what_engage_asks_for_is_a_minimum() -> None:
    asked = timedelta(seconds=120)
    assert POLICY.decide("x", attempts=1, first_attempt_at=NOW, now=NOW, retry_after=asked) == TryAgain(NOW + asked)


def test_a_call_that_was_held_back_costs_no_attempt_and_is_never_given_up() -> None:
    assert POLICY.defer(NOW, timedelta(seconds=3)) == TryAgain(NOW + timedelta(seconds=3), counts=False)


@pytest.mark.parametrize("reason", ["Engage is slow", "the order is not here"])
def test_it_gives_up_after_its_time_and_says_what_the_last_error_was(
    reason: str,
) -> None:
    decision = POLICY.decide(reason, attempts=40, first_attempt_at=NOW - timedelta(hours=72), now=NOW)
    assert isinstance(decision, GiveUp)
    assert reason in decision.reason


@pytest.mark.parametrize(
    ("hours", "attempts", "gives_up"),
    [(72, 1, False), (72, 9, False), (72, 10, True), (1, 6, False), (1, 7, True), (0, 1, True)],
)
def test_it_gives_up_only_after_as_many_tries_as_its_time_has_room_for_ten_at_most(
    hours: int, attempts: int, gives_up: bool
) -> None:
    policy = RetryPolicy(10, timedelta(hours=hours), lambda: 0.5)
    first = NOW - timedelta(days=30)
    decision = policy.decide("x", attempts=attempts, first_attempt_at=first, now=NOW)
    assert isinstance(decision, GiveUp) == gives_up


def test_time_with_the_breaker_open_does_not_count() -> None:
    first = NOW - timedelta(hours=80)
    decision = POLICY.decide("x", attempts=40, first_attempt_at=first, now=NOW, breaker_open=timedelta(hours=10))
    assert isinstance(decision, TryAgain)
