"""The inbox: one row a webhook, committed before the shop gets its 2xx, claimed in order per customer.

A pending row is due when its next_attempt_at has come. A row that must wait behind another of its ordering key has
none; whoever ends the row in front makes it due. What a crash leaves behind, the sweep finds (`plugin.store.sweep`).
"""

import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    Update,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from plugin.errors import ConflictError, LeaseLostError, NotFoundHereError
from plugin.events import ALWAYS_KINDS, CONTACT_KINDS
from plugin.store.db import Database, run
from plugin.store.group_commit import GroupCommit
from plugin.store.models import (
    FINAL_STATES,
    AcceptedCount,
    DeliveryAttempt,
    InboxEvent,
    Shop,
    State,
    is_in,
    is_unfinished,
)
from plugin.store.types import UtcDateTime

COUNT_SHARDS = 16
#: How many due events are looked at beyond those wanted: some of them must wait for others of their customer.
SPARE = 3
CLAIM_ROUNDS = 32
#: An event that came within this time is live; older ones are backlog.
LIVE = timedelta(seconds=30)
MAX_ERROR_LENGTH = 1000
#: An event that is due for longer than this should have been worked on: somebody must look.
OVERDUE_AFTER = timedelta(seconds=60)
#: PostgreSQL's codes for transactions that met: deadlock_detected and serialization_failure.
RUN_AGAIN = frozenset({"40P01", "40001"})
#: Something to be stored in the same commit as the end of a step.
Write = Callable[[Session], None]


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A webhook to be stored. state: pending, or ignored for a topic that is not for us (then without its body)."""

    shop_id: int
    platform: str
    topic: str
    kind: str
    dedupe_key: str
    ordering_key: str
    occurred_at: datetime
    received_at: datetime
    body: bytes | None
    order_ref: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    state: State = State.PENDING
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a webhook at the door. taken_up: a parked event that the shop sent again goes on."""

    event_id: int
    duplicate: bool = False
    taken_up: bool = False


@dataclass(frozen=True, slots=True)
class Claimed:
    """An event that this worker holds under a lease. attempts counts the try that now begins."""

    id: int
    shop_id: int
    platform: str
    topic: str
    kind: str
    ordering_key: str
    order_ref: str | None
    meta: Mapping[str, str]
    body: bytes
    occurred_at: datetime
    received_at: datetime
    attempts: int
    first_attempt_at: datetime
    lease_token: str
    progress: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AttemptEntry:
    """One line of an event's timeline. sent and outcome hold no personal data; duration_ms: milliseconds."""

    at: datetime
    operation: str
    outcome: str
    sent: str | None = None
    status: int | None = None
    duration_ms: int | None = None


