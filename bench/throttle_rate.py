"""The rate limiter: 8 processes share one key's budget of 50 requests/s for 30 s.

Baseline: the budget itself. Counted where it matters, at the sandbox, by its clock of arrival: how many calls in all,
and the maximum in any window of one second.
"""

import os
import subprocess
import sys
import time
from datetime import datetime

import requests
from redis import Redis

from bench.machine import API_KEY, redis_url, sandbox, show
from plugin.engage.client import EngageClient
from plugin.engage.http.call_guard import CallGuards
from plugin.engage.http.guard_rules import GuardRules
from plugin.engage.http.transport import EngageAccount, Transport
from plugin.engage.operations import Priority
from plugin.errors import ThrottledError

RATE, PROCESSES, SECONDS = 50, 8, 30


def call_between(url: str, start: float, until: float) -> None:
    """Call as fast as the guard allows, once all processes have started: the work of each process."""
    redis = Redis.from_url(redis_url())
    client = EngageClient(
        EngageAccount(url, API_KEY, "web-se", "shopify"), Transport(CallGuards(redis, GuardRules(rate=RATE)))
    ).with_options(priority=Priority.RECEIPT)
    time.sleep(max(start - time.time(), 0))
    while time.time() < until:
        try:
            client.list_stores()
        except ThrottledError:
            continue


def main() -> None:
    """Measure and print."""
    redis = Redis.from_url(redis_url())
    for key in redis.scan_iter("engage:gate:*"):
        redis.delete(key)
    with sandbox() as url:
        start = time.time() + 10
        until = start + SECONDS + 2
        children = [
            subprocess.Popen(
                [sys.executable, "-m", "bench.throttle_rate", url, str(start), str(until)], env=dict(os.environ)
            )
            for _ in range(PROCESSES)
        ]
        for child in children:
            child.wait(SECONDS + 60)
        calls = requests.get(f"{url}/sandbox/calls", timeout=10).json()
    arrivals = sorted(
        datetime.fromisoformat(call["time"]).timestamp() - call["durationS"]
        for call in calls
        if call["operationId"] == "listStores"
    )
    measured = [at for at in arrivals if arrivals[0] + 1 <= at < arrivals[0] + 1 + SECONDS]
    most = _most_in_a_second(arrivals)
    used = len(measured) / (RATE * SECONDS)
    show(
        f"Throttle, {PROCESSES} processes, {RATE} requests/s, {SECONDS} s",
        {"calls": len(measured), "share of the budget (0.98 to 1)": used, "most in any second (at most 50)": most},
    )
    sys.exit(0 if 0.98 <= used <= 1.0 and most <= RATE else 1)


def _most_in_a_second(arrivals: list[float]) -> int:
    most = first = 0
    for last, at in enumerate(arrivals):
        while at - arrivals[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


if __name__ == "__main__":
    if len(sys.argv) > 1:
        call_between(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
    else:
        main()
