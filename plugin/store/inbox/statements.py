"""The inbox's statements of the busiest paths, made once: building one takes longer than running it."""

from datetime import datetime

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    SQLColumnExpression,
    String,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.orm import aliased

from plugin.event_kinds import COMPLIANCE_KINDS, CONTACT_KINDS
from plugin.store.database.types import UtcDateTime
from plugin.store.tables.inbox import DeliveryAttempt, InboxEvent, State, is_in, is_unfinished
from plugin.store.tables.shops import Shop


def due_events(now: datetime) -> Select[int]:
    """Return the statement that selects the ids of due events of shops whose deliveries run."""
    return select(InboxEvent.id).join(Shop, Shop.id == InboxEvent.shop_id).where(_is_due(now))


def is_earlier(one: type[InboxEvent], other: type[InboxEvent]) -> ColumnElement[bool]:
    """Return the condition that an event happened before another one, or was stored before one of the same time."""
    return or_(one.occurred_at < other.occurred_at, and_(one.occurred_at == other.occurred_at, one.id < other.id))


def is_blocking(event: type[InboxEvent] = InboxEvent) -> ColumnElement[bool]:
    """Return the condition that later events of its ordering key wait for an event, if it is pending."""
    return and_(event.blocked_by_id.is_(None), event.non_blocking.is_(False))


def goes_first(
    mate: type[InboxEvent], kind: SQLColumnExpression[str], earlier: ColumnElement[bool]
) -> ColumnElement[bool]:
    """Return the condition that an event of a kind must wait for another of its customer, which is at work or before it.

    What waits because its shop is stopped keeps no erasure or the like from going on. Needs `Shop` in the statement.
    """
    goes = or_(Shop.stopped_reason.is_(None), mate.kind.in_(COMPLIANCE_KINDS), kind.not_in(COMPLIANCE_KINDS))
    return or_(is_in(State.LEASED, mate), and_(is_in(State.PENDING, mate), is_blocking(mate), earlier, goes))


