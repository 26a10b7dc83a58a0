"""From a verified webhook to its inbox row: dedupe key, ordering key, times. No HTTP here: backfill and polls use it too."""

import hashlib
from datetime import datetime

from plugin.errors import VerificationError
from plugin.event_kinds import EventKind
from plugin.platforms.base import Delivery, EventHints, Platform
from plugin.platforms.fields import clamp_to_received_at
from plugin.store.inbox.inbox import Inbox, NewEvent
from plugin.store.inbox.keys import MAX_KEY_LENGTH, bounded, customer_key, guest_key
from plugin.store.shops.shops import RegisteredShop
from plugin.store.shops.vault import Vault
from plugin.store.tables.inbox import State


def new_event(
    inbox: Inbox,
    vault: Vault,
    shop: RegisteredShop,
    platform: Platform,
    delivery: Delivery,
    body: bytes,
    now: datetime,
) -> NewEvent:
    """Build the inbox row of a verified webhook. Raises VerificationError for a topic that cannot be stored."""
    topic = delivery.topic
    if len(topic) > MAX_KEY_LENGTH or not topic.isprintable():
        raise VerificationError("The topic of the webhook is not valid.")
    kind = platform.topics.get(topic, EventKind.IGNORED)
    # the shop's own delivery id, else a hash of topic and body
    identity = delivery.delivery_id or hashlib.sha256(topic.encode() + b"\0" + body).hexdigest()
    dedupe_key = identity if len(identity) <= MAX_KEY_LENGTH else hashlib.sha256(identity.encode()).hexdigest()
    if kind is EventKind.IGNORED:
        reason = "topic is not for us" if topic in platform.ignored_topics else "unknown topic"
        return NewEvent(
            shop_id=shop.id,
            platform=platform.slug,
            topic=topic,
            kind=kind,
            dedupe_key=dedupe_key,
            ordering_key="none",
            occurred_at=now,
            received_at=now,
            body=None,
            state=State.IGNORED,
            reason=reason,
        )
    peek = platform.peek(topic, body)
    order_ref = bounded(peek.order_id) if peek.order_id is not None else None
    return NewEvent(
        shop_id=shop.id,
        platform=platform.slug,
        topic=topic,
        kind=kind,
        dedupe_key=dedupe_key,
        ordering_key=_ordering_key(inbox, vault, shop, peek, order_ref, dedupe_key),
        occurred_at=clamp_to_received_at(peek.occurred_at, now),
        received_at=now,
        body=body,
        order_ref=order_ref,
        meta=delivery.meta,
    )


def _ordering_key(
    inbox: Inbox, vault: Vault, shop: RegisteredShop, peek: EventHints, order_ref: str | None, dedupe_key: str
) -> str:
    """Return the key whose events go one after the other: the customer, by id, else by a keyed hash."""
    if peek.customer_id:
        return customer_key(peek.customer_id)
    if order_ref:
        ordering_key = inbox.ordering_key_of_order(shop.id, order_ref)
        if ordering_key:
            return ordering_key
    if peek.email or peek.phone:
        return guest_key(peek.email or peek.phone or "", vault.digest)
    return f"order:{order_ref}" if order_ref else f"single:{dedupe_key}"
