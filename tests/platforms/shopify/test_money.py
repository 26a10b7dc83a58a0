"""Whole orders of Shopify and what is given back of them, in two currencies: money adds up to the last minor unit."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.currencies import DECIMALS, unit_of
from support.samples import check_event

from plugin.errors import PayloadError
from plugin.events import LineKind, OrderPaid, OrderRefunded
from plugin.platforms.base import Delivery
from plugin.platforms.shopify import SHOPIFY

NOW = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
CURRENCIES = sorted(DECIMALS)


class Till:
    """Builds an order as a shop whose own currency is another than the shopper's, all amounts whole minor units."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.paid_in = draw(st.sampled_from(CURRENCIES))
        self.shop = draw(st.sampled_from(CURRENCIES))
        self.included = draw(st.booleans())
        self.total = Decimal(0)

    def units(self, most: int) -> Decimal:
        """Return an amount in the shopper's currency."""
        return self.draw(st.integers(0, most)) * unit_of(self.paid_in)

    def both(self, amount: Decimal) -> dict[str, Any]:
        """Return an amount in both currencies; the shop's own is another number, unless the currencies are one."""
        own = amount if self.shop == self.paid_in else (amount * 7).quantize(Decimal("0.01"))
        return {
            "shop_money": {"amount": str(own), "currency_code": self.shop},
            "presentment_money": {"amount": str(amount), "currency_code": self.paid_in},
        }

    def priced(self, name: str, amount: Decimal) -> dict[str, Any]:
        both = self.both(amount)
        return {name: both["shop_money"]["amount"], f"{name}_set": both}

    def taxed(self, net_of_discount: Decimal) -> dict[str, Any]:
        """Add a row to the total and return its tax."""
        tax = min(self.units(3000), net_of_discount)
        self.total += net_of_discount if self.included else net_of_discount + tax
        return {"tax_lines": [{"rate": 0.25, **self.priced("price", tax)}] if tax else []}

    def line(self, number: int) -> dict[str, Any]:
        quantity, price = self.draw(st.integers(1, 5)), self.units(90_000)
        first = min(self.units(90_000), quantity * price)
        second = min(self.units(90_000), quantity * price - first)
        return {
            "id": number, "quantity": quantity, "sku": self.draw(st.sampled_from([None, "", f"S{number}"])), "title": "名前",
            "variant_id": self.draw(st.sampled_from([None, 100 + number])), "gift_card": self.draw(st.booleans()),
            "total_discount": "0.00", **self.priced("price", price), **self.taxed(quantity * price - first - second),
            "discount_allocations": [
                {"discount_application_index": index, **self.priced("amount", amount)} for index, amount in ((0, first), (7, second))
            ],
        }  # fmt: skip

    def shipping(self, number: int) -> dict[str, Any]:
        price = self.units(9_000)
        discounted = min(self.units(9_000), price)
        paid = self.priced("discounted_price", discounted)
        return {"id": number, **self.priced("price", price), **paid, **self.taxed(discounted)}

    def order(self) -> dict[str, Any]:
        lines = [self.line(number) for number in range(1, self.draw(st.integers(1, 5)) + 1)]
        shipping = [self.shipping(number) for number in range(self.draw(st.integers(0, 2)))]
        tip, duties = self.units(2000), self.units(2000)
        self.total += tip + duties
        return {
            "id": 1, "name": "#1", "financial_status": "paid", "currency": self.shop, "presentment_currency": self.paid_in,
            "taxes_included": self.included, "line_items": lines, "shipping_lines": shipping,
            "discount_applications": [{"type": "manual", "title": "Sale"}], "payment_gateway_names": ["gift_card", "card"],
            "customer": None, "email": "guest@example.com", "a_new_field": [1],
            **self.priced("total_tip_received", tip), "original_total_duties_set": self.both(duties),
            **self.priced("total_price", self.total),
        }  # fmt: skip


