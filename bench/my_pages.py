"""My Pages: a warm page compared with a bare Flask view, a cold page with the slowest call that it needs, and pages without Engage.

Two web processes. Baselines, in the same run: a Flask view that renders a template of the same size, in the same server; a bare call to
the sandbox; the same page with nothing cached. The page is the overview, which needs five calls.
Short form: `MY_PAGES_SHORT=1`.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import requests
from flask import Flask, render_template
from gunicorn.app.base import BaseApplication
from jinja2 import DictLoader

from bench.load import Load, get_bytes, post_all
from bench.machine import API_KEY, free_port, percentile, redis_url, sandbox, show
from mypages.auth.sessions import Sessions, Shopper
from plugin.app import Services
from plugin.runtime.web_server import run_web
from plugin.settings import Settings
from plugin.store.contacts.links import Link
from plugin.store.shops.shops import NewShop, RegisteredShop

SHORT = bool(os.environ.get("MY_PAGES_SHORT"))
SHOPPERS = 300 if SHORT else 1000
ROUNDS, REQUESTS = (4, 400) if SHORT else (10, 1500)
COLD = 10 if SHORT else 40
CONNECTIONS, WORKERS = 16, 2
LATENCY_S = 0.15
PARTS = ("profile", "transactions", "promotions", "vouchers", "")
ROW = "<li class='row'><strong dir='auto'>{{ row.name }}</strong> <span>{{ row.value }}</span> <a href='{{ row.link }}'>more</a></li>"


class Site:
    """A shop with shoppers, its sandbox, and My Pages of one web process."""

    def __init__(self, engage_url: str, folder: Path, port: int) -> None:
        self.engage_url, self.port = engage_url, port
        self.settings = Settings(
            database_url=f"sqlite:///{folder / 'plugin.sqlite'}",
            redis_url=None,
            state_dir=folder,
            secret_key="a key of measurements, longer than thirty-two",
            public_url=f"http://127.0.0.1:{port}",
            engage_rate=200,
        )
        self.services = Services(self.settings, redis_url())
        self.services.redis.flushdb()
        self.services.database.migrate()
        new = NewShop(
            "web",
            "standard",
            engage_url,
            API_KEY,
            "whsec_" + "A" * 40,
            {"store": "web", "points": "yes", "vouchers": "yes"},
        )
        self.shop: RegisteredShop = self.services.stores.shops.add(new, datetime.now(UTC))
        self.contacts = self._fill()
        sessions, now = Sessions(self.services.vault), datetime.now(UTC)
        self.cookies = [sessions.seal(Shopper("web", str(number)), now) for number in range(SHOPPERS)]

    def request(self, shopper: int, part: str = "", **headers: str) -> bytes:
        """Return a shopper's request for a page."""
        cookie = {"Cookie": f"engage-session={self.cookies[shopper]}", "Accept": "text/html", "Accept-Language": "en"}
        return get_bytes(f"/mypages/web/{part}", {**cookie, **headers})

    def get(self, shopper: int, part: str = "") -> float:
        """Get a page once over a connection of its own and return the seconds that it took."""
        return post_all(self.port, [self.request(shopper, part)], 1).times[0]

    def calls(self) -> list[str]:
        """Return the operations that were called at Engage."""
        return [row["operationId"] for row in requests.get(f"{self.engage_url}/sandbox/calls", timeout=60).json()]

    def faults(self, **faults: Any) -> None:
        """Set the sandbox's faults."""
        requests.post(f"{self.engage_url}/sandbox/faults", json=faults, timeout=5).raise_for_status()

    def forget(self) -> None:
        """Empty the caches, so that every shopper's next page comes from Engage."""
        for contact_id in self.contacts:
            self.services.stores.sync_states.bump_generation(self.shop, contact_id, datetime.now(UTC))

    def _fill(self) -> list[str]:
        people = [
            {"contactType": "Member", "email": f"p{n}@example.com", "firstName": f"Person {n}", "city": "Lund"} for n in range(SHOPPERS)
        ]  # fmt: skip
        ids: list[str] = self._seed(contacts=people)["contacts"]
        templates = [
            {
                "name": f"Promotion {n}", "validity": {"startDate": "2026-01-01", "endDate": "2099-12-31"},
                "presentation": {"heading": f"{n} % off", "description": "On everything, this month"},
                "redemptionChannels": [{"type": "ECOM", "valueType": "EXTERNALOFFER", "value": f"CODE{n}"}],
            }
            for n in range(3)
        ]  # fmt: skip
        promotions = self._seed(promotions=templates)["promotions"]
        value = {"amount": 50, "currency": "SEK"}
        self._seed(
            assignments=[{"contactId": c, "promotionId": p} for c in ids for p in promotions],
            vouchers=[{"contactId": c, "value": value} for c in ids],
            points=[{"contactId": c, "transactions": []} for c in ids],
        )
        now = datetime.now(UTC)
        links = {str(number): Link(contact_id, True, "measurement") for number, contact_id in enumerate(ids)}
        self.services.stores.links.save_missing(self.shop, links, now)
        return ids

    def _seed(self, **entries: Any) -> dict[str, list[str]]:
        answer = requests.post(f"{self.engage_url}/sandbox/seed", json=entries, timeout=60)
        answer.raise_for_status()
        return dict(answer.json())


