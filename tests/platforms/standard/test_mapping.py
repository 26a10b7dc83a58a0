"""What the Standard platform's events become, and that its published schema keeps its word."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from support.bodies import customer, order, refund

from plugin.errors import PayloadError
from plugin.events import (
    CustomerCreated,
    CustomerUpdated,
    LineKind,
    MappingResult,
    OrderPaid,
    OrderRefunded,
    UsedPromotion,
    UsedVoucher,
)
from plugin.platforms.base import Delivery
from plugin.platforms.standard import STANDARD
from plugin.platforms.standard.schema import schema

NOW = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)


def mapped(kind: str, **data: Any) -> MappingResult:
    body = json.dumps({"type": kind, "timestamp": "2026-03-05T09:00:00+01:00", "data": data}).encode()
    return STANDARD.normalise(Delivery(kind), body, NOW)


def test_the_schema_is_valid_and_its_own_examples_map() -> None:
    Draft202012Validator.check_schema(schema())
    for branch in schema()["oneOf"]:
        for example in branch["examples"]:
            body = json.dumps(example).encode()
            assert STANDARD.normalise(Delivery(branch["title"]), body, NOW).events, branch["title"]


def test_every_topic_has_a_branch_of_the_schema() -> None:
    assert {branch["title"] for branch in schema()["oneOf"]} == STANDARD.topics.keys() - {"unreadable"}


def test_a_signup_has_the_customers_data() -> None:
    (event,) = mapped("customer.created", customer=customer(birth_date="1990-02-03", extra={"size": 42})).events
    assert isinstance(event, CustomerCreated)
    person = event.customer
    assert (person.customer_id, person.email, person.mobile_phone) == ("1001", "ada@example.com", "+46701234567")
    assert (str(person.birth_day), person.extra, person.address.zip_code) == ("1990-02-03", (("size", "42"),), "111 22")
    assert event.occurred_at == datetime(2026, 3, 5, 8, 0, tzinfo=UTC)


def test_the_money_of_a_paid_order_is_exact() -> None:
    used = {"promotions": [{"code": "A"}, {"assignment_id": "b"}, {}], "vouchers": [{"number": "V"}]}
    (event,) = mapped("order.paid", order=order(**used)).events
    assert isinstance(event, OrderPaid)
    assert event.total == Decimal("299.00")
    assert [line.tax_percent for line in event.lines] == [25, 25]
    assert event.promotions == (UsedPromotion(code="A"), UsedPromotion(assignment_id="b"))
    assert event.vouchers == (UsedVoucher(voucher_number="V"),)


def test_amounts_as_numbers_are_exact() -> None:
    raw = json.dumps(
        {"type": "order.paid", "timestamp": "2026-03-05T09:00:00Z", "data": {"order": order()}}
    ).replace('"299.00"', "299.00").replace('"250.00"', "250.00")  # fmt: skip
    (event,) = STANDARD.normalise(Delivery("order.paid"), raw.encode(), NOW).events
    assert isinstance(event, OrderPaid)
    assert event.total == Decimal("299.00")


def test_a_refund_above_its_lines_has_the_rest_as_an_amount_line() -> None:
    (event,) = mapped("order.refunded", refund=refund(total="260.00")).events
    assert isinstance(event, OrderRefunded)
    assert [(line.kind, line.gross_paid) for line in event.lines] == [
        (LineKind.GOODS, Decimal("250.00")), (LineKind.AMOUNT, Decimal("10.00")),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "data", "field"),
    [
        ("customer.created", {}, "customer"),
        ("customer.created", {"customer": {}}, "customer.id"),
        ("customer.created", {"customer": {"id": {"a": 1}}}, "customer.id"),
        ("order.paid", {"order": order(currency="kr")}, "order.currency"),
        ("order.paid", {"order": order(total="many")}, "order.total"),
        ("order.paid", {"order": order(total="300.00")}, "order.lines"),
        ("order.paid", {"order": order(lines=[])}, "order.lines"),
        ("order.paid", {"order": order(paid_at="2026-03-05 09:30:00")}, "order.paid_at"),
        (
            "order.paid",
            {"order": order(customer={"id": 1, "address": {"zip_code": 11122}})},
            "order.customer.address.zip_code",
        ),
        ("order.paid", {"order": order(customer={"id": 1, "first_name": 7})}, "order.customer.first_name"),
        ("order.refunded", {"refund": refund(total="1.00")}, "refund.lines"),
        ("order.refunded", {"refund": refund(total="-250.00", lines=[])}, "refund.total"),
        ("order.refunded", {"refund": refund(total="250.005")}, "refund.total"),
        ("order.refunded", {"refund": refund(refunded_at="yesterday")}, "refund.refunded_at"),
        ("order.cancelled", {"order": {"id": 1, "cancelled_at": "1772355600"}}, "order.cancelled_at"),
        ("customer.updated", {"customer": {"id": 1, "updated_at": "2026-03-01T10:00:00"}}, "customer.updated_at"),
        (
            "customer.updated",
            {"customer": {"id": 1}, "consents": [{"channel": "sms", "value": True, "at": "2026-03-01 10:00:00"}]},
            "consents.0.at",
        ),
        (
            "consent.changed",
            {"customer": {"id": 1}, "consents": [{"channel": "fax", "value": True}]},
            "consents.0.channel",
        ),
    ],
)
def test_a_faulty_body_is_refused_with_the_field_and_without_its_value(
    kind: str, data: dict[str, Any], field: str
) -> None:
    with pytest.raises(PayloadError) as caught:
        mapped(kind, **data)
    assert caught.value.field == field
    assert "many" not in str(caught.value)
    assert "ada@example.com" not in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"\xff", b'{"type": 5}', b'{"a": NaN}', b"[" * 100_000, b'{"a": 1e999999999}']
)
def test_the_error_for_an_unreadable_body_says_so(body: bytes) -> None:
    STANDARD.peek("unreadable", body)
    with pytest.raises(PayloadError):
        STANDARD.normalise(Delivery("unreadable"), body, NOW)


def test_the_error_for_a_wrong_tax_of_a_line_names_the_tax() -> None:
    lines = order()["lines"]
    lines[0]["tax_amount"] = "-1"
    with pytest.raises(PayloadError) as caught:
        mapped("order.paid", order=order(lines=lines))
    assert caught.value.field == "order.lines.0.tax_amount"


def test_an_undated_opt_in_of_a_profile_is_ignored_and_an_opt_out_is_not() -> None:
    consents = [{"channel": "email", "value": True}, {"channel": "sms", "value": False}]
    result = mapped("customer.updated", customer=customer(), consents=consents)
    (event,) = result.events
    assert isinstance(event, CustomerUpdated)
    assert [(change.channel.value, change.value) for change in event.consents] == [("sms", False)]
    assert any("`at`" in note for note in result.notes)
    (event,) = mapped("customer.created", customer=customer(), consents=consents).events
    assert isinstance(event, CustomerCreated)
    assert [change.value for change in event.consents] == [True, False]


def test_a_payment_time_far_after_the_webhook_becomes_the_webhooks_time() -> None:
    (event,) = mapped("order.paid", order=order(paid_at="2036-01-01T00:00:00Z")).events
    assert event.occurred_at == datetime(2026, 3, 5, 8, 0, tzinfo=UTC)


def test_dinars_have_two_decimals_though_seldom_written() -> None:
    line = {"id": 1, "quantity": 1, "gross_paid": "1299.99"}
    (event,) = mapped("order.paid", order=order(currency="RSD", total="1299.99", lines=[line])).events
    assert isinstance(event, OrderPaid)
    assert event.total == Decimal("1299.99")
