"""Two machines on one database whose clocks are apart and jump: still nothing twice, nothing lost, nothing out of order."""

import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import SECRET_KEY
from support.chaos import Chaos
from support.running_plugin import wait_for
from werkzeug.serving import make_server

from plugin.app import Services, create_app
from plugin.runtime.loops import sweep_once
from plugin.sandbox.options import SandboxOptions
from plugin.sandbox.testing import running_sandbox
from plugin.settings import Settings
from plugin.store.database.engine import Database
from plugin.store.inbox.admin import EventFilter
from plugin.store.shops.shops import NewShop

EVENTS, PEOPLE = 48, 6
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
NOBODY_LISTENS = "redis://127.0.0.1:9/0"


class WrongClock:
    """A machine's clock, which somebody sets."""

    def __init__(self) -> None:
        self.wrong_by = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.wrong_by


class Machine:
    """Web, worker and sweep of one machine, as threads of this process, with a clock of its own."""

    def __init__(self, database_url: str, state_dir: Path, retry_base_s: float) -> None:
        self.clock = WrongClock()
        settings = Settings(
            database_url=database_url, redis_url=NOBODY_LISTENS, state_dir=state_dir, secret_key=SECRET_KEY,
            public_url="http://127.0.0.1:1", retry_base_s=retry_base_s, engage_rate=200, delivery_threads=4, lease_s=20,
        )  # fmt: skip
        self.services = Services(settings, NOBODY_LISTENS, self.clock)
        self._stop = threading.Event()
        self._server = make_server("127.0.0.1", 0, create_app(self.services), threaded=True)
        self.url = f"http://127.0.0.1:{self._server.port}/webhooks/standard/chaos"
        self._threads = [
            threading.Thread(target=self._server.serve_forever, name="web"),
            threading.Thread(target=self._repeat, args=(lambda: self.services.inbox_worker.run(0),), name="worker"),
            threading.Thread(target=self._repeat, args=(lambda: sweep_once(self.services),), name="sweep"),
        ]
        for thread in self._threads:
            thread.start()

    def _repeat(self, work: Any) -> None:
        while not self._stop.wait(0.05):
            work()

    def stop(self) -> None:
        self._stop.set()
        self.services.inbox_worker.stop()
        self._server.shutdown()
        for thread in self._threads:
            thread.join(30)
        self._server.server_close()
        self.services.close()


class Machines:
    """Both machines, as `Chaos` wants a plugin to look: a shop's webhooks go to either."""

    def __init__(self, database: Database, tmp_path: Path) -> None:
        url = database.url.render_as_string(hide_password=False)
        self.both = [Machine(url, tmp_path, retry_base_s=0.05) for _ in range(2)]
        self.draw = random.Random(7)

    @property
    def url(self) -> str:
        return self.draw.choice(self.both).url

    def command(self, *arguments: str) -> Any:
        """Do what `Chaos` needs of the command: register the shop, list what is parked."""
        services = self.both[0].services
        if arguments[:2] == ("events", "list"):
            return [asdict(row) for row in services.event_admin.find(EventFilter(state="parked"))]
        engage_url = arguments[arguments.index("--engage-url") + 1]
        new = NewShop("chaos", "standard", engage_url, "key-chaos", SECRET, {"store": "web-se"})
        services.stores.shops.add(new, services.clock())
        return {"webhook_secret": SECRET, "webhook_url": self.both[0].url}

    def status(self) -> dict[str, int]:
        return self.both[0].services.event_admin.status()

    def stop(self) -> None:
        for machine in self.both:
            machine.stop()


class ClockChaos(Chaos):
    """A stream of events that goes to either machine."""

    plugin: Any
    url = property(lambda self: self.plugin.url, lambda self, _url: None)  # type: ignore[assignment]


@contextmanager
def clocks_jump(machines: Machines, jumps: Mapping[float, float]) -> Iterator[None]:
    """Set one clock after the other again, wrong by so many minutes for so many seconds.

    In the end one clock is right and one is half a minute ahead, so that what was put off by such a clock is due.
    """
    stop = threading.Event()

    def jump() -> None:
        draw = random.Random(11)
        while not stop.is_set():
            machine, minutes = draw.choice(machines.both), draw.choice(list(jumps))
            machine.clock.wrong_by = timedelta(minutes=minutes)
            stop.wait(jumps[minutes])
            if abs(minutes) > 1:
                machine.clock.wrong_by = timedelta()
        machines.both[0].clock.wrong_by, machines.both[1].clock.wrong_by = timedelta(minutes=0.5), timedelta()

    thread = threading.Thread(target=jump, name="clocks")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def machines(database: Database, tmp_path: Path) -> Iterator[Machines]:
    made = Machines(database, tmp_path)
    yield made
    made.stop()


#: How long, in seconds, a clock is wrong by so many minutes. Jumps for hours are short, or all leases end all the time.
APART = {-0.5: 0.2, 0.5: 0.2}
JUMPS = {0: 0.4, 60: 0.06, -60: 0.06, 24 * 60: 0.06}


@pytest.mark.parametrize("jumps", [APART, JUMPS], ids=["a-minute-apart", "jumps-of-hours"])
def test_events_arrive_once_and_in_order_with_wrong_clocks(machines: Machines, jumps: Mapping[float, float]) -> None:
    with running_sandbox(SandboxOptions(rate_limit_per_s=None, keep_calls=20_000)) as sandbox:
        chaos = ClockChaos(machines, sandbox, seed=3, events=EVENTS, people=PEOPLE, kills=0)  # type: ignore[arg-type]
        chaos.fault(latency_s=0.02, latency_jitter_s=0.02, error_rate=0.1, done_but_504_rate=0.1)
        with clocks_jump(machines, jumps):
            chaos.send_everything()
        chaos.fault()
        wait_for(chaos.all_delivered, 120, "the inbox did not drain")
        chaos.compare()
    assert not chaos.report.problems, chaos.report.problems
