"""A snapshot of what a shopper's pages depend on, in one read: while it is the same, a built page may be shown again."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, bindparam, func, literal_column, select
from sqlalchemy.orm import aliased

from plugin.event_kinds import EventKind
from plugin.store.database.engine import Database
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.contacts import ContactLink, ContactState
from plugin.store.tables.inbox import InboxEvent, State, is_in, is_unfinished
from plugin.store.tables.orders import ShopOrder


@dataclass(frozen=True, slots=True)
class ShopperSnapshot:
    """A customer as the database knows them at this moment. Two equal snapshots show the same page.

    contact_id: of a verified link alone, else None (docs/decisions/0011-verified-links.md). generation,
    fresh_after: see ContactState. orders: changes when the shop reports another order. edits: changes with each change of the
    shopper's own that is on its way; "" when none is.
    """

    contact_id: str | None
    generation: int
    fresh_after: datetime | None
    orders: str
    edits: str


class ShopperSnapshots:
    """Reads snapshots."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def standing(self, shop: RegisteredShop, customer_id: str, ordering_key: str) -> ShopperSnapshot:
        """Return the snapshot of a customer. ordering_key: theirs in the inbox."""
        where = {"shop_id": shop.id, "tenant": shop.tenant, "customer_id": customer_id, "ordering_key": ordering_key}
        with self._database.read_connection() as connection:
            row: Any = connection.execute(_STANDING, where).one()
        edits = f"{row.edits}-{row.newest_edit}-{row.parked_edits}" if row.edits else ""
        return ShopperSnapshot(
            row.contact_id, row.generation or 0, row.fresh_after, f"{row.orders}-{row.newest_order or 0}", edits
        )


def _statement() -> Select[Any]:
    """Return one row whatever there is: an outer join from nothing to link and state, beside counts."""
    one = select(literal_column("1").label("one")).subquery()
    link, state, edit = aliased(ContactLink), aliased(ContactState), aliased(InboxEvent)
    theirs = and_(ShopOrder.shop_id == bindparam("shop_id"), ShopOrder.customer_id == bindparam("customer_id"))
    mine = and_(
        edit.shop_id == bindparam("shop_id"),
        edit.ordering_key == bindparam("ordering_key"),
        is_unfinished(edit),
        edit.kind == literal_column(f"'{EventKind.PROFILE_EDIT.value}'"),
    )
    return (
        select(
            link.contact_id,
            state.generation,
            state.fresh_after,
            select(func.count()).where(theirs).scalar_subquery().label("orders"),
            select(func.max(ShopOrder.id)).where(theirs).scalar_subquery().label("newest_order"),
            select(func.count()).where(mine).scalar_subquery().label("edits"),
            select(func.max(edit.id)).where(mine).scalar_subquery().label("newest_edit"),
            select(func.count()).where(mine, is_in(State.PARKED, edit)).scalar_subquery().label("parked_edits"),
        )
        .select_from(one)
        .outerjoin(
            link,
            and_(
                link.shop_id == bindparam("shop_id"),
                link.tenant == bindparam("tenant"),
                link.customer_id == bindparam("customer_id"),
                link.verified.is_(True),
            ),
        )
        .outerjoin(
            state,
            and_(state.shop_id == link.shop_id, state.tenant == link.tenant, state.contact_id == link.contact_id),
        )
    )


# made once: building a statement takes longer than running it
_STANDING = _statement()
