"""Whether a long history slows the inbox: claim and insert with 1,000,000 finished events compared with 1,000.

Baseline: the same work, in turn, on a database of the same kind with 1,000 finished events. With TEST_POSTGRESQL_URL
set, PostgreSQL is measured too. HISTORY_ROWS: the long history (1000000).
"""

import os
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from sqlalchemy import bindparam, text

from bench.acknowledgement import postgresql
from bench.machine import show
from plugin.event_kinds import EventKind
from plugin.store.database.engine import Database
from plugin.store.database.types import UtcDateTime
from plugin.store.inbox.inbox import Inbox, NewEvent
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import NewShop
from plugin.store.shops.vault import Vault
from plugin.store.tables.inbox import State

LONG, SHORT = int(os.environ.get("HISTORY_ROWS", "1000000")), 1000
ROUNDS, EVENTS = 40, 25
#: One statement creates the history: 300 bytes of body, one customer for ten events.
INSERT = """
INSERT INTO inbox_events (shop_id, platform, topic, kind, dedupe_key, ordering_key, meta, body, occurred_at, received_at,
  state, attempts, holds, lost_leases, progress, finished_at)
"""
NUMBERS = {
    "sqlite": "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < :rows)",
    "postgresql": "WITH n(n) AS (SELECT generate_series(1, CAST(:rows AS integer)))",
}
ROWS = """
SELECT :shop, 'standard', 'customer.updated', 'profile_change', 'history-' || n, 'customer:' || (n / 10), '{}', :body,
  :at, :at, 'delivered', 1, :no, 0, '{}', :at FROM n
"""


class Filled:
    """An inbox with a number of finished events, and the durations of its claims and inserts."""

    def __init__(self, url: str, rows: int) -> None:
        self.database = Database(url)
        self.database.migrate()
        self.inbox = Inbox(self.database)
        new = NewShop("bench", "standard", "http://127.0.0.1:9", "k", "whsec_" + "A" * 32, {"store": "s"})
        self.shop_id = (
            Shops(self.database, Vault("a key of benches that is longer than thirty-two")).add(new, _now()).id
        )
        self.times: dict[str, list[float]] = {"insert": [], "claim": []}
        numbers = NUMBERS["sqlite" if self.database.sqlite else "postgresql"]
        fill = text(INSERT + numbers + ROWS).bindparams(bindparam("at", type_=UtcDateTime()))
        with self.database.transaction() as session:
            session.execute(fill, {"rows": rows, "shop": self.shop_id, "body": b"x" * 300, "at": _now(), "no": False})
        if not self.database.sqlite:
            with self.database.engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE inbox_events"))

    def work(self) -> None:
        """Insert events, one a commit, then claim and finish each; record the time of an insert and of a claim."""
        started = time.perf_counter()
        for _ in range(EVENTS):
            self.inbox.accept(self._event())
        between = time.perf_counter()
        claimed = [self.inbox.claim(_now(), timedelta(seconds=60)) for _ in range(EVENTS)]
        done = time.perf_counter()
        self.times["insert"].append((between - started) / EVENTS)
        self.times["claim"].append((done - between) / EVENTS)
        for claim in claimed:
            assert claim is not None
            self.inbox.finish(claim, State.DELIVERED, _now())

    def _event(self) -> NewEvent:
        return NewEvent(
            shop_id=self.shop_id, platform="standard", topic="customer.updated", kind=EventKind.PROFILE_CHANGE,
            dedupe_key=secrets.token_hex(12), ordering_key=f"customer:{secrets.token_hex(6)}", occurred_at=_now(),
            received_at=_now(), body=b"x" * 300,
        )  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC)


def measure(short_url: str, long_url: str) -> dict[str, float]:
    """Measure both in turn; return the ratios of medians."""
    short, long = Filled(short_url, SHORT), Filled(long_url, LONG)
    for number in range(ROUNDS + 2):
        for filled in (short, long):
            if number == 2:  # the first rounds warm up
                filled.times = {"insert": [], "claim": []}
            filled.work()
    figures: dict[str, float] = {}
    for name in ("insert", "claim"):
        base, got = median(short.times[name]), median(long.times[name])
        figures |= {
            f"{name}, {SHORT} rows, median ms": base * 1000,
            f"{name}, {LONG} rows, median ms": got * 1000,
            f"{name}, ratio (at most 1.2)": got / base,
        }
    short.database.close()
    long.database.close()
    return figures


def main() -> None:
    """Measure and print."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kinds = {"SQLite": measure(f"sqlite:///{folder / 'short.sqlite'}", f"sqlite:///{folder / 'long.sqlite'}")}
        if os.environ.get("TEST_POSTGRESQL_URL"):
            kinds["PostgreSQL"] = measure(stack.enter_context(postgresql()), stack.enter_context(postgresql()))
    for kind, figures in kinds.items():
        show(f"The inbox beside a long history, {kind}", figures)
    ratios = [value for figures in kinds.values() for name, value in figures.items() if "ratio" in name]
    sys.exit(0 if max(ratios) <= 1.2 else 1)


if __name__ == "__main__":
    main()
