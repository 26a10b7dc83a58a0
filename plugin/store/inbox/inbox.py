"""The inbox: one row a webhook, committed before the shop gets its 2xx, claimed in order per customer.

A pending row is due when its next_attempt_at has come. A row that must wait behind another of its ordering key has
none; whoever ends the row in front makes it due. What a crash leaves behind, the sweep finds (`plugin.store.sweep`).
"""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from plugin.event_kinds import EventKind
from plugin.store.database.engine import Database
from plugin.store.database.errors import is_serialization_conflict, is_single_row_error
from plugin.store.database.group_commit import GroupCommit
from plugin.store.inbox.claiming import Claimed, claim_in_any_state, claim_some, requeue
from plugin.store.inbox.keys import customer_key
from plugin.store.inbox.progress_writes import LeasedUpdate, NewTimelineEntry, Write, apply_updates
from plugin.store.inbox.statements import FINISH, KEEP, RETRY, YET_TO_BE_DONE, due_events
from plugin.store.tables.inbox import AcceptedCount, InboxEvent, State

COUNT_SHARDS = 16
CLAIM_ROUNDS = 32
MAX_ERROR_LENGTH = 1000
#: An event that is due for longer than this should have been processed: an operator must check.
OVERDUE_AFTER = timedelta(seconds=60)


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
    """The result of accepting a webhook. requeued: it is a parked event, sent again by the shop, and is tried again."""

    event_id: int
    duplicate: bool = False
    requeued: bool = False


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
        self._steps: GroupCommit[LeasedUpdate, None] = GroupCommit(self._store_steps, is_single_row_error)
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
        return GroupCommit(self.accept_waiting, is_single_row_error)

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

    def claim_many(self, now: datetime, lease: timedelta, limit: int, *, live_first: bool = True) -> list[Claimed]:
        """Take up to `limit` due events of different customers in one commit.

        live_first: events received within LIVE go before older ones, so that a backlog delays no shopper; without it
        the event that is due longest goes first. Counts the attempts before they begin.
        """
        for _ in range(CLAIM_ROUNDS):
            try:
                with self._database.transaction() as session:
                    self._database.disable_sort(session)
                    looked_at, claimed = claim_some(session, now, lease, limit, live_first=live_first)
            except OperationalError as error:
                if not is_serialization_conflict(error):
                    raise
                continue
            if claimed or not looked_at:
                return claimed
        return []

    def claim_for_preview(self, event_id: int, now: datetime, lease: timedelta) -> Claimed:
        """Lease one event whatever its state and turn, for a preview that is rolled back. A finished event starts again.

        Raises NotFoundHereError, and ConflictError when its body is no longer stored.
        """
        with self._database.transaction() as session:
            return claim_in_any_state(session, event_id, now, lease)

    def more_is_due(self, now: datetime) -> bool:
        """Return whether any event is due, so that another worker is worth waking."""
        with self._database.reading() as session:
            return session.scalar(due_events(now).limit(1)) is not None

    def save_progress(
        self,
        claimed: Claimed,
        entries: Sequence[NewTimelineEntry],
        now: datetime,
        lease: timedelta,
        writes: Sequence[Write] = (),
    ) -> None:
        """Store the progress made and prolong the lease.

        writes: what else is stored in the same commit, if the lease still holds.
        Raises LeaseLostError when another worker has the event.
        """
        values = {"progress": claimed.progress, "until": now + lease}
        self._steps.run(LeasedUpdate(KEEP, claimed, values, entries, writes))

    def finish(
        self,
        claimed: Claimed,
        state: State,
        now: datetime,
        *,
        entries: Sequence[NewTimelineEntry] = (),
        writes: Sequence[Write] = (),
        error: str | None = None,
        error_code: str | None = None,
        blocks_later_changes: bool = False,
    ) -> None:
        """End the try: delivered, ignored, parked or spooled. Makes the customer's next event due.

        blocks_later_changes: whether a parked event makes the customer's later contact changes wait. Raises LeaseLostError.
        """
        parked = state is State.PARKED
        values = {
            "to_state": state,
            "progress": claimed.progress,
            "error": _short(error),
            "code": error_code,
            "blocks_later_changes": blocks_later_changes and parked,
            "finished": None if parked else now,
        }
        self._steps.run(LeasedUpdate(FINISH, claimed, values, entries, writes, releases_at=now))

    def retry_later(
        self,
        claimed: Claimed,
        at: datetime,
        *,
        error: str,
        error_code: str,
        entries: Sequence[NewTimelineEntry] = (),
        writes: Sequence[Write] = (),
        counts: bool = True,
        non_blocking: bool = False,
    ) -> None:
        """Retry the event at `at`. counts: False does not count the attempt.

        non_blocking: the event waits for something that a later event of the same customer may bring, and so must
        not block it. Raises LeaseLostError.
        """
        values = {
            "progress": claimed.progress,
            "tries": claimed.attempts if counts else claimed.attempts - 1,
            "error": _short(error),
            "code": error_code,
            "due": at,
            "non_blocking": non_blocking,
        }
        releases_at = claimed.received_at if non_blocking else None
        self._steps.run(LeasedUpdate(RETRY, claimed, values, entries, writes, releases_at))

    def has_earlier_unfinished(
        self, claimed: Claimed, customer_ids: Collection[str], kinds: Collection[EventKind]
    ) -> bool:
        """Return whether other customers have unfinished events, of some kinds, that happened before this one.

        Only earlier ones count, so that no two events wait for each other. A parked one counts where it blocks later ones.
        """
        where = {
            "shop_id": claimed.shop_id,
            "keys": [customer_key(customer_id) for customer_id in customer_ids],
            "kinds": list(kinds),
            "at": claimed.occurred_at,
            "id": claimed.id,
        }
        with self._database.read_connection() as connection:
            return connection.scalar(YET_TO_BE_DONE, where) is not None

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

    def _duplicate(self, session: Session, new: NewEvent) -> Accepted:
        """Return the stored event of a duplicate; a parked event that the shop sends again is requeued."""
        known = session.execute(
            select(InboxEvent.id, InboxEvent.state).where(
                InboxEvent.shop_id == new.shop_id, InboxEvent.dedupe_key == new.dedupe_key
            )
        ).one()
        requeued = known.state == State.PARKED and requeue(session, known.id, new.received_at)
        return Accepted(known.id, duplicate=True, requeued=requeued)

    def _store_steps(self, waiting: Callable[[], Sequence[LeasedUpdate]]) -> list[Exception | None]:
        with self._database.transaction() as session:
            return apply_updates(session, waiting())


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
        "non_blocking": False,
        "blocks_later_changes": False,
        "finished_at": None if pending else new.received_at,
    }


def _short(text: str | None) -> str | None:
    return None if text is None else text[:MAX_ERROR_LENGTH]
