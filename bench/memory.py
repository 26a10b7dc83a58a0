"""The memory of a web worker and an RQ worker while they process 100,000 events: `engage-plugin run`.

Baseline: each process after a tenth of the events, against the end. Figures are resident memory, shared pages counted
in full; the proportional figure (Pss) counts a page that three processes share as a third.
MEMORY_EVENTS: how many events (100000). ENGAGE_RATE is 200/s, so that is the pace. With TEST_POSTGRESQL_URL set,
PostgreSQL is measured too.
"""

import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.acknowledgement import postgresql
from bench.load import post_all
from bench.machine import sandbox, show
from bench.plugin_process import RunningPlugin, running_plugin

NUMBER = int(os.environ.get("MEMORY_EVENTS", "100000"))
CUSTOMERS, BURST, CONNECTIONS = 500, 500, 8
#: How many events may wait before more are sent.
MOST_WAITING = 1000


def processes(pid: int) -> Iterator[tuple[str, int]]:
    """Yield the role and the id of each process below one. A web worker is a child of the process `web`."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            arguments = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
            role = next((argument for argument in arguments if argument in {"web", "worker", "sweep"}), None)
            if role == "web":
                yield from (("web worker", grandchild) for _, grandchild in _children(child))
            elif role == "worker":
                yield "RQ worker", child


def _children(pid: int) -> Iterator[tuple[int, int]]:
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        yield from ((pid, int(child)) for child in path.read_text().split())


def megabytes(pid: int, name: str) -> float:
    """Return a figure of /proc/PID/smaps_rollup, in MB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/{pid}/smaps_rollup has no {name}")


def sample(plugin: RunningPlugin) -> dict[str, float]:
    """Return the largest resident and proportional memory of each kind of process, in MB."""
    largest: dict[str, float] = {}
    for role, pid in processes(plugin.pid):
        for name in ("Rss", "Pss"):
            key = f"{role}, {name} MB"
            largest[key] = max(largest.get(key, 0.0), megabytes(pid, name))
    return largest


def send(plugin: RunningPlugin) -> list[tuple[int, dict[str, float]]]:
    """Send all events and wait until they are delivered; return samples of (delivered, figures)."""
    samples: list[tuple[int, dict[str, float]]] = []
    sent = delivered = 0
    while delivered < NUMBER:
        if sent < NUMBER and sent - delivered < MOST_WAITING:
            burst = [_change(plugin, n) for n in range(sent, min(sent + BURST, NUMBER))]
            load = post_all(plugin.port, burst, CONNECTIONS)
            assert load.statuses == {200: len(burst)}, load.statuses
            sent += len(burst)
        else:
            time.sleep(0.5)
        delivered = plugin.status()["delivered"]
        samples.append((delivered, sample(plugin)))
    return samples


def _change(plugin: RunningPlugin, number: int) -> bytes:
    customer = number % CUSTOMERS
    person = {
        "id": str(customer), "email": f"p{customer}@example.com", "email_verified": True,
        "first_name": "Ada", "last_name": f"Lind {number}",
    }  # fmt: skip
    return plugin.webhook("customer.updated", customer=person)


def measure(database: str, **environment: str) -> bool:
    """Measure on one database, print, and return whether the goal was met."""
    with (
        tempfile.TemporaryDirectory() as name,
        sandbox(rate_limit_per_s=None, keep_calls=1000) as url,
        running_plugin(Path(name), url, ENGAGE_RATE="200", **environment) as plugin,
    ):
        samples = send(plugin)
    early = next(figures for delivered, figures in samples if delivered >= NUMBER / 10)
    figures: dict[str, float] = {}
    fits = True
    for name, last in samples[-1][1].items():
        peak = max(sample.get(name, 0.0) for _, sample in samples)
        figures |= {f"{name}, after a tenth": early[name], f"{name}, at the end": last, f"{name}, largest": peak}
        if "Rss" in name:
            figures[f"{name.partition(',')[0]}, end to a tenth (flat: at most 1.1)"] = last / early[name]
            fits = fits and peak < 100 and last / early[name] <= 1.1
    show(f"Memory over {NUMBER} events on {database} (below 100 MB each)", figures)
    return fits


def main() -> None:
    """Measure and print."""
    fits = measure("SQLite")
    if os.environ.get("TEST_POSTGRESQL_URL"):
        with postgresql() as database_url:
            environment = {"DATABASE_URL": database_url, "SECRET_KEY": secrets.token_hex(32)}
            fits = measure("PostgreSQL", **environment) and fits
    sys.exit(0 if fits else 1)


if __name__ == "__main__":
    main()
