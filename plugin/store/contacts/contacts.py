"""Who is who: links from a shop's customers to contacts, and what Engage was last told of each contact.

All of it is kept per Engage tenant: a shop that is switched to another tenant starts without links.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, Update, bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from plugin.store.database.engine import Database
from plugin.store.database.group_commit import GroupCommit
from plugin.store.database.statements import RowWrite, changed_rows
from plugin.store.database.types import UtcDateTime
from plugin.store.inbox.inbox import is_single_row_error
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.contacts import ConsentEntry, ContactLink, ContactState
from plugin.store.tables.shops import NamedLease

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql import Insert

#: The generation of a contact of whom nothing was cached before.
FIRST_GENERATION = 1


@dataclass(frozen=True, slots=True)
class Link:
    """A customer's contact. verified: whether My Pages may show and events may change it. reason: why (not)."""

    contact_id: str
    verified: bool
    reason: str


@dataclass(frozen=True, slots=True)
class SyncedValue:
    """A field as Engage was last told: keyed hash of its value, and when the fact was so."""

    digest: str
    at: datetime


class Contacts:
    """Reads and writes links, sent fields, consents and generations."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._put_state = state_upsert(database)
        self._confirm_state = _confirmation(database)
        taking = database.insert(NamedLease)
        self._take = taking.on_conflict_do_update(
            index_elements=["name"],
            set_={"token": taking.excluded.token, "expires_at": taking.excluded.expires_at},
            where=NamedLease.expires_at < bindparam("now", type_=UtcDateTime()),
        ).returning(NamedLease.token)
        self._takes: GroupCommit[Mapping[str, Any], str | None] = GroupCommit(self._take_waiting, is_single_row_error)

    def link(self, shop: RegisteredShop, customer_id: str) -> Link | None:
        """Return the contact of a customer, or None."""
        where = {"shop_id": shop.id, "tenant": shop.tenant, "customer_id": customer_id}
        with self._database.read_connection() as connection:
            row = connection.execute(_LINK, where).one_or_none()
        return None if row is None else Link(row.contact_id, row.verified, row.reason)

    def customers_of(self, shop: RegisteredShop, contact_id: str) -> list[str]:
        """Return the customers of the shop that have a verified link to a contact: more than one for several accounts."""
        with self._database.read_connection() as connection:
            return list(connection.execute(_CUSTOMERS, _place(shop, contact_id)).scalars())

    def remember_link(self, shop: RegisteredShop, customer_id: str, link: Link, now: datetime) -> None:
        """Store a link; a verified one is never turned back into an unverified one of the same contact."""
        with self._database.transaction() as session:
            self.write_link(session, shop, customer_id, link, now)

    def write_link(self, session: Session, shop: RegisteredShop, customer_id: str, link: Link, now: datetime) -> None:
        """Do what `remember_link` does within a transaction."""
        statement = self._database.insert(ContactLink).values(
            shop_id=shop.id,
            tenant=shop.tenant,
            customer_id=customer_id,
            contact_id=link.contact_id,
            verified=link.verified,
            reason=link.reason,
            created_at=now,
        )
        changed = {"contact_id": link.contact_id, "verified": link.verified, "reason": link.reason}
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["shop_id", "tenant", "customer_id"],
                set_=changed,
                where=(ContactLink.contact_id != link.contact_id) | ContactLink.verified.is_(False),
            )
        )

    def remember_links(self, shop: RegisteredShop, links: Mapping[str, Link], now: datetime) -> None:
        """Store many links at once, for customers that have none."""
        rows = [
            {
                "shop_id": shop.id,
                "tenant": shop.tenant,
                "customer_id": customer_id,
                "contact_id": link.contact_id,
                "verified": link.verified,
                "reason": link.reason,
                "created_at": now,
            }
            for customer_id, link in links.items()
        ]
        statement = self._database.insert(ContactLink).on_conflict_do_nothing(
            index_elements=["shop_id", "tenant", "customer_id"]
        )
        with self._database.transaction() as session:
            session.connection().execute(statement, rows)

    def forget_link(self, shop: RegisteredShop, customer_id: str) -> None:
        """Forget the link of a customer that the shop merged away."""
        with self._database.transaction() as session:
            session.execute(
                delete(ContactLink).where(
                    ContactLink.shop_id == shop.id,
                    ContactLink.tenant == shop.tenant,
                    ContactLink.customer_id == customer_id,
                )
            )

    def unverified_links(self, shop: RegisteredShop) -> int:
        """Count links over which no personal data may flow, for `doctor`."""
        with self._database.reading() as session:
            return (
                session.scalar(
                    select(func.count())
                    .select_from(ContactLink)
                    .where(
                        ContactLink.shop_id == shop.id,
                        ContactLink.tenant == shop.tenant,
                        ContactLink.verified.is_(False),
                    )
                )
                or 0
            )

    def state(self, shop: RegisteredShop, contact_id: str) -> tuple[str | None, dict[str, SyncedValue]]:
        """Return the contact type last known and the fields last sent."""
        contact_type, sent, _ = self.known(shop, contact_id)
        return contact_type, sent

    def known(self, shop: RegisteredShop, contact_id: str) -> tuple[str | None, dict[str, SyncedValue], int]:
        """Return what `state` does, and the generation, which counts up with each change that My Pages show."""
        with self._database.read_connection() as connection:
            row = connection.execute(_STATE, _place(shop, contact_id)).one_or_none()
        if row is None:
            return None, {}, 0
        sent = {name: SyncedValue(digest, datetime.fromisoformat(at)) for name, (digest, at) in row.sent.items()}
        return row.contact_type, sent, row.generation

    def confirmed(
        self, shop: RegisteredShop, contact_id: str, fields: Mapping[str, SyncedValue], generation: int, now: datetime
    ) -> RowWrite:
        """Return the write that notes fields as still being so, unless the contact was changed since that generation."""
        row = {
            "of_shop": shop.id,
            "of_tenant": shop.tenant,
            "of_contact": contact_id,
            "at_generation": generation,
            "confirmed": _as_json(fields),
            "now": now,
        }
        return RowWrite(self._confirm_state, row, contact_id)

    def sent(
        self,
        shop: RegisteredShop,
        contact_id: str,
        fields: Mapping[str, SyncedValue],
        now: datetime,
        *,
        contact_type: str | None = None,
        forget_cached: bool = True,
    ) -> RowWrite:
        """Return the write that adds fields to what was sent, notes the contact type and forgets cached pages."""
        row = state_row(shop, contact_id, fields, now, contact_type=contact_type, forget_cached=forget_cached)
        return RowWrite(self._put_state, row, contact_id)

    def bump_generation_write(self, shop: RegisteredShop, contact_id: str, now: datetime) -> RowWrite:
        """Return the write that makes cached pages of the contact unreachable everywhere, for the commit of what changed it."""
        return self.sent(shop, contact_id, {}, now)

    def forget_cached(self, shop: RegisteredShop, contact_id: str, now: datetime) -> None:
        """Make every cached page of the contact unreachable, for who has nothing else to commit with it."""
        with self._database.transaction() as session:
            self.bump_generation_write(shop, contact_id, now)(session)

    def invalidate_before(self, shop: RegisteredShop, contact_id: str, now: datetime, pause: timedelta) -> bool:
        """Let what was fetched of the contact before now count as stale; False within a pause after the last time."""
        made = {**_place(shop, contact_id), "sent": {}, "generation": 0, "fresh_after": now, "updated_at": now}
        statement = (
            self._database.insert(ContactState)
            .values(made)
            .on_conflict_do_update(
                index_elements=["shop_id", "tenant", "contact_id"],
                set_={"fresh_after": now},
                where=ContactState.fresh_after.is_(None) | (ContactState.fresh_after <= now - pause),
            )
            .returning(ContactState.id)
        )
        with self._database.transaction() as session:
            return session.scalar(statement) is not None

    def generation(self, shop: RegisteredShop, contact_id: str) -> int:
        """Return the number that stands in every cache key of the contact."""
        with self._database.read_connection() as connection:
            row = connection.execute(_STATE, _place(shop, contact_id)).one_or_none()
        return 0 if row is None else int(row.generation)

    def last_consents(self, shop: RegisteredShop, contact_id: str) -> dict[str, tuple[bool, datetime]]:
        """Return each subject's newest yes or no and its time; at the same time the no counts."""
        with self._database.reading() as session:
            rows = session.execute(
                select(ConsentEntry.subject, ConsentEntry.value, ConsentEntry.at)
                .where(ConsentEntry.shop_id == shop.id, ConsentEntry.contact_id == contact_id)
                .order_by(ConsentEntry.at, ConsentEntry.value.desc())
            ).all()
        return {subject: (value, at) for subject, value, at in rows}

    def write_consents(
        self,
        session: Session,
        shop: RegisteredShop,
        contact_id: str,
        entries: Mapping[str, tuple[bool, datetime, str | None]],
        event_id: int | None,
        now: datetime,
    ) -> None:
        """Add dated answers to the ledger."""
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

    def move_consents(self, session: Session, shop: RegisteredShop, contact_id: str, other_id: str) -> None:
        """Make a contact's answers another's."""
        theirs = (ConsentEntry.shop_id == shop.id, ConsentEntry.contact_id == contact_id)
        session.execute(update(ConsentEntry).where(*theirs).values(contact_id=other_id))

    def forget_consents(self, session: Session, shop: RegisteredShop, contact_id: str) -> None:
        """Take a contact's answers out of the ledger."""
        theirs = (ConsentEntry.shop_id == shop.id, ConsentEntry.contact_id == contact_id)
        session.execute(delete(ConsentEntry).where(*theirs))

    def acquire_lock(self, name: str, now: datetime, length: timedelta) -> str | None:
        """Take a named lease and return its token; None while another worker holds it."""
        token = secrets.token_hex(16)
        return self._takes.run({"name": name, "token": token, "expires_at": now + length, "now": now})

    def _take_waiting(self, waiting: Callable[[], Sequence[Mapping[str, Any]]]) -> list[str | None]:
        """Take in one commit the leases that threads ask for, by name: two commits never wait for each other.

        Who asks first gets a name that two ask for.
        """
        with self._database.transaction() as session:
            self._database.allow_async_commit(session)
            connection, asked = session.connection(), waiting()
            first = {row["name"]: row for row in reversed(asked)}
            now = min(row["now"] for row in asked)  # one for the whole statement
            rows = [{**first[name], "now": now} for name in sorted(first)]
            taken = set(connection.execute(self._take, rows).scalars())
        return [row["token"] if row["token"] in taken else None for row in asked]

    def prolong_lease(self, name: str, token: str, now: datetime, length: timedelta) -> bool:
        """Hold a named lease for longer; False when it was lost."""
        this = update(NamedLease).where(NamedLease.name == name, NamedLease.token == token)
        with self._database.transaction() as session:
            return changed_rows(session.execute(this.values(expires_at=now + length))) == 1

    def release_write(self, name: str, token: str) -> RowWrite:
        """Return the write that gives a named lease back, for the commit of what it was taken for."""
        return RowWrite(_GIVE_BACK, {"lease": name, "held": token}, name)

    def release_lock(self, name: str, token: str) -> None:
        """Give a named lease back; one that was lost meanwhile stays with its new holder."""
        with self._database.transaction() as session:
            self.release_write(name, token)(session)


