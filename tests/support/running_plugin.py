"""A running plugin for tests: real processes, real HTTP."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import requests
from click.testing import CliRunner

from plugin.cli import main
from plugin.store.database.engine import Database
from plugin.store.inbox.admin import EventAdmin

START_S = 60.0
#: What a plugin of a test must not take over from the machine's environment.
OF_THE_MACHINE = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY")


class RunningPlugin:
    """An `engage-plugin run` and the means to talk to it."""

    def __init__(self, state_dir: Path, environment: dict[str, str], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in OF_THE_MACHINE},
            "STATE_DIR": str(state_dir),
            "RETRY_BASE_S": "0.3",
            "SWEEP_INTERVAL_S": "1",
            "PUBLIC_URL": self.url,
            **environment,
        }
        self.log_path = state_dir / "plugin.log"
        state_dir.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "plugin.cli", "run", "--port", str(port), "--web-processes", "1"],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def command(self, *arguments: str) -> Any:
        """Run a command of `engage-plugin` in this process: starting one takes longer than most of them run."""
        handlers, level = logging.root.handlers[:], logging.root.level
        environment = {**dict.fromkeys(OF_THE_MACHINE), **self.environment}
        try:
            done = CliRunner().invoke(main, list(arguments), env=environment, catch_exceptions=False)
        finally:
            logging.root.handlers[:] = handlers
            logging.root.setLevel(level)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout) if done.stdout.lstrip().startswith(("{", "[")) else done.stdout

    def command_of_its_own(self, *arguments: str) -> str:
        """Run a command as an operator does, in a process of its own."""
        command = [sys.executable, "-m", "plugin.cli", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @cached_property
    def database(self) -> Database:
        """The plugin's database, to look at while it runs."""
        state_dir = self.environment["STATE_DIR"]
        return Database(self.environment.get("DATABASE_URL") or f"sqlite:///{state_dir}/engage-plugin.sqlite")

    def status(self) -> dict[str, int]:
        """Count the events in each state."""
        return EventAdmin(self.database).status()

    def event(self, event_id: int) -> dict[str, Any]:
        """Return one event."""
        return asdict(EventAdmin(self.database).show(event_id)[0])

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.log_path.read_text()
            try:
                return requests.get(f"{self.url}/readyz", timeout=2).status_code == 200
            except requests.ConnectionError:
                return False

        wait_for(ready, START_S, "the plugin did not start")

    def stop(self) -> int:
        self.database.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def wait_for(condition: Callable[[], bool], seconds: float, message: str) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, message
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
