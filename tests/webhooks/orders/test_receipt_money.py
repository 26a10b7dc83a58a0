"""Property: the amounts of a receipt equal those of its order, with any mix of promotions and vouchers."""

import json
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import simplejson
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bodies import order

from plugin.engage.data.receipts import UsedPromotion
from plugin.engage.data.request_bodies import receipt_body
from plugin.events import OrderPaid
from plugin.platforms.base import Delivery
from plugin.platforms.standard import STANDARD
from plugin.store.shops.settings import ShopSettings
from plugin.store.shops.shops import RegisteredShop
from webhooks.orders.receipts import purchase_receipt

NOW = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
SHOP = cast("RegisteredShop", SimpleNamespace(name="web-se", settings=ShopSettings("web-se")))
PLACES = {"SEK": 2, "EUR": 2, "JPY": 0, "KWD": 3}


@st.composite
def paid_orders(draw: st.DrawFn) -> dict[str, Any]:
    """Return a strategy of orders with discounts of promotions on their lines, and with or without vouchers as payments."""
    currency = draw(st.sampled_from(sorted(PLACES)))
    unit = Decimal(1).scaleb(-PLACES[currency])
    lines = []
    for number in range(draw(st.integers(1, 5))):
        gross = draw(st.integers(0, 10_000_00)) * unit
        discount = draw(st.integers(0, 5_000_00)) * unit
        percent = draw(st.sampled_from([0, 6, 12, 25]))
        lines.append(
            {
                "id": str(number),
                "sku": f"S-{number}",
                "name": "Thing",
                "quantity": draw(st.integers(1, 4)),
                "gross_paid": str(gross),
                "tax_amount": str((gross * percent / (100 + percent)).quantize(unit)),
                "tax_percent": percent,
                "discounts": [{"amount": str(discount), "code": "SPRING20"}] if discount else [],
            }
        )
    total = sum((Decimal(line["gross_paid"]) for line in lines), Decimal(0))
    voucher = min(total, draw(st.integers(0, 200_00)) * unit)
    payments = [("card", total - voucher), ("voucher", voucher)]
    body = order(
        currency=currency,
        total=str(total),
        lines=lines,
        payments=[{"type": kind, "amount": str(amount)} for kind, amount in payments if amount],
    )
    return {"type": "order.paid", "timestamp": NOW.isoformat(), "data": {"order": body}}


@settings(max_examples=150, deadline=None)
@given(
    body=paid_orders(),
    promotions=st.lists(st.builds(UsedPromotion, st.none() | st.just("T-1"), st.uuids().map(str)), max_size=4),
    vouchers=st.lists(st.text("V0123456789-", min_size=1, max_size=8), max_size=4),
    voucher_field=st.sampled_from(["usedRewardVouchers", "usedBonusChecks"]),
)
def test_receipt_amounts_equal_order_amounts(
    body: dict[str, Any], promotions: list[UsedPromotion], vouchers: list[str], voucher_field: str
) -> None:
    (event,) = STANDARD.normalise(Delivery("order.paid"), json.dumps(body).encode(), NOW).events
    assert isinstance(event, OrderPaid)
    sent = _sent(event, promotions, vouchers, voucher_field)
    ordered = body["data"]["order"]
    total = Decimal(ordered["total"])
    assert sent["totalGrossPrice"] == total
    assert sum(item["grossPaidPrice"] for item in sent["items"]) == total
    assert [item["grossPaidPrice"] for item in sent["items"]] == [Decimal(li["gross_paid"]) for li in ordered["lines"]]
    paid = [Decimal(p["amount"]) for p in ordered["payments"]]
    assert [p["value"] for p in sent["paymentMethods"]] == (paid or [0])  # Engage requires a payment on every receipt
    assert sum(p["value"] for p in sent["paymentMethods"]) == total
    taxes: defaultdict[int, Decimal] = defaultdict(Decimal)
    for line in ordered["lines"]:
        taxes[line["tax_percent"]] += Decimal(line["tax_amount"])
    assert {t["percent"]: t["value"] for t in sent.get("taxDetails", [])} == {p: v for p, v in taxes.items() if v}
    discounts = [d["value"] for item in sent["items"] for d in item.get("discounts", [])]
    assert discounts == [-Decimal(d["amount"]) for line in ordered["lines"] for d in line["discounts"]]
    # what was redeemed is named, which changes nothing else
    plain = _sent(event, [], [], voucher_field)
    named = {name: value for name, value in sent.items() if name not in plain}
    assert {name: sent[name] for name in plain} == plain
    assert len(named.get("usedPromotions", [])) == len(promotions)
    assert [next(iter(v.values())) for v in named.get(voucher_field, [])] == vouchers
    assert set(named) <= {"usedPromotions", voucher_field}


def _sent(event: OrderPaid, promotions: list[UsedPromotion], vouchers: list[str], field: str) -> dict[str, Any]:
    """Return a receipt as it is sent, parsed with exact numbers."""
    receipt = purchase_receipt(SHOP, event, "c-1", "web-se", promotions, vouchers)
    text = simplejson.dumps(receipt_body(receipt, field), use_decimal=True)
    read: dict[str, Any] = json.loads(text, parse_float=Decimal)
    return read
