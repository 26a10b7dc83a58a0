"""The dated ledger of opt-ins and opt-outs, by contact and subject (a channel or a consent's id)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import and_, delete, select, update
from sqlalchemy.orm import Session

from plugin.store.database.engine import Database
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.contacts import ConsentEntry


class ConsentLedger:
    """Reads and writes answers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def latest(self, shop: RegisteredShop, contact_id: str) -> dict[str, tuple[bool, datetime]]:
        """Return each subject's newest answer and its time; of two answers of the same time the opt-out counts."""
        with self._database.reading() as session:
            rows = session.execute(
                select(ConsentEntry.subject, ConsentEntry.value, ConsentEntry.at)
                .where(_entries_of(shop, contact_id))
                .order_by(ConsentEntry.at, ConsentEntry.value.desc())
            ).all()
        return {subject: (value, at) for subject, value, at in rows}

    def add(
        self,
        session: Session,
        shop: RegisteredShop,
        contact_id: str,
        entries: Mapping[str, tuple[bool, datetime, str | None]],
        event_id: int | None,
        now: datetime,
    ) -> None:
        """Add answers, by subject: the answer, its time and its source."""
        session.add_all(
            ConsentEntry(
                shop_id=shop.id,
                contact_id=contact_id,
                subject=subject,
                value=value,
                at=at,
                source=source,
                event_id=event_id,
                recorded_at=now,
            )
            for subject, (value, at, source) in entries.items()
        )

    def move(self, session: Session, shop: RegisteredShop, contact_id: str, other_id: str) -> None:
        """Move a contact's answers to another contact."""
        session.execute(update(ConsentEntry).where(_entries_of(shop, contact_id)).values(contact_id=other_id))

    def delete(self, session: Session, shop: RegisteredShop, contact_id: str) -> None:
        """Delete a contact's answers."""
        session.execute(delete(ConsentEntry).where(_entries_of(shop, contact_id)))


def _entries_of(shop: RegisteredShop, contact_id: str) -> Any:
    return and_(ConsentEntry.shop_id == shop.id, ConsentEntry.contact_id == contact_id)
