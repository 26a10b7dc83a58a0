"""The web process: gunicorn with threads around the application."""

import sys
from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication

from plugin.app import Services, create_app
from plugin.runtime.malloc import limit_arenas

#: How long one thread of a web process may hold up the others; Python's own 5 ms shows in the 99th percentile.
SWITCH_INTERVAL_S = 0.0005


class _Gunicorn(BaseApplication):
    def __init__(self, make_app: Callable[[], Any], options: dict[str, Any]) -> None:
        self._make_app = make_app
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        """Take over the options."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Make the application in the worker process: nothing that is pooled is made before the fork."""
        return self._make_app()


def run_web(services: Services, *, host: str, port: int, processes: int) -> None:
    """Serve HTTP until SIGTERM. Threads, because one silent connection would block a synchronous worker."""
    limit_arenas()
    create_app(services)  # a faulty set-up must stop the start, not a worker in a loop
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

    def made_after_the_fork() -> Any:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        return create_app(Services(settings, services.redis_url))

    _Gunicorn(made_after_the_fork, options).run()
