"""Named locks that one worker of all machines holds for a limited time: of a contact, of a shop's batches or files.

Locks that live only inside one process or one machine are not here.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, delete, update

from plugin.store.database.engine import Database
from plugin.store.database.errors import is_single_row_error
from plugin.store.database.group_commit import GroupCommit
from plugin.store.database.statements import RowWrite, run
from plugin.store.database.types import UtcDateTime
from plugin.store.tables.shops import NamedLease

#: No lock is taken for longer. One that lasts longer was taken by a clock that was ahead.
MAX_LOCK_DURATION = timedelta(minutes=45)


class NamedLocks:
    """Takes, extends and releases locks. A lock that is not released ends by itself when its time is over."""

    def __init__(self, database: Database) -> None:
        self._database = database
        insert = database.insert(NamedLease)
        self._insert = insert.on_conflict_do_update(
            index_elements=["name"],
            set_={"token": insert.excluded.token, "expires_at": insert.excluded.expires_at},
            where=NamedLease.expires_at < bindparam("now", type_=UtcDateTime()),
        ).returning(NamedLease.token)
        self._requests: GroupCommit[Mapping[str, Any], str | None] = GroupCommit(
            self._acquire_waiting, is_single_row_error
        )

    def acquire(self, name: str, now: datetime, duration: timedelta) -> str | None:
        """Take a lock and return its token; None while another worker holds it."""
        token = secrets.token_hex(16)
        return self._requests.run({"name": name, "token": token, "expires_at": now + duration, "now": now})

    def extend(self, name: str, token: str, now: datetime, duration: timedelta) -> bool:
        """Hold a lock for longer; False when it was lost."""
        with self._database.transaction() as session:
            return run(session, _EXTEND, {"lock": name, "held": token, "until": now + duration}) == 1

    def release_write(self, name: str, token: str) -> RowWrite:
        """Return the write that releases a lock, for the commit of what it was taken for."""
        return RowWrite(_RELEASE, {"lock": name, "held": token}, name)

    def release(self, name: str, token: str) -> None:
        """Release a lock; one that was lost meanwhile stays with its new holder."""
        with self._database.transaction() as session:
            self.release_write(name, token)(session)

    @contextmanager
    def hold(self, name: str, clock: Callable[[], datetime], duration: timedelta) -> Iterator[str | None]:
        """Hold a lock over a block and yield its token; None when another worker holds it, and nothing is released."""
        token = self.acquire(name, clock(), duration)
        try:
            yield token
        finally:
            if token is not None:
                self.release(name, token)

    def _acquire_waiting(self, waiting: Callable[[], Sequence[Mapping[str, Any]]]) -> list[str | None]:
        """Take in one commit the locks that threads ask for, sorted by name so that two commits never block each other.

        When two threads ask for the same name, the first gets it.
        """
        with self._database.transaction() as session:
            self._database.allow_async_commit(session)
            connection, requests = session.connection(), waiting()
            first = {row["name"]: row for row in reversed(requests)}
            now = min(row["now"] for row in requests)  # one for the whole statement
            rows = [{**first[name], "now": now} for name in sorted(first)]
            taken = set(connection.execute(self._insert, rows).scalars())
        return [row["token"] if row["token"] in taken else None for row in requests]


# made once: building a statement takes longer than running it
_HELD = (NamedLease.name == bindparam("lock"), NamedLease.token == bindparam("held"))
_RELEASE = delete(NamedLease).where(*_HELD)
_EXTEND = update(NamedLease).where(*_HELD).values(expires_at=bindparam("until", type_=UtcDateTime()))
