"""A whole plugin for benchmarks: `engage-plugin run` in its own folder, and a shop that posts signed webhooks."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from standardwebhooks.webhooks import Webhook

from bench.load import request_bytes
from bench.machine import free_port

FROM_OUTSIDE = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "STATE_DIR")


@dataclass(frozen=True, slots=True)
class RunningPlugin:
    """port: of its web server. pid: of its supervisor. secret: of the webhooks of the shop `bench`."""

    port: int
    pid: int
    secret: str
    environment: dict[str, str]

    def webhook(self, kind: str, **data: Any) -> bytes:
        """Return a signed webhook as an HTTP request."""
        now = datetime.now(UTC)
        body = json.dumps({"type": kind, "timestamp": now.isoformat(), "data": data})
        message_id = secrets.token_hex(12)
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(self.secret).sign(message_id, now, body),
            "Content-Type": "application/json",
        }
        return request_bytes("/webhooks/standard/bench", headers, body.encode())

    def status(self) -> dict[str, int]:
        """Return the number of events by state, from the plugin's metrics."""
        figures = requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=30).text
        metrics = dict(line.rsplit(" ", 1) for line in figures.splitlines() if line.startswith("engage_plugin_"))
        states = {
            name.partition('"')[2].rstrip('"}'): number
            for name, number in metrics.items()
            if name.startswith("engage_plugin_events{")
        }
        return {
            "accepted": round(float(metrics["engage_plugin_accepted"])),
            **{s: round(float(n)) for s, n in states.items()},
        }


@contextmanager
def running_plugin(folder: Path, engage_url: str, **environment: str) -> Iterator[RunningPlugin]:
    """Run web, one worker and sweep with the embedded Redis until the block ends; a shop `bench` is registered."""
    port = free_port()
    whole = {
        **{name: value for name, value in os.environ.items() if name not in FROM_OUTSIDE},
        "STATE_DIR": str(folder),
        "LOG_LEVEL": "WARNING",
        **environment,
    }
    command = [sys.executable, "-m", "plugin.cli"]
    with (folder / "plugin.log").open("wb") as log:
        process = subprocess.Popen([*command, "run", "--port", str(port)], env=whole, stdout=log, stderr=log)
    try:
        _wait_until_ready(port, process, folder)
        add = [
            *("shops", "add", "bench", "--platform", "standard", "--engage-url", engage_url),
            *("--engage-key", secrets.token_hex(8), "--store", "s"),
        ]
        card = json.loads(subprocess.run([*command, *add], env=whole, check=True, capture_output=True).stdout)
        yield RunningPlugin(port, process.pid, card["webhook_secret"], whole)
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_ready(port: int, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            if requests.get(f"http://127.0.0.1:{port}/readyz", timeout=2).ok:
                return
        except requests.RequestException:
            pass
        if time.monotonic() > until or process.poll() is not None:
            raise RuntimeError((folder / "plugin.log").read_text())
        time.sleep(0.1)
