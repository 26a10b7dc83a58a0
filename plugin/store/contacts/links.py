"""Which contact a shop's customer is, and whether that is proved.

Links belong to an Engage tenant: a shop that is switched to another tenant starts without links.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, bindparam, delete, func, select
from sqlalchemy.orm import Session

from plugin.store.database.engine import Database
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.contacts import ContactLink


@dataclass(frozen=True, slots=True)
class Link:
    """A customer's contact. verified: whether My Pages may show and events may change it. reason: why (not)."""

    contact_id: str
    verified: bool
    reason: str


class ContactLinks:
    """Reads and writes the links from customers to contacts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, shop: RegisteredShop, customer_id: str) -> Link | None:
        """Return the link of a customer, or None."""
        with self._database.read_connection() as connection:
            row = connection.execute(_FIND, _key(shop, customer_id)).one_or_none()
        return None if row is None else Link(row.contact_id, row.verified, row.reason)

    def customers_of(self, shop: RegisteredShop, contact_id: str) -> list[str]:
        """Return the shop's customers with a verified link to a contact: several when the shopper has several accounts."""
        parameters = {"shop_id": shop.id, "tenant": shop.tenant, "contact_id": contact_id}
        with self._database.read_connection() as connection:
            return list(connection.execute(_CUSTOMERS, parameters).scalars())

    def save(self, shop: RegisteredShop, customer_id: str, link: Link, now: datetime) -> None:
        """Store a link; a verified one never becomes an unverified one of the same contact."""
        with self._database.transaction() as session:
            self.write(session, shop, customer_id, link, now)

    def write(self, session: Session, shop: RegisteredShop, customer_id: str, link: Link, now: datetime) -> None:
        """Do what `save` does within a transaction."""
        insert = self._database.insert(ContactLink).values(_row(shop, customer_id, link, now))
        session.execute(
            insert.on_conflict_do_update(
                index_elements=["shop_id", "tenant", "customer_id"],
                set_={"contact_id": link.contact_id, "verified": link.verified, "reason": link.reason},
                where=(ContactLink.contact_id != link.contact_id) | ContactLink.verified.is_(False),
            )
        )

    def save_missing(self, shop: RegisteredShop, links: Mapping[str, Link], now: datetime) -> None:
        """Store the links of many customers, by customer id; customers that have one are left alone."""
        insert = self._database.insert(ContactLink).on_conflict_do_nothing(
            index_elements=["shop_id", "tenant", "customer_id"]
        )
        rows = [_row(shop, customer_id, link, now) for customer_id, link in links.items()]
        with self._database.transaction() as session:
            session.connection().execute(insert, rows)

    def delete(self, shop: RegisteredShop, customer_id: str) -> None:
        """Delete the link of a customer that the shop merged into another."""
        with self._database.transaction() as session:
            session.execute(delete(ContactLink).where(_links_of(shop), ContactLink.customer_id == customer_id))

    def count_unverified(self, shop: RegisteredShop) -> int:
        """Count the links over which no personal data may flow, for `doctor`."""
        unverified = select(func.count()).where(_links_of(shop), ContactLink.verified.is_(False))
        with self._database.reading() as session:
            return session.scalar(unverified) or 0


def _links_of(shop: RegisteredShop) -> Any:
    return and_(ContactLink.shop_id == shop.id, ContactLink.tenant == shop.tenant)


def _key(shop: RegisteredShop, customer_id: str) -> dict[str, object]:
    return {"shop_id": shop.id, "tenant": shop.tenant, "customer_id": customer_id}


def _row(shop: RegisteredShop, customer_id: str, link: Link, now: datetime) -> dict[str, object]:
    return {
        **_key(shop, customer_id),
        "contact_id": link.contact_id,
        "verified": link.verified,
        "reason": link.reason,
        "created_at": now,
    }


# made once: building a statement takes longer than running it
_FIND = select(ContactLink.contact_id, ContactLink.verified, ContactLink.reason).where(
    ContactLink.shop_id == bindparam("shop_id"),
    ContactLink.tenant == bindparam("tenant"),
    ContactLink.customer_id == bindparam("customer_id"),
)
_CUSTOMERS = select(ContactLink.customer_id).where(
    ContactLink.shop_id == bindparam("shop_id"),
    ContactLink.tenant == bindparam("tenant"),
    ContactLink.contact_id == bindparam("contact_id"),
    ContactLink.verified,
)
