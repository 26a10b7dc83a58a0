"""Erasing a person from this plugin: link, inbox bodies, ledger, orders' details and due events."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import bindparam, delete, literal, or_, select, update
from sqlalchemy.orm import Session

from plugin.event_kinds import EventKind
from plugin.store.database.engine import Database
from plugin.store.database.statements import RowWrite, changed_rows
from plugin.store.files.rows import write_erasure
from plugin.store.inbox.claiming import discard
from plugin.store.inbox.keys import pending_contact_key
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.contacts import ConsentEntry, ContactLink, ContactState
from plugin.store.tables.inbox import DeliveryAttempt, InboxEvent
from plugin.store.tables.orders import ShopOrder
from plugin.store.tables.sync import BackfillRefusal, BackfillRun, Erasure

#: Of an order's details these hold nothing of a person: ids of refunds and lines, amounts, how and when the order ended,
#: and when it was active ("stands_at" in older records).
RETAINED_DETAILS = ("refunds", "ended", "ended_at", "active_as_of", "stands_at")
_EMPTY_ORDER = (
    update(ShopOrder)
    .where(ShopOrder.id == bindparam("row_id"))
    .values(details=bindparam("retained"), customer_id=literal(None))
)
_EMPTY = update(InboxEvent).where(InboxEvent.id == bindparam("row_id")).values(body=b"")
_ERASED = {"last_error": "The customer was erased.", "error_code": "erased"}


class Erasures:
    """Carries out erasures and stores a record of each, without personal data."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def erase(
        self,
        shop: RegisteredShop,
        *,
        customer_id: str | None,
        contact_id: str | None,
        ordering_keys: Sequence[str],
        order_ids: Sequence[str],
        event_id: int,
        now: datetime,
    ) -> dict[str, int]:
        """Erase a person in one transaction and return what was done, as counts.

        Due events of theirs are discarded, but receipts under way stay with their contactId alone in `shop_orders`
        until they are sent. The event that asks for the erasure stays as it is, so that after a crash it can be done
        again, and is recorded once; see `request_emptied`. contact_id: of a verified link alone; over another the
        contact may be another person's, whose answers stay.
        """
        done: dict[str, int] = {}
        with self._database.transaction() as session:
            orders = _orders_of(session, shop, customer_id, ordering_keys) | set(order_ids)
            theirs = (
                InboxEvent.shop_id == shop.id,
                or_(InboxEvent.ordering_key.in_(ordering_keys), InboxEvent.order_ref.in_(orders)),
                InboxEvent.id != event_id,
            )
            # first the events, as a worker does that ends one and then writes what goes with it: neither waits for the
            # other for ever, and no worker takes one that is discarded here
            locked = select(InboxEvent.id, InboxEvent.kind).where(*theirs).order_by(InboxEvent.id).with_for_update()
            events = session.execute(locked).all()
            if customer_id is not None:
                done["links"] = changed_rows(
                    session.execute(
                        delete(ContactLink).where(
                            ContactLink.shop_id == shop.id, ContactLink.customer_id == customer_id
                        )
                    )
                )
                waiting = ConsentEntry.contact_id == pending_contact_key(customer_id)
                session.execute(delete(ConsentEntry).where(ConsentEntry.shop_id == shop.id, waiting))
            if contact_id is not None and not _is_anothers(session, shop, contact_id, customer_id):
                done["consents"] = _forget_contact(session, shop, contact_id, now)
            done["orders"] = _empty_orders(session, shop, orders)
            done["refusals"] = _forget_refusals(session, shop, customer_id, orders)
            due = [event.id for event in events if event.kind != EventKind.DATA_REQUEST]  # its answer stays due
            done["discarded"] = len(discard(session, due, now, **_ERASED))
            ids = [event.id for event in events]
            done["bodies"] = len(ids)
            done["file_rows"] = write_erasure(session, ids)
            session.execute(update(InboxEvent).where(InboxEvent.id.in_(ids)).values(body=None))
            session.execute(update(DeliveryAttempt).where(DeliveryAttempt.event_id.in_(ids)).values(sent=None))
            recorded = select(Erasure.id).where(Erasure.shop_id == shop.id, Erasure.event_id == event_id)
            if session.scalar(recorded.limit(1)) is None:
                session.add(Erasure(shop_id=shop.id, event_id=event_id, at=now, done=done))
        return done

    def is_anothers(self, shop: RegisteredShop, contact_id: str, customer_id: str | None) -> bool:
        """Return whether another customer of the shop is, for certain, the same contact: then it is not theirs alone."""
        with self._database.reading() as session:
            return _is_anothers(session, shop, contact_id, customer_id)

    def request_emptied(self, event_id: int) -> RowWrite:
        """Return the write that empties the body of the event that asked, for the commit that ends it."""
        return RowWrite(_EMPTY, {"row_id": event_id}, f"event {event_id}")


