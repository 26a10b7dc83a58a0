"""What this plugin stores of one person, gathered for the answer to their request (GDPR, article 15)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from plugin.store.database.engine import Database
from plugin.store.inbox.keys import pending_contact_key
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.contacts import ConsentEntry, ContactLink, ContactState
from plugin.store.tables.files import FallbackFile, FallbackRow
from plugin.store.tables.inbox import DeliveryAttempt, InboxEvent
from plugin.store.tables.orders import Redemption, ShopOrder


@dataclass(frozen=True, slots=True)
class DataSubject:
    """Who asks, as the shop named them: a customer of theirs, their events' ordering keys, and orders that are theirs."""

    customer_id: str | None
    ordering_keys: Sequence[str]
    order_ids: Sequence[str]


class DataRequests:
    """Gathers; changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def gather(self, shop: RegisteredShop, person: DataSubject) -> dict[str, Any]:
        """Return everything by kind, as JSON can say it. Bodies are as the shop sent them, where they are still stored."""
        with self._database.reading() as session:
            links = _links(session, shop, person)
            orders = _orders(session, shop, person)
            contacts = sorted({row["contact_id"] for row in [*links, *orders] if row["contact_id"]})
            # who bought as a guest may share a contact with another person: only the customer's own contact counts here
            # and that over a verified link: else registering with another's e-mail would reveal their data
            own = [row["contact_id"] for row in links if row["verified"]]
            events = _events(session, shop, person, [row["order_id"] for row in orders])
            return {
                "shop": shop.name,
                "customer_id": person.customer_id,
                "contacts_in_engage": contacts,
                "links": links,
                "told_to_engage": _told(session, shop, own),
                "consents": _consents(session, shop, [*own, *_noes_kept(person)]),
                "orders": orders,
                "redemptions": _redemptions(session, shop, [row["order_id"] for row in orders]),
                "events": events,
                "files": _files(session, [row["id"] for row in events]),
            }


def _links(session: Session, shop: RegisteredShop, person: DataSubject) -> list[dict[str, Any]]:
    if person.customer_id is None:
        return []
    rows = session.scalars(
        select(ContactLink).where(ContactLink.shop_id == shop.id, ContactLink.customer_id == person.customer_id)
    )
    return [
        {"contact_id": r.contact_id, "verified": r.verified, "reason": r.reason, "created_at": r.created_at}
        for r in rows
    ]


def _noes_kept(person: DataSubject) -> list[str]:
    return [] if person.customer_id is None else [pending_contact_key(person.customer_id)]


def _told(session: Session, shop: RegisteredShop, contact_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return which fields were sent and when; of their values only keyed hashes are stored."""
    rows = session.scalars(
        select(ContactState).where(ContactState.shop_id == shop.id, ContactState.contact_id.in_(contact_ids))
    )
    return [
        {
            "contact_id": r.contact_id,
            "contact_type": r.contact_type,
            "fields": {name: at for name, (_hash, at) in r.sent.items()},
            "updated_at": r.updated_at,
        }
        for r in rows
    ]


def _consents(session: Session, shop: RegisteredShop, contact_ids: Sequence[str]) -> list[dict[str, Any]]:
    rows = session.scalars(
        select(ConsentEntry)
        .where(ConsentEntry.shop_id == shop.id, ConsentEntry.contact_id.in_(contact_ids))
        .order_by(ConsentEntry.at, ConsentEntry.id)
    )
    return [
        {"subject": r.subject, "value": r.value, "at": r.at, "source": r.source, "recorded_at": r.recorded_at}
        for r in rows
    ]


def _orders(session: Session, shop: RegisteredShop, person: DataSubject) -> list[dict[str, Any]]:
    theirs: list[ColumnElement[bool]] = [ShopOrder.order_id.in_(person.order_ids)]
    if person.customer_id is not None:
        theirs.append(ShopOrder.customer_id == person.customer_id)
    rows = session.scalars(
        select(ShopOrder).where(ShopOrder.shop_id == shop.id, or_(*theirs)).order_by(ShopOrder.occurred_at)
    )
    return [
        {
            "order_id": r.order_id,
            "order_number": r.order_number,
            "customer_id": r.customer_id,
            "contact_id": r.contact_id,
            "total": r.total,
            "currency": r.currency,
            "occurred_at": r.occurred_at,
            "store": r.store_external_id,
            "details": r.details,
            "receipt_sent_at": r.receipt_sent_at,
        }
        for r in rows
    ]


def _redemptions(session: Session, shop: RegisteredShop, order_ids: Sequence[str]) -> list[dict[str, Any]]:
    rows = session.scalars(select(Redemption).where(Redemption.shop_id == shop.id, Redemption.order_id.in_(order_ids)))
    return [
        {
            "order_id": r.order_id,
            "kind": r.kind,
            "assignment_id": r.assignment_id,
            "state": r.state,
            "at": r.intended_at,
        }
        for r in rows
    ]


def _events(
    session: Session, shop: RegisteredShop, person: DataSubject, order_ids: Sequence[str]
) -> list[dict[str, Any]]:
    theirs = [
        InboxEvent.ordering_key.in_(person.ordering_keys),
        InboxEvent.order_ref.in_([*person.order_ids, *order_ids]),
    ]
    rows = session.scalars(
        select(InboxEvent).where(InboxEvent.shop_id == shop.id, or_(*theirs)).order_by(InboxEvent.id)
    ).all()
    steps: dict[int, list[dict[str, Any]]] = {row.id: [] for row in rows}
    for step in session.scalars(
        select(DeliveryAttempt).where(DeliveryAttempt.event_id.in_(list(steps))).order_by(DeliveryAttempt.id)
    ):
        steps[step.event_id].append({"at": step.at, "step": step.operation, "sent": step.sent, "outcome": step.outcome})
    return [
        {
            "id": row.id,
            "topic": row.topic,
            "occurred_at": row.occurred_at,
            "received_at": row.received_at,
            "state": row.state,
            "body": _readable(row.body),
            "steps": steps[row.id],
        }
        for row in rows
    ]


def _files(session: Session, event_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return the files for a time without Engage that hold something of the person."""
    rows = session.execute(
        select(FallbackFile, FallbackRow)
        .join(FallbackRow, FallbackRow.file_id == FallbackFile.id)
        .where(FallbackRow.event_id.in_(event_ids))
        .order_by(FallbackRow.id)
    )
    return [
        {"file": file.name, "state": file.state, "event": row.event_id, "key": row.key, "details": row.details}
        for file, row in rows
    ]


def _readable(body: bytes | None) -> Any:
    """Return a body as JSON, or as text where it is not JSON; None when it is no longer stored."""
    if not body:
        return None
    text = body.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
