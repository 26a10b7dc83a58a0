"""Crashes on purpose: a process that dies at its n-th step to disk, database or network, and does nothing after it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.orm import Session

from plugin.engage_files import disk
from plugin.store.database.engine import Database
from support.outage import FileServer


class Crash(BaseException):
    """The process is dead: no `except Exception` may catch it."""


class FileCrashPoint:
    """Raises Crash at a step, and at every later one until `revive`. ticks: whether steps count, in one process only."""

    def __init__(self) -> None:
        self.steps, self.at, self.dead, self.exploded, self.ticks = 0, 0, False, False, False

    def arm(self, at: int) -> None:
        """Explode at a step, counted from here."""
        self.steps, self.at, self.dead, self.exploded = 0, at, False, False

    def revive(self) -> None:
        """Start the process again; it does not crash a second time."""
        self.dead = False

    def step(self) -> None:
        """Count a step, before or after something is done outside of memory."""
        if not self.ticks:
            return
        self.steps += 1
        if self.steps == self.at and not self.exploded:
            self.dead = self.exploded = True
        if self.dead:
            raise Crash

    def around(self, work: Any) -> Any:
        """Wrap a function with a step before and one after it."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.step()
            done = work(*args, **kwargs)
            try:
                self.step()
            except Crash:
                if hasattr(done, "close"):
                    done.close()  # as the kernel does for a process that dies
                raise
            return done

        return wrapped


def plant(bomb: FileCrashPoint, patch: pytest.MonkeyPatch, database: Database, server: FileServer) -> None:
    """Make every transaction, every change of a file and every word with the server a step."""
    transaction = database.transaction

    @contextmanager
    def stepped() -> Iterator[Session]:
        bomb.step()
        with transaction() as session:
            yield session
        bomb.step()

    patch.setattr(database, "transaction", stepped)
    for name in ("create", "sync", "rename", "remove"):
        patch.setattr(disk, name, bomb.around(getattr(disk, name)))
    for name in ("put", "publish", "find", "discard"):
        patch.setattr(server, name, bomb.around(getattr(server, name)))