def _empty_orders(session: Session, shop: RegisteredShop, orders: Collection[str]) -> int:
    """Take a person from their orders, and return how many. Refunds that were sent stay recorded: they must not be sent twice."""
    theirs = select(ShopOrder.id, ShopOrder.details).where(ShopOrder.shop_id == shop.id, ShopOrder.order_id.in_(orders))
    rows = session.execute(theirs.order_by(ShopOrder.id).with_for_update()).all()
    emptied = [
        {"row_id": row.id, "retained": {name: row.details[name] for name in RETAINED_DETAILS if row.details.get(name)}}
        for row in rows
    ]
    if emptied:
        session.connection().execute(_EMPTY_ORDER, emptied)
    return len(emptied)


def _is_anothers(session: Session, shop: RegisteredShop, contact_id: str, customer_id: str | None) -> bool:
    """Return whether another customer of the shop is the same contact: their answers stay, above all an opt-out."""
    other = select(ContactLink.id).where(
        ContactLink.shop_id == shop.id,
        ContactLink.contact_id == contact_id,
        ContactLink.customer_id != customer_id,
        ContactLink.verified.is_(True),
    )
    return session.scalar(other.limit(1)) is not None


def _forget_contact(session: Session, shop: RegisteredShop, contact_id: str, now: datetime) -> int:
    """Erase what was sent of a contact and return how many answers to consents went."""
    # the row stays with a new generation, so that cached pages of the contact cannot be reached again
    session.execute(
        update(ContactState)
        .where(ContactState.shop_id == shop.id, ContactState.contact_id == contact_id)
        .values(sent={}, generation=ContactState.generation + 1, updated_at=now)
    )
    theirs = delete(ConsentEntry).where(ConsentEntry.shop_id == shop.id, ConsentEntry.contact_id == contact_id)
    return changed_rows(session.execute(theirs))


def _orders_of(
    session: Session, shop: RegisteredShop, customer_id: str | None, ordering_keys: Sequence[str]
) -> set[str]:
    """Return the orders that are a person's as far as is known here.

    A refund that came before its order is stored under the order alone, and a guest's order under no customer.
    """
    named = select(InboxEvent.order_ref).where(
        InboxEvent.shop_id == shop.id,
        InboxEvent.ordering_key.in_(ordering_keys),
        InboxEvent.order_ref.is_not(None),
    )
    orders = {order for order in session.scalars(named) if order is not None}
    if customer_id is not None:
        theirs = select(ShopOrder.order_id).where(ShopOrder.shop_id == shop.id, ShopOrder.customer_id == customer_id)
        orders.update(session.scalars(theirs))
    return orders


def _forget_refusals(session: Session, shop: RegisteredShop, customer_id: str | None, orders: Collection[str]) -> int:
    """Delete the rows of the shop's history that were not sent and name the person's id or an order of theirs."""
    gone = 0
    for what, ids in (("customers", {customer_id} - {None}), ("orders", orders)):
        runs = select(BackfillRun.id).where(BackfillRun.shop_id == shop.id, BackfillRun.what == what)
        named = delete(BackfillRefusal).where(BackfillRefusal.run_id.in_(runs), BackfillRefusal.resource_id.in_(ids))
        gone += changed_rows(session.execute(named)) if ids else 0
    return gone
