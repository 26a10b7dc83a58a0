"""100,000 profile changes that wait after an outage: sent through the bulk API.

Baseline: single requests at the 50 a second that the rate limiter allows. It is calculated, not measured.
"""

import os
import secrets
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from sqlalchemy import update

from bench.delivery import known_customers, profile_changes, run_workers, services_in, stop
from bench.machine import sandbox, show
from plugin.store.inbox.claiming import LIVE
from plugin.store.shops.shops import NewShop
from plugin.store.tables.inbox import InboxEvent

NUMBER, RATE = int(os.environ.get("BACKLOG_EVENTS", "100000")), 50


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name, sandbox() as url:
        services, environment = services_in(Path(name), f"sqlite:///{name}/bench.sqlite")
        new = NewShop(
            f"bench-{secrets.token_hex(3)}", "standard", url, secrets.token_hex(8), "whsec_" + "A" * 32, {"store": "s"}
        )
        shop = services.stores.shops.add(new, services.clock())
        customers = known_customers(services, shop, url, NUMBER)
        profile_changes(services, shop, [customer for customer, _ in customers], word="Lind")
        with services.database.transaction() as session:  # they came before the outage ended
            session.execute(update(InboxEvent).values(received_at=services.clock() - LIVE - timedelta(seconds=60)))
        workers = run_workers(environment, RATE)
        started = time.monotonic()
        try:
            while services.event_admin.status()["delivered"] < NUMBER and time.monotonic() - started < 1200:
                time.sleep(1)
        finally:
            took = time.monotonic() - started
            stop(workers)
        counts = services.event_admin.status()
        services.close()
    assert counts["delivered"] == NUMBER, counts
    show(
        f"Backlog of {NUMBER} profile changes, 2 workers, limit {RATE}/s",
        {
            "seconds": took,
            "changes/s": NUMBER / took,
            "times as fast as one by one at 50/s (at least 20)": NUMBER / took / RATE,
        },
    )


if __name__ == "__main__":
    main()
