"""Properties of Saleor's mapping: money adds up in every currency, refunds count once, nothing crashes but PayloadError."""

import contextlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platforms.test_properties import JSON, paths, replaced
from support.currencies import DECIMALS, unit_of
from support.saleor_shop import AT, Shop, happened, line, money, order, taxed, transaction, user

from plugin.errors import PayloadError
from plugin.events import OrderPaid, OrderRefunded
from plugin.platforms.base import Delivery
from plugin.platforms.saleor import SALEOR, queries
from plugin.store.orders.orders import StoredOrder
from webhooks.orders.refund_lines import cap_to_unrefunded

NOW = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
SHOP = Shop(url="https://kiosk.example")
ORDERS = queries.WEBHOOKS["Engage: orders"][1]
CUSTOMERS = queries.WEBHOOKS["Engage: customers"][1]


def rich_order() -> dict[str, Any]:
    """Return an order in which every list holds something."""
    step = {"id": "s", "kind": "REFUND", "isSuccess": True, "created": AT.isoformat(), "amount": money(10.0)}
    granted = {
        "id": "G", "createdAt": AT.isoformat(), "amount": money(51.0), "reason": "", "shippingCostsIncluded": True,
        "lines": [{"id": "x", "quantity": 1, "orderLine": line(2, 1.0, 1.0)}],
        "transactionEvents": [happened("E1", "REFUND_SUCCESS", 51.0)],
    }  # fmt: skip
    return order(
        transactions=[transaction(300.0, ("E1", 51.0))], totalRefunded=money(61.0), totalCharged=money(239.0),
        payments=[{"id": "p", "gateway": "x", "capturedAmount": money(0.0), "transactions": [step]}],
        grantedRefunds=[granted], voucherCode="A", metadata=[{"key": "k", "value": "v"}],
        discounts=[{"id": "d", "type": "VOUCHER", "name": "A", "valueType": "FIXED", "value": 1, "total": money(1.0)}],
        fulfillments=[{"id": "f", "status": "REFUNDED", "totalRefundedAmount": money(10.0), "shippingRefundedAmount": None,
                       "lines": []}],
    )  # fmt: skip


FIXTURES: list[tuple[str, dict[str, Any]]] = [
    ("order_fully_paid", json.loads(SHOP.body_of(ORDERS, "OrderFullyPaid", {"order": rich_order()}, AT))),
    ("order_confirmed", json.loads(SHOP.body_of(ORDERS, "OrderConfirmed", {"order": rich_order()}, AT))),
    ("order_refunded", json.loads(SHOP.body_of(ORDERS, "OrderRefunded", {"order": rich_order()}, AT))),
    ("order_cancelled", json.loads(SHOP.body_of(ORDERS, "OrderCancelled", {"order": rich_order()}, AT))),
    ("customer_created", json.loads(SHOP.body_of(CUSTOMERS, "CustomerCreated", {"user": user()}, AT))),
    ("customer_deleted", {"data": {"customerDeleted": {"user": {"id": "1"}}}}),
    ("app_deleted", {"issuedAt": AT.isoformat(), "app": {"id": "1"}}),
]


@settings(max_examples=250, deadline=None, print_blob=True)
@given(st.data())
def test_any_value_at_any_place_is_mapped_or_refused(data: st.DataObject) -> None:
    topic, body = data.draw(st.sampled_from(FIXTURES))
    changed = replaced(body, data.draw(st.sampled_from(paths(body))), data.draw(JSON))
    raw = json.dumps(changed).encode("utf-8", "surrogatepass")
    peek = SALEOR.peek(topic, raw)
    for text in (peek.customer_id, peek.order_id, peek.email, peek.phone):
        assert text is None or text.isprintable()
    with contextlib.suppress(PayloadError):
        for event in SALEOR.normalise(Delivery(topic), raw, NOW).events:
            if isinstance(event, (OrderPaid, OrderRefunded)):
                assert sum(line.gross_paid for line in event.lines) == event.total
                assert all(line.gross_paid >= 0 and line.quantity > 0 for line in event.lines)
                assert all(0 <= line.tax_amount <= line.gross_paid and line.tax_percent >= 0 for line in event.lines)


@settings(max_examples=100, deadline=None, print_blob=True)
@given(st.sampled_from(FIXTURES), st.binary(max_size=200))
def test_any_bytes_are_refused(fixture: tuple[str, dict[str, Any]], raw: bytes) -> None:
    SALEOR.peek(fixture[0], raw)
    with pytest.raises(PayloadError):
        SALEOR.normalise(Delivery(fixture[0]), raw, NOW)


def amounts(unit: Decimal) -> st.SearchStrategy[Decimal]:
    return st.integers(0, 100_000).map(lambda number: number * unit)


def priced(gross: Decimal, net: Decimal) -> dict[str, Any]:
    return taxed(float(gross), float(net))


