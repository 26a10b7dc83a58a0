"""Results of comparing shop, inbox and Engage, as counts."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select

from plugin.store.database.engine import Database
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.sync import Reconciliation


class Reconciliations:
    """Reads and writes results."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(
        self, shop: RegisteredShop, since: datetime, until: datetime, counts: Mapping[str, int], now: datetime
    ) -> None:
        """Store the result of a comparison, as counts."""
        with self._database.transaction() as session:
            session.add(Reconciliation(shop_id=shop.id, since=since, until=until, at=now, counts=dict(counts)))

    def last(self, shop: RegisteredShop) -> tuple[datetime, dict[str, int]] | None:
        """Return when shop, inbox and Engage were last compared, and the counts; None when they were never compared."""
        with self._database.reading() as session:
            row = session.scalar(
                select(Reconciliation)
                .where(Reconciliation.shop_id == shop.id)
                .order_by(Reconciliation.id.desc())
                .limit(1)
            )
        return None if row is None else (row.at, row.counts)
