"""What the Engage client adds to a call: bare `requests` with a warm pool compared with the client, alternating in one run.

Baseline: a Session that sends the same request and parses the JSON. The client adds the guard in Redis, schemas,
error reading, the record of the call, and metrics.
"""

import sys
import time
from statistics import median

import requests
from redis import Redis

from bench.machine import API_KEY, percentile, redis_url, sandbox, show
from plugin.engage.client import EngageClient
from plugin.engage.http.call_guard import CallGuards
from plugin.engage.http.guard_rules import GuardRules
from plugin.engage.http.transport import EngageAccount, Transport, user_agent

ROUNDS, CALLS = 30, 100


def main() -> None:
    """Measure and print."""
    with sandbox(rate_limit_per_s=None) as url:
        seeded = requests.post(
            f"{url}/sandbox/seed",
            json={"contacts": [{"contactType": "Member", "email": "ada@example.com"}]},
            timeout=5,
        ).json()
        contact_id = seeded["contacts"][0]
        redis = Redis.from_url(redis_url())
        transport = Transport(CallGuards(redis, GuardRules(rate=1_000_000)))
        client = EngageClient(EngageAccount(url, API_KEY, "web-se", "shopify"), transport)
        session = requests.Session()
        session.trust_env = False
        headers = {"apikey": API_KEY, "User-Agent": user_agent("bench"), "Content-Type": "application/json"}

        def bare() -> None:
            answer = session.get(f"{url}/api/v3/contacts/{contact_id}", headers=headers, timeout=(5, 30))
            answer.raise_for_status()
            answer.json()

        def ours() -> None:
            client.get_contact(contact_id)

        times: dict[str, list[float]] = {"bare": [], "client": []}
        for round_number in range(-2, ROUNDS):
            for name, call in (("bare", bare), ("client", ours)):
                for _ in range(CALLS):
                    started = time.perf_counter()
                    call()
                    if round_number >= 0:
                        times[name].append(time.perf_counter() - started)
    base, got = median(times["bare"]), median(times["client"])
    show(
        "Client overhead per call over bare requests",
        {
            "bare, median ms": base * 1000,
            "client, median ms": got * 1000,
            "bare, p99 ms": percentile(times["bare"], 99) * 1000,
            "client, p99 ms": percentile(times["client"], 99) * 1000,
            "ratio of medians (at most 1.3)": got / base,
        },
    )
    sys.exit(0 if got / base <= 1.3 else 1)


if __name__ == "__main__":
    main()
