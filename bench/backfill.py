"""100,000 customers of a shop's history that Engage has already: through the bulk API.

Baseline: single requests at the 50 a second that the rate limiter allows. It is calculated, not measured.
"""

import json
import os
import resource
import secrets
import tempfile
import time
from pathlib import Path

import requests

from bench.delivery import services_in
from bench.machine import sandbox, show
from plugin.store.shops.shops import NewShop

NUMBER, RATE = int(os.environ.get("BACKFILL_CUSTOMERS", "100000")), 50


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name, sandbox() as url:
        services, _ = services_in(Path(name), f"sqlite:///{name}/bench.sqlite")
        new = NewShop(
            f"bench-{secrets.token_hex(3)}", "standard", url, secrets.token_hex(8), "whsec_" + "A" * 32, {"store": "s"}
        )
        shop = services.stores.shops.add(new, services.clock())
        source = Path(name) / "customers.jsonl"
        with source.open("w", encoding="utf-8") as file:
            for start in range(0, NUMBER, 1000):
                numbers = range(start, min(start + 1000, NUMBER))
                people = [{"contactType": "Member", "email": f"p{n}@example.com"} for n in numbers]
                requests.post(f"{url}/sandbox/seed", json={"contacts": people}, timeout=60).raise_for_status()
                file.writelines(_line(number) for number in numbers)
        run = services.stores.backfill_runs.start(
            shop, "customers", str(source), None, None, {"form": "jsonl"}, services.clock()
        )
        rows = services.backfill.rows(shop, "customers", "jsonl", str(source), None, None, None)
        started = time.monotonic()
        services.backfill.work(shop, run, rows)
        took = time.monotonic() - started
        counts = services.stores.backfill_runs.get(shop, run.id).counts
        services.close()
    assert counts["in_bulk"] == NUMBER, counts
    show(
        f"Backfill of {NUMBER} known customers, one process, limit {RATE}/s",
        {
            "seconds": took,
            "customers/s": NUMBER / took,
            "times as fast as one by one at 50/s (at least 20)": NUMBER / took / RATE,
            "peak memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        },
    )


def _line(number: int) -> str:
    customer = {
        "id": str(number), "email": f"p{number}@example.com", "email_verified": True,
        "first_name": "Ada", "last_name": f"Lind {number}",
    }  # fmt: skip
    event = {"type": "customer.updated", "timestamp": "2026-03-05T09:30:00Z", "data": {"customer": customer}}
    return json.dumps(event) + "\n"


if __name__ == "__main__":
    main()
