"""Rows of the fallback's files: which event is in which, and what the files of the inbox and of history share."""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from plugin.store.database.statements import run
from plugin.store.inbox.progress_writes import Write
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.files import FallbackFile, FallbackRow, FileState
from plugin.store.tables.inbox import DeliveryAttempt, InboxEvent, State, is_in

CHUNK = 500
#: States in which nothing of a file can have reached the SFTP server, or the folder, under its name.
UNSENT = (FileState.WRITING, FileState.WRITTEN, FileState.SENDING)
#: States in which the SFTP server, or the folder, has or had the whole file.
UPLOADED_STATES = (FileState.SENT, FileState.PICKED_UP)
T = TypeVar("T")
#: Gives a file its name: of its kind, time and sequence.
NameOf = Callable[[str, datetime, int], str]


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """An unfinished event of a customer, in the words of InboxEvent. body: None for kinds that no file takes."""

    id: int
    kind: str
    state: str
    platform: str
    topic: str
    meta: Mapping[str, str]
    body: bytes | None
    occurred_at: datetime
    received_at: datetime
    progress: dict[str, Any]
    non_blocking: bool
    blocks_later_changes: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a file. kind: of the file. key: what may be in one file only. body: as the API would take it."""

    kind: str
    key: str
    body: Mapping[str, Any]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spooled:
    """What of an event goes into files: its own entry first, redemptions after it.

    rest: whether the event needs the API for more. steps: progress to be remembered. write: stored with it.
    """

    event_id: int
    ordering_key: str
    entries: tuple[Entry, ...]
    rest: bool
    steps: Mapping[str, Any] = field(default_factory=dict)
    write: Write | None = None


@dataclass(frozen=True, slots=True)
class ReservedFile:
    """A file whose rows are set down and which is to be written now."""

    file_id: int
    kind: str
    name: str
    entries: tuple[Entry, ...]
    event_ids: tuple[int, ...]


def new_file(
    session: Session, shop: RegisteredShop, kind: str, origin: str, rows: int, name_of: NameOf, now: datetime
) -> FallbackFile:
    """Add a file in state `writing`, under a name that no file ever had. Its sequence is the row's own number.

    The time in its name never runs backwards, whatever the clock does, so that names sort in the order of the files.
    """
    last = session.scalar(select(func.max(FallbackFile.created_at)).where(FallbackFile.shop_id == shop.id))
    file = FallbackFile(
        shop_id=shop.id,
        kind=kind,
        origin=origin,
        name=f"unnamed-{secrets.token_hex(16)}",
        state=FileState.WRITING,
        reason="it is being written",
        row_count=rows,
        created_at=max(now, last or now),
    )
    session.add(file)
    session.flush()
    file.sequence = file.id
    file.name = name_of(kind, file.created_at, file.id)
    session.flush()
    return file


def write_erasure(session: Session, event_ids: Sequence[int]) -> int:
    """Keep files with an erased person's rows from going out; return how many rows are concerned.

    The file is taken back at the next run of its shop's files, which discards what it holds of the person.
    """
    rows = 0
    for chunk in chunks(event_ids):
        of_person = select(FallbackRow.file_id).where(FallbackRow.event_id.in_(chunk))
        unsent = (*UNSENT, FileState.RENAMING)
        files = list(
            session.scalars(
                select(FallbackFile.id).where(FallbackFile.id.in_(of_person), FallbackFile.state.in_(unsent))
            )
        )
        run(session, update(FallbackFile).where(FallbackFile.id.in_(files)).values(erased=True))
        rows += run(session, update(FallbackRow).where(FallbackRow.event_id.in_(chunk)).values(rest=False))
    return rows


def deliver(session: Session, ids: Sequence[int], now: datetime) -> None:
    """End spooled events as delivered."""
    for chunk in chunks(ids):
        spooled = list(session.scalars(select(InboxEvent.id).where(InboxEvent.id.in_(chunk), is_in(State.SPOOLED))))
        values = {"state": State.DELIVERED, "finished_at": now, "last_error": None, "error_code": None}
        run(session, update(InboxEvent).where(InboxEvent.id.in_(spooled)).values(**values))
        note(session, spooled, "delivered", "its file was taken", now)


def note(session: Session, ids: Sequence[int], operation: str, outcome: str, now: datetime) -> None:
    """Add a line to the timelines of events."""
    if ids:
        lines = [{"event_id": i, "attempt": 0, "at": now, "operation": operation, "outcome": outcome} for i in ids]
        session.connection().execute(insert(DeliveryAttempt), lines)


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield items in handfuls that one statement takes."""
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