class Inbox:
    """Stores, claims and ends events."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # made once: building a statement takes longer than running it
        self._insert = (
            database.insert(InboxEvent)
            .on_conflict_do_nothing(index_elements=["shop_id", "dedupe_key"])
            .returning(InboxEvent.id, InboxEvent.shop_id, InboxEvent.dedupe_key)
        )
        self._steps: GroupCommit[_Step, None] = GroupCommit(self._store_steps, is_of_one_row)
        counting = database.insert(AcceptedCount)
        self._count = counting.on_conflict_do_update(
            index_elements=["shard"], set_={"amount": AcceptedCount.amount + counting.excluded.amount}
        )

    def accept(self, new: NewEvent) -> Accepted:
        """Store one webhook, durable when this returns. A duplicate is not stored again."""
        return self.accept_many([new])[0]

    def accept_many(self, events: Sequence[NewEvent]) -> list[Accepted]:
        """Store several webhooks in one commit."""
        return self.accept_waiting(lambda: events)

    def receiving(self) -> GroupCommit[NewEvent, Accepted]:
        """Return what stores the webhooks of a web process, those that arrive together in one commit."""
        return GroupCommit(self.accept_waiting, is_of_one_row)

    def accept_waiting(self, waiting: Callable[[], Sequence[NewEvent]]) -> list[Accepted]:
        """Store in one commit what is waiting when it is this transaction's turn to write."""
        with self._database.transaction() as session:
            connection = session.connection()
            events = waiting()
            stored = {
                (shop_id, dedupe_key): event_id
                for event_id, shop_id, dedupe_key in connection.execute(self._insert, [_row(new) for new in events])
            }
            if stored:
                shard = random.randrange(COUNT_SHARDS)  # noqa: S311 - spreads writers, guards nothing
                connection.execute(self._count, {"shard": shard, "amount": len(stored)})
            accepted = []
            for new in events:
                event_id = stored.pop((new.shop_id, new.dedupe_key), None)
                accepted.append(self._duplicate(session, new) if event_id is None else Accepted(event_id))
        return accepted

    def claim(self, now: datetime, lease: timedelta) -> Claimed | None:
        """Take the next due event whose customer is free, or None. Counts the attempt before it begins."""
        claimed = self.claim_many(now, lease, 1)
        return claimed[0] if claimed else None

    def claim_many(self, now: datetime, lease: timedelta, most: int, *, live_first: bool = True) -> list[Claimed]:
        """Take up to `most` due events of different customers in one commit.

        live_first: events that came within LIVE go before older ones, so that a backlog holds nobody up; without it
        the one that is due longest goes first. Counts the attempts before they begin.
        """
        for _ in range(CLAIM_ROUNDS):
            looked_at, claimed = self._claim_some(now, lease, most, live_first=live_first)
            if claimed or not looked_at:
                return claimed
        return []

    def claim_this(self, event_id: int, now: datetime, lease: timedelta) -> Claimed:
        """Take one event whatever its state and turn, for a rehearsal. One that is finished begins anew.

        Raises NotFoundHereError, and ConflictError when its body is no longer kept.
        """
        with self._database.transaction() as session:
            row = session.get(InboxEvent, event_id)
            if row is None:
                raise NotFoundHereError(
                    f"There is no event {event_id}: `engage-plugin events list` shows those that are."
                )
            if row.body is None:
                raise ConflictError(f"The body of event {event_id} is not kept any more: there is nothing to map.")
            same_key = and_(InboxEvent.shop_id == row.shop_id, InboxEvent.ordering_key == row.ordering_key)
            others = update(InboxEvent).where(same_key, InboxEvent.id != row.id, is_in(State.LEASED))
            run(session, others.values(state=State.PENDING))
            if row.state in FINAL_STATES:
                row.progress = {}
            row.state = State.PENDING
            session.flush()
            self._lease(session, event_id, now, lease)
            session.refresh(row)
            return _claimed(row)

    def more_is_due(self, now: datetime) -> bool:
        """Tell whether any event is due, so that another worker is worth waking."""
        with self._database.reading() as session:
            return session.scalar(due_events(now).limit(1)) is not None

    def keep(
        self,
        claimed: Claimed,
        entries: Sequence[AttemptEntry],
        now: datetime,
        lease: timedelta,
        writes: Sequence[Write] = (),
    ) -> None:
        """Store the progress made and prolong the lease.

        writes: what else is stored in the same commit, if the lease still holds.
        Raises LeaseLostError when another worker has the event.
        """
        values = {"progress": claimed.progress, "until": now + lease}
        self._steps.run(_Step(_KEEP, claimed, values, entries, writes))

    def finish(
        self,
        claimed: Claimed,
        state: State,
        now: datetime,
        *,
        entries: Sequence[AttemptEntry] = (),
        writes: Sequence[Write] = (),
        error: str | None = None,
        error_code: str | None = None,
        holds: bool = False,
    ) -> None:
        """End the try: delivered, ignored, parked or spooled. Lets the customer's next event go.

        holds: whether a parked event makes the customer's later contact changes wait. Raises LeaseLostError.
        """
        parked = state is State.PARKED
        values = {
            "to_state": state,
            "progress": claimed.progress,
            "error": _short(error),
            "code": error_code,
            "holds": holds and parked,
            "finished": None if parked else now,
        }
        self._steps.run(_Step(_FINISH, claimed, values, entries, writes, releases_at=now))

    def retry_later(
        self,
        claimed: Claimed,
        at: datetime,
        *,
        error: str,
        error_code: str,
        entries: Sequence[AttemptEntry] = (),
        writes: Sequence[Write] = (),
        counts: bool = True,
        lets_others_pass: bool = False,
    ) -> None:
        """Put the event back until `at`. counts: False gives the attempt back.

        lets_others_pass: the event waits for something that a later event of the same customer may bring, and so must
        not stand in its way. Raises LeaseLostError.
        """
        values = {
            "progress": claimed.progress,
            "tries": claimed.attempts if counts else claimed.attempts - 1,
            "error": _short(error),
            "code": error_code,
            "due": at,
            "behind": claimed.id if lets_others_pass else None,
        }
        releases_at = claimed.received_at if lets_others_pass else None
        self._steps.run(_Step(_RETRY, claimed, values, entries, writes, releases_at))

    def ordering_key_of_order(self, shop_id: int, order_ref: str) -> str | None:
        """Return the customer's ordering key that an earlier event of the same order has, or None."""
        with self._database.reading() as session:
            return session.scalar(
                select(InboxEvent.ordering_key)
                .where(
                    InboxEvent.shop_id == shop_id,
                    InboxEvent.order_ref == order_ref,
                    InboxEvent.ordering_key.not_like("order:%"),
                )
                .order_by(InboxEvent.id)
                .limit(1)
            )

    def _claim_some(self, now: datetime, lease: timedelta, most: int, *, live_first: bool) -> tuple[int, list[Claimed]]:
        """Look at the first due events; return how many there were and those that were leased."""
        with self._database.transaction() as session:
            due = self._candidates(session, now, most + SPARE, live_first=live_first)
            leased: dict[int, str] = {}
            for candidate in due:
                if len(leased) == most:
                    break
                if not self._step_aside(session, candidate, now):
                    token = self._lease(session, candidate.id, now, lease)
                    if token is not None:
                        leased[candidate.id] = token
            rows = session.scalars(select(InboxEvent).where(InboxEvent.id.in_(leased))).all() if leased else []
            order = list(leased)
            claimed = sorted((_claimed(row) for row in rows), key=lambda one: order.index(one.id))
        return len(due), claimed

    def _candidates(self, session: Session, now: datetime, most: int, *, live_first: bool) -> list[Any]:
        """Lock the first due events, without their bodies."""
        found: list[Any] = []
        if live_first:
            found = list(session.execute(_LIVE_FIRST, {"now": now, "live": now - LIVE, "most": most}))
        if len(found) < most:
            known = {row.id for row in found}
            oldest = session.execute(_OLDEST_FIRST, {"now": now, "most": most})
            found += [row for row in oldest if row.id not in known]
        return found

    def _duplicate(self, session: Session, new: NewEvent) -> Accepted:
        """Tell of a webhook that is known; a parked one that the shop sends again is taken up."""
        known = session.execute(
            select(InboxEvent.id, InboxEvent.state).where(
                InboxEvent.shop_id == new.shop_id, InboxEvent.dedupe_key == new.dedupe_key
            )
        ).one()
        taken_up = known.state == State.PARKED and take_up(session, known.id, new.received_at)
        return Accepted(known.id, duplicate=True, taken_up=taken_up)

    def _step_aside(self, session: Session, row: Any, now: datetime) -> bool:
        """Tell whether the row must wait for another of its customer; if so, it is no longer due."""
        place = {"shop_id": row.shop_id, "key": row.ordering_key, "at": row.occurred_at, "id": row.id}
        in_front = session.scalar(_IN_FRONT, place)
        if in_front is not None:
            # Only under a lock on the row in front is it certain that whoever ends that row will see ours waiting. A row
            # that is locked is ending just now: ours stays due. Waiting for it could be a deadlock.
            front = session.execute(_LOCK_UNFINISHED, {"id": in_front}).one_or_none()
            if front is not None:
                run(session, _WAIT, {"row_id": row.id, "behind": None})
                if front.state == State.PENDING and front.next_attempt_at is None:
                    # it waited for ours, which went first and came back (a lost lease): now it is its turn
                    run(session, _MAKE_DUE, {"row_id": in_front, "due": now})
            return True
        if row.kind not in CONTACT_KINDS:
            return False
        held_by = session.scalar(_PARKED_IN_FRONT, place)
        if held_by is None:
            return False
        run(session, _WAIT, {"row_id": row.id, "behind": held_by})
        release_next(session, row.shop_id, row.ordering_key, now)
        return True

    def _lease(self, session: Session, event_id: int, now: datetime, lease: timedelta) -> str | None:
        """Lease a pending event; None when another worker leased an event of the same customer meanwhile."""
        token = secrets.token_hex(16)
        try:
            with session.begin_nested():
                run(session, _LEASE, {"row_id": event_id, "now": now, "token": token, "until": now + lease})
        except IntegrityError:
            return None
        return token

    def _store_steps(self, waiting: Callable[[], Sequence["_Step"]]) -> list[Exception | None]:
        with self._database.transaction() as session:
            return [_store_step(session, step) for step in waiting()]


