"""The processes of the plugin beside the web server: worker and sweep, and the supervisor of all on one machine."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from redis import Redis, RedisError
from sqlalchemy.exc import SQLAlchemyError

from plugin.app import Services
from plugin.errors import ConfigurationError, describe_unexpected
from plugin.runtime.malloc import limit_arenas

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 20.0
#: A child that dies early is started again after this, doubled with each early death.
RESTART_PAUSE_S = 1.0
#: A child that ran this long, in seconds, did not die early: it may be started again at once.
RAN_WELL_S = 60.0
FORGET_EVERY_S = 3600.0
#: How often the monitor asks which shops are due for a look.
WATCH_PAUSE_S = 30.0
PR_SET_PDEATHSIG = 1


def run_worker(services: Services) -> None:
    """Run RQ jobs until SIGTERM, without a fork per job, so that connections to Engage stay open."""
    limit_arenas()
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
    if not once:
        threading.Thread(target=_watch, args=(services, stop), name="monitor", daemon=True).start()
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
        log.error("The fallback met an %s; it tries again", describe_unexpected(error))


def _sweep_until(services: Services, stop: threading.Event, *, once: bool) -> None:
    forget_at = 0.0
    while True:
        try:
            sweep_once(services)
            if time.monotonic() >= forget_at:
                services.sweep.purge_expired(services.clock(), services.stores.shops.all())
                forget_at = time.monotonic() + FORGET_EVERY_S
        except SQLAlchemyError as error:
            log.error("The sweep found no database (%s); it tries again", type(error).__name__)
        except ConfigurationError as error:  # ending would only start it again, into the same fault
            log.error("The sweep met a faulty set-up (%s); it tries again", " ".join(error.faults))
        if once or stop.wait(services.settings.sweep_interval_s):
            return


def _watch(services: Services, stop: threading.Event) -> None:
    """Look at the shops and compare them with Engage, beside the sweep: a slow shop must not hold it up."""
    interval = timedelta(seconds=services.settings.watch_interval_s)
    while not stop.wait(min(WATCH_PAUSE_S, services.settings.watch_interval_s)):
        try:
            services.monitor.check_due_shops(interval)
            services.reconciler.daily()
        except SQLAlchemyError as error:
            log.error("The monitor found no database (%s); it tries again", type(error).__name__)
        except Exception as error:  # noqa: BLE001 - one shop's odd answer must not end the watch over all
            log.error("The monitor met an %s; it tries again", describe_unexpected(error))


def sweep_once(services: Services) -> None:
    """Sweep once and wake workers for what is due."""
    swept = services.sweep.run(services.clock())
    for event_id in swept.due:
        services.notifier.wake(event_id)
    if swept.lost_leases or swept.released or swept.overdue:
        log.warning("sweep lost_leases=%d released=%d overdue=%d", swept.lost_leases, swept.released, swept.overdue)


@dataclass(slots=True)
class _Child:
    name: str
    command: Sequence[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    early_deaths: int = 0
    start_again_at: float | None = None


class Supervisor:
    """Starts children, starts those that die again, and ends all of them when told to.

    One that ran well is started again at once; one that dies early waits, twice as long each time, at most
    longest_pause_s seconds. Children get SIGTERM from us alone (Ctrl-C in a terminal reaches only us), and the kernel
    ends them when we are killed. The first ones added are stopped last.
    """

    def __init__(self, longest_pause_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._children: list[_Child] = []
        self._stop = threading.Event()
        self._longest_pause_s, self._clock = longest_pause_s, clock

    def add(self, name: str, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        """Start a child and keep it running."""
        child = _Child(name, command, {**os.environ, **(environment or {})})
        self._children.append(child)
        self._start(child)

    def pids(self) -> dict[str, int]:
        """Return the process id of each running child."""
        return {child.name: child.process.pid for child in self._children if child.process is not None}

    def is_running(self, name: str) -> bool:
        """Tell whether a child lives."""
        return any(c.name == name and c.process is not None and c.process.poll() is None for c in self._children)

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
                self.revive_all()
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

    def revive_all(self) -> None:
        """Start children again that died and whose pause is over."""
        for child in self._children:
            self._revive(child)

    def _revive(self, child: _Child) -> None:
        if child.process is None or child.process.poll() is None:
            return
        now = self._clock()
        if child.start_again_at is None:
            pause = self._pause_after_death(child, now - child.started_at)
            child.start_again_at = now + pause
            log.warning("%s ended with %s; it is started again in %g s", child.name, child.process.returncode, pause)
        if now >= child.start_again_at:
            self._start(child)

    def _pause_after_death(self, child: _Child, ran_s: float) -> float:
        """Return for how long, in seconds, a child that ran so long is not started again."""
        if ran_s >= RAN_WELL_S:
            child.early_deaths = 0
            return 0.0
        child.early_deaths += 1
        return float(min(RESTART_PAUSE_S * 2 ** min(child.early_deaths - 1, 30), self._longest_pause_s))

    def _start(self, child: _Child) -> None:
        child.started_at, child.start_again_at = self._clock(), None
        _start(child)


def own_command(*arguments: str) -> list[str]:
    """Return the command line of one of our own processes."""
    return [sys.executable, "-m", "plugin.cli", *arguments]


def _start(child: _Child) -> None:
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