def _is_due(now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """A stopped shop's events wait, but erasures and the like must go on after an uninstallation."""
    goes = or_(Shop.stopped_reason.is_(None), InboxEvent.kind.in_(COMPLIANCE_KINDS))
    return and_(is_in(State.PENDING), InboxEvent.next_attempt_at <= now, goes)


_COLUMNS = (InboxEvent.id, InboxEvent.shop_id, InboxEvent.ordering_key, InboxEvent.occurred_at, InboxEvent.kind)
NOW: BindParameter[datetime] = bindparam("now", type_=UtcDateTime())
_DUE = select(*_COLUMNS).join(Shop, Shop.id == InboxEvent.shop_id).where(_is_due(NOW)).limit(bindparam("limit"))
LIVE_FIRST = (
    _DUE.where(InboxEvent.received_at >= bindparam("live", type_=UtcDateTime()))
    .order_by(InboxEvent.received_at, InboxEvent.id)
    .with_for_update(skip_locked=True, of=InboxEvent)
)
OLDEST_FIRST = _DUE.order_by(InboxEvent.next_attempt_at, InboxEvent.id).with_for_update(skip_locked=True, of=InboxEvent)
_SAME_KEY = and_(
    is_unfinished(), InboxEvent.shop_id == bindparam("shop_id"), InboxEvent.ordering_key == bindparam("key")
)
_AT: BindParameter[datetime] = bindparam("at", type_=UtcDateTime())
_EARLIER = or_(InboxEvent.occurred_at < _AT, and_(InboxEvent.occurred_at == _AT, InboxEvent.id < bindparam("id")))
IN_FRONT = (
    select(InboxEvent.id)
    .join(Shop, Shop.id == InboxEvent.shop_id)
    .where(_SAME_KEY, goes_first(InboxEvent, bindparam("kind", type_=String()), _EARLIER))
    .order_by(case((is_in(State.LEASED), 0), else_=1), InboxEvent.occurred_at, InboxEvent.id)
    .limit(1)
)
PARKED_IN_FRONT = (
    select(InboxEvent.id)
    .where(_SAME_KEY, _EARLIER, is_in(State.PARKED), InboxEvent.blocks_later_changes)
    .order_by(InboxEvent.occurred_at, InboxEvent.id)
    .limit(1)
)
#: Whether customers have an event of some kinds that happened before another one and is yet to be done; a parked one counts
#: where it holds what comes after it.
YET_TO_BE_DONE = (
    select(InboxEvent.id)
    .where(
        is_unfinished(),
        InboxEvent.shop_id == bindparam("shop_id"),
        InboxEvent.ordering_key.in_(bindparam("keys", expanding=True)),
        InboxEvent.kind.in_(bindparam("kinds", expanding=True)),
        _EARLIER,
        or_(is_in(State.PENDING), is_in(State.LEASED), InboxEvent.blocks_later_changes),
    )
    .limit(1)
)
LOCK_UNFINISHED = (
    select(InboxEvent.state, InboxEvent.next_attempt_at)
    .where(InboxEvent.id == bindparam("id"), is_in(State.PENDING) | is_in(State.LEASED))
    .with_for_update(skip_locked=True)
)
_mate = aliased(InboxEvent)
_MATE_EARLIER = is_earlier(_mate, InboxEvent)
#: Which of several events must wait for another of their customer. A subquery of one row, not EXISTS: PostgreSQL makes
#: a join of all unfinished events of that.
BLOCKED = (
    select(InboxEvent.id)
    .join(Shop, Shop.id == InboxEvent.shop_id)
    .where(
        InboxEvent.id.in_(bindparam("row_ids", expanding=True)),
        select(_mate.id)
        .where(
            is_unfinished(_mate),
            _mate.shop_id == InboxEvent.shop_id,
            _mate.ordering_key == InboxEvent.ordering_key,
            _mate.id != InboxEvent.id,
            or_(
                goes_first(_mate, InboxEvent.kind, _MATE_EARLIER),
                and_(
                    is_in(State.PARKED, _mate),
                    _mate.blocks_later_changes,
                    _MATE_EARLIER,
                    InboxEvent.kind.in_(CONTACT_KINDS),
                ),
            ),
        )
        .limit(1)
        .correlate(InboxEvent, Shop)
        .scalar_subquery()
        .is_not(None),
    )
)
_THIS = update(InboxEvent).where(InboxEvent.id == bindparam("row_id"))
WAIT = _THIS.values(next_attempt_at=None, blocked_by_id=bindparam("blocked_by"), non_blocking=False)
_CLAIMED = (
    InboxEvent.id, InboxEvent.shop_id, InboxEvent.platform, InboxEvent.topic, InboxEvent.kind, InboxEvent.ordering_key,
    InboxEvent.order_ref, InboxEvent.meta, InboxEvent.body, InboxEvent.occurred_at, InboxEvent.received_at,
    InboxEvent.attempts, InboxEvent.first_attempt_at, InboxEvent.lease_token, InboxEvent.lease_expires_at,
    InboxEvent.progress,
)  # fmt: skip
#: For rows that this transaction has locked. Returns them, so that they need not be read again. An event whose tries were
#: all given back begins now: what it waited for was no fault of its own.
LEASE = (
    update(InboxEvent)
    .where(InboxEvent.id.in_(bindparam("row_ids", expanding=True)))
    .values(
        state=State.LEASED,
        blocked_by_id=None,
        non_blocking=False,
        attempts=InboxEvent.attempts + 1,
        first_attempt_at=case((InboxEvent.attempts == 0, NOW), else_=func.coalesce(InboxEvent.first_attempt_at, NOW)),
        lease_token=bindparam("token"),
        lease_expires_at=bindparam("until", type_=UtcDateTime()),
    )
    .returning(*_CLAIMED)
)
#: Which of several events are leased, to whom; locked in an order, so that two transactions never wait for each other.
LEASES = (
    select(InboxEvent.id, InboxEvent.lease_token)
    .where(InboxEvent.id.in_(bindparam("row_ids", expanding=True)), is_in(State.LEASED))
    .order_by(InboxEvent.id)
    .with_for_update()
)
KEEP = _THIS.values(progress=bindparam("progress"), lease_expires_at=bindparam("until", type_=UtcDateTime()))
FINISH = _THIS.values(
    state=bindparam("to_state"),
    progress=bindparam("progress"),
    last_error=bindparam("error"),
    error_code=bindparam("code"),
    blocks_later_changes=bindparam("blocks_later_changes"),
    finished_at=bindparam("finished", type_=UtcDateTime()),
    lease_token=None,
    lease_expires_at=None,
    next_attempt_at=None,
)
RETRY = _THIS.values(
    state=State.PENDING,
    progress=bindparam("progress"),
    attempts=bindparam("tries"),
    last_error=bindparam("error"),
    error_code=bindparam("code"),
    next_attempt_at=bindparam("due", type_=UtcDateTime()),
    non_blocking=bindparam("non_blocking"),
    lease_token=None,
    lease_expires_at=None,
)
_IS_WAITING = and_(is_in(State.PENDING), InboxEvent.next_attempt_at.is_(None), is_blocking())
FIRST_WAITING = (
    select(InboxEvent.id)
    .where(
        _IS_WAITING,
        InboxEvent.shop_id == bindparam("shop_id"),
        InboxEvent.ordering_key == bindparam("key"),
    )
    .order_by(InboxEvent.occurred_at, InboxEvent.id)
    .limit(1)
)
#: Which of several customers have an event that waits for its turn.
HAVE_WAITING = (
    select(InboxEvent.shop_id, InboxEvent.ordering_key)
    .where(
        _IS_WAITING,
        InboxEvent.shop_id.in_(bindparam("shop_ids", expanding=True)),
        InboxEvent.ordering_key.in_(bindparam("keys", expanding=True)),
    )
    .distinct()
)
MAKE_DUE = _THIS.values(next_attempt_at=bindparam("due", type_=UtcDateTime()))
LOG = insert(DeliveryAttempt)
