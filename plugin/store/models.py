"""The tables. Migrations in `migrations/` make them; a test holds both to each other.

Indexes of a part of a table stand in `partial_indexes`.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
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
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from plugin.store.types import BigId, UtcDateTime


class State(StrEnum):
    """Where an event is. Every event is in exactly one (DESIGN, the inbox is the truth)."""

    PENDING = "pending"
    LEASED = "leased"
    DELIVERED = "delivered"
    IGNORED = "ignored"
    PARKED = "parked"
    SPOOLED = "spooled"
    DISCARDED = "discarded"


#: States that end an event's way through this plugin.
FINAL_STATES = frozenset({State.DELIVERED, State.IGNORED, State.DISCARDED})


class Base(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {datetime: UtcDateTime(), dict[str, Any]: JSON(), list[Any]: JSON()}  # noqa: RUF012


class Shop(Base):
    """A registered shop. Columns that end in _encrypted hold text sealed with SECRET_KEY.

    stopped_reason: why deliveries stand still (Engage refuses the key); None while they run.
    """

    __tablename__ = "shops"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    platform: Mapped[str] = mapped_column(String(32))
    shop_domain: Mapped[str | None] = mapped_column(String(255))
    engage_url: Mapped[str] = mapped_column(String(255))
    engage_key_encrypted: Mapped[bytes] = mapped_column(LargeBinary)
    webhook_secrets_encrypted: Mapped[bytes] = mapped_column(LargeBinary)
    shopper_secret_encrypted: Mapped[bytes] = mapped_column(LargeBinary)
    credentials_encrypted: Mapped[bytes | None] = mapped_column(LargeBinary)
    file_access_encrypted: Mapped[bytes | None] = mapped_column(LargeBinary)
    settings: Mapped[dict[str, Any]] = mapped_column()
    stopped_reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column()


class PendingInstallation(Base):
    """An installation that was begun: its one-time state, as a hash, and what must be known when it comes back."""

    __tablename__ = "pending_installations"

    state_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    data_encrypted: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class InboxEvent(Base):
    """One webhook as it was received.

    kind: what the topic becomes (signup, order_paid ...). order_ref: the shop's order id, where the body names one.
    next_attempt_at: None on a pending event that waits behind another of its ordering key. held_by: the parked event
    that it waits for, or its own id when it waits for something and lets others pass. holds: whether this parked event
    makes others wait. lost_leases: how often a worker died or slept over it.
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
    held_by: Mapped[int | None] = mapped_column(BigId)
    holds: Mapped[bool] = mapped_column(Boolean, default=False)
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


class ContactLink(Base):
    """A shop's customer and the contact that it is in one Engage tenant. verified: DESIGN, who is who."""

    __tablename__ = "contact_links"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    tenant: Mapped[str] = mapped_column(String(32))
    customer_id: Mapped[str] = mapped_column(String(128))
    contact_id: Mapped[str] = mapped_column(String(64), index=True)
    verified: Mapped[bool] = mapped_column(Boolean)
    reason: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column()

    __table_args__ = (UniqueConstraint("shop_id", "tenant", "customer_id", name="uq_link_customer"),)


class ContactState(Base):
    """What this shop last told Engage of a contact.

    sent: field -> [keyed hash of the value, time of the fact]. generation: part of every cache key; adding one
    forgets all cached pages of the contact on every machine. fresh_after: the shopper asked for newer data then; what
    was fetched before counts as stale.
    """

    __tablename__ = "contact_states"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    tenant: Mapped[str] = mapped_column(String(32))
    contact_id: Mapped[str] = mapped_column(String(64))
    contact_type: Mapped[str | None] = mapped_column(String(64))
    sent: Mapped[dict[str, Any]] = mapped_column()
    generation: Mapped[int] = mapped_column(Integer, default=1)
    fresh_after: Mapped[datetime | None] = mapped_column()
    updated_at: Mapped[datetime] = mapped_column()

    __table_args__ = (UniqueConstraint("shop_id", "tenant", "contact_id", name="uq_contact_state"),)


class ConsentEntry(Base):
    """One dated yes or no of a shopper. Entries are added, never changed."""

    __tablename__ = "consent_entries"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    contact_id: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(128))
    value: Mapped[bool] = mapped_column(Boolean)
    at: Mapped[datetime] = mapped_column()
    source: Mapped[str | None] = mapped_column(String(255))
    event_id: Mapped[int | None] = mapped_column(BigId)
    recorded_at: Mapped[datetime] = mapped_column()

    __table_args__ = (Index("ix_consent_contact", "shop_id", "contact_id", "subject", "at"),)


