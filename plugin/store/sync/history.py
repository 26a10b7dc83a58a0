"""What is kept of the watchdog, of runs of the shop's history, and of reconciliations."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select, update

from plugin.errors import NotFoundHereError
from plugin.event_kinds import EventKind
from plugin.store.database.engine import Database
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.inbox import InboxEvent, State, is_unfinished
from plugin.store.tables.orders import ShopOrder
from plugin.store.tables.sync import BackfillRefusal, BackfillRun, Reconciliation, ShopWatch

CHUNK = 500


class RunState(StrEnum):
    """Where a run of the history is."""

    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class MonitorState:
    """What the watchdog last saw of a shop. See ShopWatch."""

    polled_until: datetime | None = None
    checked_at: datetime | None = None
    problems: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the history. See BackfillRun."""

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
    """A row of the history that was not sent: the shop's id of it, a stable word, and the reason in words."""

    resource_id: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class KnownOrder:
    """What is known here of one order. states: of its paid and refund events, by inbox state, newest last.

    refunds_empty: those of refunds_sent that made no receipt, because nothing of them was new. ended: it was called off,
    or returned whole.
    """

    receipt_sent: bool = False
    without_contact: bool = False
    contact_id: str | None = None
    refunds_sent: frozenset[str] = frozenset()
    refunds_empty: frozenset[str] = frozenset()
    ended: bool = False
    paid_states: tuple[str, ...] = ()
    refund_states: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SentOrder:
    """An order whose receipt was sent, with the webhook that told of it; body: None where it is not kept any more."""

    order_id: str
    contact_id: str
    occurred_at: datetime
    platform: str | None
    topic: str | None
    meta: Mapping[str, str] | None
    body: bytes | None


