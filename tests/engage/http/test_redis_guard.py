"""Rate limiter and circuit breaker that all processes share through Redis."""

import secrets
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from redis import Redis
from support.helpers import redis_url

from plugin.engage.http.guard_rules import GuardRules
from plugin.engage.http.redis_guard import RedisCallGuard
from plugin.engage.operations import Priority
from plugin.errors import ThrottledError


@pytest.fixture
def redis() -> Iterator[Redis]:
    client = Redis.from_url(redis_url())
    yield client
    client.close()


@pytest.mark.redis
def test_guards_of_one_key_share_one_rate_budget(redis: Redis) -> None:
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
def test_calls_of_shoppers_leave_at_once_only_while_there_is_room(redis: Redis) -> None:
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
    first, second = RedisCallGuard(redis, key, rules), RedisCallGuard(redis, key, rules)
    for _ in range(2):
        first.acquire(Priority.CONTACT)
        first.failed()
    with pytest.raises(ThrottledError):
        second.acquire(Priority.CONTACT)
    assert second.open_since() is not None
    first.succeeded()
    second.acquire(Priority.CONTACT)
    assert second.open_since() is None


def test_without_redis_a_process_uses_its_share_of_the_rate_and_logs_it_once(caplog: pytest.LogCaptureFixture) -> None:
    away = Redis(host="127.0.0.1", port=9, socket_connect_timeout=0.2)
    guard = RedisCallGuard(away, "a-key", GuardRules(rate=100))
    for _ in range(3):
        guard.acquire(Priority.CONTACT)
    assert caplog.text.count("redis=away") == 1
    assert "a-key" not in caplog.text
