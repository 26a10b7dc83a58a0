"""Turns: which event of a customer is worked on next, and how a worker takes it under a lease."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from plugin.errors import ConflictError, NotFoundHereError
from plugin.event_kinds import CONTACT_KINDS
from plugin.store.database.statements import run
from plugin.store.inbox.statements import (
    BLOCKED,
    FIRST_WAITING,
    HAVE_WAITING,
    IN_FRONT,
    LEASE,
    LIVE_FIRST,
    LOCK_UNFINISHED,
    MAKE_DUE,
    OLDEST_FIRST,
    PARKED_IN_FRONT,
    WAIT,
)
from plugin.store.tables.inbox import FINAL_STATES, InboxEvent, State, is_in

#: How many due events are looked at beyond those wanted: some of them must wait for others of their customer.
SPARE = 3
#: The columns of an event that neither waits for another one nor makes others wait.
UNBLOCKED: Mapping[str, Any] = {"blocked_by_id": None, "non_blocking": False, "blocks_later_changes": False}
#: An event that came within this time is live; older ones are backlog.
LIVE = timedelta(seconds=30)


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
    lease_expires_at: datetime
    progress: dict[str, Any]


def claim_some(
    session: Session, now: datetime, lease: timedelta, limit: int, *, live_first: bool
) -> tuple[int, list[Claimed]]:
    """Lease up to `limit` of the first due events; return how many were examined, and those that were leased."""
    due = _candidates(session, now, limit + SPARE, live_first=live_first)
    if not due:
        return 0, []
    blocked = set(session.connection().execute(BLOCKED, {"row_ids": [row.id for row in due]}).scalars())
    free: dict[tuple[int, str], Any] = {}
    for row in due:
        if row.id not in blocked:
            free.setdefault((row.shop_id, row.ordering_key), row)
    chosen = list(free.values())[:limit]
    claimed = lease_these(session, [row.id for row in chosen], now, lease)
    if claimed is None:  # another worker leased an event of one of these customers meanwhile
        claimed = []
        for row in chosen:
            claimed += lease_these(session, [row.id], now, lease) or []
    for row in due:
        if row.id in blocked:
            _defer(session, row, now)
    return len(due), claimed


def lease_these(session: Session, ids: Sequence[int], now: datetime, lease: timedelta) -> list[Claimed] | None:
    """Lease pending events of different customers, which this transaction has locked, in the order of ids.

    None, and nothing is leased, when another worker has leased an event of one of the customers meanwhile.
    """
    if not ids:
        return []
    values = {"row_ids": list(ids), "now": now, "token": secrets.token_hex(16), "until": now + lease}
    try:
        with session.begin_nested():
            rows = session.connection().execute(LEASE, values).all()
    except IntegrityError:
        return None
    return sorted((_claimed(row) for row in rows), key=lambda claimed: ids.index(claimed.id))


def _candidates(session: Session, now: datetime, limit: int, *, live_first: bool) -> list[Any]:
    """Lock the first due events, without their bodies."""
    connection = session.connection()
    candidates: list[Any] = []
    if live_first:
        candidates = list(connection.execute(LIVE_FIRST, {"now": now, "live": now - LIVE, "limit": limit}))
    if len(candidates) < limit:
        known = {row.id for row in candidates}
        oldest = connection.execute(OLDEST_FIRST, {"now": now, "limit": limit})
        candidates += [row for row in oldest if row.id not in known]
    return candidates


def _defer(session: Session, row: Any, now: datetime) -> None:
    """Make a due row wait for the row of its customer that blocks it: it is no longer due."""
    place = {"shop_id": row.shop_id, "key": row.ordering_key, "at": row.occurred_at, "id": row.id}
    in_front = session.scalar(IN_FRONT, {**place, "kind": row.kind})
    if in_front is not None:
        # Only under a lock on the row in front is it certain that whoever ends that row will see ours waiting. A row
        # that is locked is ending just now: ours stays due. Waiting for it could be a deadlock.
        front = session.execute(LOCK_UNFINISHED, {"id": in_front}).one_or_none()
        if front is not None:
            run(session, WAIT, {"row_id": row.id, "blocked_by": None})
            if front.state == State.PENDING and front.next_attempt_at is None:
                # it waited for ours, which went first and came back (a lost lease): now it is its turn
                run(session, MAKE_DUE, {"row_id": in_front, "due": now})
        return
    parked = session.scalar(PARKED_IN_FRONT, place) if row.kind in CONTACT_KINDS else None
    if parked is not None:
        run(session, WAIT, {"row_id": row.id, "blocked_by": parked})
        release_next(session, row.shop_id, row.ordering_key, now)


def claim_in_any_state(session: Session, event_id: int, now: datetime, lease: timedelta) -> Claimed:
    """Lease an event whatever its state and turn; a finished event starts again. For transactions that are rolled back.

    Raises NotFoundHereError, and ConflictError when its body is no longer stored.
    """
    row = session.get(InboxEvent, event_id)
    if row is None:
        raise NotFoundHereError(f"There is no event {event_id}: `engage-plugin events list` shows those that are.")
    if row.body is None:
        raise ConflictError(f"The body of event {event_id} was deleted: there is nothing to map.")
    same_key = and_(InboxEvent.shop_id == row.shop_id, InboxEvent.ordering_key == row.ordering_key)
    others = update(InboxEvent).where(same_key, InboxEvent.id != row.id, is_in(State.LEASED))
    run(session, others.values(state=State.PENDING))
    if row.state in FINAL_STATES:
        row.progress = {}
    row.state = State.PENDING
    session.flush()
    claimed = lease_these(session, [event_id], now, lease)
    assert claimed, "no other transaction writes meanwhile, and the customer's other leases are gone"
    return claimed[0]


def release_next(session: Session, shop_id: int, ordering_key: str, now: datetime) -> None:
    """Make the customer's first waiting event due."""
    head = session.scalar(FIRST_WAITING, {"shop_id": shop_id, "key": ordering_key})
    if head is not None:
        run(session, MAKE_DUE, {"row_id": head, "due": now})


