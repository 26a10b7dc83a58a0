"""How fast a webhook is acknowledged: 6 kB body, 16 connections, gunicorn with 2 workers, every row durable before its 200.

Baseline: a bare Flask view that reads the body and answers 200, under the same server with the same threads.
With TEST_POSTGRESQL_URL set, PostgreSQL is measured too. A probe of the disk measures one fsync.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from bench.load import Load, post_all, request_bytes
from bench.machine import free_port, percentile, redis_url, show

NUMBER, CONNECTIONS, WORKERS = 6000, 16, 2
SECRET = "shpss_bench_secret_of_the_shop"
BODY_BYTES = 6000

BARE = """
from flask import Flask, request
app = Flask("bare")
@app.post("/webhooks/shopify/bench")
def take():
    request.get_data()
    return {"message": "stored", "event_id": 1}
@app.get("/healthz")
def health():
    return {}
"""


def webhooks(number: int) -> list[bytes]:
    """Return signed Shopify webhooks of different customers."""
    requests = []
    for _ in range(number):
        person = secrets.randbelow(10**12)
        body = json.dumps(
            {"id": person, "email": f"p{person}@example.com", "updated_at": "2026-03-05T09:30:00Z", "note": ""}
        )
        body = body[:-2] + "x" * (BODY_BYTES - len(body)) + body[-2:]
        raw = body.encode()
        digest = hmac.new(SECRET.encode(), raw, hashlib.sha256).digest()
        headers = {
            "Content-Type": "application/json",
            "X-Shopify-Topic": "customers/update",
            "X-Shopify-Hmac-Sha256": base64.b64encode(digest).decode(),
            "X-Shopify-Shop-Domain": "bench.myshopify.com",
            "X-Shopify-Webhook-Id": secrets.token_hex(12),
            "X-Shopify-Triggered-At": "2026-03-05T09:30:00Z",
        }
        requests.append(request_bytes("/webhooks/shopify/bench", headers, raw))
    return requests


@contextmanager
def served(command: list[str], environment: dict[str, str], port: int, folder: Path) -> Iterator[None]:
    """Run a web server until the block ends."""
    with (folder / "web.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log, cwd=folder)
    try:
        until = time.monotonic() + 30
        while True:
            try:
                requests.get(f"http://127.0.0.1:{port}/healthz", timeout=1).raise_for_status()
                break
            except requests.RequestException:
                if time.monotonic() > until:
                    raise RuntimeError((folder / "web.log").read_text()) from None
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(20)


def measure_bare(folder: Path, threads: int) -> Load:
    """Measure the baseline."""
    (folder / "bare.py").write_text(BARE)
    port = free_port()
    options = ["-w", str(WORKERS), "-k", "gthread", "--threads", str(threads), "--keep-alive", "15"]
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", *options, "-b", f"127.0.0.1:{port}", "bare:app"]
    with served(command, {}, port, folder):
        post_all(port, webhooks(600), CONNECTIONS)
        return post_all(port, webhooks(NUMBER), CONNECTIONS)


def measure_plugin(folder: Path, database_url: str) -> Load:
    """Measure the plugin's web process; no worker runs meanwhile."""
    port = free_port()
    environment = {
        "STATE_DIR": str(folder),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url(),
        "SECRET_KEY": "a key of benches that is longer than thirty-two characters",
    }
    for arguments in (
        ["migrate"],
        [
            *("shops", "add", "bench", "--platform", "shopify", "--engage-url", "http://127.0.0.1:9"),
            *("--engage-key", "k", "--store", "s", "--webhook-secret", SECRET),
            *("--shop-domain", "bench.myshopify.com"),
        ],
    ):
        command = [sys.executable, "-m", "plugin.cli", *arguments]
        subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True)
    web = [sys.executable, "-m", "plugin.cli", "web", "--port", str(port), "--processes", str(WORKERS)]
    with served(web, environment, port, folder):
        post_all(port, webhooks(600), CONNECTIONS)
        return post_all(port, webhooks(NUMBER), CONNECTIONS)


@contextmanager
def postgresql() -> Iterator[str]:
    """Create a database for this run and drop it afterwards."""
    server = make_url(os.environ["TEST_POSTGRESQL_URL"])
    name = f"bench_{secrets.token_hex(4)}"
    admin = create_engine(server.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
        admin.dispose()


def fsync_ms(folder: Path) -> float:
    """Return how long a small durable write takes on this machine, in milliseconds."""
    with (folder / "probe").open("wb") as probe:
        started = time.perf_counter()
        for _ in range(200):
            probe.write(b"x" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
        return (time.perf_counter() - started) / 200 * 1000


def main() -> None:
    """Measure and print."""
    from plugin.settings import Settings

    threads = Settings.__dataclass_fields__["web_threads"].default
    threads = threads if isinstance(threads, int) else 8
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures: dict[str, float | str] = {"one fsync, ms": fsync_ms(folder), "threads a worker": str(threads)}
        bare = measure_bare(folder, threads)
        figures |= {"bare, requests/s": bare.rate, "bare, p99 ms": percentile(bare.times, 99) * 1000}
        kinds = {"SQLite": f"sqlite:///{folder / 'bench.sqlite'}"}
        figures |= _measured("SQLite", measure_plugin(folder, kinds["SQLite"]), bare)
        if os.environ.get("TEST_POSTGRESQL_URL"):
            with postgresql() as url:
                figures |= _measured("PostgreSQL", measure_plugin(folder, url), bare)
    show(f"Acknowledgement, {BODY_BYTES} bytes, {CONNECTIONS} connections, {WORKERS} workers", figures)


def _measured(kind: str, load: Load, bare: Load) -> dict[str, float | str]:
    assert load.statuses == {200: NUMBER}, load.statuses
    return {
        f"{kind}, requests/s": load.rate,
        f"{kind}, p50 ms": percentile(load.times, 50) * 1000,
        f"{kind}, p99 ms (at most 50)": percentile(load.times, 99) * 1000,
        f"{kind}, ratio to bare (aim 0.5)": load.rate / bare.rate,
    }


if __name__ == "__main__":
    main()
