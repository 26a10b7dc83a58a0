"""A running plugin for tests: real processes, real HTTP."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

START_S = 60.0


class RunningPlugin:
    """An `engage-plugin run` and the means to talk to it."""

    def __init__(self, state_dir: Path, environment: dict[str, str], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if name not in {"DATABASE_URL", "REDIS_URL", "SECRET_KEY"}
            },
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
        done = subprocess.run(
            [sys.executable, "-m", "plugin.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.lstrip().startswith(("{", "[")) else done.stdout

    def status(self) -> dict[str, int]:
        counts: dict[str, int] = self.command("status", "--json")
        return counts

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.log_path.read_text()
            try:
                return requests.get(f"{self.url}/readyz", timeout=2).status_code == 200
            except requests.ConnectionError:
                return False

        wait_for(ready, START_S, "the plugin did not start")

    def stop(self) -> int:
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
