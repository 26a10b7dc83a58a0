"""Promotions that were created here, and lists of people that a promotion is assigned to, row by row."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select, update

from plugin.store.database.engine import Database
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.orders import Redemption
from plugin.store.tables.promotions import AssignRow, AssignRun, OwnPromotion


class RowState(StrEnum):
    """What became of a row. trying: the call may have gone out. already: the contact had an open assignment before."""

    TRYING = "trying"
    ASSIGNED = "assigned"
    ALREADY = "already"
    REFUSED = "refused"


DONE_STATES = (RowState.ASSIGNED, RowState.ALREADY)


@dataclass(frozen=True, slots=True)
class KnownPromotion:
    """A promotion that was created here: both of its names."""

    promotion_id: str
    external_id: str
    name: str
    value_type: str
    value: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row of a list. position: 1 for the first; see `AssignRow`."""

    position: int
    state: RowState
    contact_digest: str | None = None
    assignment_id: str | None = None
    had: int | None = None
    reason: str | None = None


class Promotions:
    """Reads and writes promotions and lists."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def remember(self, shop: RegisteredShop, made: KnownPromotion) -> None:
        """Store a promotion that was created, once."""
        statement = self._database.insert(OwnPromotion).values(shop_id=shop.id, tenant=shop.tenant, **asdict(made))
        with self._database.transaction() as session:
            session.execute(statement.on_conflict_do_nothing(index_elements=["shop_id", "tenant", "promotion_id"]))

    def all_of(self, shop: RegisteredShop) -> list[KnownPromotion]:
        """Return the promotions that were created here for a shop, newest last."""
        statement = (
            select(OwnPromotion)
            .where(OwnPromotion.shop_id == shop.id, OwnPromotion.tenant == shop.tenant)
            .order_by(OwnPromotion.id)
        )
        with self._database.reading() as session:
            rows = session.scalars(statement).all()
        return [
            KnownPromotion(r.promotion_id, r.external_id, r.name, r.value_type, r.value, r.created_at) for r in rows
        ]

    def template_of_assignment(self, shop: RegisteredShop, assignment_id: str) -> str | None:
        """Return the promotion of an assignment that was made or redeemed here; "" where only the assignment is known."""
        made = select(AssignRun.promotion_id).join(AssignRow, AssignRow.run_id == AssignRun.id)
        redeemed = select(Redemption.promotion_id)
        with self._database.reading() as session:
            found = (
                session.execute(
                    made.where(
                        AssignRun.tenant == shop.tenant, func.lower(AssignRow.assignment_id) == assignment_id.lower()
                    )
                ).first()
                or session.execute(
                    redeemed.where(
                        Redemption.tenant == shop.tenant, func.lower(Redemption.assignment_id) == assignment_id.lower()
                    )
                ).first()
            )
        return None if found is None else found[0] or ""

    def begin(self, shop: RegisteredShop, promotion_id: str, list_digest: str, rows: int, now: datetime) -> int:
        """Return the run of a list, the one begun before where there is one."""
        place = {"shop_id": shop.id, "tenant": shop.tenant, "promotion_id": promotion_id, "list_digest": list_digest}
        statement = self._database.insert(AssignRun).values(**place, rows=rows, created_at=now)
        with self._database.transaction() as session:
            session.execute(statement.on_conflict_do_nothing(index_elements=list(place)))
            run_id = session.scalar(select(AssignRun.id).filter_by(**place))
        assert run_id is not None
        return run_id

    def finish(self, run_id: int, now: datetime) -> None:
        """Note that every row was tried."""
        with self._database.transaction() as session:
            session.execute(update(AssignRun).where(AssignRun.id == run_id).values(finished_at=now))

    def rows_of(self, run_id: int) -> dict[int, StoredRow]:
        """Return what became of a run's rows so far, by position."""
        with self._database.reading() as session:
            rows = session.scalars(select(AssignRow).where(AssignRow.run_id == run_id)).all()
        return {
            r.position: StoredRow(r.position, RowState(r.state), r.contact_digest, r.assignment_id, r.had, r.reason)
            for r in rows
        }

    def write_row(self, run_id: int, row: StoredRow) -> None:
        """Store what became of a row."""
        values: Mapping[str, Any] = {
            "state": row.state,
            "contact_digest": row.contact_digest,
            "assignment_id": row.assignment_id,
            "had": row.had,
            "reason": row.reason,
        }
        statement = self._database.insert(AssignRow).values(run_id=run_id, position=row.position, **values)
        with self._database.transaction() as session:
            session.execute(statement.on_conflict_do_update(index_elements=["run_id", "position"], set_=dict(values)))

    def counts(self, run_id: int) -> Counter[str]:
        """Count a run's rows by state."""
        statement = select(AssignRow.state, func.count()).where(AssignRow.run_id == run_id).group_by(AssignRow.state)
        with self._database.reading() as session:
            return Counter({row[0]: row[1] for row in session.execute(statement).all()})
