"""A sandbox for tests and the demo: real HTTP on a free port, in this process.

with running_sandbox(SandboxOptions(import_delay_s=900)) as sandbox:
    requests.get(f"{sandbox.url}/api/v3/stores", headers=HEADERS)
    assert sandbox.state.data.receipts
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

from plugin.sandbox import create_sandbox, state_of
from plugin.sandbox.options import SandboxOptions
from plugin.sandbox.state import Clock, SandboxState, utc_now
from plugin.sandbox.web.handler import Sleep
from plugin.sandbox.web.server import SandboxServer

#: What Engage requires on every request.
HEADERS: Mapping[str, str] = MappingProxyType(
    {"apikey": "sandbox-key-0001", "User-Agent": "SandboxTests/1.0", "Content-Type": "application/json"}
)


@dataclass(frozen=True, slots=True)
class RunningSandbox:
    """url: without a slash at the end. state: hold `state.lock` while you read or change it."""

    url: str
    state: SandboxState


@contextmanager
def running_sandbox(
    options: SandboxOptions | None = None,
    clock: Clock = utc_now,
    *,
    sleep: Sleep = time.sleep,
    port: int = 0,
    host: str = "127.0.0.1",
) -> Iterator[RunningSandbox]:
    """Serve a sandbox in a thread of this process until the block ends."""
    app = create_sandbox(options, clock, sleep=sleep)
    server = SandboxServer(host, port, app)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="sandbox", daemon=True)
    thread.start()
    try:
        yield RunningSandbox(server.url, state_of(app))
    finally:
        server.stop()
        thread.join(timeout=10)
