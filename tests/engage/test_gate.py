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
from tests_support import redis_url

from plugin.engage.http.call_guard import GateRules, LocalGate, RedisGate
from plugin.engage.operations import Lane
from plugin.errors import HeldBackError


class Time:
    """A clock whose sleep moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0)


@settings(max_examples=50, deadline=None, print_blob=True)
@given(st.integers(1, 200), st.lists(st.tuples(st.sampled_from(list(Lane)), st.floats(0, 0.1)), max_size=300))
def test_no_second_ever_sees_more_grants_than_the_rate(rate: int, calls: list[tuple[Lane, float]]) -> None:
    clock = Time()
    gate = LocalGate(GateRules(rate=rate, share=1.0), sleep=clock.sleep, clock=clock)
    grants = []
    for lane, pause in calls:
        clock.sleep(pause)
        try:
            gate.enter(lane)
        except HeldBackError:
            continue
        grants.append(clock())
    grants.sort()
    assert all(late - early > 1.0 for early, late in zip(grants, grants[rate:], strict=False))


def test_the_breaker_opens_lets_one_probe_out_and_closes() -> None:
    clock = Time()
    gate = LocalGate(GateRules(rate=200, share=1.0, probe_s=10, open_after=3), sleep=clock.sleep, clock=clock)
    for _ in range(3):
        gate.enter(Lane.CONTACT)
        gate.failed()
    assert gate.open_since() is not None
    with pytest.raises(HeldBackError) as caught:
        gate.enter(Lane.SHOPPER)
    assert caught.value.retry_after is not None
    clock.sleep(10.1)
    gate.enter(Lane.CONTACT)
    with pytest.raises(HeldBackError):
        gate.enter(Lane.CONTACT)
    clock.sleep(10.1)  # the probe crashed without an answer: another one goes out
    gate.enter(Lane.CONTACT)
    gate.succeeded()
    gate.enter(Lane.CONTACT)
    assert gate.open_since() is None
    assert gate.open_time().total_seconds() == pytest.approx(20.2, abs=0.5)


def test_what_a_page_asks_side_by_side_leaves_at_once_while_there_is_room() -> None:
    clock = Time()
    gate = LocalGate(GateRules(rate=50, share=1.0), sleep=clock.sleep, clock=clock)
    began = clock()
    for _ in range(5):
        gate.enter(Lane.SHOPPER)
    assert clock() == began
    gate.enter(Lane.RECEIPT)  # the slots are used up all the same
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
        gate = RedisGate(redis, key, GateRules(rate=50))
        while time.monotonic() < until:
            try:
                gate.enter(Lane.RECEIPT)
            except HeldBackError:
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
        gate = RedisGate(redis, key, GateRules(rate=20))
        while not stop.is_set():
            try:
                gate.enter(Lane.BACKFILL)
            except HeldBackError:
                continue

    threads = [threading.Thread(target=backlog) for _ in range(20)]
    for thread in threads:
        thread.start()
    gate = RedisGate(redis, key, GateRules(rate=20))
    waits = []
    for _ in range(5):
        started = time.monotonic()
        gate.enter(Lane.SHOPPER)
        waits.append(time.monotonic() - started)
    stop.set()
    for thread in threads:
        thread.join()
    assert max(waits) < 1.1


@pytest.mark.redis
def test_shoppers_calls_leave_at_once_only_while_there_is_room(redis: Redis) -> None:
    slots: list[float] = []
    gate = RedisGate(redis, secrets.token_hex(8), GateRules(rate=20), sleep=slots.append)
    for _ in range(15):
        gate.enter(Lane.SHOPPER)
    assert slots == []
    for _ in range(10):  # more than the rate within a second
        gate.enter(Lane.SHOPPER)
    assert slots


@pytest.mark.redis
def test_a_429_halves_the_rate(redis: Redis) -> None:
    gate = RedisGate(redis, secrets.token_hex(8), GateRules(rate=40), sleep=lambda _: None)
    slots: list[float] = []
    gate = RedisGate(redis, secrets.token_hex(8), GateRules(rate=40), sleep=slots.append)
    for _ in range(4):
        gate.enter(Lane.REDEMPTION)
    before = [late - early for early, late in pairwise(slots)][-1]
    gate.penalise()
    slots.clear()
    for _ in range(4):
        gate.enter(Lane.REDEMPTION)
    after = [late - early for early, late in pairwise(slots)][-1]
    assert after > before * 1.5


@pytest.mark.redis
def test_the_breaker_is_shared_through_redis(redis: Redis) -> None:
    key, rules = secrets.token_hex(8), GateRules(rate=200, open_after=2, probe_s=30)
    one, other = RedisGate(redis, key, rules), RedisGate(redis, key, rules)
    for _ in range(2):
        one.enter(Lane.CONTACT)
        one.failed()
    with pytest.raises(HeldBackError):
        other.enter(Lane.CONTACT)
    assert other.open_since() is not None
    one.succeeded()
    other.enter(Lane.CONTACT)
    assert other.open_since() is None


def test_without_redis_a_process_goes_on_with_its_share_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    away = Redis(host="127.0.0.1", port=9, socket_connect_timeout=0.2)
    gate = RedisGate(away, "a-key", GateRules(rate=100))
    for _ in range(3):
        gate.enter(Lane.CONTACT)
    assert caplog.text.count("Redis is away") == 1
    assert "a-key" not in caplog.text
