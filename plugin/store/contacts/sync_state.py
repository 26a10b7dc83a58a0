"""What Engage was last sent of each contact, and the generation by which its cached pages are found.

Stored by Engage tenant: a shop that is switched to another tenant starts with nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import JSON, Update, bindparam, func, select, update

from plugin.store.database.engine import Database
from plugin.store.database.statements import RowWrite
from plugin.store.database.types import UtcDateTime
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.contacts import ContactState

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql import Insert

#: The generation of a contact of which nothing was cached before.
FIRST_GENERATION = 1


@dataclass(frozen=True, slots=True)
class SyncedValue:
    """A field as last sent to Engage: the keyed hash of its value, and since when the shop has that value."""

    digest: str
    at: datetime


@dataclass(frozen=True, slots=True)
class SyncState:
    """What was sent of a contact. generation: counts up with each change that My Pages show; 0 for an unknown contact."""

    contact_type: str | None = None
    sent: Mapping[str, SyncedValue] = field(default_factory=dict)
    generation: int = 0


class SyncStates:
    """Reads and writes sync states, and makes cached pages of contacts unreachable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._upsert = sync_state_upsert(database)
        self._touch = _touch_statement(database)

    def get(self, shop: RegisteredShop, contact_id: str) -> SyncState:
        """Return what was last sent of a contact."""
        with self._database.read_connection() as connection:
            row = connection.execute(_GET, _key(shop, contact_id)).one_or_none()
        if row is None:
            return SyncState()
        return SyncState(row.contact_type, read_synced_values(row.sent), row.generation)

    def generation(self, shop: RegisteredShop, contact_id: str) -> int:
        """Return the number that is part of every cache key of the contact."""
        return self.get(shop, contact_id).generation

    def sent_write(
        self,
        shop: RegisteredShop,
        contact_id: str,
        values: Mapping[str, SyncedValue],
        now: datetime,
        *,
        contact_type: str | None = None,
        bump_generation: bool = True,
    ) -> RowWrite:
        """Return the write that adds values to what was sent and stores the contact type."""
        row = sync_state_row(shop, contact_id, values, now, contact_type=contact_type, bump_generation=bump_generation)
        return RowWrite(self._upsert, row, contact_id)

    def touch_write(
        self, shop: RegisteredShop, contact_id: str, values: Mapping[str, SyncedValue], generation: int, now: datetime
    ) -> RowWrite:
        """Return the write that stores values as still current, unless the contact was changed since that generation."""
        row = {
            "of_shop": shop.id,
            "of_tenant": shop.tenant,
            "of_contact": contact_id,
            "at_generation": generation,
            "current": _as_json(values),
            "now": now,
        }
        return RowWrite(self._touch, row, contact_id)

    def bump_generation_write(self, shop: RegisteredShop, contact_id: str, now: datetime) -> RowWrite:
        """Return the write that makes cached pages of the contact unreachable, for the commit of what changed it."""
        return self.sent_write(shop, contact_id, {}, now)

    def bump_generation(self, shop: RegisteredShop, contact_id: str, now: datetime) -> None:
        """Make cached pages of the contact unreachable, where nothing else is committed with it."""
        with self._database.transaction() as session:
            self.bump_generation_write(shop, contact_id, now)(session)

    def invalidate_before(self, shop: RegisteredShop, contact_id: str, now: datetime, pause: timedelta) -> bool:
        """Make what was fetched of the contact before now count as stale; False within a pause after the last time."""
        row = {**_key(shop, contact_id), "sent": {}, "generation": 0, "fresh_after": now, "updated_at": now}
        statement = (
            self._database.insert(ContactState)
            .values(row)
            .on_conflict_do_update(
                index_elements=["shop_id", "tenant", "contact_id"],
                set_={"fresh_after": now},
                where=ContactState.fresh_after.is_(None) | (ContactState.fresh_after <= now - pause),
            )
            .returning(ContactState.id)
        )
        with self._database.transaction() as session:
            return session.scalar(statement) is not None


def sync_state_upsert(database: Database) -> "Insert":
    """Return the statement that stores rows of `sync_state_row`: values are merged, the generation is added up."""
    insert = database.insert(ContactState)
    new = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=["shop_id", "tenant", "contact_id"],
        set_={
            "sent": database.merged_json(ContactState.sent, new.sent),
            "contact_type": func.coalesce(new.contact_type, ContactState.contact_type),
            "generation": ContactState.generation + new.generation - FIRST_GENERATION,
            "updated_at": new.updated_at,
        },
    )


def sync_state_row(
    shop: RegisteredShop,
    contact_id: str,
    values: Mapping[str, SyncedValue],
    now: datetime,
    *,
    contact_type: str | None = None,
    bump_generation: bool = True,
) -> dict[str, object]:
    """Return the parameters of `sync_state_upsert` for one contact."""
    return {
        **_key(shop, contact_id),
        "contact_type": contact_type,
        "sent": _as_json(values),
        "generation": FIRST_GENERATION + bump_generation,
        "updated_at": now,
    }


def _touch_statement(database: Database) -> Update:
    return (
        update(ContactState)
        .where(
            ContactState.shop_id == bindparam("of_shop"),
            ContactState.tenant == bindparam("of_tenant"),
            ContactState.contact_id == bindparam("of_contact"),
            ContactState.generation == bindparam("at_generation"),
        )
        .values(
            sent=database.merged_json(ContactState.sent, bindparam("current", type_=JSON)),
            updated_at=bindparam("now", type_=UtcDateTime()),
        )
    )


def read_synced_values(stored: Mapping[str, Sequence[str]] | None) -> dict[str, SyncedValue]:
    """Return stored values (name -> [digest, time]); nothing where there is no row."""
    return {name: SyncedValue(digest, datetime.fromisoformat(at)) for name, (digest, at) in (stored or {}).items()}


def _as_json(values: Mapping[str, SyncedValue]) -> dict[str, list[str]]:
    return {name: [value.digest, value.at.isoformat()] for name, value in values.items()}


def _key(shop: RegisteredShop, contact_id: str) -> dict[str, object]:
    return {"shop_id": shop.id, "tenant": shop.tenant, "contact_id": contact_id}


# made once: building a statement takes longer than running it
_GET = select(ContactState.id, ContactState.contact_type, ContactState.sent, ContactState.generation).where(
    ContactState.shop_id == bindparam("shop_id"),
    ContactState.tenant == bindparam("tenant"),
    ContactState.contact_id == bindparam("contact_id"),
)
