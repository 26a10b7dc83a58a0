"""A shopper's own changes that are on their way to Engage, as My Pages show them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import select

from plugin.errors import ConflictError
from plugin.event_kinds import EventKind
from plugin.store.database.engine import Database
from plugin.store.inbox.admin import EventAdmin
from plugin.store.inbox.inbox import Accepted, Inbox, NewEvent
from plugin.store.inbox.keys import customer_key
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.inbox import InboxEvent, State, is_unfinished

SUPERSEDED = "The shopper changed the same fields again on My Pages."


@dataclass(frozen=True, slots=True)
class OpenEdit:
    """An edit that is not delivered yet. parked: it did not go through. body: as it was stored."""

    event_id: int
    parked: bool
    body: bytes


class Edits:
    """Stores edits in the inbox and reads those that are under way."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._inbox = Inbox(database)
        self._admin = EventAdmin(database)

    def open_of(self, shop: RegisteredShop, customer_id: str) -> Sequence[OpenEdit]:
        """Return a customer's edits that are under way or parked, oldest first."""
        with self._database.reading() as session:
            rows = session.execute(
                select(InboxEvent.id, InboxEvent.state, InboxEvent.body)
                .where(
                    InboxEvent.shop_id == shop.id,
                    InboxEvent.ordering_key == customer_key(customer_id),
                    is_unfinished(),
                    InboxEvent.kind == EventKind.PROFILE_EDIT,
                )
                .order_by(InboxEvent.occurred_at, InboxEvent.id)
            ).all()
        return [OpenEdit(row.id, row.state == State.PARKED, row.body) for row in rows if row.body]

    def accept(self, new: NewEvent, instead_of: Sequence[int] = ()) -> Accepted:
        """Store an edit, durable when this returns. instead_of: parked edits that it makes needless."""
        accepted = self._inbox.accept(new)
        for event_id in instead_of:
            with suppress(ConflictError):  # an operator is just retrying it
                self._admin.discard(event_id, SUPERSEDED, new.received_at)
        return accepted
