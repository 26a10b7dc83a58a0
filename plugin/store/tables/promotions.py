"""Tables of promotions: those created here, and their assignment to lists of people."""

from datetime import datetime

from sqlalchemy import (
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from plugin.store.database.types import BigId
from plugin.store.tables.base import Base


class OwnPromotion(Base):
    """A promotion that was created through this plugin: no call of Engage lists promotions. value: as it was sent."""

    __tablename__ = "own_promotions"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    tenant: Mapped[str] = mapped_column(String(32))
    promotion_id: Mapped[str] = mapped_column(String(64))
    external_id: Mapped[str] = mapped_column(String(450))
    name: Mapped[str] = mapped_column(String(450))
    value_type: Mapped[str] = mapped_column(String(32))
    value: Mapped[str] = mapped_column(String(512))
    created_at: Mapped[datetime] = mapped_column()

    __table_args__ = (UniqueConstraint("shop_id", "tenant", "promotion_id", name="uq_own_promotion"),)


class AssignRun(Base):
    """One list of people that a promotion is assigned to. list_digest: keyed hash of the list, which finds it again."""

    __tablename__ = "assign_runs"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    tenant: Mapped[str] = mapped_column(String(32))
    promotion_id: Mapped[str] = mapped_column(String(64))
    list_digest: Mapped[str] = mapped_column(String(64))
    rows: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column()
    finished_at: Mapped[datetime | None] = mapped_column()

    __table_args__ = (UniqueConstraint("shop_id", "tenant", "promotion_id", "list_digest", name="uq_assign_run"),)


class AssignRow(Base):
    """What became of one row of a list. Holds no personal data: the list itself does, and stays with its owner.

    position: the row, 1 for the first. contact_digest: keyed hash of the contact. had: how many assignments of the
    promotion the contact had before the call, which shows after a crash if the call took effect.
    """

    __tablename__ = "assign_rows"

    run_id: Mapped[int] = mapped_column(ForeignKey("assign_runs.id"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    contact_digest: Mapped[str | None] = mapped_column(String(64))
    assignment_id: Mapped[str | None] = mapped_column(String(64))
    had: Mapped[int | None] = mapped_column(Integer)
    reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index("ix_assign_contact", "run_id", "contact_digest"),)
