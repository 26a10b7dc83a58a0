"""Waiting profile changes taken and ended by the thousand, for the bulk API. One customer's turn stays one at a time:
only the first waiting change of each is leased; later ones are merged into it and end with it.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import and_, func, insert, select, update
from sqlalchemy.orm import Session

from plugin.store.contacts.sync_state import SyncedValue, read_synced_values, sync_state_row, sync_state_upsert
from plugin.store.database.engine import Database
from plugin.store.database.statements import run
from plugin.store.inbox.bulk_statements import another_goes_first, changes_under, is_backlog
from plugin.store.inbox.claiming import release_waiting
from plugin.store.inbox.statements import LEASES
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.contacts import ContactLink, ContactState
from plugin.store.tables.inbox import DeliveryAttempt, InboxEvent, State, is_in

CHUNK = 1000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change:
    """A waiting profile change. leads: it holds the lease of its customer; the others end with it."""

    id: int
    platform: str
    topic: str
    meta: Mapping[str, str]
    body: bytes
    ordering_key: str
    occurred_at: datetime
    received_at: datetime
    leads: bool


@dataclass(frozen=True, slots=True)
class ClaimedBatch:
    """Changes under one lease, by ordering key in the order they happened."""

    token: str
    changes: Mapping[str, Sequence[Change]]


@dataclass(frozen=True, slots=True)
class KnownContact:
    """What is known of a customer's contact: type and the fields last sent."""

    contact_id: str
    contact_type: str | None
    sent: Mapping[str, SyncedValue]


@dataclass(frozen=True, slots=True)
class SyncedFields:
    """What a customer's changes sent to their contact, by field."""

    contact_id: str
    sent: Mapping[str, SyncedValue]


