"""Refunds of Shopify, whose subtotals may or may not include tax: the stored order decides."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.currencies import unit_of

from plugin.events import LineKind, OrderPaid, OrderRefunded
from plugin.platforms.base import Delivery
from plugin.platforms.shopify import SHOPIFY
from plugin.store.orders.orders import StoredOrder
from plugin.store.shops.settings import ShopSettings
from plugin.store.shops.shops import RegisteredShop
from webhooks.orders.receipts import return_receipt
from webhooks.orders.records import order_record
from webhooks.orders.refund_lines import restore_tax_from_order

NOW = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
SHOP = cast("RegisteredShop", SimpleNamespace(name="kiosk", settings=ShopSettings("web-se")))


def priced(name: str, amount: Decimal | str, currency: str = "USD") -> dict[str, Any]:
    money = {"amount": str(amount), "currency_code": currency}
    return {name: str(amount), f"{name}_set": {"shop_money": money, "presentment_money": money}}


def stored(
    lines: list[tuple[Any, Any, Any, int]],
    shipping: tuple[Any, Any] | None = None,
    *,
    included: bool,
    currency: str = "USD",
) -> StoredOrder:
    """Return the record of a paid order. lines: id, price, tax and quantity of each; shipping: price and tax."""
    rows = [
        {
            "id": number,
            "quantity": quantity,
            **priced("price", price, currency),
            "tax_lines": [priced("price", tax, currency)],
        }
        for number, price, tax, quantity in lines
    ]
    parcels = (
        [{"id": 7, **priced("price", shipping[0], currency), "tax_lines": [priced("price", shipping[1], currency)]}]
        if shipping
        else []
    )
    total = sum(
        (Decimal(price) * quantity for _, price, _, quantity in lines), Decimal(shipping[0]) if shipping else Decimal(0)
    )
    if not included:
        total += sum((Decimal(tax) for _, _, tax, _ in lines), Decimal(shipping[1]) if shipping else Decimal(0))
    body = {
        "id": 1, "name": "#1", "financial_status": "paid", "currency": currency, "taxes_included": included, "line_items": rows,
        "shipping_lines": parcels, "customer": {"id": 5}, "email": "ada@example.com", **priced("total_price", total, currency),
    }  # fmt: skip
    (event,) = SHOPIFY.normalise(Delivery("orders/paid"), json.dumps(body).encode(), NOW).events
    assert isinstance(event, OrderPaid)
    return order_record(SHOP, event, "c-1", "web-se")


def refund(
    paid_back: Any,
    lines: list[tuple[Any, Any, Any, int]],
    shipping: Any = None,
    *,
    adjusted: Any = None,
    currency: str = "USD",
) -> OrderRefunded:
    """Return a refund. lines: id, subtotal, tax and quantity of each; adjusted: the tax of shipping where an adjustment names it."""
    body = {
        "id": 9, "order_id": 1, "created_at": "2026-03-05T10:30:00+01:00",
        "refund_line_items": [
            {
                "line_item_id": number, "quantity": quantity,
                **priced("subtotal", subtotal, currency), **priced("total_tax", tax, currency),
            }
            for number, subtotal, tax, quantity in lines
        ],
        "refund_shipping_lines": [] if shipping is None else [priced("subtotal_amount", shipping, currency)],
        "order_adjustments": [] if adjusted is None else [
            {"kind": "shipping_refund", **priced("amount", f"-{shipping}", currency), **priced("tax_amount", f"-{adjusted}", currency)}
        ],
        "transactions": [{"kind": "refund", "status": "success", "amount": str(paid_back), "currency": currency, "gateway": "card"}],
    }  # fmt: skip
    (event,) = SHOPIFY.normalise(Delivery("refunds/create"), json.dumps(body).encode(), NOW).events
    assert isinstance(event, OrderRefunded)
    return event


def rows(event: OrderRefunded, order: StoredOrder) -> list[tuple[str, str, str, str]]:
    """Return kind, paid, tax and rate of the lines of the return, as its receipt has them."""
    lines = restore_tax_from_order(event, order).lines
    items = return_receipt(SHOP, event, order).items
    assert [item.gross_paid_price for item in items] == [line.gross_paid for line in lines]
    return [
        (line.kind.value, str(item.gross_paid_price), str(item.tax_amount), f"{item.tax_percent:f}")
        for line, item in zip(lines, items, strict=True)
    ]


ON_TOP = [(1, "100.00", "8.00", 1)]


@pytest.mark.parametrize(
    ("paid_back", "expected"),
    [
        ("108.00", [("goods", "108.00", "8.00", "8")]),
        ("107.99", [("goods", "107.99", "8.00", "8")]),
        ("108.01", [("goods", "108.01", "8.00", "8")]),
        ("104.00", [("goods", "104.00", "7.70", "8")]),
        ("100.00", [("goods", "100.00", "7.41", "8")]),
        ("98.00", [("goods", "98.00", "7.26", "8")]),
        ("118.00", [("goods", "108.00", "8.00", "8"), ("amount", "10.00", "0", "0")]),
    ],
)
def test_tax_on_top_is_refunded_with_its_line_despite_deductions_or_additions(
    paid_back: str, expected: list[tuple[str, str, str, str]]
) -> None:
    assert rows(refund(paid_back, ON_TOP), stored(ON_TOP, included=False)) == expected


@pytest.mark.parametrize(
    ("paid_back", "expected"),
    [
        ("100.00", [("goods", "100.00", "20.00", "25")]),
        ("120.00", [("goods", "100.00", "20.00", "25"), ("amount", "20.00", "0", "0")]),
        ("90.00", [("goods", "90.00", "18.00", "25")]),
    ],
)
def test_goodwill_beside_gross_prices_is_an_amount_without_tax(
    paid_back: str, expected: list[tuple[str, str, str, str]]
) -> None:
    lines = [(1, "100.00", "20.00", 1)]
    assert rows(refund(paid_back, lines), stored(lines, included=True)) == expected


@pytest.mark.parametrize("adjusted", ["0.80", None])
@pytest.mark.parametrize(("paid_back", "goods"), [("118.80", "108.00"), ("118.81", "108.01"), ("118.79", "107.99")])
def test_shipping_is_refunded_with_its_tax_even_when_the_refund_omits_it(
    paid_back: str, goods: str, adjusted: str | None
) -> None:
    order = stored(ON_TOP, ("10.00", "0.80"), included=False)
    assert rows(refund(paid_back, ON_TOP, "10.00", adjusted=adjusted), order) == [
        ("goods", goods, "8.00", "8"), ("shipping", "10.80", "0.80", "8"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("included", "back", "subtotal", "tax"),
    [
        (False, "10.80", "10.00", "0.80"),
        (False, "5.40", "5.00", "0.40"),
        (True, "10.80", "10.80", "0.80"),
        (True, "5.40", "5.40", "0.40"),
    ],
)
def test_the_tax_of_shipping_alone_follows_from_the_refunded_total(
    back: str, subtotal: str, tax: str, *, included: bool
) -> None:
    price = "10.80" if included else "10.00"
    order = stored(ON_TOP, (price, "0.80"), included=included)
    assert rows(refund(back, [], subtotal), order) == [("shipping", back, tax, "8")]


def test_no_line_returns_more_than_was_paid_for_it() -> None:
    order = stored([(1, "80.00", "16.00", 1)], included=True)
    assert rows(refund("100.00", [(1, "100.00", "20.00", 1)]), order) == [
        ("goods", "80.00", "16.00", "25"), ("amount", "20.00", "0", "0"),
    ]  # fmt: skip


@pytest.mark.parametrize("change", [{"details": {}}, {"currency": "EUR"}])
def test_a_refund_of_lines_that_are_not_stored_stays_unchanged(change: dict[str, Any]) -> None:
    order = stored(ON_TOP, included=False)
    unlike = StoredOrder(**{**{name: getattr(order, name) for name in order.__slots__}, **change})
    event = refund("108.01", ON_TOP)
    assert restore_tax_from_order(event, unlike) == event
    assert [(line.gross_paid, line.tax_amount) for line in event.lines] == [(Decimal("108.01"), Decimal("8.00"))]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), included=st.booleans(), currency=st.sampled_from(["USD", "JPY", "KWD"]))
def test_a_return_of_whole_pieces_equals_what_was_paid_for_them(
    data: st.DataObject, *, included: bool, currency: str
) -> None:
    """With nothing, a cent, a fee or goodwill beside them, the lines of the return equal the order's and add up."""
    unit = unit_of(currency)
    lines, back, whole = [], [], Decimal(0)
    for number in range(1, data.draw(st.integers(1, 4)) + 1):
        quantity = data.draw(st.integers(1, 3))
        price = data.draw(st.integers(1000, 90_000)) * unit
        tax = (price * Decimal(data.draw(st.sampled_from(["0", "0.06", "0.25"])))).quantize(unit)
        lines.append((number, price, tax * quantity, quantity))
        some = data.draw(st.integers(1, quantity))
        back.append((number, price * some, tax * some, some))
        whole += (price if included else price + tax) * some
    beside = data.draw(st.sampled_from([Decimal(0), unit, -unit, Decimal(500) * unit, -whole / 3]))
    total = (whole + beside).quantize(unit)
    order = stored(lines, included=included, currency=currency)
    event = restore_tax_from_order(refund(total, back, currency=currency), order)
    assert sum(line.gross_paid for line in event.lines) == event.total == total
    assert all(0 <= line.tax_amount <= line.gross_paid for line in event.lines)
    goods = [line for line in event.lines if line.kind is LineKind.GOODS]
    room = 2 * len(goods) * unit
    for line, (_, subtotal, tax, quantity) in zip(goods, back, strict=True):
        paid = subtotal if included else subtotal + tax
        assert (line.quantity, line.gross_paid <= paid + room) == (quantity, True)
        if beside >= 0:
            assert paid <= line.gross_paid
            assert line.tax_amount == tax
    rest = [line.gross_paid for line in event.lines if line.kind is LineKind.AMOUNT]
    assert rest == ([beside] if beside > room else [])
