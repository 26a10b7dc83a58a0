"""The database goes away under a running plugin: 503 and never 200, no half row; when it is back, all goes on by itself."""

import select
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
from conftest import SECRET_KEY
from sqlalchemy.engine import make_url
from support.chaos import Chaos, descendants
from support.running_plugin import RunningPlugin, free_port, wait_for

from plugin.sandbox.options import SandboxOptions
from plugin.sandbox.testing import running_sandbox
from plugin.store.database.engine import Database

EVENTS, PEOPLE = 60, 6


class Cable:
    """A TCP connection to a server that can be cut and repaired."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self.port = free_port()
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.repair()

    def repair(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """Refuse new connections and drop those that are open."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._to)
            self._open += [near, far]
            threading.Thread(target=_carry, args=(near, far), daemon=True).start()


def _carry(near: socket.socket, far: socket.socket) -> None:
    with near, far, suppress(OSError):
        while True:
            for ready in select.select([near, far], [], [])[0]:
                chunk = ready.recv(65536)
                if not chunk:
                    return
                (far if ready is near else near).sendall(chunk)


@contextmanager
def stream_of_events(plugin: RunningPlugin) -> Iterator[tuple[Chaos, threading.Thread]]:
    """Send the events of two people, and give the thread that sends the others'.

    Whoever is refused sends again until the answer is 200. In the end all must have arrived, once and in order.
    """
    with running_sandbox(SandboxOptions(rate_limit_per_s=None)) as sandbox:
        chaos = Chaos(plugin, sandbox, seed=5, events=EVENTS, people=PEOPLE, kills=0)
        first, later = chaos.people[:2], chaos.people[2:]
        chaos.fault(latency_s=0.1)
        chaos.send_of(first)
        sending = threading.Thread(target=chaos.send_of, args=(later,))
        yield chaos, sending
        sending.join()
        wait_for(chaos.all_delivered, 120, "what waited is not taken up")
        chaos.compare()
        assert not chaos.report.problems, chaos.report.problems


def processes(plugin: RunningPlugin) -> set[tuple[int, str]]:
    return set(descendants(plugin.process.pid))


@pytest.mark.postgresql
def test_plugin_survives_a_database_that_is_cut_off(tmp_path: Path, postgresql_url_of_a_plugin: str) -> None:
    server = make_url(postgresql_url_of_a_plugin)
    cable = Cable(server.host or "127.0.0.1", server.port or 5432)
    environment = {
        "DATABASE_URL": server.set(host="127.0.0.1", port=cable.port).render_as_string(hide_password=False),
        "SECRET_KEY": SECRET_KEY,
        "ENGAGE_RATE": "200",
        "LEASE_S": "5",
    }
    plugin = RunningPlugin(tmp_path / "plugin", environment, free_port())
    plugin.database = Database(postgresql_url_of_a_plugin)  # this test looks past the cable
    try:
        plugin.wait_until_ready()
        before = processes(plugin)
        with stream_of_events(plugin) as (chaos, sending):
            wait_for(lambda: plugin.status()["delivered"] > 0, 60, "nothing is delivered")
            cable.cut()
            sent = chaos.report.sent
            sending.start()
            wait_for(lambda: chaos.report.refused["503"] > 20, 60, f"no 503: {chaos.report.refused}")
            assert requests.get(f"{plugin.url}/readyz", timeout=10).json()["database"] is False
            assert requests.get(f"{plugin.url}/healthz", timeout=10).ok
            assert chaos.report.sent == sent, "a webhook got its 200 while there was no database"
            cable.repair()
        assert set(chaos.report.refused) == {"503"}
        assert processes(plugin) == before, plugin.log_path.read_text()[-3000:]
    finally:
        plugin.stop()
        plugin.database.close()
        cable.cut()


def test_plugin_survives_an_embedded_database_that_is_locked_too_long(tmp_path: Path) -> None:
    folder = tmp_path / "plugin"
    plugin = RunningPlugin(folder, {"ENGAGE_RATE": "200", "LEASE_S": "15"}, free_port())
    try:
        plugin.wait_until_ready()
        before = processes(plugin)
        with stream_of_events(plugin) as (chaos, sending):
            stranger = sqlite3.connect(folder / "engage-plugin.sqlite", isolation_level=None)
            stranger.execute("BEGIN IMMEDIATE")
            sent, accepted = chaos.report.sent, plugin.status()["accepted"]
            sending.start()
            wait_for(lambda: chaos.report.refused["503"] > 0, 60, f"no 503: {chaos.report.refused}")
            assert chaos.report.sent == sent
            assert plugin.status()["accepted"] == accepted
            stranger.execute("ROLLBACK")
            stranger.close()
        assert set(chaos.report.refused) == {"503"}
        assert processes(plugin) == before, plugin.log_path.read_text()[-3000:]
    finally:
        plugin.stop()