@dataclass(frozen=True, slots=True)
class _Step:
    """A change of a leased row and what goes with it. releases_at: when the customer's next event is due, if it is."""

    statement: Update
    claimed: Claimed
    values: Mapping[str, Any]
    entries: Sequence[AttemptEntry]
    writes: Sequence[Write]
    releases_at: datetime | None = None


def _store_step(session: Session, step: _Step) -> LeaseLostError | None:
    """Store a step. Where the lease is lost, nothing is done, and the error is returned: others share the commit."""
    claimed = step.claimed
    where = {"row_id": claimed.id, "token": claimed.lease_token}
    if run(session, step.statement, {**where, **step.values}) != 1:
        return LeaseLostError(f"Event {claimed.id} is no longer leased to this worker; it stops here.")
    _log(session, claimed, step.entries)
    for write in step.writes:
        write(session)
    if step.releases_at is not None:
        release_next(session, claimed.shop_id, claimed.ordering_key, step.releases_at)
    return None


def is_of_one_row(error: Exception) -> bool:
    """Tell an error that the database has with one write, or with two that met, from one that it has with all."""
    if isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) in RUN_AGAIN:
        return True
    return not isinstance(error, OperationalError | InterfaceError)


def _row(new: NewEvent) -> dict[str, Any]:
    pending = new.state is State.PENDING
    return {
        "shop_id": new.shop_id,
        "platform": new.platform,
        "topic": new.topic,
        "kind": new.kind,
        "dedupe_key": new.dedupe_key,
        "ordering_key": new.ordering_key,
        "order_ref": new.order_ref,
        "meta": dict(new.meta),
        "body": new.body,
        "occurred_at": new.occurred_at,
        "received_at": new.received_at,
        "state": new.state,
        "attempts": 0,
        "lost_leases": 0,
        "next_attempt_at": new.received_at if pending else None,
        "progress": {},
        "last_error": _short(new.reason),
        "error_code": None,
        "holds": False,
        "finished_at": None if pending else new.received_at,
    }