def mapped(topic: str, body: dict[str, Any]) -> Any:
    (event,) = SHOPIFY.normalise(Delivery(topic), json.dumps(body).encode(), NOW).events
    check_event(event)
    return event


@settings(max_examples=150, deadline=None, print_blob=True)
@given(data=st.data())
def test_the_lines_of_an_order_add_up_in_the_shoppers_currency(data: st.DataObject) -> None:
    till = Till(data.draw)
    body = till.order()
    event = mapped("orders/paid", body)
    assert isinstance(event, OrderPaid)
    assert (event.total, event.currency, event.shop_currency) == (till.total, till.paid_in, till.shop)
    goods = [line for line in event.lines if line.kind in {LineKind.GOODS, LineKind.GIFT_CARD}]
    assert [line.line_id for line in goods] == [str(line["id"]) for line in body["line_items"]]
    for line, sent in zip(goods, body["line_items"], strict=True):
        discounts = sum((discount.amount for discount in line.discounts), Decimal(0))
        price = Decimal(sent["price_set"]["presentment_money"]["amount"])
        on_top = Decimal(0) if till.included else line.tax_amount
        assert line.gross_paid == price * sent["quantity"] - discounts + on_top
        assert line.sku != ""
    assert sum((payment.amount for payment in event.payments), Decimal(0)) == till.total


@settings(max_examples=150, deadline=None, print_blob=True)
@given(data=st.data())
def test_the_lines_of_a_refund_add_up_to_its_transactions(data: st.DataObject) -> None:
    till = Till(data.draw)
    lines, expected = [], Decimal(0)
    for number in range(data.draw(st.integers(0, 4))):
        subtotal = till.units(90_000)
        tax = min(till.units(9000), subtotal)
        expected += subtotal if till.included else subtotal + tax
        money = {**till.priced("subtotal", subtotal), **till.priced("total_tax", tax)}
        lines.append({"line_item_id": number, "quantity": data.draw(st.integers(1, 3)), **money})
    shipping = till.units(9000)
    expected += shipping
    size = data.draw(st.sampled_from(["all", "less", "a little", "more"]))
    little = min(expected, till.units(3))
    back = {"all": expected, "less": expected / 3, "a little": little, "more": expected + till.units(500)}[size]
    back = back.quantize(unit_of(till.paid_in))
    body = {
        "id": 5, "order_id": 1, "created_at": "2026-03-05T10:30:00+01:00", "refund_line_items": lines,
        "refund_shipping_lines": [{"subtotal_amount_set": till.both(shipping)}],
        "transactions": [
            {"kind": "refund", "status": "success", "amount": str(back), "currency": till.paid_in, "gateway": "card"},
            {"kind": "refund", "status": "failure", "amount": "5.00", "currency": till.paid_in, "gateway": "card"},
        ],
    }  # fmt: skip
    if not back:
        return
    event = mapped("refunds/create", body)
    assert isinstance(event, OrderRefunded)
    assert (event.total, event.currency) == (back, till.paid_in)
    assert sum((payment.amount for payment in event.payments), Decimal(0)) == back
    assert all(0 <= line.tax_amount <= line.gross_paid for line in event.lines)


@pytest.mark.parametrize("place", ["subtotal", "amount"])
def test_a_refund_with_a_negative_amount_is_refused(place: str) -> None:
    money = {"amount": "-10.00", "currency_code": "SEK"}
    line = {"line_item_id": 1, "quantity": 1, "subtotal_set": {"presentment_money": money, "shop_money": money}}
    paid = {
        "kind": "refund",
        "status": "success",
        "amount": "-10.00" if place == "amount" else "10.00",
        "currency": "SEK",
    }
    body = {"id": 5, "order_id": 1, "refund_line_items": [line] if place == "subtotal" else [], "transactions": [paid]}
    with pytest.raises(PayloadError):
        mapped("refunds/create", body)
