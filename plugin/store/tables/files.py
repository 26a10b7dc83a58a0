"""Tables of fallback files and of the events in them."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Boolean,
    ForeignKey,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from plugin.store.database.types import BigId
from plugin.store.tables.base import Base


class FileOrigin(StrEnum):
    """Where the rows of a file come from: events of the inbox, or a backfill of a shop's history."""

    INBOX = "inbox"
    BACKFILL = "backfill"


class FileState(StrEnum):
    """Where a fallback file is.

    writing: its events were taken out of the inbox, the file is not complete yet. renaming: it is about to get its name
    on the server, so that after a crash it is unknown whether it arrived. sent: it is on the server under its name.
    recalling: it is being moved back out of a folder. taken: the importer, or the merchant, picked it up. failed: a person
    must act.
    """

    WRITING = "writing"
    WRITTEN = "written"
    SENDING = "sending"
    RENAMING = "renaming"
    SENT = "sent"
    RECALLING = "recalling"
    PICKED_UP = "taken"
    RECALLED = "recalled"
    FAILED = "failed"


class FallbackFile(Base):
    """A file for the time when Engage stays away, or of a shop's history. A row goes with its whole shop only.

    kind: receipts, contacts, redemptions. origin: inbox or backfill. sequence: the number in its name, used once.
    reason: why it is in its state. size: bytes; lines: as the importer counts them. temporary: its name on the way.
    erased: a person in it was erased, so that it must not go out. deleted_at: when the copy here was deleted.
    """

    __tablename__ = "fallback_files"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    kind: Mapped[str] = mapped_column(String(16))
    origin: Mapped[str] = mapped_column(String(16))
    sequence: Mapped[int | None] = mapped_column(BigId, unique=True)
    name: Mapped[str] = mapped_column(String(96), unique=True)
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str | None] = mapped_column(String(64))
    size: Mapped[int | None] = mapped_column(BigId)
    lines: Mapped[int | None] = mapped_column(Integer)
    row_count: Mapped[int] = mapped_column(Integer)
    cleaned: Mapped[int] = mapped_column(Integer, default=0)
    temporary: Mapped[str | None] = mapped_column(String(128))
    erased: Mapped[bool] = mapped_column(Boolean, default=False)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_attempt_at: Mapped[datetime | None] = mapped_column()
    created_at: Mapped[datetime] = mapped_column()
    sent_at: Mapped[datetime | None] = mapped_column()
    ended_at: Mapped[datetime | None] = mapped_column()
    deleted_at: Mapped[datetime | None] = mapped_column()

    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - a number is never used again, not even of an erased shop


class FallbackRow(Base):
    """Which event is in which file. key: what may be in one file only (a receipt's id, an assignment's ...).

    rest: whether the event still needs the API for more than what is in the file. details: what must be stored when the
    file is taken (order, refund, contactId).
    """

    __tablename__ = "fallback_rows"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    file_id: Mapped[int] = mapped_column(ForeignKey("fallback_files.id", ondelete="CASCADE"), index=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("inbox_events.id"), index=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    key: Mapped[str] = mapped_column(String(255))
    rest: Mapped[bool] = mapped_column(Boolean)
    details: Mapped[dict[str, Any]] = mapped_column()

    __table_args__ = (UniqueConstraint("shop_id", "key", name="uq_fallback_row_key"),)
