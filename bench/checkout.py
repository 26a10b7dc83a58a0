"""The checkout: how long /api/checkout/promotions takes while Engage is fast, slow and down.

python -m bench.checkout prints median and 99th percentile in milliseconds, over a sandbox on this machine.
"""

import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests

from plugin.sandbox.testing import running_sandbox

ASKS = 200
BUDGET_MS = 300


def main() -> None:
    """Measure each state of Engage."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from support.shop_api import ShopApi

    with TemporaryDirectory() as folder, running_sandbox() as sandbox:
        api = ShopApi(Path(folder), sandbox, hurried=True)
        customers = [str(number) for number in range(ASKS)]
        for customer in customers:
            api.promotion(api.contact(api.shop, customer))
        states: dict[str, dict[str, Any]] = {
            "fast, nothing cached": {},
            "fast, cached": {},
            "2 s slow, cached and stale": {"latency_s": 2.0},
            "down, cached and stale": {"outage": True},
        }
        for name, fault in states.items():
            requests.delete(f"{sandbox.url}/sandbox/faults", timeout=5)
            if "old" in name:
                api.age_the_cache(5)
            if fault:
                api.fault(**fault)
            print(f"{name}: {_measure(api, customers)}")
        requests.delete(f"{sandbox.url}/sandbox/faults", timeout=5)
        api.close()


def _measure(api: Any, customers: list[str]) -> str:
    took, listed = [], 0
    for customer in customers:
        began = time.perf_counter()
        answer = api.offers(headers=api.server(customer))
        took.append(1000 * (time.perf_counter() - began))
        listed += bool(answer["promotions"])
    over = sum(1 for ms in took if ms > BUDGET_MS)
    percentile = statistics.quantiles(took, n=100)[98]
    return f"median {statistics.median(took):.0f} ms, p99 {percentile:.0f} ms, {over} over {BUDGET_MS} ms, {listed} with offers"


if __name__ == "__main__":
    main()
