"""Captured entities of shops that a bridge connects to the Standard platform: its format has a field for everything needed."""

import json
import shutil
import subprocess
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.captured import CAPTURED
from support.samples import check_event

from plugin.events import Address, CustomerCreated, CustomerUpdated, Event, LineKind, OrderPaid, OrderRefunded
from plugin.platforms.base import Delivery
from plugin.platforms.standard import STANDARD

SEEN = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
BRIDGE = Path(__file__).parents[1] / "shops" / "vendure" / "events.js"
TRANSLATE = """
const bridge = require(process.argv[1]);
const body = JSON.parse(require('fs').readFileSync(process.argv[2], 'utf8'));
console.log(JSON.stringify(body.order ? { order: bridge.order(body.order) } : { customer: bridge.customer(body.customer) }));
"""


def captured(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((CAPTURED / f"{name}.json").read_bytes(), parse_float=str)
    return body


def received(kind: str, **data: Any) -> Event:
    body = json.dumps({"type": kind, "timestamp": SEEN.isoformat(), "data": data}).encode()
    (event,) = STANDARD.normalise(Delivery(kind), body, SEEN).events
    check_event(event)
    return event


# --- Vendure, through the bridge that the end-to-end test starts ---


def through_the_bridge(name: str) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    path = CAPTURED / "vendure" / f"{name}.json"
    done = subprocess.run(
        [node, "-e", TRANSLATE, str(BRIDGE), str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    body: dict[str, Any] = json.loads(done.stdout)
    return body


def test_vendure_order_is_a_purchase_of_the_same_total() -> None:
    for name, customer_id in (("order-PaymentSettled-1", "1"), ("order-PaymentSettled-2", None)):
        order = captured(f"vendure/{name}")["order"]
        paid = received("order.paid", **through_the_bridge(name))
        assert isinstance(paid, OrderPaid)
        assert (paid.order_id, paid.currency, paid.total) == (
            order["code"],
            "USD",
            Decimal(order["totalWithTax"]) / 100,
        )
        assert sum(line.tax_amount for line in paid.lines) == Decimal(order["totalWithTax"] - order["total"]) / 100
        assert [line.tax_percent for line in paid.lines if line.kind is LineKind.GOODS] == [25] * len(order["lines"])
        assert (paid.customer.customer_id, paid.customer.email) == (customer_id, order["customer"]["emailAddress"])


def test_vendure_customer_changes_phone() -> None:
    for name, kind in (("customer-created-1", "customer.created"), ("customer-updated-1", "customer.updated")):
        event = received(kind, **through_the_bridge(name))
        assert isinstance(event, CustomerCreated | CustomerUpdated)
        assert (event.customer.customer_id, event.customer.email) == ("1", "anna@example.se")
        assert event.customer.email_verified
        assert (event.customer.mobile_phone == "+46701234567") is (kind == "customer.updated")


# --- Medusa, with a few lines in place of a bridge ---


def medusa_lines(order: dict[str, Any]) -> list[dict[str, Any]]:
    def line(entry: dict[str, Any], **more: Any) -> dict[str, Any]:
        rate = sum(Decimal(tax["rate"]) for tax in entry["tax_lines"])
        money = {"gross_paid": str(entry["total"]), "tax_amount": str(entry["tax_total"]), "tax_percent": str(rate)}
        return {"id": entry["id"], "name": entry.get("title") or entry["name"], **money, **more}

    goods = [line(item, sku=item["variant_sku"], quantity=item["quantity"]) for item in order["items"]]
    return goods + [line(method, kind="shipping", quantity=1) for method in order["shipping_methods"]]


def medusa_customer(customer: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "email", "phone", "first_name", "last_name", "updated_at")
    return {name: customer[name] for name in names if customer[name]}


def test_medusa_payment_is_a_purchase_of_the_same_total() -> None:
    placed, payment = captured("medusa/order-placed-1")["data"], captured("medusa/payment-captured-1")["data"]
    order, place = payment["payment_collection"]["order"], placed["shipping_address"]
    address = {
        "street": place["address_1"],
        "zip_code": place["postal_code"],
        "city": place["city"],
        "country_code": "SE",
    }
    paid = received(
        "order.paid",
        order={
            "id": order["id"],
            "number": str(order["display_id"]),
            "currency": payment["currency_code"].upper(),
            "total": str(payment["amount"]),
            "paid_at": payment["captured_at"],
            "customer": {**medusa_customer(placed["customer"]), "address": address},
            "lines": medusa_lines(order),
            "payments": [{"type": payment["provider_id"], "amount": str(payment["amount"])}],
        },
    )
    assert isinstance(paid, OrderPaid)
    assert (paid.total, paid.currency) == (Decimal(placed["total"]), "SEK")
    assert sum(line.tax_amount for line in paid.lines) == Decimal(placed["tax_total"])
    assert {line.tax_percent for line in paid.lines} == {Decimal(25)}
    assert paid.customer.address == Address("Storgatan 1", None, "11122", "Stockholm", "SE")
    assert paid.occurred_at < SEEN


def test_medusa_refund_without_lines_is_an_amount() -> None:
    payment = captured("medusa/payment-refunded-1")["data"]
    (refund,) = payment["refunds"]
    back = received(
        "order.refunded",
        refund={
            "id": refund["id"],
            "order_id": payment["payment_collection"]["order"]["id"],
            "currency": "SEK",
            "total": str(refund["amount"]),
            "refunded_at": refund["created_at"],
        },
    )
    assert isinstance(back, OrderRefunded)
    assert [(line.kind, line.gross_paid) for line in back.lines] == [(LineKind.AMOUNT, Decimal(799))]


def test_medusa_customer_changes_name() -> None:
    for name, kind, last_name in (
        ("customer-created-1", "customer.created", "Svensson"),
        ("customer-updated-1", "customer.updated", "Svensson-Berg"),
    ):
        event = received(kind, customer=medusa_customer(captured(f"medusa/{name}")["data"]))
        assert isinstance(event, CustomerCreated | CustomerUpdated)
        assert (event.customer.last_name, event.customer.mobile_phone) == (last_name, "+46701234567")