class _Bare(BaseApplication):
    """The bare view in the same server, with the same threads."""

    def __init__(self, port: int, size: int) -> None:
        self._port, self._size = port, size
        super().__init__()

    def load_config(self) -> None:
        """Apply the options."""
        options = {
            "bind": f"127.0.0.1:{self._port}",
            "threads": 16,
            "workers": WORKERS,
            "worker_class": "gthread",
            "keepalive": 15,
        }
        for name, value in {**options, "loglevel": "warning", "control_socket_disable": True}.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Return an application with one view."""
        app = Flask("bare")
        row = {"name": "n" * 30, "value": "v" * 30, "link": "/l" * 15}
        source = "<!doctype html><html><body><ul>{% for row in rows %}" + ROW + "{% endfor %}</ul></body></html>"
        app.jinja_loader = DictLoader({"page.html": source})

        @app.get("/")
        def page() -> str:
            return render_template("page.html", rows=rows)

        rows: list[dict[str, str]] = [row]
        with app.test_request_context():
            with_one_row = len(page())
            rows.append(row)
            row_bytes = len(page()) - with_one_row
        rows[:] = [row] * (1 + (self._size - with_one_row) // row_bytes)
        return app


@contextmanager
def process(*arguments: str, port: int, path: str) -> Iterator[None]:
    """Run this module as a server until the block ends."""
    server = subprocess.Popen([sys.executable, "-m", "bench.my_pages", *arguments], stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while True:
            try:
                requests.get(f"http://127.0.0.1:{port}{path}", timeout=1).raise_for_status()
                break
            except requests.RequestException:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait(15)


def warm(site: Site, bare_port: int) -> dict[str, float]:
    """Compare warm pages of 50 shoppers with the bare view, alternating."""
    ours, bare = [site.request(n % 50) for n in range(REQUESTS)], [get_bytes("/", {})] * REQUESTS
    post_all(site.port, ours[:100], CONNECTIONS)
    loads: dict[str, list[Load]] = {"ours": [], "bare": []}
    for round_number in range(-1, ROUNDS):
        for name, port, load in (("ours", site.port, ours), ("bare", bare_port, bare)):
            done = post_all(port, load, CONNECTIONS)
            assert set(done.statuses) == {200}, done.statuses
            if round_number >= 0:
                loads[name].append(done)
    rates = {name: median(load.rate for load in many) for name, many in loads.items()}
    times = {name: [seconds for load in many for seconds in load.times] for name, many in loads.items()}
    return {
        "bare view, pages/s": rates["bare"],
        "warm page, pages/s": rates["ours"],
        "bare view, p99 ms": percentile(times["bare"], 99) * 1000,
        "warm page, p99 ms (below 25)": percentile(times["ours"], 99) * 1000,
        "warm over bare, ratio of rates (at least 0.5)": rates["ours"] / rates["bare"],
    }


def cold(site: Site) -> dict[str, float]:
    """Compare each cold page with a bare call, alternating, and a warm page with fetching every time."""
    figures: dict[str, float] = {}
    site.faults(latency_s=LATENCY_S)
    session, headers = (
        requests.Session(),
        {"apikey": API_KEY, "User-Agent": "Bench/1.0", "Content-Type": "application/json"},
    )
    shopper = 60
    for part in PARTS:
        calls, pages = [], []
        for _ in range(COLD):
            started = time.perf_counter()
            address = f"{site.engage_url}/api/v3/contacts/{site.contacts[shopper]}"
            session.get(address, headers=headers, timeout=30).raise_for_status()
            calls.append(time.perf_counter() - started)
            pages.append(site.get(shopper, part))
            shopper += 1
        name = part or "overview"
        figures[f"cold {name}, ms over a bare call (at most 20)"] = (median(pages) - median(calls)) * 1000
        if not part:
            figures["cold overview, ms"] = median(pages) * 1000
    again = median(site.get(0) for _ in range(COLD))
    figures["warm overview, ms"] = again * 1000
    figures["fetching every time over warm (at least 20)"] = figures["cold overview, ms"] / 1000 / again
    site.faults(latency_s=0)
    return figures


def away(site: Site) -> dict[str, float]:
    """Compare pages while Engage is down with the same pages warm, alternating."""
    load = [site.request(n % 50) for n in range(REQUESTS)]
    post_all(site.port, load[:200], CONNECTIONS)
    well = [post_all(site.port, load, CONNECTIONS).rate for _ in range(ROUNDS // 2)]
    site.faults(outage=True)
    reload = [site.request(n, **{"Cache-Control": "max-age=0"}) for n in range(50)]
    first = post_all(site.port, reload, CONNECTIONS)
    post_all(site.port, load[:200], CONNECTIONS)
    gone = [post_all(site.port, load, CONNECTIONS) for _ in range(ROUNDS // 2)]
    site.faults(outage=False)
    assert all(set(done.statuses) == {200} for done in (first, *gone))
    stale = median(done.rate for done in gone)
    return {
        "Engage away, pages/s": stale,
        "Engage away over warm (at least 0.8)": stale / median(well),
        "first page, p99 ms": percentile(first.times, 99) * 1000,
    }


def crowd(site: Site) -> dict[str, float]:
    """Let every shopper reload three pages at once, each in three windows: one call for each contact and part."""
    time.sleep(11)  # a call that failed is not repeated for ten seconds
    site.forget()
    parts = ("profile", "promotions", "transactions")
    before = len(site.calls())
    load = [site.request(n, part) for n in range(SHOPPERS) for part in parts for _ in range(3)]
    done = post_all(site.port, load, 64)
    calls = len(site.calls()) - before
    assert set(done.statuses) == {200}
    return {
        "shoppers": SHOPPERS,
        "pages": len(load),
        "calls for each contact and part (1)": calls / SHOPPERS / len(parts),
        "pages/s": done.rate,
    }


def main() -> None:
    """Measure and print."""
    with ExitStack() as stack:
        url = stack.enter_context(sandbox(rate_limit_per_s=None))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port, bare_port = free_port(), free_port()
        site = Site(url, folder, port)
        stack.enter_context(process("serve", str(port), str(folder), port=port, path="/healthz"))
        size = len(
            requests.get(
                f"http://127.0.0.1:{port}/mypages/web/", cookies={"engage-session": site.cookies[0]}, timeout=30
            ).content
        )
        stack.enter_context(process("bare", str(bare_port), str(size), port=bare_port, path="/"))
        figures: dict[str, float] = {"page, bytes": size}
        figures |= warm(site, bare_port) | cold(site) | away(site) | crowd(site)
        show("My Pages", figures)
    good = (
        figures["warm over bare, ratio of rates (at least 0.5)"] >= 0.5
        and figures["warm page, p99 ms (below 25)"] < 25
        and all(value <= 20 for name, value in figures.items() if "over a bare call" in name)
        and figures["fetching every time over warm (at least 20)"] >= 20
        and figures["Engage away over warm (at least 0.8)"] >= 0.8
        and figures["calls for each contact and part (1)"] == 1
    )
    sys.exit(0 if good else 1)


def serve(port: int, folder: Path) -> None:
    """Serve My Pages as `engage-plugin web` does."""
    settings = Settings(
        database_url=f"sqlite:///{folder / 'plugin.sqlite'}",
        redis_url=None,
        state_dir=folder,
        secret_key="a key of measurements, longer than thirty-two",
        public_url=f"http://127.0.0.1:{port}",
        engage_rate=200,
    )
    threading.current_thread().name = "bench"
    run_web(Services(settings, redis_url()), host="127.0.0.1", port=port, processes=WORKERS)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["serve"]:
        serve(int(arguments[1]), Path(arguments[2]))
    elif arguments[:1] == ["bare"]:
        _Bare(int(arguments[1]), int(arguments[2])).run()
    else:
        main()
