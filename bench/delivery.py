"""How fast waiting events reach Engage, on 2 cores with 2 workers, sandbox on the same machine.

First without limit and latency (events a second), then with 150 ms latency and a limit of 50/s: baseline is the
limit itself. Each event is a profile change of another customer whose contact is linked: one call to Engage.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from bench.acknowledgement import postgresql
from bench.machine import redis_url, sandbox, show
from plugin.app import Services
from plugin.event_kinds import EventKind
from plugin.runtime.loops import run_worker
from plugin.settings import load_settings
from plugin.store.contacts.links import Link
from plugin.store.contacts.sync_state import SyncedValue
from plugin.store.inbox.bulk import BulkInbox
from plugin.store.inbox.inbox import NewEvent
from plugin.store.shops.shops import NewShop, RegisteredShop

FAST, SLOW, WORKERS = 6000, 1500, 2


def services_in(folder: Path, database_url: str) -> tuple[Services, dict[str, str]]:
    """Return services over an empty database, and the environment of the other processes."""
    environment = {
        "STATE_DIR": str(folder),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url(),
        "SECRET_KEY": "a key of benches that is longer than thirty-two characters",
        "LOG_LEVEL": "WARNING",
        **{name: os.environ[name] for name in ("DELIVERY_THREADS",) if name in os.environ},
    }
    os.environ.update(environment)
    services = Services(load_settings(shared_services=True), redis_url())
    services.database.migrate()
    services.redis.flushdb()
    return services, environment


def known_customers(services: Services, shop: RegisteredShop, url: str, number: int) -> list[tuple[str, str]]:
    """Seed contacts in Engage and link them, with their e-mail synced; returns (customer id, contact id)."""
    customers: list[tuple[str, str]] = []
    now = datetime.now(UTC)
    for start in range(0, number, 1000):
        people = [
            {"contactType": "Member", "email": f"p{n}-{shop.name}@example.com"}
            for n in range(start, min(start + 1000, number))
        ]
        answer = requests.post(f"{url}/sandbox/seed", json={"contacts": people}, timeout=60)
        answer.raise_for_status()
        customers += [(str(start + n), contact) for n, contact in enumerate(answer.json()["contacts"])]
    links = {customer: Link(contact, verified=True, reason="bench") for customer, contact in customers}
    services.stores.links.save_missing(shop, links, now)
    synced = {
        contact: {"email": SyncedValue(services.vault.digest_of(f"p{customer}-{shop.name}@example.com"), now)}
        for customer, contact in customers
    }
    BulkInbox(services.database).remember_sent(shop, synced, now)
    return customers


def profile_changes(services: Services, shop: RegisteredShop, customers: list[str], *, word: str) -> None:
    """Store a profile change of each customer in the inbox."""
    now = datetime.now(UTC)
    batch = []
    for customer in customers:
        body = {
            "type": "customer.updated",
            "timestamp": now.isoformat(),
            "data": {
                "customer": {
                    "id": customer, "email": f"p{customer}-{shop.name}@example.com", "email_verified": True,
                    "first_name": "Ada", "last_name": f"{word} {customer}",
                }
            },
        }  # fmt: skip
        batch.append(
            NewEvent(
                shop_id=shop.id, platform="standard", topic="customer.updated", kind=EventKind.PROFILE_CHANGE,
                dedupe_key=secrets.token_hex(12), ordering_key=f"customer:{customer}", occurred_at=now, received_at=now,
                body=json.dumps(body).encode(),
            )
        )  # fmt: skip
        if len(batch) == 1000:
            services.stores.inbox.accept_many(batch)
            batch = []
    if batch:
        services.stores.inbox.accept_many(batch)


def run_workers(environment: dict[str, str], rate: int) -> list[subprocess.Popen[bytes]]:
    """Start workers and a sweep."""
    commands = [["bench.delivery", "worker", str(rate)]] * WORKERS + [["plugin.cli", "sweep"]]
    return [
        subprocess.Popen(
            [sys.executable, "-m", *command],
            env={**os.environ, **environment, "SWEEP_INTERVAL_S": "1"},
            stderr=subprocess.DEVNULL,
        )
        for command in commands
    ]


def work(rate: int) -> None:
    """Run a worker with a rate beyond what the setting allows, in one process of this benchmark."""
    run_worker(Services(replace(load_settings(shared_services=True), engage_rate=rate), redis_url()))


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """End processes."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(30)


def calls_of(url: str) -> int:
    """Return how many calls the sandbox had."""
    return int(requests.get(f"{url}/sandbox/summary", timeout=10).json()["calls"])


def measure(database_url: str, number: int, *, rate: int, latency_s: float) -> dict[str, Any]:
    """Deliver `number` events; return the steady rate, measured between a tenth and nine tenths of them."""
    with tempfile.TemporaryDirectory() as name, sandbox(rate_limit_per_s=None) as url:
        services, environment = services_in(Path(name), database_url or f"sqlite:///{name}/bench.sqlite")
        new = NewShop(
            f"bench-{secrets.token_hex(3)}", "standard", url, secrets.token_hex(8), "whsec_" + "A" * 32,
            {"store": "s", "bulk_from": "0"},  # single deliveries are measured, however long they take
        )  # fmt: skip
        shop = services.stores.shops.add(new, services.clock())
        customers = known_customers(services, shop, url, number)
        profile_changes(services, shop, [customer for customer, _ in customers], word="Lind")
        if latency_s:
            faults = {"latency_s": latency_s}
            requests.post(f"{url}/sandbox/faults", json=faults, timeout=5).raise_for_status()
        before = calls_of(url)
        workers = run_workers(environment, rate)
        marks: list[tuple[float, int]] = []
        try:
            until = time.monotonic() + number / min(rate, 100) + 120
            while time.monotonic() < until:
                done = calls_of(url) - before
                marks.append((time.monotonic(), done))
                if done >= number:
                    break
                time.sleep(0.1)
            while services.event_admin.status()["delivered"] < number and time.monotonic() < until:
                time.sleep(0.1)
        finally:
            stop(workers)
        counts = services.event_admin.status()
        services.close()
    assert counts["delivered"] == number, counts
    steady = [(at, done) for at, done in marks if number * 0.1 <= done <= number * 0.9]
    speed = (steady[-1][1] - steady[0][1]) / (steady[-1][0] - steady[0][0])
    return {"rate": speed, "calls": marks[-1][1]}


def main() -> None:
    """Measure and print."""
    if os.environ.get("TEST_POSTGRESQL_URL"):
        with postgresql() as url:
            fast = measure(url, FAST, rate=200_000, latency_s=0)
            show(
                f"Delivery on PostgreSQL, {WORKERS} workers",
                {"no limit, no latency, events/s (at least 400)": fast["rate"]},
            )
    fast = measure("", FAST, rate=200_000, latency_s=0)
    slow = measure("", SLOW, rate=50, latency_s=0.15)
    show(
        f"Delivery on SQLite, {WORKERS} workers",
        {
            "no limit, no latency, events/s (at least 400)": fast["rate"],
            "150 ms latency, limit 50/s, events/s": slow["rate"],
            "share of the limit (at least 0.98)": slow["rate"] / 50,
        },
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(int(sys.argv[2]))
    else:
        main()
