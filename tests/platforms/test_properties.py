"""Properties: money adds up in every currency, and nothing that a shop sends raises anything but PayloadError."""

import contextlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bodies import customer, order, refund
from support.captured import CAPTURED
from support.currencies import DECIMALS, unit_of

from plugin.demo.bodies import paid_order, signup
from plugin.errors import PayloadError
from plugin.events import LineKind, OrderPaid, OrderRefunded
from plugin.platforms.base import Delivery, Platform
from plugin.platforms.money import percent_of, rounded
from plugin.platforms.shopify import SHOPIFY
from plugin.platforms.standard import STANDARD
from plugin.platforms.woocommerce import REFUNDED, WOOCOMMERCE

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
WOO = {
    name: json.loads((CAPTURED / "woocommerce" / f"{name}.json").read_bytes())
    for name in ("order-updated-2-refunded", "customer-created-1", "customer-deleted-1")
}
OF_LINE = [{"key": "_refunded_item_id", "value": "10"}]
WOO_BACK = {"id": 99, "quantity": -1, "total": "-143.64", "total_tax": "-35.91", "meta_data": OF_LINE}
WOO_REFUND = {"id": 17, "amount": "179.55", "line_items": [WOO_BACK], "shipping_lines": [], "fee_lines": []}
WOO_ORDER = WOO["order-updated-2-refunded"] | {"engage_refunds": [WOO_REFUND], "engage_refund": 17}
FIXTURES: list[tuple[Platform, str, dict[str, Any]]] = [
    (SHOPIFY, "orders/paid", paid_order(NOW)),
    (SHOPIFY, "customers/create", signup(NOW)),
    *((STANDARD, str(body["type"]), body) for body in STANDARD_BODIES),
    (WOOCOMMERCE, "order.updated", WOO_ORDER),
    (WOOCOMMERCE, REFUNDED, WOO_ORDER),
    (WOOCOMMERCE, "customer.created", WOO["customer-created-1"]),
    (WOOCOMMERCE, "customer.deleted", WOO["customer-deleted-1"]),
    (WOOCOMMERCE, "customer.created", {"code": "woocommerce_rest_gone", "message": "Gone.", "data": {"status": 410}}),
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
    platform.refunds_without_lines(Delivery(topic), raw)
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
    currency = data.draw(st.sampled_from(sorted(DECIMALS)))
    unit = unit_of(currency)
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


@settings(max_examples=80, deadline=None, print_blob=True)
@given(st.data())
def test_woocommerce_orders_and_their_refunds_add_up_in_every_currency(data: st.DataObject) -> None:
    """Whole orders as WooCommerce writes them, and refunds of any part of them, with lines and without."""
    currency = data.draw(st.sampled_from(sorted(DECIMALS)))
    unit = unit_of(currency)
    amount = st.integers(0, 100_000).map(lambda n: n * unit)
    lines, net, taxes = [], Decimal(0), Decimal(0)
    for number in range(1, data.draw(st.integers(1, 5)) + 1):
        before, tax = data.draw(amount), data.draw(amount)
        after = min(data.draw(amount), before)
        net, taxes = net + after, taxes + tax
        lines.append(
            {
                "id": number, "quantity": data.draw(st.integers(1, 5)), "sku": None, "product_id": number, "variation_id": 0,
                "subtotal": str(before), "subtotal_tax": str(tax), "total": str(after), "total_tax": str(tax),
                "price": float(after) / 3, "taxes": [{"id": 1, "total": str(tax)}], "unknown": [{"x": None}],
            }
        )  # fmt: skip
    shipping, fee = data.draw(amount), data.draw(amount)
    off = -min(data.draw(amount), net + taxes)
    rounding = data.draw(st.integers(-1, 1)) * unit if net + taxes + off > 0 else Decimal(0)
    total = net + taxes + shipping + fee + off + rounding
    refunds, left = [], total
    details = []
    for number in range(data.draw(st.integers(0, 3))):
        given_back = min(data.draw(amount), left) if data.draw(st.booleans()) else left
        left -= given_back
        refunds.append({"id": 100 + number, "total": str(-given_back), "reason": ""})
        returned = [
            {"id": 900, "quantity": -data.draw(st.integers(0, 2)), "total": str(-data.draw(amount)), "total_tax": "",
             "meta_data": [{"key": "_refunded_item_id", "value": line["id"]}]}
            for line in lines if data.draw(st.booleans())
        ]  # fmt: skip
        if data.draw(st.booleans()):
            details.append(
                {
                    "id": 100 + number,
                    "amount": str(given_back),
                    "line_items": returned,
                    "shipping_lines": [{"total": "-1"}],
                }
            )
    body = WOO_ORDER | {
        "currency": currency, "total": str(total), "line_items": lines, "tax_lines": [], "coupon_lines": [{"code": "x"}],
        "shipping_lines": [{"id": 1, "total": str(shipping), "total_tax": "0"}] if shipping else [],
        "fee_lines": [{"id": 1, "name": "F", "total": str(fee), "total_tax": ""}, {"id": 2, "total": str(off), "total_tax": ""}],
        "refunds": refunds, "engage_refunds": details,
    }  # fmt: skip
    purchase, *back = WOOCOMMERCE.normalise(Delivery("order.updated"), json.dumps(body).encode(), NOW).events
    assert isinstance(purchase, OrderPaid)
    assert sum(line.gross_paid for line in purchase.lines) == purchase.total == total
    assert all(line.gross_paid >= 0 and line.tax_percent >= 0 and line.quantity > 0 for line in purchase.lines)
    assert [event.refund_id for event in back if isinstance(event, OrderRefunded)] == [
        str(refund["id"]) for refund in refunds if Decimal(refund["total"])
    ]
    for event in back:
        assert isinstance(event, OrderRefunded)
        assert sum(line.gross_paid for line in event.lines) == event.total > 0
        assert all(line.quantity > 0 for line in event.lines)
        assert all(line.gross_paid > 0 or (line.kind is LineKind.GOODS and not line.gross_paid) for line in event.lines)
        assert all(line.tax_amount >= 0 for line in event.lines)


def test_absurd_amounts_are_refused() -> None:
    """Found by damaged webhooks: a unit price of 14 digits times a quantity of as many."""
    with pytest.raises(PayloadError, match="larger than any amount"):
        rounded(Decimal("5.1E+31"), "SEK")
    with pytest.raises(PayloadError, match="an impossible tax rate"):
        percent_of(Decimal("1E+26"), Decimal("1E+26") + Decimal("0.1"))
