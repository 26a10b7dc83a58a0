"""The supervisor of `engage-plugin run`: keeps the processes of one machine running."""

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

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 20.0
#: The pause before a child that ended early is restarted; it doubles with each further early end.
RESTART_PAUSE_S = 1.0
#: A child that ran this long, in seconds, did not end early: it may be restarted at once.
RAN_WELL_S = 60.0
PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class _Child:
    name: str
    command: Sequence[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    early_ends: int = 0
    restart_at: float | None = None


class Supervisor:
    """Starts child processes, restarts those that end, and stops all of them on request.

    A child that ran for RAN_WELL_S is restarted at once; one that ends earlier is restarted after a pause that doubles with each
    early end, up to longest_pause_s seconds. Children get SIGTERM from the supervisor alone (Ctrl-C in a terminal reaches only the
    supervisor), and the kernel stops them when the supervisor is killed. They are stopped in the reverse order of `add`.
    """

    def __init__(self, longest_pause_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._children: list[_Child] = []
        self._stop = threading.Event()
        self._longest_pause_s, self._clock = longest_pause_s, clock

    def add(self, name: str, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        """Start a child process and keep it running."""
        child = _Child(name, command, {**os.environ, **(environment or {})})
        self._children.append(child)
        self._start(child)

    def pids(self) -> dict[str, int]:
        """Return the process id of each running child."""
        return {child.name: child.process.pid for child in self._children if child.process is not None}

    def is_running(self, name: str) -> bool:
        """Return whether a child process is alive."""
        return any(c.name == name and c.process is not None and c.process.poll() is None for c in self._children)

    @property
    def stopping(self) -> bool:
        """Whether a stop was requested."""
        return self._stop.is_set()

    def request_stop(self, *_: object) -> None:
        """Make `watch` return soon. Usable as a signal handler."""
        self._stop.set()

    def watch(self) -> None:
        """Keep children running until a stop is requested, then stop them."""
        try:
            while not self._stop.wait(0.2):
                self.restart_ended()
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop every child with SIGTERM, the last one added first; with SIGKILL after STOP_TIMEOUT_S."""
        self._stop.set()
        for child in reversed(self._children):
            process = child.process
            if process is None or process.poll() is not None:
                continue
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                log.warning("%s did not stop within %g s and was killed", child.name, STOP_TIMEOUT_S)
                process.kill()
                process.wait()

    def restart_ended(self) -> None:
        """Restart children that ended and whose pause is over."""
        for child in self._children:
            self._restart_if_ended(child)

    def _restart_if_ended(self, child: _Child) -> None:
        if child.process is None or child.process.poll() is None:
            return
        now = self._clock()
        if child.restart_at is None:
            pause = self._restart_pause_s(child, now - child.started_at)
            child.restart_at = now + pause
            log.warning(
                "%s ended with exit code %s; it is restarted in %g s", child.name, child.process.returncode, pause
            )
        if now >= child.restart_at:
            self._start(child)

    def _restart_pause_s(self, child: _Child, ran_s: float) -> float:
        """Return how many seconds to wait before a child that ran for ran_s seconds is restarted."""
        if ran_s >= RAN_WELL_S:
            child.early_ends = 0
            return 0.0
        child.early_ends += 1
        return float(min(RESTART_PAUSE_S * 2 ** min(child.early_ends - 1, 30), self._longest_pause_s))

    def _start(self, child: _Child) -> None:
        child.started_at, child.restart_at = self._clock(), None
        child.process = subprocess.Popen(  # noqa: S603 - our own commands
            child.command,
            env=child.environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread here
        )


def own_command(*arguments: str) -> list[str]:
    """Return the command line of `engage-plugin` with these arguments, run by this interpreter."""
    return [sys.executable, "-m", "plugin.cli", *arguments]


def _end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the supervisor dies, however it dies (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
