"""The sandbox: a stand-in for Voyado Engage over HTTP, with a page that shows its data and faults that tests switch on.

It knows nothing of the plugin, and a production machine does not install it.

    engage-plugin sandbox --port 8100        # the command
    with running_sandbox() as sandbox: ...   # in tests, plugin.sandbox.testing
"""

import time
from collections.abc import Callable
from typing import cast

from flask import Flask

from plugin.sandbox.operations import OPERATION_IDS, OPERATIONS
from plugin.sandbox.options import ContactTypeRules, SandboxOptions
from plugin.sandbox.state import Clock, SandboxState, utc_now
from plugin.sandbox.web.handler import Sleep, add_operations
from plugin.sandbox.web.server import SandboxServer, run_until_signalled
from plugin.sandbox.web.views import add_views

__all__ = ["ContactTypeRules", "SandboxOptions", "SandboxState", "create_sandbox", "serve", "state_of"]
_STATE = "engage-sandbox"


def create_sandbox(
    options: SandboxOptions | None = None, clock: Clock = utc_now, *, sleep: Sleep = time.sleep
) -> Flask:
    """Return the sandbox as a WSGI application with an empty tenant.

    clock: returns the present time, aware; sleep: waits for the seconds of a latency fault.
    """
    app = Flask("plugin.sandbox", static_folder=None)
    app.config["PROPAGATE_EXCEPTIONS"] = True  # a dropped connection must reach the server
    app.url_map.merge_slashes = False
    state = SandboxState(options, clock)
    app.extensions[_STATE] = state
    add_operations(app, state, OPERATIONS, sleep)
    add_views(app, state, OPERATION_IDS)
    return app


def state_of(app: Flask) -> SandboxState:
    """Return the state of a sandbox; hold its lock while you read or change it."""
    return cast("SandboxState", app.extensions[_STATE])


def serve(
    port: int,
    host: str = "127.0.0.1",
    ready: Callable[[str], None] | None = None,
    options: SandboxOptions | None = None,
) -> None:
    """Serve a sandbox until SIGTERM or SIGINT; call it in the main thread.

    port: 0 takes a free one; ready is called with the address once calls are answered. Raises OSError when the port
    is taken.
    """
    run_until_signalled(SandboxServer(host, port, create_sandbox(options)), ready)
