"""Properties: money adds up in every currency, and nothing that a shop sends raises anything but PayloadError."""

import contextlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from babel.numbers import get_currency_precision
from bodies import customer, order, refund
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin.demo.bodies import paid_order, signup
from plugin.errors import PayloadError
from plugin.events import OrderPaid
from plugin.platforms.base import Delivery, Platform
from plugin.platforms.shopify import SHOPIFY
from plugin.platforms.standard import STANDARD

NOW = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20)
    | st.sampled_from(["", "1e400000", "-1", "0.001", "\ud800", "\x00", "9" * 5000, "2026-13-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
STANDARD_BODIES = [
    {"type": kind, "timestamp": NOW.isoformat(), "data": data}
    for kind, data in (
        ("customer.created", {"customer": customer(), "consents": [{"channel": "email", "value": True}]}),
        ("order.paid", {"order": order(promotions=[{"code": "A"}])}),
        ("order.refunded", {"refund": refund()}),
    )
]
FIXTURES: list[tuple[Platform, str, dict[str, Any]]] = [
    (SHOPIFY, "orders/paid", paid_order(NOW)),
    (SHOPIFY, "customers/create", signup(NOW)),
    *((STANDARD, str(body["type"]), body) for body in STANDARD_BODIES),
]


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [prefix, *(path for key, inner in entries for path in paths(inner, (*prefix, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@settings(max_examples=400, deadline=None, print_blob=True)
@given(st.data())
def test_any_value_at_any_place_is_mapped_or_refused(data: st.DataObject) -> None:
    platform, topic, body = data.draw(st.sampled_from(FIXTURES))
    changed = replaced(body, data.draw(st.sampled_from(paths(body))), data.draw(JSON))
    raw = json.dumps(changed).encode("utf-8", "surrogatepass")
    peek = platform.peek(topic, raw)
    for text in (peek.customer_id, peek.order_id, peek.email, peek.phone):
        assert text is None or text.isprintable()
    with contextlib.suppress(PayloadError):
        platform.normalise(Delivery(topic), raw, NOW)


@settings(max_examples=100, deadline=None, print_blob=True)
@given(st.sampled_from(FIXTURES), st.binary(max_size=200))
def test_any_bytes_are_mapped_or_refused(fixture: tuple[Platform, str, dict[str, Any]], raw: bytes) -> None:
    platform, topic, _ = fixture
    platform.peek(topic, raw)
    with pytest.raises(PayloadError):
        platform.normalise(Delivery(topic), raw, NOW)


@settings(max_examples=100, deadline=None, print_blob=True)
@given(st.data())
def test_shopify_orders_add_up_in_every_currency(data: st.DataObject) -> None:
    currency = data.draw(st.sampled_from(["SEK", "JPY", "KWD", "EUR"]))
    unit = Decimal(1).scaleb(-get_currency_precision(currency))
    amount = st.integers(0, 100_000).map(lambda n: n * unit)
    included = data.draw(st.booleans())
    lines, total = [], Decimal(0)
    for number in range(data.draw(st.integers(1, 6))):
        quantity, price, tax = data.draw(st.integers(1, 5)), data.draw(amount), data.draw(amount)
        discount = min(data.draw(amount), quantity * price)
        paid = quantity * price - discount
        tax = min(tax, paid)
        total += paid if included else paid + tax
        lines.append(
            {
                "id": number, "quantity": quantity, "price": str(price), "sku": f"S{number}",
                "discount_allocations": [{"amount": str(discount)}], "tax_lines": [{"price": str(tax)}], "unknown": {"x": 1},
            }
        )  # fmt: skip
    rounding = data.draw(st.integers(-1, 1)) * unit if total > 0 else Decimal(0)
    body = {
        **paid_order(NOW), "currency": currency, "presentment_currency": currency, "total_price_set": None,
        "total_price": str(total + rounding), "taxes_included": included, "line_items": lines, "shipping_lines": [],
    }  # fmt: skip
    (event,) = SHOPIFY.normalise(Delivery("orders/paid"), json.dumps(body).encode(), NOW).events
    assert isinstance(event, OrderPaid)
    assert sum(line.gross_paid for line in event.lines) == event.total == total + rounding
    assert all(line.gross_paid >= 0 and line.tax_percent >= 0 for line in event.lines)
