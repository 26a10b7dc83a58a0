"""Simultaneous requests for the same answer share one call, in one process and through Redis."""

import threading
import time

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from support.helpers import service_url

from plugin.engage.cache.single_flight import SingleFlight
from plugin.engage.http.http_errors import Answer


def test_a_slow_call_does_not_delay_calls_with_other_keys() -> None:
    """Calls with different keys are independent, however many requests wait for one of them."""
    flights: SingleFlight[Answer] = SingleFlight()
    slow, done = threading.Event(), []
    threads = [
        threading.Thread(
            target=lambda: done.append(
                flights.fetch("slow", lambda: slow.wait(10) and Answer(200, 1, {}), lambda: None, 10)
            )
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for number in range(200):
        assert flights.fetch(f"other {number}", lambda: Answer(200, 2, {}), lambda: None, 1).data == 2
    with pytest.raises(TimeoutError):
        flights.fetch("slow", lambda: Answer(200, 3, {}), lambda: None, 0.01)
    slow.set()
    for thread in threads:
        thread.join()
    assert [answer.data for answer in done] == [1] * 8


def test_an_error_reaches_only_those_who_wait_for_the_call() -> None:
    flights: SingleFlight[int] = SingleFlight()

    def fail() -> int:
        raise KeyError("no")

    for _ in range(2):
        with pytest.raises(KeyError):
            flights.fetch("key", fail, lambda: None, 1)
    assert flights.fetch("key", lambda: 1, lambda: None, 1) == 1


@pytest.mark.redis
def test_processes_share_one_call_through_redis() -> None:
    redis = Redis.from_url(service_url("TEST_REDIS_URL"))
    redis.flushdb()
    calls: list[int] = []
    found: dict[str, int] = {}

    def fetch() -> int:
        calls.append(1)
        time.sleep(0.2)
        found["answer"] = 7
        return 7

    answers: list[int] = []
    processes = [SingleFlight[int](redis) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda f=f: answers.append(f.fetch("key", fetch, lambda: found.get("answer"), 5)))
        for f in processes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (answers, len(calls)) == ([7] * 4, 1)
    assert redis.keys("engage-plugin:my-pages-flight:*") == []
    gone = SingleFlight[int](Redis(port=1, retry=Retry(NoBackoff(), 0)))
    assert gone.fetch("key", lambda: 8, lambda: None, 1) == 8
