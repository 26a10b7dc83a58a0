"""What prevents a start: a STATE_DIR in use, a port that is taken, an address of another machine."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.running_plugin import RunningPlugin, free_port

from plugin.cli import main
from plugin.errors import ConfigurationError
from plugin.runtime import preflight
from plugin.runtime.preflight import check_port, exclusive_state_dir

#: Locks the folder, starts a child that outlives it, and waits to be killed.
LOCK_HOLDER = """
import subprocess, sys, time
from pathlib import Path
from plugin.runtime.preflight import exclusive_state_dir
with exclusive_state_dir(Path(sys.argv[1])):
    child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    print(child.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path))


@contextmanager
def listening(port: int = 0) -> Iterator[int]:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        yield int(taken.getsockname()[1])


def test_state_dir_is_exclusive_and_is_freed_by_a_kill_while_children_run(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", LOCK_HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(ConfigurationError) as refused, exclusive_state_dir(tmp_path):
            pass
        assert refused.value.faults == (
            f"engage-plugin run (pid {holder.pid}) already uses STATE_DIR {tmp_path}: stop it, or set another STATE_DIR.",
        )
        holder.kill()
        holder.wait()
        os.kill(child, 0)
        with exclusive_state_dir(tmp_path):
            pass
    finally:
        holder.kill()
        holder.stdout.close()
        os.kill(child, signal.SIGKILL)


def test_second_run_does_not_touch_the_redis_of_the_first(tmp_path: Path) -> None:
    first = RunningPlugin(tmp_path, {}, free_port())
    try:
        first.wait_until_ready()
        refused = CliRunner().invoke(main, ["run", "--port", str(free_port())])
        assert refused.exit_code == 2
        assert f"pid {first.process.pid}" in refused.stderr
        assert (tmp_path / "redis" / "redis.sock").exists()
        first.wait_until_ready()
    finally:
        assert first.stop() == 0


def test_unwritable_state_dir_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written to"), exclusive_state_dir(tmp_path / "file"):
        pass


@pytest.mark.parametrize("command", ["run", "web"])
def test_taken_port_prevents_the_start(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "PORT_TIMEOUT_S", 0.2)
    monkeypatch.setenv("SECRET_KEY", "k" * 40)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/plugin.sqlite")
    assert CliRunner().invoke(main, ["migrate"]).exit_code == 0
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9")
    with listening() as port:
        refused = CliRunner().invoke(main, [command, "--port", str(port)])
    assert refused.exit_code == 2
    assert f"Port {port} on 127.0.0.1 is taken: choose another with --port" in refused.stderr
    assert "listens on" not in refused.stderr


@pytest.mark.parametrize("host", ["192.0.2.1", "nobody.invalid", "2001:db8::1"])
def test_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="is not an address of this machine"):
        check_port(host, free_port())


def test_taken_port_is_waited_for_a_short_time() -> None:
    with listening() as port:
        freed = threading.Event()
        waiter = threading.Thread(target=lambda: (check_port("127.0.0.1", port), freed.set()))
        waiter.start()
        assert not freed.wait(0.3)
    waiter.join(10)
    assert freed.is_set()


def test_port_whose_connections_just_ended_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "PORT_TIMEOUT_S", 0.0)
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = int(server.getsockname()[1])
        with socket.create_connection(("127.0.0.1", port)) as client:
            server.accept()[0].close()  # who closes first keeps the port for a minute (TIME_WAIT)
            assert client.recv(1) == b""
    with socket.socket() as strict, pytest.raises(OSError, match="in use"):
        strict.bind(("127.0.0.1", port))
    check_port("127.0.0.1", port)
