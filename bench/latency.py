"""The time from the 200 of a webhook to the call to Engage, in an idle plugin: `engage-plugin run`, one event at a time.

Baseline: zero, the moment at which the shop has its 200. With TEST_POSTGRESQL_URL set, PostgreSQL is measured too.
LATENCY_EVENTS: how many events (300).
"""

import json
import os
import random
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import requests

from bench.acknowledgement import postgresql
from bench.load import post_all
from bench.machine import percentile, sandbox, show
from bench.plugin_process import RunningPlugin, running_plugin

NUMBER = int(os.environ.get("LATENCY_EVENTS", "300"))
#: Linked customers, who order one after the other: no event waits for an earlier one of its customer.
CUSTOMERS = 20
SECRET_KEY = "a key of benches that is longer than thirty-two characters"


def measure(**environment: str) -> list[float]:
    """Return, for each event, the seconds from the shop's 200 to the arrival of its receipt at Engage."""
    with (
        tempfile.TemporaryDirectory() as name,
        sandbox(rate_limit_per_s=None, keep_calls=100_000) as url,
        running_plugin(Path(name), url, **environment) as plugin,
    ):
        warm = {f"bench-warm-{n}": _post_order(plugin, f"warm-{n}", n) for n in range(CUSTOMERS)}
        _arrivals(url, set(warm))
        answered = {}
        for n in range(NUMBER):
            time.sleep(random.uniform(0.1, 0.2))  # the plugin is idle again
            answered[f"bench-{n}"] = _post_order(plugin, str(n), n % CUSTOMERS)
        arrived = _arrivals(url, set(answered))
    return [arrived[receipt] - at for receipt, at in answered.items()]


def _post_order(plugin: RunningPlugin, order_id: str, customer: int) -> float:
    """Post an order; return the time of the 200, in seconds since 1970."""
    line = {"id": "1", "sku": "CAP", "name": "Cap", "quantity": 1, "gross_paid": "100.00", "tax_amount": "20.00"}
    order = {
        "id": order_id, "number": order_id, "currency": "SEK", "total": "100.00", "lines": [line],
        "customer": {"id": str(customer), "email": f"p{customer}@example.com", "email_verified": True},
        "payments": [{"type": "card", "amount": "100.00"}],
    }  # fmt: skip
    load = post_all(plugin.port, [plugin.webhook("order.paid", order=order)], 1)
    assert load.statuses == {200: 1}, load.statuses
    return time.time()


def _arrivals(url: str, receipts: set[str]) -> dict[str, float]:
    """Return when the sandbox received each receipt, in seconds since 1970."""
    until = time.monotonic() + 120
    while True:
        calls = requests.get(f"{url}/sandbox/calls?bodies=1", timeout=30).json()
        arrived = {
            json.loads(call["requestBody"])["uniqueReceiptId"]: datetime.fromisoformat(call["time"]).timestamp()
            - call["durationS"]
            for call in calls
            if call["operationId"] == "createReceipt"
        }
        if receipts <= set(arrived):
            return arrived
        if time.monotonic() > until:
            raise RuntimeError(f"{len(receipts - set(arrived))} receipts did not arrive")
        time.sleep(0.5)


def main() -> None:
    """Measure and print."""
    fits = True
    kinds = {"SQLite": measure()}
    if os.environ.get("TEST_POSTGRESQL_URL"):
        with postgresql() as database_url:
            kinds["PostgreSQL"] = measure(DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
    for kind, times in kinds.items():
        p50, p99 = percentile(times, 50) * 1000, percentile(times, 99) * 1000
        fits = fits and p50 < 50 and p99 < 250
        show(
            f"From 200 to Engage when idle, {kind}, {NUMBER} events",
            {"p50 ms (below 50)": p50, "p99 ms (below 250)": p99},
        )
    sys.exit(0 if fits else 1)


if __name__ == "__main__":
    main()
