"""Intents to redeem, stored before Engage is called, so that "already redeemed" is known to be ours or not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, exists, or_, select, update
from sqlalchemy.orm import Session

from plugin.store.database.engine import Database
from plugin.store.database.statements import run
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.inbox import InboxEvent, State
from plugin.store.tables.orders import Redemption
from plugin.store.tables.shops import Shop


class RedemptionState(StrEnum):
    """Where a redemption is. Until it is redeemed, an intent is visible as intended, however long it waits.

    giving_back: Engage is asked to give it back. given_back: it can be used again.
    """

    INTENDED = "intended"
    REDEEMED = "redeemed"
    FAILED = "failed"
    GIVING_BACK = "giving_back"
    GIVEN_BACK = "given_back"


#: States in which no other order may use an assignment or voucher.
HELD_STATES = (RedemptionState.INTENDED, RedemptionState.REDEEMED, RedemptionState.GIVING_BACK)


@dataclass(frozen=True, slots=True)
class StoredRedemption:
    """A promotion assignment or voucher and the order that uses it.

    kind: promotion or voucher. shop: the name of the order's shop. called_at, reactivations, seen_redeemed_on: see
    `Redemption`. fresh: made by this very call of `intend`, so that Engage was not called for it yet.
    """

    kind: str
    assignment_id: str
    promotion_id: str | None
    order_id: str
    shop_id: int
    shop: str
    event_id: int
    state: RedemptionState
    intended_at: datetime
    called_at: datetime | None
    finished_at: datetime | None
    reactivations: int
    seen_redeemed_on: datetime | None
    note: str | None
    fresh: bool = False


class Redemptions:
    """Reads and writes redemptions of one tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def intend(
        self,
        shop: RegisteredShop,
        kind: str,
        assignment_id: str,
        promotion_id: str | None,
        order_id: str,
        event_id: int,
        now: datetime,
        *,
        again: bool = False,
    ) -> StoredRedemption:
        """Do what `write_intent` does in a transaction of its own."""
        with self._database.transaction() as session:
            return self.write_intent(
                session, shop, kind, assignment_id, promotion_id, order_id, event_id, now, again=again
            )

    def write_intent(
        self,
        session: Session,
        shop: RegisteredShop,
        kind: str,
        assignment_id: str,
        promotion_id: str | None,
        order_id: str,
        event_id: int,
        now: datetime,
        *,
        again: bool = False,
    ) -> StoredRedemption:
        """Store that an order uses an assignment and that Engage is called now, unless another order was first.

        Returns whose it is. Gives way: an intent that failed, one that was given back to the shopper after another
        order, and one whose event a person discarded before it was redeemed. again: so does what this order itself gave
        back, because it is paid again.
        """
        values = {
            "promotion_id": promotion_id,
            "order_id": order_id,
            "event_id": event_id,
            "intended_at": now,
            "called_at": now,
            "shop_id": shop.id,
            "state": RedemptionState.INTENDED,
            "note": None,
            "finished_at": None,
            "seen_redeemed_on": None,
        }
        discarded = exists(
            select(InboxEvent.id).where(InboxEvent.id == Redemption.event_id, InboxEvent.state == State.DISCARDED)
        )
        another = or_(Redemption.shop_id != shop.id, Redemption.order_id != order_id)
        given_back = Redemption.state == RedemptionState.GIVEN_BACK
        gives_way = or_(
            Redemption.state == RedemptionState.FAILED,
            given_back if again else and_(given_back, another),
            and_(Redemption.state == RedemptionState.INTENDED, another, discarded),
        )
        stored = session.scalar(
            self._database.insert(Redemption)
            .values(tenant=shop.tenant, kind=kind, assignment_id=assignment_id, reactivations=0, **values)
            .on_conflict_do_update(index_elements=["tenant", "kind", "assignment_id"], set_=values, where=gives_way)
            .returning(Redemption.id)
        )
        where = _place(shop, kind, assignment_id)
        row, name = session.execute(select(Redemption, Shop.name).join(Shop).where(*where)).one()
        return _stored(row, name, fresh=stored is not None)

    def of_order(self, shop: RegisteredShop, order_id: str) -> list[StoredRedemption]:
        """Return what an order used or means to use."""
        return self._find(Redemption.shop_id == shop.id, Redemption.order_id == order_id)

    def find(
        self, shop: RegisteredShop, states: Iterable[RedemptionState] = tuple(RedemptionState), *, limit: int = 100
    ) -> list[StoredRedemption]:
        """Return a shop's redemptions in some states, newest first."""
        return self._find(Redemption.shop_id == shop.id, Redemption.state.in_(list(states)), limit=limit)

    def held(self, shop: RegisteredShop, kind: str, assignment_ids: Sequence[str]) -> dict[str, StoredRedemption]:
        """Return by assignment id which of them an order of the tenant's shops has used or means to use."""
        if not assignment_ids:
            return {}
        found = self._find(
            Redemption.tenant == shop.tenant,
            Redemption.kind == kind,
            Redemption.assignment_id.in_(assignment_ids),
            Redemption.state.in_(HELD_STATES),
        )
        return {row.assignment_id: row for row in found}

    def write(self, session: Session, shop: RegisteredShop, kind: str, assignment_id: str, **values: Any) -> None:
        """Change columns of a redemption: its state, when it was called again or finished, and why."""
        run(session, update(Redemption).where(*_place(shop, kind, assignment_id)).values(**values))

    def _find(self, *where: Any, limit: int = 1000) -> list[StoredRedemption]:
        statement = select(Redemption, Shop.name).join(Shop).where(*where).order_by(Redemption.id.desc()).limit(limit)
        with self._database.reading() as session:
            return [_stored(row, name) for row, name in session.execute(statement).all()]


def _place(shop: RegisteredShop, kind: str, assignment_id: str) -> tuple[Any, ...]:
    return (Redemption.tenant == shop.tenant, Redemption.kind == kind, Redemption.assignment_id == assignment_id)


def _stored(row: Redemption, shop: str, *, fresh: bool = False) -> StoredRedemption:
    return StoredRedemption(
        kind=row.kind,
        assignment_id=row.assignment_id,
        promotion_id=row.promotion_id,
        order_id=row.order_id,
        shop_id=row.shop_id,
        shop=shop,
        event_id=row.event_id,
        state=RedemptionState(row.state),
        intended_at=row.intended_at,
        called_at=row.called_at,
        finished_at=row.finished_at,
        reactivations=row.reactivations,
        seen_redeemed_on=row.seen_redeemed_on,
        note=row.note,
        fresh=fresh,
    )
