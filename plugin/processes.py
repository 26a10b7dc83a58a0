"""The processes of the plugin: web, worker and sweep, and the supervisor that keeps all of them on one machine."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gunicorn.app.base import BaseApplication
from redis import Redis, RedisError
from sqlalchemy.exc import SQLAlchemyError

from plugin.app import Services, create_app

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 20.0
RESTART_PAUSE_S = 1.0
FORGET_EVERY_S = 3600.0
PR_SET_PDEATHSIG = 1
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


def run_worker(services: Services) -> None:
    """Run RQ jobs until SIGTERM, without a fork per job, so that connections to Engage stay open."""
    worker = services.worker()
    _wait_for_redis(worker.connection)
    try:
        worker.work(logging_level="WARNING")
    finally:
        services.drain.stop()
        services.close()


def run_sweep(services: Services, *, once: bool = False) -> None:
    """Look for lost leases and due events every SWEEP_INTERVAL_S, until SIGTERM."""
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    files = threading.Thread(target=run_fallback, args=(services, stop), name="fallback")
    if once:
        run_fallback_once(services)
    else:
        files.start()
    try:
        _sweep_until(services, stop, once=once)
    finally:
        stop.set()
        if files.ident is not None:
            files.join()
        services.close()


def run_fallback(services: Services, stop: threading.Event) -> None:
    """Do what is due for the fallback's files until told to stop; beside the sweep, because a transfer may be slow."""
    while True:
        run_fallback_once(services)
        if stop.wait(services.settings.sweep_interval_s):
            return


def run_fallback_once(services: Services) -> None:
    """Do what is due for the fallback's files. A fault is logged, and the next turn tries again."""
    try:
        services.fallback.run()
    except SQLAlchemyError as error:
        log.error("The fallback found no database (%s); it tries again", type(error).__name__)
    except Exception as error:  # noqa: BLE001 - a fault of ours must not end the work on files for good
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.filename.rpartition('/')[2]}:{where.lineno}"
        log.error("The fallback met an unexpected %s at %s; it tries again", type(error).__name__, place)


def _sweep_until(services: Services, stop: threading.Event, *, once: bool) -> None:
    forget_at = 0.0
    while True:
        try:
            sweep_once(services)
            if time.monotonic() >= forget_at:
                services.sweep.forget(services.clock(), services.stores.shops.all())
                forget_at = time.monotonic() + FORGET_EVERY_S
        except SQLAlchemyError as error:
            log.error("The sweep found no database (%s); it tries again", type(error).__name__)
        if once or stop.wait(services.settings.sweep_interval_s):
            return


def sweep_once(services: Services) -> None:
    """Sweep once and wake workers for what is due."""
    swept = services.sweep.run(services.clock())
    for event_id in swept.due:
        services.wake_ups.wake(event_id)
    if swept.lost_leases or swept.released or swept.overdue:
        log.warning("sweep lost_leases=%d released=%d overdue=%d", swept.lost_leases, swept.released, swept.overdue)


@dataclass(slots=True)
class _Child:
    name: str
    command: Sequence[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    starts: int = field(default=0)


class Supervisor:
    """Starts children, starts those that die again, and ends all of them when told to.

    Children get SIGTERM from us alone (Ctrl-C in a terminal reaches only us), and the kernel ends them when we are
    killed. The first ones added are stopped last.
    """

    def __init__(self) -> None:
        self._children: list[_Child] = []
        self._stop = threading.Event()

    def add(self, name: str, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        """Start a child and keep it running."""
        child = _Child(name, command, {**os.environ, **(environment or {})})
        self._children.append(child)
        _start(child)

    def pids(self) -> dict[str, int]:
        """Return the process id of each running child."""
        return {child.name: child.process.pid for child in self._children if child.process is not None}

    @property
    def stopping(self) -> bool:
        """Whether a stop was requested."""
        return self._stop.is_set()

    def request_stop(self, *_: object) -> None:
        """End `watch` soon. Usable as a signal handler."""
        self._stop.set()

    def watch(self) -> None:
        """Keep children alive until a stop is requested, then end them."""
        try:
            while not self._stop.wait(0.2):
                for child in self._children:
                    self._revive(child)
        finally:
            self.stop()

    def stop(self) -> None:
        """End every child with SIGTERM, the last one added first; SIGKILL for one that does not end in time."""
        self._stop.set()
        for child in reversed(self._children):
            process = child.process
            if process is None or process.poll() is not None:
                continue
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                log.warning("%s did not end within %g s and was killed", child.name, STOP_TIMEOUT_S)
                process.kill()
                process.wait()

    def _revive(self, child: _Child) -> None:
        if child.process is None or child.process.poll() is None:
            return
        if time.monotonic() - child.started_at < RESTART_PAUSE_S:
            return
        log.warning("%s ended with %s; it is started again", child.name, child.process.returncode)
        _start(child)


def own_command(*arguments: str) -> list[str]:
    """Return the command line of one of our own processes."""
    return [sys.executable, "-m", "plugin.cli", *arguments]


def _start(child: _Child) -> None:
    child.started_at = time.monotonic()
    child.starts += 1
    child.process = subprocess.Popen(  # noqa: S603 - our own commands
        child.command,
        env=child.environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread here
    )


def _end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the supervisor dies, however it dies (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_for_redis(redis: Redis) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            redis.ping()
        except RedisError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return