def due_events(now: datetime) -> Select[int]:
    """Return the statement that selects the ids of due events of shops whose deliveries run."""
    return select(InboxEvent.id).join(Shop, Shop.id == InboxEvent.shop_id).where(_is_due(now))


def _is_due(now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """A stopped shop's events wait, but erasures and the like must go on after an uninstallation."""
    goes = or_(Shop.stopped_reason.is_(None), InboxEvent.kind.in_(ALWAYS_KINDS))
    return and_(is_in(State.PENDING), InboxEvent.next_attempt_at <= now, goes)


# Statements of the busiest paths, made once: building one takes longer than running it.
_COLUMNS = (InboxEvent.id, InboxEvent.shop_id, InboxEvent.ordering_key, InboxEvent.occurred_at, InboxEvent.kind)
_NOW: BindParameter[datetime] = bindparam("now", type_=UtcDateTime())
_DUE = select(*_COLUMNS).join(Shop, Shop.id == InboxEvent.shop_id).where(_is_due(_NOW)).limit(bindparam("most"))
_LIVE_FIRST = (
    _DUE.where(InboxEvent.received_at >= bindparam("live", type_=UtcDateTime()))
    .order_by(InboxEvent.received_at, InboxEvent.id)
    .with_for_update(skip_locked=True, of=InboxEvent)
)
_OLDEST_FIRST = _DUE.order_by(InboxEvent.next_attempt_at, InboxEvent.id).with_for_update(
    skip_locked=True, of=InboxEvent
)
_SAME_KEY = and_(
    is_unfinished(), InboxEvent.shop_id == bindparam("shop_id"), InboxEvent.ordering_key == bindparam("key")
)
_AT: BindParameter[datetime] = bindparam("at", type_=UtcDateTime())
_EARLIER = or_(InboxEvent.occurred_at < _AT, and_(InboxEvent.occurred_at == _AT, InboxEvent.id < bindparam("id")))
_IN_FRONT = (
    select(InboxEvent.id)
    .where(_SAME_KEY, or_(is_in(State.LEASED), and_(is_in(State.PENDING), InboxEvent.held_by.is_(None), _EARLIER)))
    .order_by(case((is_in(State.LEASED), 0), else_=1), InboxEvent.occurred_at, InboxEvent.id)
    .limit(1)
)
_PARKED_IN_FRONT = (
    select(InboxEvent.id)
    .where(_SAME_KEY, _EARLIER, is_in(State.PARKED), InboxEvent.holds)
    .order_by(InboxEvent.occurred_at, InboxEvent.id)
    .limit(1)
)
_LOCK_UNFINISHED = (
    select(InboxEvent.state, InboxEvent.next_attempt_at)
    .where(InboxEvent.id == bindparam("id"), is_in(State.PENDING) | is_in(State.LEASED))
    .with_for_update(skip_locked=True)
)
_WAIT = (
    update(InboxEvent)
    .where(InboxEvent.id == bindparam("row_id"))
    .values(next_attempt_at=None, held_by=bindparam("behind"))
)
_LEASE = (
    update(InboxEvent)
    .where(InboxEvent.id == bindparam("row_id"), is_in(State.PENDING))
    .values(
        state=State.LEASED,
        held_by=None,
        attempts=InboxEvent.attempts + 1,
        first_attempt_at=func.coalesce(InboxEvent.first_attempt_at, _NOW),
        lease_token=bindparam("token"),
        lease_expires_at=bindparam("until", type_=UtcDateTime()),
    )
)
_LEASED_TO_US = update(InboxEvent).where(
    InboxEvent.id == bindparam("row_id"), is_in(State.LEASED), InboxEvent.lease_token == bindparam("token")
)
_KEEP = _LEASED_TO_US.values(progress=bindparam("progress"), lease_expires_at=bindparam("until", type_=UtcDateTime()))
_FINISH = _LEASED_TO_US.values(
    state=bindparam("to_state"),
    progress=bindparam("progress"),
    last_error=bindparam("error"),
    error_code=bindparam("code"),
    holds=bindparam("holds"),
    finished_at=bindparam("finished", type_=UtcDateTime()),
    lease_token=None,
    lease_expires_at=None,
    next_attempt_at=None,
)
_RETRY = _LEASED_TO_US.values(
    state=State.PENDING,
    progress=bindparam("progress"),
    attempts=bindparam("tries"),
    last_error=bindparam("error"),
    error_code=bindparam("code"),
    next_attempt_at=bindparam("due", type_=UtcDateTime()),
    held_by=bindparam("behind"),
    lease_token=None,
    lease_expires_at=None,
)
_FIRST_WAITING = (
    select(InboxEvent.id)
    .where(
        is_in(State.PENDING),
        InboxEvent.next_attempt_at.is_(None),
        InboxEvent.held_by.is_(None),
        InboxEvent.shop_id == bindparam("shop_id"),
        InboxEvent.ordering_key == bindparam("key"),
    )
    .order_by(InboxEvent.occurred_at, InboxEvent.id)
    .limit(1)
)
_MAKE_DUE = (
    update(InboxEvent)
    .where(InboxEvent.id == bindparam("row_id"))
    .values(next_attempt_at=bindparam("due", type_=UtcDateTime()))
)
_LOG = insert(DeliveryAttempt)


def release_next(session: Session, shop_id: int, ordering_key: str, now: datetime) -> None:
    """Make the customer's first waiting event due."""
    head = session.scalar(_FIRST_WAITING, {"shop_id": shop_id, "key": ordering_key})
    if head is not None:
        run(session, _MAKE_DUE, {"row_id": head, "due": now})


def take_up(session: Session, event_id: int, now: datetime) -> bool:
    """Make a parked event pending again with its attempts at zero. Finished steps stay finished."""
    taken = update(InboxEvent).where(InboxEvent.id == event_id, is_in(State.PARKED))
    values = {"state": State.PENDING, "attempts": 0, "first_attempt_at": None, "next_attempt_at": now}
    if run(session, taken.values(**values, held_by=None, holds=False, lost_leases=0)) != 1:
        return False
    let_go(session, event_id)
    return True


def let_go(session: Session, event_id: int) -> None:
    """Let events that waited for a parked one wait for their turn instead."""
    run(session, update(InboxEvent).where(InboxEvent.held_by == event_id).values(held_by=None))


def _claimed(row: InboxEvent) -> Claimed:
    assert row.lease_token is not None
    assert row.first_attempt_at is not None
    return Claimed(
        id=row.id,
        shop_id=row.shop_id,
        platform=row.platform,
        topic=row.topic,
        kind=row.kind,
        ordering_key=row.ordering_key,
        order_ref=row.order_ref,
        meta=row.meta,
        body=row.body or b"",
        occurred_at=row.occurred_at,
        received_at=row.received_at,
        attempts=row.attempts,
        first_attempt_at=row.first_attempt_at,
        lease_token=row.lease_token,
        progress=dict(row.progress),
    )


def _log(session: Session, claimed: Claimed, entries: Sequence[AttemptEntry]) -> None:
    if entries:
        rows = [{"event_id": claimed.id, "attempt": claimed.attempts, **asdict(entry)} for entry in entries]
        session.connection().execute(_LOG, rows)


def _short(text: str | None) -> str | None:
    return None if text is None else text[:MAX_ERROR_LENGTH]
