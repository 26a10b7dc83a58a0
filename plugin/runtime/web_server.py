"""The web process: gunicorn with threads around the application."""

import sys
from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication

from plugin.app import Services, create_app
from plugin.runtime.malloc import limit_arenas

#: How long a thread runs before another may: Python's default of 5 ms shows in the 99th percentile of the answers' times.
SWITCH_INTERVAL_S = 0.0005


class _Gunicorn(BaseApplication):
    def __init__(self, make_app: Callable[[], Any], options: dict[str, Any]) -> None:
        self._make_app = make_app
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        """Apply the options."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Create the application in the worker process, so that no connection is opened before the fork."""
        return self._make_app()


def run_web(services: Services, *, host: str, port: int, processes: int) -> None:
    """Serve HTTP until SIGTERM, with threads, because one silent connection would block a synchronous worker."""
    limit_arenas()
    create_app(services)  # a faulty set-up must stop the start here, not end worker processes again and again
    services.close()
    settings = services.settings
    options = {
        "bind": f"{host}:{port}",
        "workers": processes,
        "threads": settings.web_threads,
        "worker_class": "gthread",
        "timeout": 60,
        "graceful_timeout": 10,
        "keepalive": 15,
        "accesslog": None,
        "loglevel": "warning",
        "control_socket_disable": True,
    }

    def create_after_fork() -> Any:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        return create_app(Services(settings, services.redis_url))

    _Gunicorn(create_after_fork, options).run()
