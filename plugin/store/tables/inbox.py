"""Tables of the inbox: events, the count of accepted ones, and the attempts to deliver them."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    literal_column,
)
from sqlalchemy.orm import Mapped, mapped_column

from plugin.store.database.types import BigId
from plugin.store.tables.base import Base


class State(StrEnum):
    """The state of an event. See docs/decisions/0001-the-inbox-in-sql-is-the-truth.md."""

    PENDING = "pending"
    LEASED = "leased"
    DELIVERED = "delivered"
    IGNORED = "ignored"
    PARKED = "parked"
    SPOOLED = "spooled"
    DISCARDED = "discarded"


#: States that end an event's way through this plugin.
FINAL_STATES = frozenset({State.DELIVERED, State.IGNORED, State.DISCARDED})


class InboxEvent(Base):
    """One webhook as it was received.

    kind: what the topic becomes (signup, order_paid ...). order_ref: the shop's order id, where the body names one.
    next_attempt_at: None on a pending event that waits behind another of its ordering key. blocked_by_id: the parked event
    that it waits for. non_blocking: it waits for something that a later event of its ordering key may bring, and so does
    not make that one wait. blocks_later_changes: whether this parked event makes the customer's later contact changes
    wait. lost_leases: how often a worker died or overslept while it held the event.
    lease_token: fences off a worker that lost its lease. progress: finished steps. error_code: a
    short stable word, the same for the same kind of fault.
    """

    __tablename__ = "inbox_events"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    platform: Mapped[str] = mapped_column(String(32))
    topic: Mapped[str] = mapped_column(String(128))
    kind: Mapped[str] = mapped_column(String(32))
    dedupe_key: Mapped[str] = mapped_column(String(160))
    ordering_key: Mapped[str] = mapped_column(String(160))
    order_ref: Mapped[str | None] = mapped_column(String(128))
    meta: Mapped[dict[str, Any]] = mapped_column()
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    occurred_at: Mapped[datetime] = mapped_column()
    received_at: Mapped[datetime] = mapped_column()
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    first_attempt_at: Mapped[datetime | None] = mapped_column()
    next_attempt_at: Mapped[datetime | None] = mapped_column()
    blocked_by_id: Mapped[int | None] = mapped_column(BigId)
    non_blocking: Mapped[bool] = mapped_column(Boolean, default=False)
    blocks_later_changes: Mapped[bool] = mapped_column(Boolean, default=False)
    lost_leases: Mapped[int] = mapped_column(Integer, default=0)
    lease_token: Mapped[str | None] = mapped_column(String(32))
    lease_expires_at: Mapped[datetime | None] = mapped_column()
    progress: Mapped[dict[str, Any]] = mapped_column()
    last_error: Mapped[str | None] = mapped_column(Text)
    error_code: Mapped[str | None] = mapped_column(String(128))
    finished_at: Mapped[datetime | None] = mapped_column()

    __table_args__ = (
        UniqueConstraint("shop_id", "dedupe_key", name="uq_inbox_dedupe"),
        # for counting only: one that began with the state would be taken for claims, which then read every pending row
        Index("ix_inbox_state", "id", "state"),
    )


def is_in(state: State, event: type[InboxEvent] = InboxEvent) -> ColumnElement[bool]:
    """Return the condition that an event is in a state, as text in the statement and not as a parameter.

    Neither database takes a partial index for a state that it does not know when it plans.
    """
    return event.state == literal_column(f"'{state.value}'")


def is_unfinished(event: type[InboxEvent] = InboxEvent) -> ColumnElement[bool]:
    """Return the condition that an event is pending, leased or parked, in the words of the index over them."""
    return event.state.in_([literal_column(f"'{state}'") for state in (State.PENDING, State.LEASED, State.PARKED)])


class AcceptedCount(Base):
    """How many events were ever accepted, counted in the transactions that store them.

    The sum of all states must equal it. Split into shards so that receivers do not wait for one another on one row.
    """

    __tablename__ = "accepted_counts"

    shard: Mapped[int] = mapped_column(Integer, primary_key=True)
    amount: Mapped[int] = mapped_column(BigId, default=0)


class DeliveryAttempt(Base):
    """One call to Engage, or one step of an event, without personal data. duration_ms: milliseconds."""

    __tablename__ = "delivery_attempts"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("inbox_events.id"), index=True)
    attempt: Mapped[int] = mapped_column(Integer)
    at: Mapped[datetime] = mapped_column()
    operation: Mapped[str] = mapped_column(String(64))
    sent: Mapped[str | None] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
    status: Mapped[int | None] = mapped_column(Integer)
    duration_ms: Mapped[int | None] = mapped_column(Integer)
