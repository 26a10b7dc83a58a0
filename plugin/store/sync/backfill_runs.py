"""Runs of a backfill: how far each is, which rows it did not send, and what became of its events."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select, update

from plugin.errors import NotFoundHereError
from plugin.store.database.engine import Database
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.inbox import InboxEvent, State, is_unfinished
from plugin.store.tables.sync import BackfillRefusal, BackfillRun


class RunState(StrEnum):
    """The state of a run."""

    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a backfill. See BackfillRun."""

    id: int
    what: str
    source: str
    since: datetime | None
    until: datetime | None
    options: Mapping[str, Any]
    cursor: str | None
    counts: Mapping[str, int]
    state: RunState
    started_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was not sent: the shop's id of it, a stable code, and the reason as text."""

    resource_id: str
    code: str
    reason: str


class BackfillRuns:
    """Reads and writes runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(
        self,
        shop: RegisteredShop,
        what: str,
        source: str,
        since: datetime | None,
        until: datetime | None,
        options: Mapping[str, Any],
        now: datetime,
    ) -> Run:
        """Store a new run."""
        row = BackfillRun(
            shop_id=shop.id,
            what=what,
            source=source,
            since=since,
            until=until,
            options=dict(options),
            cursor=None,
            counts={},
            state=RunState.RUNNING,
            started_at=now,
            updated_at=now,
        )
        with self._database.transaction() as session:
            session.add(row)
            session.flush()
            return _run(row)

    def get(self, shop: RegisteredShop, run_id: int) -> Run:
        """Return a run. Raises NotFoundHereError."""
        with self._database.reading() as session:
            row = session.scalar(select(BackfillRun).where(BackfillRun.id == run_id, BackfillRun.shop_id == shop.id))
        if row is None:
            raise NotFoundHereError(
                f"{shop.name} has no run {run_id}: `engage-plugin backfill list` shows those that are."
            )
        return _run(row)

    def list_for(self, shop: RegisteredShop) -> list[Run]:
        """Return a shop's runs, newest first."""
        with self._database.reading() as session:
            rows = session.scalars(
                select(BackfillRun).where(BackfillRun.shop_id == shop.id).order_by(BackfillRun.id.desc())
            ).all()
        return [_run(row) for row in rows]

    def advance(
        self, run: Run, cursor: str | None, counts: Mapping[str, int], rejected: Iterable[RejectedRow], now: datetime
    ) -> None:
        """Store how far a run is, in one commit with the rows rejected on the way; a repeat changes nothing."""
        with self._database.transaction() as session:
            session.execute(
                update(BackfillRun)
                .where(BackfillRun.id == run.id)
                .values(cursor=cursor, counts=dict(counts), updated_at=now)
            )
            rows = [
                {
                    "run_id": run.id,
                    "resource_id": row.resource_id[:128],
                    "code": row.code[:128],
                    "reason": row.reason[:1000],
                }
                for row in rejected
            ]
            if rows:
                insert = self._database.insert(BackfillRefusal)
                session.connection().execute(
                    insert.on_conflict_do_update(
                        index_elements=["run_id", "resource_id"],
                        set_={"code": insert.excluded.code, "reason": insert.excluded.reason},
                    ),
                    rows,
                )

    def set_state(self, run: Run, state: RunState, now: datetime) -> None:
        """Pause, continue or end a run."""
        with self._database.transaction() as session:
            session.execute(update(BackfillRun).where(BackfillRun.id == run.id).values(state=state, updated_at=now))

    def current_state(self, run: Run) -> RunState:
        """Return the state that a run has now: an operator may have paused it."""
        with self._database.reading() as session:
            return RunState(session.scalars(select(BackfillRun.state).where(BackfillRun.id == run.id)).one())

    def rejected_rows(self, run: Run) -> list[RejectedRow]:
        """Return the rows that a run did not send."""
        with self._database.reading() as session:
            rows = session.scalars(
                select(BackfillRefusal).where(BackfillRefusal.run_id == run.id).order_by(BackfillRefusal.resource_id)
            ).all()
        return [RejectedRow(row.resource_id, row.code, row.reason) for row in rows]

    def count_events_by_state(self, shop: RegisteredShop, prefix: str) -> dict[str, int]:
        """Count the events of a run by state. prefix: what their dedupe keys begin with; it ends with a colon."""
        counts = select(InboxEvent.state, func.count()).where(_events_of_run(shop, prefix)).group_by(InboxEvent.state)
        with self._database.reading() as session:
            return {str(state): int(number) for state, number in session.execute(counts)}

    def undelivered_events(self, shop: RegisteredShop, prefix: str) -> list[RejectedRow]:
        """Return the events of a run that are parked or ignored, with their reasons. prefix: as in `count_events_by_state`."""
        undelivered = select(
            InboxEvent.id, InboxEvent.order_ref, InboxEvent.ordering_key, InboxEvent.error_code, InboxEvent.last_error
        ).where(_events_of_run(shop, prefix), InboxEvent.state.in_([State.PARKED, State.IGNORED]))
        with self._database.reading() as session:
            rows = session.execute(undelivered).all()
        return [
            RejectedRow(
                row.order_ref or row.ordering_key.removeprefix("customer:"),
                row.error_code or "",
                f"event {row.id}: {row.last_error or ''}",
            )
            for row in rows
        ]

    def count_in_flight(self, shop: RegisteredShop, limit: int) -> int:
        """Count the shop's unfinished events that no operator has to attend to, up to `limit`."""
        in_flight = (
            select(InboxEvent.id)
            .where(is_unfinished(), InboxEvent.shop_id == shop.id, InboxEvent.state != State.PARKED)
            .limit(limit)
        )
        with self._database.reading() as session:
            return session.scalar(select(func.count()).select_from(in_flight.subquery())) or 0


def _events_of_run(shop: RegisteredShop, prefix: str) -> ColumnElement[bool]:
    return and_(
        InboxEvent.shop_id == shop.id,
        InboxEvent.dedupe_key >= prefix,
        InboxEvent.dedupe_key < prefix[:-1] + ";",  # the character after the colon
    )


def _run(row: BackfillRun) -> Run:
    return Run(
        id=row.id,
        what=row.what,
        source=row.source,
        since=row.since,
        until=row.until,
        options=row.options,
        cursor=row.cursor,
        counts=row.counts,
        state=RunState(row.state),
        started_at=row.started_at,
        updated_at=row.updated_at,
    )
