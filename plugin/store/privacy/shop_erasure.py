"""Erasing a whole shop: everything about its customers is deleted, a record of what was done stays.

Kept are the shop's row (name, domain, settings, sealed keys: without them a later webhook of the shop could not be
verified), one bare row an event (topic, times, how it ended), so that accepted events still add up, promotions that were
created in Engage through this plugin, and erasures. Copies of files that are no longer recorded are deleted by the fallback.
"""

from datetime import datetime

from sqlalchemy import ColumnElement, Table, delete, func, literal, select, tuple_, update
from sqlalchemy.orm import Session

from plugin.store.database.engine import Database
from plugin.store.database.statements import changed_rows, run
from plugin.store.inbox.claiming import UNBLOCKED
from plugin.store.tables.base import Base
from plugin.store.tables.inbox import DeliveryAttempt, InboxEvent, State, is_in
from plugin.store.tables.promotions import OwnPromotion
from plugin.store.tables.shops import Shop
from plugin.store.tables.sync import Erasure

#: Rows that one transaction changes a table: other writers wait no longer than that.
BATCH = 1000
ERASED_KEY = "erased"
#: Tables with a shop whose rows are not simply deleted. Those of every other table with a `shop_id`, or that belong to
#: a row of such a table, are.
KEPT_TABLES = frozenset({InboxEvent.__tablename__, Erasure.__tablename__, OwnPromotion.__tablename__})
#: Tables without a shop, and why that is right.
SHARED_TABLES = {
    Shop.__tablename__: "the shop itself; it names no customer",
    DeliveryAttempt.__tablename__: "goes with its event",
    "accepted_counts": "numbers",
    "named_leases": "ends by itself within minutes",
}


class ShopErasures:
    """Erases a shop in bounded transactions; each may be the last before a crash, the next run continues."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def erase_some(self, shop_id: int, now: datetime, *, but: int | None = None) -> dict[str, int]:
        """Erase up to a batch of each table and return how many rows by table; empty when nothing is left.

        but: the event that asks for it, which its worker ends. Events that are being worked on are left for the next run.
        """
        done: dict[str, int] = {}
        with self._database.transaction() as session:
            for table in reversed(Base.metadata.sorted_tables):
                whose = of_shop(table, shop_id)
                if whose is not None:
                    done[table.name] = _delete_some(session, table, whose)
                    if done[table.name] == BATCH:  # rows that others belong to must wait until those are gone
                        return {name: number for name, number in done.items() if number}
            done["events discarded"] = _discard(session, shop_id, now, but)
            done["events emptied"] = _empty(session, shop_id, but)
        return {name: number for name, number in done.items() if number}

    def under_way(self, shop_id: int, *, but: int | None = None) -> int:
        """Count events of the shop that a worker is at."""
        theirs = select(func.count()).where(InboxEvent.shop_id == shop_id, is_in(State.LEASED))
        with self._database.reading() as session:
            return session.scalar(theirs if but is None else theirs.where(InboxEvent.id != but)) or 0

    def record(self, shop_id: int, event_id: int | None, now: datetime, done: dict[str, int]) -> None:
        """Record that the shop was erased: when, on whose request, and how many rows."""
        with self._database.transaction() as session:
            session.add(Erasure(shop_id=shop_id, event_id=event_id, at=now, done={"scope": "shop", **done}))


def of_shop(table: Table, shop_id: int) -> ColumnElement[bool] | None:
    """Return the condition for a table's rows that go with a shop: by its own column, or by the row that they belong to.

    None for tables that stay.
    """
    if table.name in KEPT_TABLES or table.name in SHARED_TABLES:
        return None
    if "shop_id" in table.c:
        return table.c.shop_id == shop_id
    for key in table.foreign_keys:
        whose = of_shop(key.column.table, shop_id)
        if whose is not None:
            return key.parent.in_(select(key.column).where(whose))
    return None


def _delete_some(session: Session, table: Table, whose: ColumnElement[bool]) -> int:
    key = tuple_(*table.primary_key.columns)
    some = select(*table.primary_key.columns).where(whose).limit(BATCH)
    return changed_rows(session.execute(delete(table).where(key.in_(some))))


def _discard(session: Session, shop_id: int, now: datetime, but: int | None) -> int:
    """End what is still due: nothing of an erased shop goes to Engage any more."""
    some = (
        select(InboxEvent.id)
        .where(InboxEvent.shop_id == shop_id, InboxEvent.state.in_([State.PENDING, State.PARKED, State.SPOOLED]))
        .where(InboxEvent.id != (but or 0))
        .limit(BATCH)
    )
    ended = update(InboxEvent).where(
        InboxEvent.id.in_(list(session.scalars(some))),
        InboxEvent.state.in_([State.PENDING, State.PARKED, State.SPOOLED]),
    )
    return run(
        session,
        ended.values(
            state=State.DISCARDED,
            last_error="The shop was erased.",
            error_code="erased",
            finished_at=now,
            next_attempt_at=None,
            **UNBLOCKED,
        ),
    )


def _empty(session: Session, shop_id: int, but: int | None) -> int:
    """Delete from finished events everything that identifies a person, and their timelines."""
    finished = [State.DELIVERED, State.IGNORED, State.DISCARDED]
    some = (
        select(InboxEvent.id)
        .where(InboxEvent.shop_id == shop_id, InboxEvent.state.in_(finished), InboxEvent.ordering_key != ERASED_KEY)
        .where(InboxEvent.id != (but or 0))
        .limit(BATCH)
    )
    ids = list(session.scalars(some))
    session.execute(delete(DeliveryAttempt).where(DeliveryAttempt.event_id.in_(ids)))
    emptied = update(InboxEvent).where(InboxEvent.id.in_(ids))
    return run(
        session,
        emptied.values(
            ordering_key=ERASED_KEY,
            order_ref=literal(None),
            body=None,
            meta={},
            progress={},
            last_error="The shop was erased.",
        ),
    )