class ShopOrder(Base):
    """An order of the shop: who bought, what, what was given back and what it redeemed.

    details: lines, refunds and promotions as JSON with money as text. receipt_sent_at: when Engage took the
    purchase receipt; it decides that an order is sent once however often the shop says that it was paid.
    """

    __tablename__ = "shop_orders"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    order_id: Mapped[str] = mapped_column(String(128))
    order_number: Mapped[str] = mapped_column(String(128))
    customer_id: Mapped[str | None] = mapped_column(String(128))
    contact_id: Mapped[str | None] = mapped_column(String(64))
    currency: Mapped[str] = mapped_column(String(3))
    total: Mapped[str] = mapped_column(String(32))
    occurred_at: Mapped[datetime] = mapped_column()
    store_external_id: Mapped[str] = mapped_column(String(128))
    exchange_rate: Mapped[str | None] = mapped_column(String(32))
    details: Mapped[dict[str, Any]] = mapped_column()
    event_id: Mapped[int | None] = mapped_column(BigId)
    receipt_sent_at: Mapped[datetime | None] = mapped_column()

    __table_args__ = (
        UniqueConstraint("shop_id", "order_id", name="uq_order"),
        Index("ix_order_customer", "shop_id", "customer_id", "occurred_at"),
    )


class Redemption(Base):
    """That an order means to use, or has used, a promotion assignment or voucher. Stored before Engage is called.

    called_at: when the last call to redeem it may have gone out. reactivations: how often it was given back, over all
    orders. seen_redeemed_on: what Engage said of its redemption before it was to be given back.
    """

    __tablename__ = "redemptions"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    tenant: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(16))
    assignment_id: Mapped[str] = mapped_column(String(64))
    promotion_id: Mapped[str | None] = mapped_column(String(64))
    order_id: Mapped[str] = mapped_column(String(128))
    event_id: Mapped[int] = mapped_column(BigId)
    state: Mapped[str] = mapped_column(String(16))
    note: Mapped[str | None] = mapped_column(Text)
    intended_at: Mapped[datetime] = mapped_column()
    called_at: Mapped[datetime | None] = mapped_column()
    finished_at: Mapped[datetime | None] = mapped_column()
    reactivations: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    seen_redeemed_on: Mapped[datetime | None] = mapped_column()

    __table_args__ = (
        UniqueConstraint("tenant", "kind", "assignment_id", name="uq_redemption"),
        Index("ix_redemption_order", "shop_id", "order_id"),
    )


class ApiToken(Base):
    """A token of a shop's own server for this plugin's API: a keyed hash, and its last characters to tell it by."""

    __tablename__ = "api_tokens"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"), index=True)
    digest: Mapped[str] = mapped_column(String(64))
    hint: Mapped[str] = mapped_column(String(8))
    created_at: Mapped[datetime] = mapped_column()
    revoked_at: Mapped[datetime | None] = mapped_column()


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
    promotion the contact had before the call, which tells after a crash whether the call did its work.
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


class UsedToken(Base):
    """A shopper's hand-over token that was used; a second use is refused until it is expired anyhow."""

    __tablename__ = "used_tokens"

    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"), primary_key=True)
    token_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class NamedLease(Base):
    """A lock with an end, for what only one worker may do at a time (creating one contact)."""

    __tablename__ = "named_leases"

    name: Mapped[str] = mapped_column(String(160), primary_key=True)
    token: Mapped[str] = mapped_column(String(32))
    expires_at: Mapped[datetime] = mapped_column()


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


class FileState(StrEnum):
    """Where a file of the fallback is.

    writing: its events are taken out of the inbox, the file is not there yet. renaming: it is about to get its name on
    the other side, so that a crash leaves its end unknown. sent: it lies there under its name. recalling: it is being
    taken back out of a folder. taken: the importer, or the merchant, took it. failed: a person must look.
    """

    WRITING = "writing"
    WRITTEN = "written"
    SENDING = "sending"
    RENAMING = "renaming"
    SENT = "sent"
    RECALLING = "recalling"
    TAKEN = "taken"
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
