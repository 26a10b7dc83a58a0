"""Sample bodies of every platform's topics: captured and invented ones, named as their topic, and what schemas show."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from plugin import events
from plugin.event_kinds import EventKind
from plugin.events import Event, OrderPaid, OrderRefunded
from plugin.platforms.base import Platform
from plugin.platforms.standard.schema import schema
from support.captured import CAPTURED, FIXTURES, bare_webhooks

#: What each kind of topic may become.
BECOMES: dict[EventKind, tuple[type[Any], ...]] = {
    EventKind.SIGNUP: (events.CustomerCreated, events.CustomerUpdated),
    EventKind.PROFILE_CHANGE: (events.CustomerUpdated, events.CustomerCreated, events.ConsentChanged),
    EventKind.CONSENT: (events.ConsentChanged,),
    EventKind.MERGE: (events.CustomerMerged,),
    # an order's body may report payment, refund and cancellation at once
    EventKind.ORDER_PAID: (events.OrderPaid, events.OrderRefunded, events.OrderCancelled),
    EventKind.REFUND: (events.OrderRefunded, events.OrderPaid),
    EventKind.CANCELLATION: (events.OrderCancelled, events.OrderRefunded),
    EventKind.ERASURE: (events.CustomerDeleted, events.CustomerErased),
    EventKind.DATA_REQUEST: (events.DataRequested,),
    EventKind.SHOP: (events.ShopUninstalled,),
}


def samples(platform: Platform) -> list[tuple[str, str, bytes]]:
    """Return name, topic and body of each sample of a platform's supported topics."""
    if platform.slug == "standard":
        return [
            (f"{branch['title']}-{number}", branch["title"], json.dumps(example).encode())
            for branch in schema()["oneOf"]
            for number, example in enumerate(branch["examples"])
        ]
    bodies = [body for root in (FIXTURES, CAPTURED) for body in bare_webhooks(platform, root / platform.slug)]
    return sorted((body.name, body.topic, body.body) for body in bodies if body.topic in platform.topics)


def check_event(event: Event) -> None:
    """Assert what handlers rely on: exact money that adds up, aware UTC, ids as texts, and nothing empty."""
    for name, value in _values(event):
        assert not isinstance(value, float), name
        if isinstance(value, datetime):
            assert value.utcoffset() is not None, name
            assert value.astimezone(UTC) == value, name
        if isinstance(value, Decimal):
            assert value.is_finite(), name
        if isinstance(value, str):
            assert value != "", f"{name} is empty, which would erase data in Engage"
    if isinstance(event, OrderPaid | OrderRefunded):
        assert sum((line.gross_paid for line in event.lines), Decimal(0)) == event.total
        assert all(line.gross_paid >= 0 and line.quantity > 0 for line in event.lines)
        assert event.total >= 0
        for currency in (event.currency, getattr(event, "shop_currency", None)):
            assert currency is None or re.fullmatch("[A-Z]{3}", currency)


def customer_ids(event: Event) -> set[str]:
    """Return the shop's customers that an event is about."""
    customer = getattr(event, "customer", None)
    ids = {getattr(event, "customer_id", None), getattr(event, "kept_id", None), getattr(customer, "customer_id", None)}
    return {customer_id for customer_id in ids if customer_id is not None}


def _values(value: Any, name: str = "event") -> Iterator[tuple[str, Any]]:
    if is_dataclass(value):
        for field in fields(value):
            yield from _values(getattr(value, field.name), f"{name}.{field.name}")
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            yield from _values(item, f"{name}[{number}]")
    else:
        yield name, value
