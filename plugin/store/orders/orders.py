"""What this plugin stores of a shop's orders: refunds find their customer and lines here, My Pages the newest ones."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from plugin.store.database.engine import Database
from plugin.store.database.statements import run
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.orders import ShopOrder

#: Columns that a later webhook sets again on an order without a contact.
_TOLD = (
    "order_number", "customer_id", "contact_id", "currency", "total", "occurred_at", "store_external_id",
    "exchange_rate", "details", "event_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """An order as it was sent, or is about to be.

    details: JSON; `lines` (id, sku, name, quantity, gross, tax, percent as texts), `refunds` (refund id -> line id ->
    quantity), `uses` (it named promotions or vouchers), `ended` (how it was called off), `ended_at` and `active_as_of` (when
    the shop last cancelled or reinstated it; ISO 8601). Money is Decimal in `currency`.
    """

    order_id: str
    order_number: str
    customer_id: str | None
    contact_id: str | None
    currency: str
    total: Decimal
    occurred_at: datetime
    store_external_id: str
    exchange_rate: Decimal | None
    details: dict[str, Any]
    receipt_sent_at: datetime | None = None


class Orders:
    """Reads and writes orders."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, shop: RegisteredShop, order_id: str) -> StoredOrder | None:
        """Return an order, or None when none was paid under that id."""
        with self._database.reading() as session:
            row = session.scalar(select(ShopOrder).where(ShopOrder.shop_id == shop.id, ShopOrder.order_id == order_id))
        return None if row is None else _stored(row)

    def remember(self, shop: RegisteredShop, order: StoredOrder, event_id: int) -> None:
        """Store an order as first paid; what an earlier webhook of the same order stored stays.

        Unless that order had no contact: then its receipt, and so its returns, follow what the shop says now.
        """
        with self._database.transaction() as session:
            self.write_first(session, shop, order, event_id)

    def transaction(self) -> AbstractContextManager[Session]:
        """Begin a transaction for several orders; it is stored when its block ends without an error."""
        return self._database.transaction()

    def write_first(self, session: Session, shop: RegisteredShop, order: StoredOrder, event_id: int | None) -> None:
        """Do what `remember` does within a transaction."""
        statement = self._database.insert(ShopOrder).values(
            shop_id=shop.id,
            order_id=order.order_id,
            order_number=order.order_number,
            customer_id=order.customer_id,
            contact_id=order.contact_id,
            currency=order.currency,
            total=str(order.total),
            occurred_at=order.occurred_at,
            store_external_id=order.store_external_id,
            exchange_rate=None if order.exchange_rate is None else str(order.exchange_rate),
            details=order.details,
            event_id=event_id,
        )
        new = statement.excluded
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["shop_id", "order_id"],
                set_={name: new[name] for name in _TOLD},
                where=ShopOrder.contact_id.is_(None) & ShopOrder.receipt_sent_at.is_(None),
            )
        )

    def write_change(self, session: Session, shop: RegisteredShop, order_id: str, **values: Any) -> None:
        """Change columns of a stored order."""
        this = update(ShopOrder).where(ShopOrder.shop_id == shop.id, ShopOrder.order_id == order_id)
        run(session, this.values(**values))

    def take_over(self, shop: RegisteredShop, kept_id: str, merged_id: str) -> None:
        """Give a customer the orders of one that the shop merged into them: shown to them, and erased with them."""
        merged = (ShopOrder.shop_id == shop.id, ShopOrder.customer_id == merged_id)
        with self._database.transaction() as session:
            session.execute(update(ShopOrder).where(*merged).values(customer_id=kept_id))

    def newest_of(self, shop: RegisteredShop, customer_id: str, limit: int = 10) -> Sequence[StoredOrder]:
        """Return a customer's newest orders, newest first."""
        with self._database.reading() as session:
            rows = session.scalars(
                select(ShopOrder)
                .where(ShopOrder.shop_id == shop.id, ShopOrder.customer_id == customer_id)
                .order_by(ShopOrder.occurred_at.desc())
                .limit(limit)
            ).all()
        return [_stored(row) for row in rows]


def write_refund(
    session: Session, shop: RegisteredShop, order_id: str, refund_id: str, refund: Mapping[str, Any]
) -> None:
    """Note that the return receipt of a refund was sent, beside what others note of the same order."""
    _change_details(
        session, shop, order_id, lambda known: {"refunds": {**known.get("refunds", {}), refund_id: dict(refund)}}
    )


def write_details(session: Session, shop: RegisteredShop, order_id: str, **values: Any) -> None:
    """Note things of an order (JSON), beside what others note of it."""
    _change_details(session, shop, order_id, lambda _known: values)


def _change_details(
    session: Session, shop: RegisteredShop, order_id: str, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    this = (ShopOrder.shop_id == shop.id, ShopOrder.order_id == order_id)
    details = session.scalar(select(ShopOrder.details).where(*this).with_for_update())
    if details is not None:
        run(session, update(ShopOrder).where(*this).values(details={**details, **change(details)}))


def _stored(row: ShopOrder) -> StoredOrder:
    return StoredOrder(
        order_id=row.order_id,
        order_number=row.order_number,
        customer_id=row.customer_id,
        contact_id=row.contact_id,
        currency=row.currency,
        total=Decimal(row.total),
        occurred_at=row.occurred_at,
        store_external_id=row.store_external_id,
        exchange_rate=None if row.exchange_rate is None else Decimal(row.exchange_rate),
        details=row.details,
        receipt_sent_at=row.receipt_sent_at,
    )
