"""Short calls for tests of the inbox."""

from datetime import datetime, timedelta

from plugin.event_kinds import EventKind
from plugin.store.database.engine import Database
from plugin.store.inbox.admin import EventAdmin
from plugin.store.inbox.claiming import Claimed
from plugin.store.inbox.inbox import Inbox, NewEvent
from plugin.store.inbox.sweep import Sweep
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.inbox import State
from support.helpers import Clock

LEASE = timedelta(seconds=60)


class InboxDriver:
    """An inbox with short words for tests."""

    def __init__(self, database: Database, shop: RegisteredShop, clock: Clock) -> None:
        self.inbox, self.desk, self.sweep = Inbox(database), EventAdmin(database), Sweep(database)
        self.shop, self.clock = shop, clock

    def event(
        self, key: str, *, customer: str = "1", kind: EventKind = EventKind.PROFILE_CHANGE, at: datetime | None = None
    ) -> NewEvent:
        return NewEvent(
            shop_id=self.shop.id,
            platform="standard",
            topic="customer.updated",
            kind=kind,
            dedupe_key=key,
            ordering_key=f"customer:{customer}",
            occurred_at=at or self.clock(),
            received_at=self.clock(),
            body=b"{}",
        )

    def accept(self, key: str, **options: object) -> int:
        return self.inbox.accept(self.event(key, **options)).event_id  # type: ignore[arg-type]

    def claim(self) -> Claimed | None:
        return self.inbox.claim(self.clock(), LEASE)

    def claimed_id(self) -> int | None:
        claimed = self.claim()
        return None if claimed is None else claimed.id

    def deliver_next(self) -> int:
        claimed = self.claim()
        assert claimed is not None
        self.inbox.finish(claimed, State.DELIVERED, self.clock())
        return claimed.id

    def park_next(self) -> int:
        claimed = self.claim()
        assert claimed is not None
        self.inbox.finish(claimed, State.PARKED, self.clock(), error="bad", error_code="bad", blocks_later_changes=True)
        return claimed.id
