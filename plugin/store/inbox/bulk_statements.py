"""Which profile changes go by bulk, and which are taken together, as conditions and statements."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select
from sqlalchemy.orm import aliased

from plugin.event_kinds import EventKind
from plugin.store.inbox.claiming import LIVE
from plugin.store.inbox.statements import is_blocking, is_earlier
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.inbox import InboxEvent, State, is_in, is_unfinished

#: Marks a change that the bulk API is not for, or has refused: it is sent as a single event.
SEND_SINGLY = "one_by_one"


def is_backlog(shop: RegisteredShop, now: datetime) -> ColumnElement[bool]:
    """Return the condition that an event is a due profile change of a shop, received a while ago, that may go by bulk."""
    return and_(
        is_in(State.PENDING),
        InboxEvent.next_attempt_at <= now,
        InboxEvent.received_at < now - LIVE,
        InboxEvent.shop_id == shop.id,
        InboxEvent.kind == EventKind.PROFILE_CHANGE,
        InboxEvent.body.is_not(None),
        or_(InboxEvent.error_code.is_(None), InboxEvent.error_code != SEND_SINGLY),
    )


def another_goes_first() -> ColumnElement[bool]:
    """Return the condition that another event of the same customer is leased, earlier, or parked and blocking this one."""
    mate = aliased(InboxEvent)
    earlier = is_earlier(mate, InboxEvent)
    return exists().where(
        is_unfinished(mate),
        mate.shop_id == InboxEvent.shop_id,
        mate.ordering_key == InboxEvent.ordering_key,
        or_(
            is_in(State.LEASED, mate),
            and_(is_in(State.PENDING, mate), is_blocking(mate), earlier),
            and_(is_in(State.PARKED, mate), mate.blocks_later_changes, earlier),
        ),
    )


def changes_under(token: str) -> Select[Any]:
    """Select what was leased, and the profile changes that follow it with nothing else of the customer in between."""
    head, between = aliased(InboxEvent), aliased(InboxEvent)
    has_head = exists().where(
        is_in(State.LEASED, head),
        head.shop_id == InboxEvent.shop_id,
        head.ordering_key == InboxEvent.ordering_key,
        head.lease_token == token,
    )
    interrupted = exists().where(
        is_unfinished(between),
        between.shop_id == InboxEvent.shop_id,
        between.ordering_key == InboxEvent.ordering_key,
        between.kind != EventKind.PROFILE_CHANGE,
        is_earlier(between, InboxEvent),
    )
    follows = and_(
        is_in(State.PENDING),
        InboxEvent.kind == EventKind.PROFILE_CHANGE,
        is_blocking(),
        InboxEvent.body.is_not(None),
        has_head,
        ~interrupted,
    )
    columns = (
        InboxEvent.id, InboxEvent.platform, InboxEvent.topic, InboxEvent.meta, InboxEvent.body, InboxEvent.ordering_key,
        InboxEvent.occurred_at, InboxEvent.received_at, InboxEvent.lease_token,
    )  # fmt: skip
    leased = and_(is_in(State.LEASED), InboxEvent.lease_token == token)
    return select(*columns).where(or_(leased, follows)).order_by(InboxEvent.occurred_at, InboxEvent.id)
