"""The sweep finds what crashes leave behind: lost leases, events that no worker was notified of, overdue rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from plugin.errors import ConfigurationError
from plugin.event_kinds import BLOCKING_KINDS
from plugin.store.database.engine import Database
from plugin.store.database.statements import run
from plugin.store.inbox.inbox import OVERDUE_AFTER
from plugin.store.inbox.statements import due_events, goes_first, is_blocking, is_earlier
from plugin.store.locks import MAX_LOCK_DURATION
from plugin.store.shops.settings import parse_settings
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.inbox import DeliveryAttempt, InboxEvent, State, is_in, is_unfinished
from plugin.store.tables.shops import NamedLease, Shop, UsedToken

BATCH = 1000
#: How often an event may lose its worker before it is parked for an operator.
MAX_LOST_LEASES = 10
#: How far the clocks of machines may be apart.
MAX_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What one sweep found. due: ids to wake workers for; overdue: due for longer than a minute (the alarm figure)."""

    lost_leases: int
    released: int
    overdue: int
    due: tuple[int, ...]


class Sweep:
    """One pass over the inbox. Any number of machines may run it side by side.

    longest_lease, longest_wait: what is leased or put off for longer was so by a clock that was wrong and is right
    again; that time is not waited for. The same holds for named locks of more than MAX_LOCK_DURATION.
    """

    def __init__(
        self,
        database: Database,
        *,
        longest_lease: timedelta = timedelta(hours=1),
        longest_wait: timedelta = timedelta(hours=6),
    ) -> None:
        self._database = database
        self._longest_lease, self._longest_wait = longest_lease + MAX_CLOCK_SKEW, longest_wait + MAX_CLOCK_SKEW

    def run(self, now: datetime, *, wake_at_most: int = 8) -> SweepResult:
        """Free lost leases, release waiting events that nothing blocks, and return what is due."""
        with self._database.transaction() as session:
            lost = _change(
                session,
                and_(
                    is_in(State.LEASED),
                    or_(InboxEvent.lease_expires_at < now, InboxEvent.lease_expires_at > now + self._longest_lease),
                ),
                state=State.PENDING,
                lease_token=None,
                lease_expires_at=None,
                next_attempt_at=now,
                lost_leases=InboxEvent.lost_leases + 1,
            )
            if lost:
                self._park_poison_events(session)
            too_far = and_(is_in(State.PENDING), InboxEvent.next_attempt_at > now + self._longest_wait)
            _change(session, too_far, next_attempt_at=now)
            _free_locks_from_the_future(session, now)
            released = self._release_waiting(session, now)
        with self._database.reading() as session:
            due = tuple(session.scalars(due_events(now).order_by(InboxEvent.next_attempt_at).limit(wake_at_most)))
            overdue = session.scalar(select(func.count()).select_from(due_events(now - OVERDUE_AFTER).subquery()))
        return SweepResult(lost_leases=lost, released=released, overdue=overdue or 0, due=due)

    def purge_expired(self, now: datetime, shops: tuple[RegisteredShop, ...]) -> int:
        """Erase what is stored for a limited time only: bodies of finished events, expired tokens and named leases.

        Returns the number of bodies erased.
        """
        erased = 0
        for shop in shops:
            end = now - timedelta(days=shop.settings.keep_bodies_days)
            with self._database.transaction() as session:
                old = (
                    select(InboxEvent.id)
                    .where(
                        InboxEvent.shop_id == shop.id,
                        InboxEvent.state.in_([State.DELIVERED, State.IGNORED, State.DISCARDED]),
                        InboxEvent.finished_at < end,
                        InboxEvent.body.is_not(None),
                    )
                    .limit(BATCH)
                )
                ids = list(session.scalars(old))
                run(session, update(InboxEvent).where(InboxEvent.id.in_(ids)).values(body=None))
                run(session, update(DeliveryAttempt).where(DeliveryAttempt.event_id.in_(ids)).values(sent=None))
                erased += len(ids)
        with self._database.transaction() as session:
            session.execute(delete(UsedToken).where(UsedToken.expires_at < now))
            session.execute(delete(NamedLease).where(NamedLease.expires_at < now))
        return erased

    def _park_poison_events(self, session: Session) -> None:
        """Park events that lost their worker again and again: one of them may be what kills it."""
        why = f"Its worker died or hung {MAX_LOST_LEASES} times. The log of that time says why; then retry it."
        poison_events = (
            select(InboxEvent.id, InboxEvent.kind, Shop.settings)
            .join(Shop, Shop.id == InboxEvent.shop_id)
            .where(is_in(State.PENDING), InboxEvent.lost_leases >= MAX_LOST_LEASES)
            .with_for_update(skip_locked=True, of=InboxEvent)
        )
        for event_id, kind, stored in session.execute(poison_events).all():
            parked = {
                "state": State.PARKED,
                "next_attempt_at": None,
                "blocks_later_changes": kind in BLOCKING_KINDS and _parked_hold(stored),
                "last_error": why,
                "error_code": "lost_lease",
            }
            run(session, update(InboxEvent).where(InboxEvent.id == event_id).values(parked))

    def _release_waiting(self, session: Session, now: datetime) -> int:
        """Make waiting events due that nothing of their customer goes before: a crash lost their release, or they came
        while a later one was at work, which is tried again at its own time."""
        mate = aliased(InboxEvent)
        earlier = is_earlier(mate, InboxEvent)
        same_key = and_(mate.shop_id == InboxEvent.shop_id, mate.ordering_key == InboxEvent.ordering_key)
        waiting = (
            select(InboxEvent.id)
            .join(Shop, Shop.id == InboxEvent.shop_id)
            .where(
                is_in(State.PENDING),
                InboxEvent.next_attempt_at.is_(None),
                is_blocking(),
                ~exists()
                .where(is_unfinished(mate), same_key, goes_first(mate, InboxEvent.kind, earlier))
                .correlate(InboxEvent, Shop),
            )
            .limit(BATCH)
            .with_for_update(skip_locked=True, of=InboxEvent)
        )
        heads = list(session.scalars(waiting))
        if heads:
            run(session, update(InboxEvent).where(InboxEvent.id.in_(heads)).values(next_attempt_at=now))
        gone = aliased(InboxEvent)
        parked_is_gone = ~exists().where(gone.id == InboxEvent.blocked_by_id, is_in(State.PARKED, gone))
        freed = _change(
            session,
            and_(
                is_in(State.PENDING),
                InboxEvent.blocked_by_id.is_not(None),
                parked_is_gone,
            ),
            blocked_by_id=None,
            next_attempt_at=now,
        )
        return len(heads) + freed


def _change(session: Session, which: ColumnElement[bool], **values: Any) -> int:
    """Change a batch of events and return how many. An event that another transaction is changing is left to it."""
    found = select(InboxEvent.id).where(which).order_by(InboxEvent.id).limit(BATCH)
    ids = list(session.scalars(found.with_for_update(skip_locked=True, of=InboxEvent)))
    return run(session, update(InboxEvent).where(InboxEvent.id.in_(ids)).values(**values)) if ids else 0


def _free_locks_from_the_future(session: Session, now: datetime) -> None:
    """Free named locks that a machine took while its clock was far ahead and did not release: they would last as long."""
    latest = now + MAX_LOCK_DURATION + MAX_CLOCK_SKEW
    named = select(NamedLease.name).where(NamedLease.expires_at > latest).order_by(NamedLease.name)
    names = list(session.scalars(named.with_for_update(skip_locked=True)))
    if names:
        session.execute(delete(NamedLease).where(NamedLease.name.in_(names)))


def _parked_hold(stored: Mapping[str, str]) -> bool:
    """Return whether a shop's parked events block others; one shop's faulty settings must not stop the sweep of all."""
    try:
        return parse_settings(stored).parked_hold_contacts
    except ConfigurationError:
        return True
