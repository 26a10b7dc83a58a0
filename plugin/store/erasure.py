"""Erasing a person from this plugin: link, inbox bodies, ledger, orders' details and due events."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.orm import Session

from plugin.events import Kind
from plugin.store.db import Database, changed_rows
from plugin.store.fallback_rows import write_erasure
from plugin.store.keys import contact_to_come
from plugin.store.models import (
    BackfillRefusal,
    BackfillRun,
    ConsentEntry,
    ContactLink,
    ContactState,
    DeliveryAttempt,
    Erasure,
    InboxEvent,
    ShopOrder,
    State,
)
from plugin.store.shops import RegisteredShop
from plugin.store.turns import let_go


class Erasures:
    """Carries erasures out and keeps a record of each, without personal data."""

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
        until they are sent. The event that asks for the erasure keeps no body either. contact_id: of a verified link
        alone; over another the contact may be somebody else's, whose answers stay.
        """
        done: dict[str, int] = {}
        with self._database.transaction() as session:
            if customer_id is not None:
                done["links"] = changed_rows(
                    session.execute(
                        delete(ContactLink).where(
                            ContactLink.shop_id == shop.id, ContactLink.customer_id == customer_id
                        )
                    )
                )
                waiting = ConsentEntry.contact_id == contact_to_come(customer_id)
                session.execute(delete(ConsentEntry).where(ConsentEntry.shop_id == shop.id, waiting))
            if contact_id is not None and not _is_anothers(session, shop, contact_id):
                done["consents"] = _forget_contact(session, shop, contact_id, now)
            orders = _orders_of(session, shop, customer_id, ordering_keys) | set(order_ids)
            done["orders"] = changed_rows(
                session.execute(
                    update(ShopOrder)
                    .where(ShopOrder.shop_id == shop.id, ShopOrder.order_id.in_(orders))
                    .values(details={}, customer_id=None)
                )
            )
            done["refusals"] = _forget_refusals(session, shop, customer_id, orders)
            theirs = (
                InboxEvent.shop_id == shop.id,
                or_(InboxEvent.ordering_key.in_(ordering_keys), InboxEvent.order_ref.in_(orders)),
                InboxEvent.id != event_id,
            )
            done["discarded"] = _discard_due(session, theirs, now)
            ids = list(session.scalars(select(InboxEvent.id).where(*theirs)))
            done["bodies"] = len(ids)
            done["file_rows"] = write_erasure(session, ids)
            session.execute(update(InboxEvent).where(InboxEvent.id.in_(ids)).values(body=None))
            session.execute(update(DeliveryAttempt).where(DeliveryAttempt.event_id.in_(ids)).values(sent=None))
            session.execute(update(InboxEvent).where(InboxEvent.id == event_id).values(body=b""))
            session.add(Erasure(shop_id=shop.id, event_id=event_id, at=now, done=done))
        return done


def _discard_due(session: Session, theirs: Sequence[ColumnElement[bool]], now: datetime) -> int:
    """Discard a person's events that wait or are parked, and return how many; a request for data keeps its answer due."""
    waiting = InboxEvent.state.in_([State.PENDING, State.PARKED])
    due = list(session.scalars(select(InboxEvent.id).where(*theirs, waiting, InboxEvent.kind != Kind.DATA_REQUEST)))
    discarded = {
        "state": State.DISCARDED,
        "last_error": "The customer was erased.",
        "error_code": "erased",
        "finished_at": now,
        "next_attempt_at": None,
        "held_by": None,
    }
    session.execute(update(InboxEvent).where(InboxEvent.id.in_(due)).values(discarded))
    for event_id in due:
        let_go(session, event_id)
    return len(due)


def _is_anothers(session: Session, shop: RegisteredShop, contact_id: str) -> bool:
    """Tell whether another customer of the shop is the same contact: their answers are kept, above all a no."""
    other = select(ContactLink.id).where(
        ContactLink.shop_id == shop.id, ContactLink.contact_id == contact_id, ContactLink.verified.is_(True)
    )
    return session.scalar(other.limit(1)) is not None


def _forget_contact(session: Session, shop: RegisteredShop, contact_id: str, now: datetime) -> int:
    """Erase what was told of a contact and return how many answers to consents went."""
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

    A refund that came before its order stands under the order alone, and a guest's order under no customer.
    """
    told = select(InboxEvent.order_ref).where(
        InboxEvent.shop_id == shop.id,
        InboxEvent.ordering_key.in_(ordering_keys),
        InboxEvent.order_ref.is_not(None),
    )
    found = {order for order in session.scalars(told) if order is not None}
    if customer_id is not None:
        theirs = select(ShopOrder.order_id).where(ShopOrder.shop_id == shop.id, ShopOrder.customer_id == customer_id)
        found.update(session.scalars(theirs))
    return found


def _forget_refusals(session: Session, shop: RegisteredShop, customer_id: str | None, orders: Collection[str]) -> int:
    """Delete the rows of the shop's history that were not sent and name the person's id or an order of theirs."""
    gone = 0
    for what, ids in (("customers", {customer_id} - {None}), ("orders", orders)):
        runs = select(BackfillRun.id).where(BackfillRun.shop_id == shop.id, BackfillRun.what == what)
        named = delete(BackfillRefusal).where(BackfillRefusal.run_id.in_(runs), BackfillRefusal.resource_id.in_(ids))
        gone += changed_rows(session.execute(named)) if ids else 0
    return gone
