"""Tables of contacts: links from customers, what Engage was last sent, and the consent ledger."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    ForeignKey,
    Index,
    Integer,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from plugin.store.database.types import BigId
from plugin.store.tables.base import Base


class ContactLink(Base):
    """A shop's customer and the contact that it is in one Engage tenant. verified: see docs/decisions/0011-verified-links.md."""

    __tablename__ = "contact_links"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    tenant: Mapped[str] = mapped_column(String(32))
    customer_id: Mapped[str] = mapped_column(String(128))
    contact_id: Mapped[str] = mapped_column(String(64), index=True)
    verified: Mapped[bool] = mapped_column(Boolean)
    reason: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column()

    __table_args__ = (UniqueConstraint("shop_id", "tenant", "customer_id", name="uq_link_customer"),)


class ContactState(Base):
    """What this shop last sent to Engage of a contact.

    sent: field -> [keyed hash of the value, time of the fact]. generation: part of every cache key; adding one
    forgets all cached pages of the contact on every machine. fresh_after: the shopper asked for newer data then; what
    was fetched before counts as stale.
    """

    __tablename__ = "contact_states"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    tenant: Mapped[str] = mapped_column(String(32))
    contact_id: Mapped[str] = mapped_column(String(64))
    contact_type: Mapped[str | None] = mapped_column(String(64))
    sent: Mapped[dict[str, Any]] = mapped_column()
    generation: Mapped[int] = mapped_column(Integer, default=1)
    fresh_after: Mapped[datetime | None] = mapped_column()
    updated_at: Mapped[datetime] = mapped_column()

    __table_args__ = (UniqueConstraint("shop_id", "tenant", "contact_id", name="uq_contact_state"),)


class ConsentEntry(Base):
    """One dated yes or no of a shopper. Entries are added, never changed."""

    __tablename__ = "consent_entries"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    contact_id: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(128))
    value: Mapped[bool] = mapped_column(Boolean)
    at: Mapped[datetime] = mapped_column()
    source: Mapped[str | None] = mapped_column(String(255))
    event_id: Mapped[int | None] = mapped_column(BigId)
    recorded_at: Mapped[datetime] = mapped_column()

    __table_args__ = (Index("ix_consent_contact", "shop_id", "contact_id", "subject", "at"),)
