"""Intents to redeem, stored before Engage is called, so that "already redeemed" is known to be ours or not."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select, update

from plugin.store.db import Database
from plugin.store.models import Redemption
from plugin.store.shops import RegisteredShop


class RedemptionState(StrEnum):
    """Where a redemption is."""

    INTENDED = "intended"
    REDEEMED = "redeemed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StoredRedemption:
    """A promotion assignment or voucher and the order that uses it."""

    assignment_id: str
    promotion_id: str | None
    order_id: str
    shop_id: int
    state: RedemptionState
    intended_at: datetime


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
    ) -> StoredRedemption:
        """Store that an order uses an assignment, unless another order did first; return whose it is.

        kind: promotion or voucher. A failed intent of another order gives way.
        """
        values = {
            "promotion_id": promotion_id,
            "order_id": order_id,
            "event_id": event_id,
            "intended_at": now,
            "shop_id": shop.id,
            "state": RedemptionState.INTENDED,
            "note": None,
            "finished_at": None,
        }
        with self._database.transaction() as session:
            session.execute(
                self._database.insert(Redemption)
                .values(tenant=shop.tenant, kind=kind, assignment_id=assignment_id, **values)
                .on_conflict_do_update(
                    index_elements=["tenant", "kind", "assignment_id"],
                    set_=values,
                    where=(Redemption.state == RedemptionState.FAILED),
                )
            )
            row = session.scalars(
                select(Redemption).where(
                    Redemption.tenant == shop.tenant,
                    Redemption.kind == kind,
                    Redemption.assignment_id == assignment_id,
                )
            ).one()
            return StoredRedemption(
                row.assignment_id,
                row.promotion_id,
                row.order_id,
                row.shop_id,
                RedemptionState(row.state),
                row.intended_at,
            )

    def finish(
        self,
        shop: RegisteredShop,
        kind: str,
        assignment_id: str,
        state: RedemptionState,
        now: datetime,
        note: str | None = None,
    ) -> None:
        """Store how a redemption ended. note: why it failed, without personal data."""
        with self._database.transaction() as session:
            session.execute(
                update(Redemption)
                .where(
                    Redemption.tenant == shop.tenant,
                    Redemption.kind == kind,
                    Redemption.assignment_id == assignment_id,
                )
                .values(state=state, note=note, finished_at=now)
            )