class History:
    """Reads and writes watches, runs and reconciliations, and looks up what the inbox has of given orders."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- the watchdog ---

    def watched(self, shop: RegisteredShop) -> MonitorState:
        """Return what was last seen of a shop."""
        with self._database.reading() as session:
            row = session.get(ShopWatch, shop.id)
        return (
            MonitorState()
            if row is None
            else MonitorState(row.polled_until, row.checked_at, tuple(row.problems), row.error)
        )

    def watch(self, shop: RegisteredShop, seen: MonitorState) -> None:
        """Store what was seen of a shop."""
        values = {
            "polled_until": seen.polled_until,
            "checked_at": seen.checked_at,
            "problems": list(seen.problems),
            "error": seen.error,
        }
        with self._database.transaction() as session:
            session.execute(
                self._database.insert(ShopWatch)
                .values(shop_id=shop.id, **values)
                .on_conflict_do_update(index_elements=["shop_id"], set_=values)
            )

    # --- runs ---

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

    def run(self, shop: RegisteredShop, run_id: int) -> Run:
        """Return a run. Raises NotFoundHereError."""
        with self._database.reading() as session:
            row = session.scalar(select(BackfillRun).where(BackfillRun.id == run_id, BackfillRun.shop_id == shop.id))
        if row is None:
            raise NotFoundHereError(
                f"{shop.name} has no run {run_id}: `engage-plugin backfill list` shows those that are."
            )
        return _run(row)

    def runs(self, shop: RegisteredShop) -> list[Run]:
        """Return a shop's runs, newest first."""
        with self._database.reading() as session:
            rows = session.scalars(
                select(BackfillRun).where(BackfillRun.shop_id == shop.id).order_by(BackfillRun.id.desc())
            ).all()
        return [_run(row) for row in rows]

    def advance(
        self, run: Run, cursor: str | None, counts: Mapping[str, int], refusals: Iterable[RejectedRow], now: datetime
    ) -> None:
        """Store how far a run is, in one commit with what was refused on the way; a repeat changes nothing."""
        with self._database.transaction() as session:
            session.execute(
                update(BackfillRun)
                .where(BackfillRun.id == run.id)
                .values(cursor=cursor, counts=dict(counts), updated_at=now)
            )
            rows = [
                {
                    "run_id": run.id,
                    "resource_id": one.resource_id[:128],
                    "code": one.code[:128],
                    "reason": one.reason[:1000],
                }
                for one in refusals
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

    def state_of(self, run: Run) -> RunState:
        """Return where a run is now: somebody may have paused it."""
        with self._database.reading() as session:
            return RunState(session.scalars(select(BackfillRun.state).where(BackfillRun.id == run.id)).one())

    def refusals(self, run: Run) -> list[RejectedRow]:
        """Return the rows that a run did not send."""
        with self._database.reading() as session:
            rows = session.scalars(
                select(BackfillRefusal).where(BackfillRefusal.run_id == run.id).order_by(BackfillRefusal.resource_id)
            ).all()
        return [RejectedRow(row.resource_id, row.code, row.reason) for row in rows]

    def states_of_run(self, shop: RegisteredShop, prefix: str) -> dict[str, int]:
        """Count the events of a run by state. prefix: what their dedupe keys begin with; it ends with a colon."""
        with self._database.reading() as session:
            rows = session.execute(
                select(InboxEvent.state, func.count())
                .where(
                    InboxEvent.shop_id == shop.id,
                    InboxEvent.dedupe_key >= prefix,
                    InboxEvent.dedupe_key < prefix[:-1] + ";",  # the character after the colon
                )
                .group_by(InboxEvent.state)
            )
            return {str(state): int(number) for state, number in rows}

    def parked_of_run(self, shop: RegisteredShop, prefix: str) -> list[RejectedRow]:
        """Return the events of a run that are parked or ignored, with their reasons."""
        with self._database.reading() as session:
            rows = session.execute(
                select(
                    InboxEvent.id,
                    InboxEvent.order_ref,
                    InboxEvent.ordering_key,
                    InboxEvent.error_code,
                    InboxEvent.last_error,
                ).where(
                    InboxEvent.shop_id == shop.id,
                    InboxEvent.dedupe_key >= prefix,
                    InboxEvent.dedupe_key < prefix[:-1] + ";",
                    InboxEvent.state.in_([State.PARKED, State.IGNORED]),
                )
            ).all()
        return [
            RejectedRow(
                row.order_ref or row.ordering_key.removeprefix("customer:"),
                row.error_code or "",
                f"event {row.id}: {row.last_error or ''}",
            )
            for row in rows
        ]

    def unfinished(self, shop: RegisteredShop, most: int) -> int:
        """Count the shop's unfinished events that wait for nobody, up to `most`."""
        waiting = (
            select(InboxEvent.id)
            .where(is_unfinished(), InboxEvent.shop_id == shop.id, InboxEvent.state != State.PARKED)
            .limit(most)
        )
        with self._database.reading() as session:
            return session.scalar(select(func.count()).select_from(waiting.subquery())) or 0

    # --- what is known of orders ---

    def known_orders(self, shop: RegisteredShop, order_ids: Sequence[str]) -> dict[str, KnownOrder]:
        """Return what is known of orders, by id; an unknown one is left out."""
        found: dict[str, KnownOrder] = {}
        for start in range(0, len(order_ids), CHUNK):
            found |= self._known_orders(shop, order_ids[start : start + CHUNK])
        return found

    def _known_orders(self, shop: RegisteredShop, order_ids: Sequence[str]) -> dict[str, KnownOrder]:
        with self._database.reading() as session:
            orders = session.execute(
                select(ShopOrder.order_id, ShopOrder.receipt_sent_at, ShopOrder.contact_id, ShopOrder.details).where(
                    ShopOrder.shop_id == shop.id, ShopOrder.order_id.in_(order_ids)
                )
            ).all()
            events = session.execute(
                select(InboxEvent.order_ref, InboxEvent.kind, InboxEvent.state)
                .where(
                    InboxEvent.shop_id == shop.id,
                    InboxEvent.order_ref.in_(order_ids),
                    InboxEvent.kind.in_([EventKind.ORDER_PAID, EventKind.REFUND]),
                )
                .order_by(InboxEvent.id)
            ).all()
        stored = {row.order_id: row for row in orders}
        states: dict[tuple[str, str], list[str]] = {}
        for order_ref, kind, state in events:
            states.setdefault((str(order_ref), kind), []).append(state)
        known = {}
        for order_id in {*stored, *(order_ref for order_ref, _ in states)}:
            row = stored.get(order_id)
            refunds = {} if row is None else row.details.get("refunds", {})
            known[order_id] = KnownOrder(
                receipt_sent=row is not None and row.receipt_sent_at is not None,
                without_contact=row is not None and row.contact_id is None,
                contact_id=None if row is None else row.contact_id,
                refunds_sent=frozenset(refunds),
                refunds_empty=frozenset(name for name, refund in refunds.items() if not Decimal(refund["total"])),
                ended=row is not None and bool(row.details.get("ended")),
                paid_states=tuple(states.get((order_id, EventKind.ORDER_PAID), ())),
                refund_states=tuple(states.get((order_id, EventKind.REFUND), ())),
            )
        return known

    def sent_orders(
        self, shop: RegisteredShop, since: datetime, until: datetime, after: str = "", most: int = CHUNK
    ) -> list[SentOrder]:
        """Return orders of [since, until) whose receipt was sent, by order id, beginning behind `after`."""
        with self._database.reading() as session:
            rows = session.execute(
                select(
                    ShopOrder.order_id,
                    ShopOrder.contact_id,
                    ShopOrder.occurred_at,
                    InboxEvent.platform,
                    InboxEvent.topic,
                    InboxEvent.meta,
                    InboxEvent.body,
                )
                .outerjoin(InboxEvent, InboxEvent.id == ShopOrder.event_id)
                .where(
                    ShopOrder.shop_id == shop.id,
                    ShopOrder.occurred_at >= since,
                    ShopOrder.occurred_at < until,
                    ShopOrder.receipt_sent_at.is_not(None),
                    ShopOrder.contact_id.is_not(None),
                    ShopOrder.order_id > after,
                )
                .order_by(ShopOrder.order_id)
                .limit(most)
            ).all()
        return [SentOrder(*row) for row in rows]

    def knows_customer(self, shop: RegisteredShop, customer_id: str) -> bool:
        """Tell whether an event of a customer is unfinished here: under way, or in front of a person."""
        unfinished = select(InboxEvent.id).where(
            is_unfinished(), InboxEvent.shop_id == shop.id, InboxEvent.ordering_key == f"customer:{customer_id}"
        )
        with self._database.reading() as session:
            return session.scalar(unfinished.limit(1)) is not None

    # --- reconciliations ---

    def keep_reconciliation(
        self, shop: RegisteredShop, since: datetime, until: datetime, counts: Mapping[str, int], now: datetime
    ) -> None:
        """Store the result of a comparison, as counts."""
        with self._database.transaction() as session:
            session.add(Reconciliation(shop_id=shop.id, since=since, until=until, at=now, counts=dict(counts)))

    def last_reconciliation(self, shop: RegisteredShop) -> tuple[datetime, dict[str, int]] | None:
        """Return when shop, inbox and Engage were last compared, and the counts; None when they never were."""
        with self._database.reading() as session:
            row = session.scalar(
                select(Reconciliation)
                .where(Reconciliation.shop_id == shop.id)
                .order_by(Reconciliation.id.desc())
                .limit(1)
            )
        return None if row is None else (row.at, row.counts)


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
