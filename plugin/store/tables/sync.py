"""Tables of the looks at a shop: monitoring, backfills, reconciliations; and the record of erased shops."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ForeignKey,
    Index,
    String,
    Text,
)
from sqlalchemy.orm import Mapped, mapped_column

from plugin.store.database.types import BigId
from plugin.store.tables.base import Base


class ShopWatch(Base):
    """What the watchdog last saw of a shop: its webhook subscriptions, and up to when missed changes were looked for.

    problems: what is wrong at the shop, a line each. error: why the last look failed; None when it worked.
    """

    __tablename__ = "shop_watches"

    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"), primary_key=True, autoincrement=False)
    polled_until: Mapped[datetime | None] = mapped_column()
    checked_at: Mapped[datetime | None] = mapped_column()
    problems: Mapped[list[Any]] = mapped_column()
    error: Mapped[str | None] = mapped_column(Text)


class BackfillRun(Base):
    """One run of the shop's history into Engage: where it is, and what became of what it read so far.

    what: customers or orders. source: api, or the name of a file. options: the choices that a resumed run keeps.
    counts: read, and what became of it, by name. state: running, paused or finished.
    """

    __tablename__ = "backfill_runs"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    what: Mapped[str] = mapped_column(String(16))
    source: Mapped[str] = mapped_column(String(255))
    since: Mapped[datetime | None] = mapped_column()
    until: Mapped[datetime | None] = mapped_column()
    options: Mapped[dict[str, Any]] = mapped_column()
    cursor: Mapped[str | None] = mapped_column(Text)
    counts: Mapped[dict[str, Any]] = mapped_column()
    state: Mapped[str] = mapped_column(String(16))
    started_at: Mapped[datetime] = mapped_column()
    updated_at: Mapped[datetime] = mapped_column()

    __table_args__ = (Index("ix_backfill_shop", "shop_id", "id"),)


class BackfillRefusal(Base):
    """A row of the history that was not sent, and why, without personal data."""

    __tablename__ = "backfill_refusals"

    run_id: Mapped[int] = mapped_column(ForeignKey("backfill_runs.id"), primary_key=True)
    resource_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    code: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str] = mapped_column(Text)


class Reconciliation(Base):
    """One comparison of shop, inbox and Engage: how much was compared and what differed, as counts."""

    __tablename__ = "reconciliations"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    since: Mapped[datetime] = mapped_column()
    until: Mapped[datetime] = mapped_column()
    at: Mapped[datetime] = mapped_column()
    counts: Mapped[dict[str, Any]] = mapped_column()

    __table_args__ = (Index("ix_reconciliation_shop", "shop_id", "id"),)


class Erasure(Base):
    """That a person's data was erased: counts and times, nothing of the person."""

    __tablename__ = "erasures"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    event_id: Mapped[int | None] = mapped_column(BigId)
    at: Mapped[datetime] = mapped_column()
    done: Mapped[dict[str, Any]] = mapped_column()
