"""What workers store of their current events, several in one commit: progress, the end of a try, and what goes with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Executable, Update
from sqlalchemy.orm import Session

from plugin.errors import LeaseLostError
from plugin.store.database.statements import RowWrite
from plugin.store.inbox.claiming import Claimed, release_waiting
from plugin.store.inbox.statements import LEASES, LOG

#: Something to be stored in the same commit as the end of a step.
Write = Callable[[Session], None]


@dataclass(frozen=True, slots=True)
class NewTimelineEntry:
    """One line of an event's timeline. sent and outcome hold no personal data; duration_ms: milliseconds."""

    at: datetime
    operation: str
    outcome: str
    sent: str | None = None
    status: int | None = None
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class LeasedUpdate:
    """A change of a leased row and what goes with it. releases_at: when the customer's next event is due, if it is."""

    statement: Update
    claimed: Claimed
    values: Mapping[str, Any]
    entries: Sequence[NewTimelineEntry]
    writes: Sequence[Write]
    releases_at: datetime | None = None


def apply_updates(session: Session, steps: Sequence[LeasedUpdate]) -> list[Exception | None]:
    """Store steps whose leases hold, and return for each None, or the LeaseLostError of one whose lease is lost."""
    held = _valid_leases(session, steps)
    stored = [step for step in steps if _lease(step) in held]
    _change_rows(session, stored)
    _write(session, [write for step in stored for write in step.writes])
    _log(session, stored)
    _release(session, stored)
    return [None if _lease(step) in held else _lost(step) for step in steps]


def _valid_leases(session: Session, steps: Sequence[LeasedUpdate]) -> set[tuple[int, str | None]]:
    """Lock the events of steps, and return the leases that hold: one event may have steps of two workers."""
    rows = session.connection().execute(LEASES, {"row_ids": sorted({step.claimed.id for step in steps})})
    return {(event_id, token) for event_id, token in rows}


def _lease(step: LeasedUpdate) -> tuple[int, str]:
    return step.claimed.id, step.claimed.lease_token


def _lost(step: LeasedUpdate) -> LeaseLostError:
    return LeaseLostError(f"Event {step.claimed.id} is no longer leased to this worker; it stops here.")


def _change_rows(session: Session, steps: Sequence[LeasedUpdate]) -> None:
    """Change the rows of steps."""
    _execute(session, [(step.statement, {"row_id": step.claimed.id, **step.values}) for step in steps])


def _write(session: Session, writes: Sequence[Write]) -> None:
    """Store what goes with steps."""
    rows = [write for write in writes if isinstance(write, RowWrite)]
    for write in writes:
        if not isinstance(write, RowWrite):
            write(session)
    _execute(session, [(write.statement, write.row) for write in sorted(rows, key=lambda row: row.place)])


def _execute(session: Session, rows: Sequence[tuple[Executable, Mapping[str, Any]]]) -> None:
    """Send rows to the database, those of one statement in one call."""
    together: dict[Executable, list[Mapping[str, Any]]] = {}
    for statement, row in rows:
        together.setdefault(statement, []).append(row)
    for statement, values in together.items():
        session.connection().execute(statement, values)


def _log(session: Session, steps: Sequence[LeasedUpdate]) -> None:
    rows = [
        {
            "event_id": step.claimed.id,
            "attempt": step.claimed.attempts,
            "at": entry.at,
            "operation": entry.operation,
            "outcome": entry.outcome,
            "sent": entry.sent,
            "status": entry.status,
            "duration_ms": entry.duration_ms,
        }
        for step in steps
        for entry in step.entries
    ]
    if rows:
        session.connection().execute(LOG, rows)


def _release(session: Session, steps: Sequence[LeasedUpdate]) -> None:
    """Make the next event due of each customer whose turn ended."""
    turns = {(step.claimed.shop_id, step.claimed.ordering_key): step.releases_at for step in steps if step.releases_at}
    release_waiting(session, turns)
