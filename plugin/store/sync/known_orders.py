"""What is known here of orders that were read from a shop: from the order table and from the inbox."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select

from plugin.event_kinds import EventKind
from plugin.store.database.engine import Database
from plugin.store.inbox.keys import customer_key
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.inbox import InboxEvent, is_unfinished
from plugin.store.tables.orders import ShopOrder

CHUNK = 500


@dataclass(frozen=True, slots=True)
class KnownOrder:
    """What is known here of one order. states: of its paid and refund events, by inbox state, newest last.

    refunds_empty: those of refunds_sent that made no receipt, because nothing of them was new. ended: it was cancelled,
    or returned as a whole.
    """

    receipt_sent: bool = False
    without_contact: bool = False
    contact_id: str | None = None
    refunds_sent: frozenset[str] = frozenset()
    refunds_empty: frozenset[str] = frozenset()
    ended: bool = False
    paid_states: tuple[str, ...] = ()
    refund_states: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SentOrder:
    """An order whose receipt was sent, with the webhook that reported it. body: None once it was purged."""

    order_id: str
    contact_id: str
    occurred_at: datetime
    platform: str | None
    topic: str | None
    meta: Mapping[str, str] | None
    body: bytes | None


class KnownOrders:
    """Looks up orders and customers that a sync found in the shop."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, shop: RegisteredShop, order_ids: Sequence[str]) -> dict[str, KnownOrder]:
        """Return what is known of orders, by id; an unknown order is left out."""
        orders: dict[str, KnownOrder] = {}
        for start in range(0, len(order_ids), CHUNK):
            orders |= self._find(shop, order_ids[start : start + CHUNK])
        return orders

    def _find(self, shop: RegisteredShop, order_ids: Sequence[str]) -> dict[str, KnownOrder]:
        with self._database.reading() as session:
            orders = session.execute(
                select(ShopOrder.order_id, ShopOrder.receipt_sent_at, ShopOrder.contact_id, ShopOrder.details).where(
                    ShopOrder.shop_id == shop.id, ShopOrder.order_id.in_(order_ids)
                )
            ).all()
            events = session.execute(
                select(InboxEvent.order_ref, InboxEvent.kind, InboxEvent.state)
                .where(
                    InboxEvent.shop_id == shop.id,
                    InboxEvent.order_ref.in_(order_ids),
                    InboxEvent.kind.in_([EventKind.ORDER_PAID, EventKind.REFUND]),
                )
                .order_by(InboxEvent.id)
            ).all()
        stored = {row.order_id: row for row in orders}
        states: dict[tuple[str, str], list[str]] = {}
        for order_ref, kind, state in events:
            states.setdefault((str(order_ref), kind), []).append(state)
        known = {}
        for order_id in {*stored, *(order_ref for order_ref, _ in states)}:
            row = stored.get(order_id)
            refunds = {} if row is None else row.details.get("refunds", {})
            known[order_id] = KnownOrder(
                receipt_sent=row is not None and row.receipt_sent_at is not None,
                without_contact=row is not None and row.contact_id is None,
                contact_id=None if row is None else row.contact_id,
                refunds_sent=frozenset(refunds),
                refunds_empty=frozenset(name for name, refund in refunds.items() if not Decimal(refund["total"])),
                ended=row is not None and bool(row.details.get("ended")),
                paid_states=tuple(states.get((order_id, EventKind.ORDER_PAID), ())),
                refund_states=tuple(states.get((order_id, EventKind.REFUND), ())),
            )
        return known

    def with_receipt(
        self, shop: RegisteredShop, since: datetime, until: datetime, after: str = "", limit: int = CHUNK
    ) -> list[SentOrder]:
        """Return orders of [since, until) whose receipt was sent, by order id, starting after `after`."""
        with self._database.reading() as session:
            rows = session.execute(
                select(
                    ShopOrder.order_id,
                    ShopOrder.contact_id,
                    ShopOrder.occurred_at,
                    InboxEvent.platform,
                    InboxEvent.topic,
                    InboxEvent.meta,
                    InboxEvent.body,
                )
                .outerjoin(InboxEvent, InboxEvent.id == ShopOrder.event_id)
                .where(
                    ShopOrder.shop_id == shop.id,
                    ShopOrder.occurred_at >= since,
                    ShopOrder.occurred_at < until,
                    ShopOrder.receipt_sent_at.is_not(None),
                    ShopOrder.contact_id.is_not(None),
                    ShopOrder.order_id > after,
                )
                .order_by(ShopOrder.order_id)
                .limit(limit)
            ).all()
        return [SentOrder(*row) for row in rows]

    def has_unfinished_events(self, shop: RegisteredShop, customer_id: str) -> bool:
        """Return whether an event of a customer is unfinished: under way, or parked for an operator."""
        unfinished = select(InboxEvent.id).where(
            is_unfinished(), InboxEvent.shop_id == shop.id, InboxEvent.ordering_key == customer_key(customer_id)
        )
        with self._database.reading() as session:
            return session.scalar(unfinished.limit(1)) is not None
