"""What the subscription monitor last saw of each shop."""

from dataclasses import dataclass
from datetime import datetime

from plugin.store.database.engine import Database
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.sync import ShopWatch


@dataclass(frozen=True, slots=True)
class MonitorState:
    """What the monitor last saw of a shop. See ShopWatch."""

    polled_until: datetime | None = None
    checked_at: datetime | None = None
    problems: tuple[str, ...] = ()
    error: str | None = None


class ShopMonitorStore:
    """Reads and writes monitor states."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, shop: RegisteredShop) -> MonitorState:
        """Return what was last seen of a shop; an empty state when it was never checked."""
        with self._database.reading() as session:
            row = session.get(ShopWatch, shop.id)
        if row is None:
            return MonitorState()
        return MonitorState(row.polled_until, row.checked_at, tuple(row.problems), row.error)

    def save(self, shop: RegisteredShop, state: MonitorState) -> None:
        """Store what was seen of a shop."""
        values = {
            "polled_until": state.polled_until,
            "checked_at": state.checked_at,
            "problems": list(state.problems),
            "error": state.error,
        }
        with self._database.transaction() as session:
            session.execute(
                self._database.insert(ShopWatch)
                .values(shop_id=shop.id, **values)
                .on_conflict_do_update(index_elements=["shop_id"], set_=values)
            )
