"""Erasing a person from this plugin: link, inbox bodies, ledger, orders' details and due events."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, or_, select, update

from plugin.events import Kind
from plugin.store.db import Database, changed_rows
from plugin.store.fallback_rows import write_erasure
from plugin.store.models import (
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
        until they are sent. The event that asks for the erasure keeps no body either.
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
            if contact_id is not None:
                done["consents"] = changed_rows(
                    session.execute(
                        delete(ConsentEntry).where(
                            ConsentEntry.shop_id == shop.id, ConsentEntry.contact_id == contact_id
                        )
                    )
                )
                # the row stays with a new generation, so that cached pages of the contact cannot be reached again
                session.execute(
                    update(ContactState)
                    .where(ContactState.shop_id == shop.id, ContactState.contact_id == contact_id)
                    .values(sent={}, generation=ContactState.generation + 1, updated_at=now)
                )
            of_person: list[ColumnElement[bool]] = [ShopOrder.order_id.in_(order_ids)]
            if customer_id is not None:
                of_person.append(ShopOrder.customer_id == customer_id)
            done["orders"] = changed_rows(
                session.execute(
                    update(ShopOrder)
                    .where(ShopOrder.shop_id == shop.id, or_(*of_person))
                    .values(details={}, customer_id=None)
                )
            )
            theirs = (
                InboxEvent.shop_id == shop.id,
                or_(InboxEvent.ordering_key.in_(ordering_keys), InboxEvent.order_ref.in_(order_ids)),
                InboxEvent.id != event_id,
            )
            due = list(
                session.scalars(
                    # a request for data stays: the merchant owes an answer to it
                    select(InboxEvent.id).where(
                        *theirs,
                        InboxEvent.state.in_([State.PENDING, State.PARKED]),
                        InboxEvent.kind != Kind.DATA_REQUEST,
                    )
                )
            )
            session.execute(
                update(InboxEvent)
                .where(InboxEvent.id.in_(due))
                .values(
                    state=State.DISCARDED,
                    last_error="The customer was erased.",
                    error_code="erased",
                    finished_at=now,
                    next_attempt_at=None,
                    held_by=None,
                )
            )
            for parked in due:
                let_go(session, parked)
            done["discarded"] = len(due)
            ids = list(session.scalars(select(InboxEvent.id).where(*theirs)))
            done["bodies"] = len(ids)
            done["file_rows"] = write_erasure(session, ids)
            session.execute(update(InboxEvent).where(InboxEvent.id.in_(ids)).values(body=None))
            session.execute(update(DeliveryAttempt).where(DeliveryAttempt.event_id.in_(ids)).values(sent=None))
            session.execute(update(InboxEvent).where(InboxEvent.id == event_id).values(body=b""))
            session.add(Erasure(shop_id=shop.id, event_id=event_id, at=now, done=done))
        return done
