"""What an operator sees of the inbox and may do to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, literal_column, select, update

from plugin.errors import ConflictError, NotFoundHereError
from plugin.store.database.engine import Database
from plugin.store.database.statements import run
from plugin.store.inbox.claiming import discard, release_next, requeue
from plugin.store.inbox.inbox import MAX_ERROR_LENGTH, OVERDUE_AFTER
from plugin.store.inbox.statements import due_events
from plugin.store.tables.inbox import AcceptedCount, DeliveryAttempt, InboxEvent, State, is_in
from plugin.store.tables.shops import Shop

#: No worker takes the event while it is locked.
_LOCKED = (
    select(InboxEvent.state, InboxEvent.attempts, InboxEvent.shop_id, InboxEvent.ordering_key)
    .where(InboxEvent.id == bindparam("id"))
    .with_for_update()
)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to list; None does not narrow. since and until bound received_at."""

    state: str | None = None
    shop: str | None = None
    topic: str | None = None
    ordering_key: str | None = None
    error_code: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event as an operator sees it, without its body."""

    id: int
    shop: str
    topic: str
    kind: str
    state: str
    ordering_key: str
    attempts: int
    occurred_at: datetime
    received_at: datetime
    next_attempt_at: datetime | None
    finished_at: datetime | None
    last_error: str | None
    error_code: str | None
    held_by: int | None
    progress: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One step of an event. duration_ms: milliseconds."""

    at: datetime
    attempt: int
    operation: str
    sent: str | None
    outcome: str
    status: int | None
    duration_ms: int | None


@dataclass(frozen=True, slots=True)
class StoredWebhook:
    """A webhook as it was received. body: None when it is no longer stored."""

    platform: str
    topic: str
    meta: dict[str, Any]
    body: bytes | None
    received_at: datetime


