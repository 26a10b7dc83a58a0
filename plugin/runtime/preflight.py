"""Checks before a start: the STATE_DIR is used by no other `engage-plugin run`, and the web server's port is free."""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plugin.errors import ConfigurationError

LOCK_NAME = "run.lock"
#: How long, in seconds, to wait for a taken port: the processes of a plugin that was killed release it a little later.
PORT_TIMEOUT_S = 5.0


@contextmanager
def exclusive_state_dir(state_dir: Path) -> Iterator[None]:
    """Lock a STATE_DIR for this `engage-plugin run`. Raises ConfigurationError when another process holds the lock.

    The kernel releases the lock when this process ends, however it ends (flock(2)); children do not inherit it (O_CLOEXEC).
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(state_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            [f"STATE_DIR {state_dir} cannot be written to ({error.strerror}): make it a writable folder."]
        ) from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(file, 20).decode("ascii", "replace").strip()
            raise ConfigurationError(
                [
                    f"engage-plugin run (pid {pid or 'unknown'}) already uses STATE_DIR {state_dir}: stop it, or set another "
                    "STATE_DIR."
                ]
            ) from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)


def check_port(host: str, port: int) -> None:
    """Raise ConfigurationError when it is impossible to listen at an address; wait up to PORT_TIMEOUT_S for a taken port."""
    until = time.monotonic() + PORT_TIMEOUT_S
    while (fault := _bind_error(host, port)) is not None:
        if fault.errno != errno.EADDRINUSE or time.monotonic() >= until:
            raise ConfigurationError([_describe(fault, host, port)]) from fault
        time.sleep(0.1)


def _bind_error(host: str, port: int) -> OSError | None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended do not count
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def _describe(fault: OSError, host: str, port: int) -> str:
    if fault.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken: choose another with --port, or stop what listens there."
    if fault.errno == errno.EACCES:
        return f"Port {port} is not allowed to this user: choose one above 1023 with --port."
    if fault.errno == errno.EADDRNOTAVAIL or isinstance(fault, socket.gaierror):
        return (
            f"{host} is not an address of this machine: give one of its own with --host, 127.0.0.1 behind a proxy on this machine "
            "or 0.0.0.0 for all."
        )
    return f"Nothing can listen on port {port} of {host} ({fault.strerror}): choose another address with --host and --port."