class BulkInbox:
    """Takes and ends many profile changes of one shop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._put_state = sync_state_upsert(database)

    def waiting(self, shop: RegisteredShop, now: datetime, limit: int) -> int:
        """Count due profile changes that came a while ago, up to `limit`."""
        with self._database.reading() as session:
            found = select(InboxEvent.id).where(is_backlog(shop, now)).limit(limit)
            return session.scalar(select(func.count()).select_from(found.subquery())) or 0

    def take(self, shop: RegisteredShop, now: datetime, lease: timedelta, limit: int) -> ClaimedBatch:
        """Lease the first waiting change of up to `limit` customers, and return it with those that follow it."""
        token = secrets.token_hex(16)
        with self._database.transaction() as session:
            heads = (
                select(InboxEvent.id)
                .where(is_backlog(shop, now), ~another_goes_first())
                .order_by(InboxEvent.next_attempt_at, InboxEvent.id)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            ids = list(session.scalars(heads))
            for chunk in _chunks(ids):
                values = {
                    "state": State.LEASED,
                    "attempts": InboxEvent.attempts + 1,
                    "first_attempt_at": func.coalesce(InboxEvent.first_attempt_at, now),
                    "lease_token": token,
                    "lease_expires_at": now + lease,
                }
                run(session, update(InboxEvent).where(InboxEvent.id.in_(chunk), is_in(State.PENDING)).values(**values))
            rows = session.execute(changes_under(token)).all()
        changes: dict[str, list[Change]] = {}
        for row in rows:
            changes.setdefault(row.ordering_key, []).append(
                Change(
                    row.id,
                    row.platform,
                    row.topic,
                    row.meta,
                    row.body or b"",
                    row.ordering_key,
                    row.occurred_at,
                    row.received_at,
                    leads=row.lease_token == token,
                )
            )
        return ClaimedBatch(token, changes)

    def known_contacts(self, shop: RegisteredShop, customer_ids: Sequence[str]) -> dict[str, KnownContact]:
        """Return the verified contacts of customers."""
        found: dict[str, KnownContact] = {}
        with self._database.reading() as session:
            for chunk in _chunks(customer_ids):
                rows = session.execute(
                    select(
                        ContactLink.customer_id, ContactLink.contact_id, ContactState.contact_type, ContactState.sent
                    )
                    .outerjoin(
                        ContactState,
                        and_(
                            ContactState.shop_id == ContactLink.shop_id,
                            ContactState.tenant == ContactLink.tenant,
                            ContactState.contact_id == ContactLink.contact_id,
                        ),
                    )
                    .where(
                        ContactLink.shop_id == shop.id,
                        ContactLink.tenant == shop.tenant,
                        ContactLink.customer_id.in_(chunk),
                        ContactLink.verified,
                    )
                )
                for customer_id, contact_id, contact_type, sent in rows:
                    found[customer_id] = KnownContact(contact_id, contact_type, read_synced_values(sent))
        return found

    def shared_contacts(self, shop: RegisteredShop, contact_ids: Sequence[str]) -> set[str]:
        """Return which of these contacts several customers of the tenant are."""
        found: set[str] = set()
        with self._database.reading() as session:
            for chunk in _chunks(contact_ids):
                several = (
                    select(ContactLink.contact_id)
                    .where(ContactLink.tenant == shop.tenant, ContactLink.contact_id.in_(chunk), ContactLink.verified)
                    .group_by(ContactLink.contact_id)
                    .having(func.count() > 1)
                )
                found.update(session.scalars(several))
        return found

    def prolong(self, taken: ClaimedBatch, keys: Sequence[str], now: datetime, lease: timedelta) -> set[str]:
        """Extend the leases of these ordering keys; return those whose lease was lost."""
        with self._database.transaction() as session:
            held = _held(session, taken, keys)
            for chunk in _chunks([change.id for change in _leading(taken.changes[key] for key in held)]):
                run(session, _leased(chunk, taken.token).values(lease_expires_at=now + lease))
        return set(keys).difference(held)

    def deliver(
        self,
        shop: RegisteredShop,
        taken: ClaimedBatch,
        sent: Mapping[str, SyncedFields],
        now: datetime,
        outcome: str,
        *,
        shown: bool = True,
    ) -> int:
        """End changes as delivered, and store what they sent to their contacts; return how many ended.

        sent: by ordering key. Keys whose lease was lost are left alone: the worker that took them over sends and stores them.
        shown: whether any of it can be seen on My Pages, whose cache is then forgotten.
        """
        with self._database.transaction() as session:
            held = _held(session, taken, list(sent))
            self._write_sent(session, shop, _newest(sent[key] for key in held), now, shown=shown)
            for chunk in _chunks(held):
                ended = [change for key in chunk for change in taken.changes[key]]
                ours = {change.id for change in ended if change.leads}
                values = {"state": State.DELIVERED, "finished_at": now, "next_attempt_at": None, "last_error": None}
                run(session, _leased(ours, taken.token).values(**values, lease_token=None, lease_expires_at=None))
                followers = [change.id for change in ended if not change.leads]
                if followers:
                    pending = update(InboxEvent).where(InboxEvent.id.in_(followers), is_in(State.PENDING))
                    run(session, pending.values(**values))
                lines = [
                    {"event_id": c.id, "attempt": 1, "at": now, "operation": "bulk_patch_contacts", "outcome": outcome}
                    for c in ended
                ]
                session.connection().execute(insert(DeliveryAttempt), lines)
                release_waiting(session, {(shop.id, key): now for key in chunk})
        return sum(len(taken.changes[key]) for key in held)

    def remember_sent(self, shop: RegisteredShop, sent: Mapping[str, Mapping[str, SyncedValue]], now: datetime) -> None:
        """Store what Engage now knows of contacts, by contact id, and let their cached pages be forgotten."""
        with self._database.transaction() as session:
            self._write_sent(session, shop, sent, now)

    def release(
        self, taken: ClaimedBatch, keys: Sequence[str], at: datetime, error: str, code: str, *, counts: bool
    ) -> None:
        """Put the changes of these ordering keys back until `at`. code: SEND_SINGLY keeps them from the bulk API."""
        with self._database.transaction() as session:
            for chunk in _chunks(keys):
                leading = {change.id for change in _leading(taken.changes[key] for key in chunk)}
                values = {
                    "state": State.PENDING,
                    "attempts": InboxEvent.attempts if counts else InboxEvent.attempts - 1,
                    "last_error": error[:1000],
                    "error_code": code,
                    "next_attempt_at": at,
                    "lease_token": None,
                    "lease_expires_at": None,
                }
                run(session, _leased(leading, taken.token).values(**values))

    def _write_sent(
        self,
        session: Session,
        shop: RegisteredShop,
        sent: Mapping[str, Mapping[str, SyncedValue]],
        now: datetime,
        *,
        shown: bool = True,
    ) -> None:
        """Store what was sent to contacts; what another worker sent later, while a batch was under way, stays."""
        rows = []
        for chunk in _chunks(sorted(sent)):
            known = _lock_sent(session, shop, chunk)
            for contact_id in chunk:
                before = known.get(contact_id, {})
                fields = {n: one for n, one in sent[contact_id].items() if n not in before or before[n].at <= one.at}
                rows.append(sync_state_row(shop, contact_id, fields, now, bump_generation=shown))
        if rows:
            session.connection().execute(self._put_state, rows)


def _lock_sent(session: Session, shop: RegisteredShop, contact_ids: Sequence[str]) -> dict[str, dict[str, SyncedValue]]:
    rows = session.execute(
        select(ContactState.contact_id, ContactState.sent)
        .where(
            ContactState.shop_id == shop.id,
            ContactState.tenant == shop.tenant,
            ContactState.contact_id.in_(contact_ids),
        )
        .order_by(ContactState.contact_id)
        .with_for_update()
    )
    return {contact_id: read_synced_values(sent) for contact_id, sent in rows}


def _held(session: Session, taken: ClaimedBatch, keys: Sequence[str]) -> list[str]:
    """Lock what leads these ordering keys, in the order in which everybody does; return those whose lease holds."""
    key_of = {change.id: key for key in keys for change in taken.changes[key] if change.leads}
    held = []
    for chunk in _chunks(sorted(key_of)):
        rows = session.connection().execute(LEASES, {"row_ids": chunk})
        held += [key_of[event_id] for event_id, token in rows if token == taken.token]
    return held


def _newest(updates: Iterable[SyncedFields]) -> dict[str, dict[str, SyncedValue]]:
    """Merge what several customers sent to the same contact."""
    contacts: dict[str, dict[str, SyncedValue]] = {}
    for update_ in updates:
        fields = contacts.setdefault(update_.contact_id, {})
        for name, sent in update_.sent.items():
            if name not in fields or fields[name].at <= sent.at:
                fields[name] = sent
    return {contact_id: fields for contact_id, fields in contacts.items() if fields}


def _leased(ids: Iterable[int], token: str) -> Any:
    return update(InboxEvent).where(InboxEvent.id.in_(ids), is_in(State.LEASED), InboxEvent.lease_token == token)


def _leading(groups: Iterable[Sequence[Change]]) -> Iterable[Change]:
    return (change for group in groups for change in group if change.leads)


def _chunks(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
