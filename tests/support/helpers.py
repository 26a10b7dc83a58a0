"""Helpers that tests import."""

import atexit
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from sqlalchemy import event

from plugin.engage.client import EngageClient
from plugin.engage.http.call_guard import CallGuards
from plugin.engage.http.guard_rules import GuardRules
from plugin.engage.http.transport import EngageAccount, Transport
from plugin.sandbox.testing import RunningSandbox
from plugin.store.database.engine import Database

#: How many databases a Redis has by default.
REDIS_DATABASES = 16


def redis_url() -> str:
    """Return the address of the stand-alone Redis. Each process of `pytest -n` has a database of its own."""
    url = service_url("TEST_REDIS_URL")
    server, _, number = url.rpartition("/")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return f"{server}/{(int(number) + int(worker)) % REDIS_DATABASES}" if number.isdigit() else url


def service_url(name: str) -> str:
    """Return the address of a service that a test needs; without it the test skips, and in CI it fails."""
    url = os.environ.get(name)
    if url:
        return url
    if os.environ.get("CI"):
        pytest.fail(f"{name} is not set: in CI nothing may be skipped")
    pytest.skip(f"{name} is not set")


class Clock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def forward(self, seconds: float) -> datetime:
        self.time += timedelta(seconds=seconds)
        return self.time


@dataclass(frozen=True)
class KnownShop:
    """A registered shop as platforms see it."""

    webhook_secrets: tuple[str, ...] = ()
    credentials: Mapping[str, Any] = field(default_factory=dict)
    name: str = "web-se"
    platform: str = "standard"
    shop_domain: str | None = None
    shopper_secret: str = "a shopper secret of tests, longer than 32"


@contextmanager
def engage_client(sandbox: RunningSandbox, *, key: str = "key-of-tests") -> Iterator[EngageClient]:
    """A client of a running sandbox that no rate budget slows down."""
    transport = Transport(CallGuards(None, GuardRules(rate=200, share=50.0, probe_s=0.001)))
    try:
        yield EngageClient(EngageAccount(sandbox.url, key, "web-se", "shopify", "ECOM", "web-se"), transport)
    finally:
        transport.close()


@cache
def _migrated() -> Path:
    folder = mkdtemp(prefix="empty-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "plugin.sqlite"
    made = Database(f"sqlite:///{path}")
    made.migrate()
    made.close()
    return path


@contextmanager
def empty_sqlite(folder: Path) -> Iterator[Database]:
    """A copy of an empty SQLite database, for tests that do not depend on the kind of database: quickly made."""
    made = Database(f"sqlite:///{shutil.copy(_migrated(), folder)}")
    try:
        yield made
    finally:
        made.close()


@contextmanager
def once_before(database: Database, statement: str, act: Callable[[], Any]) -> Iterator[list[Any]]:
    """Let another thread act before the first statement that begins so; yields a list that then holds what it returned."""
    found: list[Any] = []

    def meanwhile(_connection: object, _cursor: object, text: str, *_: object) -> None:
        if not text.startswith(statement) or threading.current_thread() is not here or found:
            return
        with ThreadPoolExecutor(1) as pool:
            found.append(pool.submit(act).result(10))

    here = threading.current_thread()
    event.listen(database.engine, "before_cursor_execute", meanwhile)
    try:
        yield found
    finally:
        event.remove(database.engine, "before_cursor_execute", meanwhile)
