"""The order in which threads and processes write to one SQLite file."""

import fcntl
import os
import threading
import time
from pathlib import Path

from sqlalchemy.exc import OperationalError

BUSY_TIMEOUT_S = 10
TURN_POLL_S = 0.0005


class SqliteWriterLock:
    """Whose turn it is to write to one SQLite file, among the threads and processes of this machine.

    SQLite lets one write at a time, and makes the others sleep longer and longer; waiting here instead ends within a
    millisecond of the writer's end. It only orders: safety stays with SQLite's own locks, so a turn that does not come
    in time is not waited for. A process that dies loses its turn (flock(2)).
    """

    def __init__(self, database: str) -> None:
        self._path = f"{database}.writer"
        self._thread_turn = threading.Lock()
        self._file: int | None = None
        self._pid = 0

    def __enter__(self) -> None:
        until = time.monotonic() + BUSY_TIMEOUT_S
        if not self._thread_turn.acquire(timeout=BUSY_TIMEOUT_S):
            raise OperationalError("BEGIN IMMEDIATE", {}, OSError("the database was busy for too long"))
        try:
            file = self._opened()
            while time.monotonic() < until:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    time.sleep(TURN_POLL_S)
                else:
                    return
        except BaseException:
            self._thread_turn.release()
            raise

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._thread_turn.release()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _opened(self) -> int:
        if self._file is None or self._pid != os.getpid():  # a fork would share the turn with its parent
            Path(self._path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file, self._pid = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), os.getpid()
        return self._file
