"""What the benchmarks share: a sandbox in its own process, and the printing of figures."""

import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import quantiles
from typing import Any

import requests

API_KEY = "bench-key-0001"


@contextmanager
def sandbox(**options: Any) -> Iterator[str]:
    """Run a sandbox in its own process and yield its address."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "plugin.cli", "sandbox", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 30
        while True:
            try:
                requests.get(f"{url}/sandbox/summary", timeout=1).raise_for_status()
                break
            except requests.RequestException:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
        if options:
            requests.post(f"{url}/sandbox/options", json=options, timeout=5).raise_for_status()
        yield url
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def redis_url() -> str:
    """Return the address of the Redis that benchmarks may fill: TEST_REDIS_URL, or database 9 of the local one."""
    return os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/9")


def machine() -> str:
    """Describe this machine."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def percentile(values: list[float], number: int) -> float:
    """Return a percentile."""
    return quantiles(values, n=100, method="inclusive")[number - 1]


def show(title: str, figures: dict[str, Any]) -> None:
    """Print figures."""
    print(f"{title} ({machine()})")
    for name, value in figures.items():
        print(f"  {name}: {value:.3f}" if isinstance(value, float) else f"  {name}: {value}")