def release_waiting(session: Session, releases: Mapping[tuple[int, str], datetime]) -> None:
    """Make the first waiting event due of each customer (shop id, ordering key) at the given time."""
    if not releases:
        return
    values = {"shop_ids": sorted({shop_id for shop_id, _ in releases}), "keys": sorted({key for _, key in releases})}
    for shop_id, key in session.connection().execute(HAVE_WAITING, values).all():
        if due := releases.get((shop_id, key)):
            release_next(session, shop_id, key, due)


def requeue(session: Session, event_id: int, now: datetime) -> bool:
    """Make a parked event pending again with its attempts at zero. Finished steps stay finished."""
    taken = update(InboxEvent).where(InboxEvent.id == event_id, is_in(State.PARKED))
    values = {"state": State.PENDING, "attempts": 0, "first_attempt_at": None, "next_attempt_at": now}
    if run(session, taken.values(**values, **UNBLOCKED, lost_leases=0)) != 1:
        return False
    unblock(session, event_id)
    return True


def discard(session: Session, event_ids: Sequence[int], now: datetime, **reason: str) -> list[int]:
    """Discard those of some events that are pending or parked, unblock what waited for them, and return their ids.

    An event that a worker has leased meanwhile is left alone. reason: `last_error` and `error_code`, where they change.
    """
    ended = {"state": State.DISCARDED, "finished_at": now, "next_attempt_at": None, **UNBLOCKED}
    due = update(InboxEvent).where(InboxEvent.id.in_(event_ids), is_in(State.PENDING) | is_in(State.PARKED))
    discarded = list(session.scalars(due.values(**ended, **reason).returning(InboxEvent.id)))
    if discarded:
        unblock(session, *discarded)
    return discarded


def unblock(session: Session, *event_ids: int) -> None:
    """Let events that waited for parked ones wait for their turn instead."""
    run(session, update(InboxEvent).where(InboxEvent.blocked_by_id.in_(event_ids)).values(blocked_by_id=None))


def _claimed(row: Any) -> Claimed:
    values: Mapping[str, Any] = row._mapping
    return Claimed(**{**values, "body": row.body or b"", "progress": dict(row.progress)})