def state_upsert(database: Database) -> "Insert":
    """Return the statement that stores rows of `state_row`: fields are added to those there, the generation counts up."""
    statement = database.insert(ContactState)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["shop_id", "tenant", "contact_id"],
        set_={
            "sent": database.merged_json(ContactState.sent, new.sent),
            "contact_type": func.coalesce(new.contact_type, ContactState.contact_type),
            "generation": ContactState.generation + new.generation - FIRST_GENERATION,
            "updated_at": new.updated_at,
        },
    )


def _confirmation(database: Database) -> Update:
    """Return the statement that adds fields to those sent of a contact that nobody changed since it was read."""
    return (
        update(ContactState)
        .where(
            ContactState.shop_id == bindparam("of_shop"),
            ContactState.tenant == bindparam("of_tenant"),
            ContactState.contact_id == bindparam("of_contact"),
            ContactState.generation == bindparam("at_generation"),
        )
        .values(
            sent=database.merged_json(ContactState.sent, bindparam("confirmed", type_=JSON)),
            updated_at=bindparam("now", type_=UtcDateTime()),
        )
    )


def state_row(
    shop: RegisteredShop,
    contact_id: str,
    fields: Mapping[str, SyncedValue],
    now: datetime,
    *,
    contact_type: str | None = None,
    forget_cached: bool = True,
) -> dict[str, object]:
    """Return what `state_upsert` needs of one contact. forget_cached: whether cached pages of it are forgotten."""
    return {
        **_place(shop, contact_id),
        "contact_type": contact_type,
        "sent": _as_json(fields),
        "generation": FIRST_GENERATION + forget_cached,
        "updated_at": now,
    }


def _as_json(fields: Mapping[str, SyncedValue]) -> dict[str, list[str]]:
    return {name: [sent.digest, sent.at.isoformat()] for name, sent in fields.items()}


def _place(shop: RegisteredShop, contact_id: str) -> dict[str, object]:
    return {"shop_id": shop.id, "tenant": shop.tenant, "contact_id": contact_id}


# made once: building a statement takes longer than running it
_GIVE_BACK = delete(NamedLease).where(NamedLease.name == bindparam("lease"), NamedLease.token == bindparam("held"))
_LINK = select(ContactLink.contact_id, ContactLink.verified, ContactLink.reason).where(
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
_STATE = select(ContactState.id, ContactState.contact_type, ContactState.sent, ContactState.generation).where(
    ContactState.shop_id == bindparam("shop_id"),
    ContactState.tenant == bindparam("tenant"),
    ContactState.contact_id == bindparam("contact_id"),
)