@st.composite
def paid_orders(draw: st.DrawFn) -> tuple[dict[str, Any], Decimal, Decimal]:
    """Draw a paid order; return it, what all of it cost, and what gift cards paid of that."""
    currency = draw(st.sampled_from(sorted(DECIMALS)))
    unit = unit_of(currency)
    lines, total = [], Decimal(0)
    for number in range(draw(st.integers(1, 6))):
        gross, quantity = draw(amounts(unit)), draw(st.integers(1, 5))
        net = (gross * 100 / (100 + draw(st.sampled_from([0, 6, 12, 25])))).quantize(unit)
        before = priced(gross / quantity + draw(amounts(unit)), Decimal(1))
        lines.append(
            line(number, 0.0, 0.0, quantity, totalPrice=priced(gross, net), undiscountedUnitPrice=before, unknown=1)
        )
        total += gross
    # a discount of the whole order that the lines do not show, and roundings of a minor unit
    discount = min(draw(amounts(unit)), total) if draw(st.booleans()) else Decimal(0)
    off = draw(st.integers(-1, 1)) * unit if total - discount > unit else Decimal(0)
    shipping = draw(amounts(unit))
    everything = total - discount + shipping + off
    # a gift card is distinguished from a rounding by its name alone, so an order has one or the other
    by_gift_card = (
        min(draw(amounts(unit)), everything) if not discount and not off and draw(st.booleans()) else Decimal(0)
    )
    whole = order(
        lines=lines, shippingPrice=priced(shipping, shipping), total=priced(everything - by_gift_card, Decimal(0)),
        discounts=[{"id": "d", "type": "MANUAL", "name": "x", "valueType": "FIXED", "value": 1, "total": money(float(discount))}],
        giftCards=[{"id": "g"}] if by_gift_card else [], transactions=[], totalCharged=money(float(everything)), unknown=[1],
    )  # fmt: skip
    whole["total"]["currency"] = currency
    return whole, everything, by_gift_card


def test_a_discount_that_no_single_line_can_bear_is_spread() -> None:
    """Two lines of one peso less a discount of two: no more than roundings could amount to, but no line is worth it."""
    one = priced(Decimal(1), Decimal(1))
    lines = [line(number, 0.0, 0.0, 1, totalPrice=one, undiscountedUnitPrice=one) for number in range(2)]
    discount = {"id": "d", "type": "MANUAL", "name": "x", "valueType": "FIXED", "value": 2, "total": money(2.0)}
    whole = order(
        lines=lines, shippingPrice=priced(Decimal(0), Decimal(0)), total=priced(Decimal(0), Decimal(0)),
        discounts=[discount], transactions=[], totalCharged=money(0.0),
    )  # fmt: skip
    whole["total"]["currency"] = "CLP"
    body = json.dumps({"issuedAt": AT.isoformat(), "order": whole}).encode()
    (event,) = SALEOR.normalise(Delivery("order_fully_paid"), body, NOW).events
    assert isinstance(event, OrderPaid)
    assert [line.gross_paid for line in event.lines] == [0, 0]


@settings(max_examples=120, deadline=None, print_blob=True)
@given(paid_orders())
def test_lines_add_up_to_what_was_paid_in_every_currency(drawn: tuple[dict[str, Any], Decimal, Decimal]) -> None:
    whole, everything, by_gift_card = drawn
    body = json.dumps({"issuedAt": AT.isoformat(), "order": whole}).encode()
    (event,) = SALEOR.normalise(Delivery("order_fully_paid"), body, NOW).events
    assert isinstance(event, OrderPaid)
    assert sum(line.gross_paid for line in event.lines) == event.total == everything
    assert sum(payment.amount for payment in event.payments) == event.total
    assert by_gift_card == sum(payment.amount for payment in event.payments if payment.type == "gift_card")
    assert all(0 <= line.tax_amount <= line.gross_paid and line.tax_percent >= 0 for line in event.lines)
    assert all(discount.amount > 0 for line in event.lines for discount in line.discounts)


@settings(max_examples=60, deadline=None, print_blob=True)
@given(st.data())
def test_refunds_add_up_in_any_order_and_with_repetitions(data: st.DataObject) -> None:
    """Send successive refunds with or without ids, late, repeated, or only as part of the last body."""
    steps = data.draw(st.lists(st.integers(1, 6000), min_size=1, max_size=5))
    orders, refunds = [], []
    for number, cents in enumerate(steps):
        refunds.append((f"E{number}", cents / 100))
        refunded_total = round(sum(amount for _, amount in refunds), 2)
        payment = transaction(300.0, *refunds)
        if data.draw(st.booleans(), label="without ids"):
            payment["events"] = []
        orders.append(order(transactions=[payment], totalRefunded=money(refunded_total), totalCharged=money(300.0)))
    arriving = data.draw(st.permutations([*orders, *data.draw(st.lists(st.sampled_from(orders), max_size=3))]))
    returned: dict[str, Any] = {}
    for whole in arriving:
        body = json.dumps({"issuedAt": AT.isoformat(), "order": whole}).encode()
        for event in SALEOR.normalise(Delivery("order_refunded"), body, NOW).events:
            assert isinstance(event, OrderRefunded)
            stored = StoredOrder(
                "o", "1", None, "c", "SEK", Decimal(300), AT, "s", None, {"lines": [], "refunds": dict(returned)}
            )
            new = None if event.refund_id in returned else cap_to_unrefunded(event, stored)
            if new is not None:
                assert sum(line.gross_paid for line in new.lines) == new.total > 0
                returned[new.refund_id] = {"total": str(new.total)}
    assert sum((Decimal(payment["total"]) for payment in returned.values()), Decimal(0)) == Decimal(sum(steps)) / 100