class EventAdmin:
    """Lists, shows, retries and discards events."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def status(self) -> dict[str, int]:
        """Return accepted and the number of events in each state, read in one statement, so that they fit."""
        word: ColumnElement[str] = literal_column("'accepted'")
        accepted = select(word, func.coalesce(func.sum(AcceptedCount.amount), 0))
        states = select(InboxEvent.state, func.count()).group_by(InboxEvent.state)
        with self._database.reading() as session:
            counted = {str(name): int(amount) for name, amount in session.execute(accepted.union_all(states))}
        return {name: counted.get(name, 0) for name in ("accepted", *(state.value for state in State))}

    def oldest_pending(self) -> dict[str, datetime]:
        """Return, per shop name, when its oldest unfinished event was received."""
        with self._database.reading() as session:
            rows = session.execute(
                select(Shop.name, func.min(InboxEvent.received_at))
                .join(Shop, Shop.id == InboxEvent.shop_id)
                .where(is_in(State.PENDING) | is_in(State.LEASED))
                .group_by(Shop.name)
            ).all()
        return {name: received_at for name, received_at in rows if received_at is not None}

    def overdue(self, now: datetime) -> int:
        """Count events that are due for more than a minute (the alarm figure)."""
        late = due_events(now - OVERDUE_AFTER).subquery()
        with self._database.reading() as session:
            return session.scalar(select(func.count()).select_from(late)) or 0

    def find(self, wanted: EventFilter, *, limit: int = 50, after_id: int | None = None) -> list[EventRow]:
        """Return events by id, newest last: the newest, or the oldest after an id."""
        statement = select(InboxEvent, Shop.name).join(Shop, Shop.id == InboxEvent.shop_id)
        for column, value in (
            (Shop.name, wanted.shop),
            (InboxEvent.topic, wanted.topic),
            (InboxEvent.ordering_key, wanted.ordering_key),
            (InboxEvent.error_code, wanted.error_code),
        ):
            if value is not None:
                statement = statement.where(column == value)
        if wanted.state is not None:
            statement = statement.where(is_in(State(wanted.state)))
        if wanted.since is not None:
            statement = statement.where(InboxEvent.received_at >= wanted.since)
        if wanted.until is not None:
            statement = statement.where(InboxEvent.received_at < wanted.until)
        if after_id is None:
            statement = statement.order_by(InboxEvent.id.desc())
        else:
            statement = statement.where(InboxEvent.id > after_id).order_by(InboxEvent.id)
        with self._database.reading() as session:
            found = [_row(event, name) for event, name in session.execute(statement.limit(limit)).all()]
        return sorted(found, key=lambda row: row.id)

    def show(self, event_id: int) -> tuple[EventRow, list[TimelineEntry]]:
        """Return one event and its timeline. Raises NotFoundHereError."""
        with self._database.reading() as session:
            found = session.execute(
                select(InboxEvent, Shop.name).join(Shop, Shop.id == InboxEvent.shop_id).where(InboxEvent.id == event_id)
            ).one_or_none()
            if found is None:
                raise NotFoundHereError(
                    f"There is no event {event_id}: `engage-plugin events list` shows those that are."
                )
            attempts = session.scalars(
                select(DeliveryAttempt).where(DeliveryAttempt.event_id == event_id).order_by(DeliveryAttempt.id)
            ).all()
        received = found[0].received_at
        timeline = [TimelineEntry(received, 0, "received", None, "stored", None, None)] + [
            TimelineEntry(a.at, a.attempt, a.operation, a.sent, a.outcome, a.status, a.duration_ms) for a in attempts
        ]
        return _row(found[0], found[1]), timeline

    def stored(self, event_id: int) -> StoredWebhook:
        """Return an event as it came. Raises NotFoundHereError."""
        with self._database.reading() as session:
            row = session.get(InboxEvent, event_id)
        if row is None:
            raise NotFoundHereError(f"There is no event {event_id}.")
        return StoredWebhook(row.platform, row.topic, row.meta, row.body, row.received_at)

    def retry(self, event_ids: Sequence[int], now: datetime) -> list[int]:
        """Make parked events pending again, and bring waiting retries forward.

        Returns the ids that were requeued. Raises NotFoundHereError for an unknown id and ConflictError for one
        that is finished or being worked on.
        """
        taken = []
        with self._database.transaction() as session:
            for event_id in event_ids:
                state = session.scalar(select(InboxEvent.state).where(InboxEvent.id == event_id))
                if state is None:
                    raise NotFoundHereError(f"There is no event {event_id}.")
                if state == State.PENDING:
                    rests = (InboxEvent.id == event_id, is_in(State.PENDING), InboxEvent.next_attempt_at.is_not(None))
                    run(session, update(InboxEvent).where(*rests).values(next_attempt_at=now))
                elif not requeue(session, event_id, now):
                    raise ConflictError(f"Event {event_id} is {state}: only parked and pending events can be retried.")
                session.add(
                    DeliveryAttempt(event_id=event_id, attempt=0, at=now, operation="retry", outcome="by a person")
                )
                taken.append(event_id)
        return taken

    def discard(self, event_id: int, why: str, now: datetime) -> None:
        """Discard a parked or pending event, with the operator's reason. Raises ConflictError, NotFoundHereError."""
        with self._database.transaction() as session:
            row = session.execute(_LOCKED, {"id": event_id}).one_or_none()
            if row is None:
                raise NotFoundHereError(f"There is no event {event_id}.")
            if not discard(session, [event_id], now):
                raise ConflictError(
                    f"Event {event_id} is {row.state}: only parked and pending events can be discarded."
                )
            session.execute(
                update(InboxEvent)
                .where(InboxEvent.id == event_id)
                .values(last_error=f"Discarded: {why}"[:MAX_ERROR_LENGTH])
            )
            session.add(
                DeliveryAttempt(
                    event_id=event_id, attempt=row.attempts, at=now, operation="discard", outcome=why[:MAX_ERROR_LENGTH]
                )
            )
            release_next(session, row.shop_id, row.ordering_key, now)


def _row(event: InboxEvent, shop: str) -> EventRow:
    return EventRow(
        id=event.id,
        shop=shop,
        topic=event.topic,
        kind=event.kind,
        state=event.state,
        ordering_key=event.ordering_key,
        attempts=event.attempts,
        occurred_at=event.occurred_at,
        received_at=event.received_at,
        next_attempt_at=event.next_attempt_at,
        finished_at=event.finished_at,
        last_error=event.last_error,
        error_code=event.error_code,
        held_by=event.id if event.non_blocking else event.blocked_by_id,
        progress=event.progress,
    )
