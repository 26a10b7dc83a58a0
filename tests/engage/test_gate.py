"""Rate budget and breaker, without Redis and with it."""

import secrets
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis
from support.helpers import redis_url

from plugin.engage.http.call_guard import GuardRules, LocalCallGuard, RedisCallGuard
from plugin.engage.operations import Priority
from plugin.errors import ThrottledError


class Time:
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
    clock = Time()
    guard = LocalCallGuard(GuardRules(rate=rate, share=1.0), sleep=clock.sleep, clock=clock)
    grants = []
    for lane, pause in calls:
        clock.sleep(pause)
        try:
            guard.acquire(lane)
        except ThrottledError:
            continue
        grants.append(clock())
    grants.sort()
    assert all(late - early > 1.0 for early, late in zip(grants, grants[rate:], strict=False))


def test_the_breaker_opens_lets_one_probe_out_and_closes() -> None:
    clock = Time()
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
    clock.sleep(10.1)  # the probe crashed without an answer: another one goes out
    guard.acquire(Priority.CONTACT)
    guard.succeeded()
    guard.acquire(Priority.CONTACT)
    assert guard.open_since() is None
    assert guard.breaker_open_duration().total_seconds() == pytest.approx(20.2, abs=0.5)


def test_what_a_page_asks_side_by_side_leaves_at_once_while_there_is_room() -> None:
    clock = Time()
    guard = LocalCallGuard(GuardRules(rate=50, share=1.0), sleep=clock.sleep, clock=clock)
    began = clock()
    for _ in range(5):
        guard.acquire(Priority.SHOPPER)
    assert clock() == began
    guard.acquire(Priority.RECEIPT)  # the slots are used up all the same
    assert clock() >= began + 5 / 50


@pytest.fixture
def redis() -> Iterator[Redis]:
    client = Redis.from_url(redis_url())
    yield client
    client.close()


@pytest.mark.redis
def test_several_processes_share_one_budget(redis: Redis) -> None:
    key, grants, lock = secrets.token_hex(8), [], threading.Lock()
    until = time.monotonic() + 2.5

    def work() -> None:
        guard = RedisCallGuard(redis, key, GuardRules(rate=50))
        while time.monotonic() < until:
            try:
                guard.acquire(Priority.RECEIPT)
            except ThrottledError:
                continue
            with lock:
                grants.append(time.monotonic())

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    grants.sort()
    assert len(grants) > 100
    assert all(late - early > 0.95 for early, late in zip(grants, grants[50:], strict=False))


@pytest.mark.redis
def test_a_shopper_never_waits_behind_a_backlog(redis: Redis) -> None:
    key, stop = secrets.token_hex(8), threading.Event()

    def backlog() -> None:
        guard = RedisCallGuard(redis, key, GuardRules(rate=20))
        while not stop.is_set():
            try:
                guard.acquire(Priority.BACKFILL)
            except ThrottledError:
                continue

    threads = [threading.Thread(target=backlog) for _ in range(20)]
    for thread in threads:
        thread.start()
    guard = RedisCallGuard(redis, key, GuardRules(rate=20))
    waits = []
    for _ in range(5):
        started = time.monotonic()
        guard.acquire(Priority.SHOPPER)
        waits.append(time.monotonic() - started)
    stop.set()
    for thread in threads:
        thread.join()
    assert max(waits) < 1.1


@pytest.mark.redis
def test_shoppers_calls_leave_at_once_only_while_there_is_room(redis: Redis) -> None:
    slots: list[float] = []
    guard = RedisCallGuard(redis, secrets.token_hex(8), GuardRules(rate=20), sleep=slots.append)
    for _ in range(15):
        guard.acquire(Priority.SHOPPER)
    assert slots == []
    for _ in range(10):  # more than the rate within a second
        guard.acquire(Priority.SHOPPER)
    assert slots


@pytest.mark.redis
def test_a_429_halves_the_rate(redis: Redis) -> None:
    guard = RedisCallGuard(redis, secrets.token_hex(8), GuardRules(rate=40), sleep=lambda _: None)
    slots: list[float] = []
    guard = RedisCallGuard(redis, secrets.token_hex(8), GuardRules(rate=40), sleep=slots.append)
    for _ in range(4):
        guard.acquire(Priority.REDEMPTION)
    before = [late - early for early, late in pairwise(slots)][-1]
    guard.on_rate_limited()
    slots.clear()
    for _ in range(4):
        guard.acquire(Priority.REDEMPTION)
    after = [late - early for early, late in pairwise(slots)][-1]
    assert after > before * 1.5


@pytest.mark.redis
def test_the_breaker_is_shared_through_redis(redis: Redis) -> None:
    key, rules = secrets.token_hex(8), GuardRules(rate=200, open_after=2, probe_s=30)
    one, other = RedisCallGuard(redis, key, rules), RedisCallGuard(redis, key, rules)
    for _ in range(2):
        one.acquire(Priority.CONTACT)
        one.failed()
    with pytest.raises(ThrottledError):
        other.acquire(Priority.CONTACT)
    assert other.open_since() is not None
    one.succeeded()
    other.acquire(Priority.CONTACT)
    assert other.open_since() is None


def test_without_redis_a_process_goes_on_with_its_share_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    away = Redis(host="127.0.0.1", port=9, socket_connect_timeout=0.2)
    guard = RedisCallGuard(away, "a-key", GuardRules(rate=100))
    for _ in range(3):
        guard.acquire(Priority.CONTACT)
    assert caplog.text.count("Redis is away") == 1
    assert "a-key" not in caplog.text
