"""Tables of orders and of the redemptions that they cause."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from plugin.store.database.types import BigId
from plugin.store.tables.base import Base


class ShopOrder(Base):
    """An order of the shop: who bought, what, what was given back and what it redeemed.

    details: lines, refunds and promotions as JSON with money as text. receipt_sent_at: when Engage took the
    purchase receipt; it decides that an order is sent once however often the shop says that it was paid.
    """

    __tablename__ = "shop_orders"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    order_id: Mapped[str] = mapped_column(String(128))
    order_number: Mapped[str] = mapped_column(String(128))
    customer_id: Mapped[str | None] = mapped_column(String(128))
    contact_id: Mapped[str | None] = mapped_column(String(64))
    currency: Mapped[str] = mapped_column(String(3))
    total: Mapped[str] = mapped_column(String(32))
    occurred_at: Mapped[datetime] = mapped_column()
    store_external_id: Mapped[str] = mapped_column(String(128))
    exchange_rate: Mapped[str | None] = mapped_column(String(32))
    details: Mapped[dict[str, Any]] = mapped_column()
    event_id: Mapped[int | None] = mapped_column(BigId)
    receipt_sent_at: Mapped[datetime | None] = mapped_column()

    __table_args__ = (
        UniqueConstraint("shop_id", "order_id", name="uq_order"),
        Index("ix_order_customer", "shop_id", "customer_id", "occurred_at"),
    )


class Redemption(Base):
    """That an order means to use, or has used, a promotion assignment or voucher. Stored before Engage is called.

    called_at: when the last call to redeem it may have gone out. reactivations: how often it was given back, over all
    orders. seen_redeemed_on: what Engage said of its redemption before it was to be given back.
    """

    __tablename__ = "redemptions"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shops.id"))
    tenant: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(16))
    assignment_id: Mapped[str] = mapped_column(String(64))
    promotion_id: Mapped[str | None] = mapped_column(String(64))
    order_id: Mapped[str] = mapped_column(String(128))
    event_id: Mapped[int] = mapped_column(BigId)
    state: Mapped[str] = mapped_column(String(16))
    note: Mapped[str | None] = mapped_column(Text)
    intended_at: Mapped[datetime] = mapped_column()
    called_at: Mapped[datetime | None] = mapped_column()
    finished_at: Mapped[datetime | None] = mapped_column()
    reactivations: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    seen_redeemed_on: Mapped[datetime | None] = mapped_column()

    __table_args__ = (
        UniqueConstraint("tenant", "kind", "assignment_id", name="uq_redemption"),
        Index("ix_redemption_order", "shop_id", "order_id"),
    )
