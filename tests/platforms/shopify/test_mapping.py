"""What Shopify's topics become, field by field."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from support.captured import found_shopify_webhooks
from support.samples import samples

from plugin.demo.bodies import paid_order
from plugin.errors import PayloadError
from plugin.events import (
    Channel,
    ConsentChanged,
    CustomerDeleted,
    CustomerErased,
    CustomerMerged,
    LineKind,
    MappingResult,
    OrderPaid,
    OrderRefunded,
    ShopUninstalled,
    UsedPromotion,
)
from plugin.platforms.base import Delivery
from plugin.platforms.shopify import SHOPIFY

NOW = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)


def mapped(topic: str, body: Any, **meta: str) -> MappingResult:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return SHOPIFY.normalise(Delivery(topic, meta=meta), raw, NOW)


def paid(**changes: Any) -> OrderPaid:
    (event,) = mapped("orders/paid", {**paid_order(NOW), **changes}).events
    assert isinstance(event, OrderPaid)
    return event


def both(shop: str, paid_in: str, currency: str = "CAD") -> dict[str, Any]:
    return {
        "shop_money": {"amount": shop, "currency_code": "INR"},
        "presentment_money": {"amount": paid_in, "currency_code": currency},
    }


def test_lines_of_an_order_with_an_order_wide_discount_add_up() -> None:
    order = paid()
    cap, parcel = order.lines
    assert (cap.sku, cap.quantity, cap.gross_paid, cap.tax_amount, cap.tax_percent) == (
        "CAP-BLUE", Decimal(2), Decimal("400.00"), Decimal("80.00"), Decimal(25),
    )  # fmt: skip
    assert [(d.amount, d.code) for d in cap.discounts] == [(Decimal("100.00"), "SPRING20")]
    assert (parcel.kind, parcel.gross_paid) == (LineKind.SHIPPING, Decimal("49.00"))
    assert (order.total, order.currency, order.order_number) == (Decimal("449.00"), "SEK", "#1001")
    assert order.promotions == (UsedPromotion(code="SPRING20"),)
    assert order.customer.customer_id == "5001"


def test_an_order_is_in_the_currency_the_shopper_paid_in() -> None:
    order = paid(
        currency="INR",
        presentment_currency="CAD",
        total_price="913.93",
        total_price_set=both("913.93", "13.50"),
        shipping_lines=[{"id": 1, "title": "Post", "price": "60.93", "price_set": both("60.93", "0.90"), "tax_lines": []}],
        line_items=[
            {"id": 1, "quantity": 2, "price": "67.70", "price_set": both("67.70", "1.00"), "sku": None, "variant_id": 77,
             "discount_allocations": [{"amount": "13.54", "amount_set": both("13.54", "0.20"), "discount_application_index": 0}]},
            {"id": 2, "quantity": 1, "price": "812.38", "price_set": both("812.38", "12.00"), "sku": "B",
             "discount_allocations": [{"amount": "81.24", "amount_set": both("81.24", "1.20"), "discount_application_index": 0}]},
        ],
    )  # fmt: skip
    assert [line.gross_paid for line in order.lines] == [Decimal("1.80"), Decimal("10.80"), Decimal("0.90")]
    assert (order.currency, order.total, order.shop_currency, order.shop_total) == (
        "CAD", Decimal("13.50"), "INR", Decimal("913.93"),
    )  # fmt: skip
    assert (order.lines[0].sku, order.lines[0].article_number) == (None, "77")


def test_tax_on_top_of_prices_is_added_to_the_lines() -> None:
    tax = [{"rate": 0.25, "price": "80.00"}]
    lines = paid_order(NOW)["line_items"]
    order = paid(
        taxes_included=False,
        total_price="529.00",
        total_price_set=None,
        shipping_lines=[{"id": 2, "price": "49.00", "tax_lines": []}],
        line_items=[{**lines[0], "tax_lines": tax}],
    )
    assert [line.gross_paid for line in order.lines] == [Decimal("480.00"), Decimal("49.00")]
    assert order.lines[0].tax_amount == Decimal("80.00")


def test_tips_duties_and_gift_cards_have_lines_of_their_own_kind() -> None:
    gift = {"id": 9, "quantity": 1, "price": "100.00", "gift_card": True, "title": "Gift card"}
    order = paid(
        total_price="599.00",
        total_price_set=None,
        total_tip_received="30.00",
        original_total_duties_set={"shop_money": {"amount": "20.00", "currency_code": "SEK"}},
        line_items=[*paid_order(NOW)["line_items"], gift],
    )
    assert [line.kind for line in order.lines] == ["goods", "gift_card", "shipping", "tip", "fee"]
    assert sum(line.gross_paid for line in order.lines) == order.total


@pytest.mark.parametrize("gateway", ["shopify_payments", None])
def test_a_tip_that_is_a_line_is_counted_once(gateway: str | None) -> None:
    tip = {"id": 9, "quantity": 1, "price": "30.00", "title": "Tip", "tip_payment_gateway": gateway}
    order = paid(
        total_price="479.00",
        total_price_set=None,
        total_tip_received="30.00",
        line_items=[*paid_order(NOW)["line_items"], tip],
    )
    assert [(line.kind, line.gross_paid) for line in order.lines if line.kind not in {"goods", "shipping"}] == [
        (LineKind.TIP, Decimal("30.00"))
    ]


def tipped(tip: str, total: dict[str, Any]) -> OrderPaid:
    """Return an order of a shop in INR, paid in CAD, with a line of 1.00 CAD and a tip reported in INR alone."""
    line = {"id": 1, "quantity": 1, "price": "67.70", "price_set": both("67.70", "1.00"), "sku": "A"}
    return paid(
        currency="INR",
        presentment_currency="CAD",
        total_price=total["shop_money"]["amount"],
        total_price_set=total,
        total_tip_received=tip,
        line_items=[line],
        shipping_lines=[],
    )


@pytest.mark.parametrize(("tip", "shop", "total"), [("67.70", "135.40", "2.00"), ("10.15", "77.85", "1.15")])
def test_a_tip_in_the_shops_currency_is_the_rest_of_the_total(tip: str, shop: str, total: str) -> None:
    line, extra = tipped(tip, both(shop, total)).lines
    assert (line.gross_paid, extra.kind, extra.gross_paid) == (Decimal("1.00"), LineKind.TIP, Decimal(total) - 1)


def test_a_gap_that_does_not_match_the_tip_is_refused() -> None:
    with pytest.raises(PayloadError, match=r"1\.00 CAD.*2\.00 CAD"):
        tipped("10.00", both("135.40", "2.00"))


@pytest.mark.parametrize(("off", "paid_for"), [("49.00", None), ("10.00", "39.00")])
def test_a_cart_discount_on_shipping_is_read_from_its_allocations(off: str, paid_for: str | None) -> None:
    parcel = {
        "id": 2, "title": "Post", "price": "49.00", "discounted_price": "49.00", "tax_lines": [],
        "discount_allocations": [{"amount": off, "discount_application_index": 0}],
    }  # fmt: skip
    total = Decimal("449.00") - Decimal(off)
    order = paid(shipping_lines=[parcel], total_price=str(total), total_price_set=None)
    (line,) = (line for line in order.lines if line.kind is LineKind.SHIPPING)
    assert line.gross_paid == Decimal(paid_for or 0)
    assert [discount.amount for discount in line.discounts] == [Decimal(off)]


def test_shipping_without_allocations_has_its_discounted_price() -> None:
    parcel = {"id": 2, "title": "Post", "price": "49.00", "discounted_price": "30.00", "tax_lines": []}
    order = paid(shipping_lines=[parcel], total_price="430.00", total_price_set=None)
    assert [line.gross_paid for line in order.lines if line.kind is LineKind.SHIPPING] == [Decimal("30.00")]


def test_a_gap_of_a_minor_unit_goes_to_the_largest_line_and_more_is_refused() -> None:
    order = paid(total_price="449.01", total_price_set=None)
    assert order.lines[0].gross_paid == Decimal("400.01")
    with pytest.raises(PayloadError, match=r"449\.00 SEK.*500\.00 SEK"):
        paid(total_price="500.00", total_price_set=None)


@pytest.mark.parametrize(
    ("changes", "reason"), [({"test": True}, "test order"), ({"financial_status": "voided"}, "not paid")]
)
def test_test_orders_and_unpaid_orders_are_ignored_with_a_reason(changes: dict[str, Any], reason: str) -> None:
    result = mapped("orders/paid", {**paid_order(NOW), **changes})
    assert not result.events
    assert reason in (result.ignored or "")


def test_a_guest_without_contact_details_is_mapped_without_a_customer() -> None:
    order = paid(customer=None, email="", phone=None)
    assert (order.customer.customer_id, order.customer.email, order.customer.mobile_phone) == (None, None, None)


@pytest.mark.parametrize("field", ["email", "contact_email"])
@pytest.mark.parametrize("own", [None, "", "no address"])
def test_an_email_typed_at_the_checkout_is_not_verified_by_the_accounts_flag(own: str | None, field: str) -> None:
    typed = {"email": None, "contact_email": None, field: "ada@example.com"}
    order = paid(customer={"id": 666, "email": own, "phone": "+46701111111", "verified_email": True}, **typed)
    assert (order.customer.email, order.customer.email_verified) == ("ada@example.com", False)
    order = paid(customer={"id": 666, "email": "own@example.com", "verified_email": True}, **typed)
    assert (order.customer.email, order.customer.email_verified) == ("own@example.com", True)


def test_a_global_id_is_preferred_to_a_rounded_number() -> None:
    order = paid(
        customer={"id": 706405506930370000, "admin_graphql_api_id": "gid://shopify/Customer/706405506930370084"}
    )
    assert order.customer.customer_id == "706405506930370084"
    order = paid(customer={"admin_graphql_api_id": "gid://shopify/Customer/96"})
    assert order.customer.customer_id == "96"


def test_the_time_of_payment_is_the_webhooks_trigger_time() -> None:
    raw = json.dumps(paid_order(NOW)).encode()
    delivery = Delivery("orders/paid", meta={"triggered_at": "2026-03-05T08:00:00.123456789Z"})
    (event,) = SHOPIFY.normalise(delivery, raw, NOW).events
    assert event.occurred_at == datetime(2026, 3, 5, 8, 0, 0, 123456, tzinfo=UTC)


def refund(**changes: Any) -> dict[str, Any]:
    return {
        "id": 5, "order_id": 70001, "processed_at": "2026-03-05T10:00:00+01:00",
        "refund_line_items": [
            {"line_item_id": 1, "quantity": 1, "subtotal_set": both("60.93", "0.90"), "total_tax_set": both("0", "0.00")}
        ],
        "refund_shipping_lines": [], "order_adjustments": [],
        "transactions": [{"kind": "refund", "status": "success", "amount": "0.90", "currency": "CAD", "gateway": "manual"}],
        **changes,
    }  # fmt: skip


def refunded(**changes: Any) -> OrderRefunded:
    (event,) = mapped("refunds/create", refund(**changes)).events
    assert isinstance(event, OrderRefunded)
    assert sum(line.gross_paid for line in event.lines) == event.total
    return event


def test_a_refund_is_in_the_shoppers_currency() -> None:
    event = refunded()
    assert (event.order_id, event.refund_id, event.currency, event.total) == ("70001", "5", "CAD", Decimal("0.90"))
    assert [(line.line_id, line.quantity, line.gross_paid) for line in event.lines] == [("1", 1, Decimal("0.90"))]
    assert event.occurred_at == datetime(2026, 3, 5, 9, 0, tzinfo=UTC)


def transaction(amount: str) -> list[dict[str, Any]]:
    return [
        {"kind": "refund", "status": "success", "amount": amount, "currency": "CAD", "gateway": "shopify_store_credit"}
    ]


def test_refunded_shipping_is_counted_once() -> None:
    event = refunded(
        transactions=transaction("1.80"),
        refund_shipping_lines=[{"subtotal_amount_set": both("60.93", "0.90")}],
        order_adjustments=[{"kind": "shipping_refund", "amount_set": both("-60.93", "-0.90")}],
    )
    assert [line.kind for line in event.lines] == ["goods", "shipping"]


def test_a_refund_without_lines_is_one_amount_line() -> None:
    event = refunded(
        refund_line_items=[],
        transactions=transaction("5.00"),
        order_adjustments=[{"kind": "refund_discrepancy", "amount_set": both("-338.00", "-5.00")}],
    )
    assert [(line.kind, line.gross_paid) for line in event.lines] == [(LineKind.AMOUNT, Decimal("5.00"))]
    assert event.payments[0].type == "shopify_store_credit"


def test_a_refund_below_its_lines_is_shared_among_them() -> None:
    lines = [
        {"line_item_id": n, "quantity": 1, "subtotal_set": both("0", "1.00"), "total_tax_set": both("0", "0")}
        for n in (1, 2, 3)
    ]
    event = refunded(refund_line_items=lines, transactions=transaction("1.00"))
    assert sorted(line.gross_paid for line in event.lines) == [Decimal("0.33"), Decimal("0.33"), Decimal("0.34")]


def back(amount: str, status: str | None = "success", kind: str | None = "refund", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "status": status, "amount": amount, "currency": "CAD", "gateway": "card", **more}


@pytest.mark.parametrize(
    ("transactions", "total"),
    [
        ([back("0.90", "pending")], "0.90"),
        ([back("0.90", None, None)], "0.90"),
        ([back("0.30"), back("0.60", "pending")], "0.90"),
        ([back("0.30"), back("0.60", "failure"), back("0.60", "error"), back("9.00", kind="void")], "0.30"),
    ],
)
def test_a_refunds_total_is_that_of_its_transactions_including_pending_ones(
    transactions: list[dict[str, Any]], total: str
) -> None:
    event = refunded(transactions=transactions)
    assert event.total == Decimal(total)
    assert sum(payment.amount for payment in event.payments) == event.total


def test_a_pending_refund_of_an_amount_without_lines_is_one_amount_line() -> None:
    event = refunded(refund_line_items=[], transactions=[back("5.00", "pending")])
    assert [(line.kind, line.gross_paid) for line in event.lines] == [(LineKind.AMOUNT, Decimal("5.00"))]


@pytest.mark.parametrize(
    "transactions",
    [
        [],
        [back("0.00")],
        [back("0.90", "failure")],
        [back("0.90", "error")],
        [back("0.90", kind="void")],
        [back("0.90", "pending", kind="void"), back("0.00")],
    ],
)
@pytest.mark.parametrize("with_lines", [True, False])
def test_a_refund_without_a_refunding_transaction_is_ignored(
    transactions: list[dict[str, Any]], *, with_lines: bool
) -> None:
    lines = {} if with_lines else {"refund_line_items": []}
    result = mapped("refunds/create", refund(transactions=transactions, **lines))
    assert result == MappingResult(ignored="no money was refunded")


def test_a_refund_without_a_list_of_transactions_has_the_total_of_its_lines() -> None:
    assert refunded(transactions=None).total == Decimal("0.90")


def test_a_refund_of_a_test_order_is_ignored() -> None:
    result = mapped("refunds/create", refund(transactions=[back("0.40"), back("0.50", test=True)]))
    assert result == MappingResult(ignored="a refund of a test order")
    assert refunded(transactions=[back("0.90", test=False)]).total == Decimal("0.90")


def test_a_test_delivery_is_ignored_whatever_its_body() -> None:
    assert mapped("orders/paid", paid_order(NOW), test="true") == MappingResult(ignored="a test delivery")


@pytest.mark.parametrize(
    ("state", "at", "answer"),
    [
        ("subscribed", None, True),
        ("SUBSCRIBED", None, True),
        ("unsubscribed", None, False),
        ("not_subscribed", "2026-03-05T08:00:00Z", False),
        ("not_subscribed", None, None),
        ("pending", "2026-03-05T08:00:00Z", None),
        ("redacted", None, None),
        ("invalid", None, None),
    ],
)
def test_only_an_answer_of_the_shopper_is_a_consent(state: str, at: str | None, answer: bool | None) -> None:
    body = {
        "customer_id": 7,
        "email_address": "",
        "email_marketing_consent": {"state": state, "consent_updated_at": at},
    }
    result = mapped("customers_email_marketing_consent/update", body)
    if answer is None:
        assert result.ignored
        return
    (event,) = result.events
    assert isinstance(event, ConsentChanged)
    assert [(c.channel, c.value) for c in event.consents] == [(Channel.EMAIL, answer)]
    assert event.customer.customer_id == "7"


def test_deletions_merges_redactions_and_uninstallations_are_mapped() -> None:
    assert mapped("customers/delete", {"id": 5}).events == (CustomerDeleted(NOW, "5"),)
    merge = {
        "admin_graphql_api_customer_kept_id": "gid://shopify/Customer/1",
        "admin_graphql_api_customer_deleted_id": "gid://shopify/Customer/2",
    }
    assert mapped("customers/merge", {**merge, "status": "completed"}).events == (CustomerMerged(NOW, "1", "2"),)
    assert mapped("customers/merge", {**merge, "status": "failed"}).ignored
    redact = {"customer": {"id": 5, "email": "Ada@Example.com"}, "orders_to_redact": [1, 2]}
    assert mapped("customers/redact", redact).events == (
        CustomerErased(NOW, "5", email="ada@example.com", order_ids=("1", "2")),
    )
    assert mapped("shop/redact", {}).events == (ShopUninstalled(NOW, erase=True),)
    assert mapped("app/uninstalled", {}).events == (ShopUninstalled(NOW),)


@pytest.mark.parametrize(
    ("phone", "country", "expected"),
    [
        ("070-123 45 67", "SE", "+46701234567"), ("+16135550177", None, "+16135550177"), ("0501234567", "FI", "+358501234567"),
        ("030 901820", "DE", "+4930901820"), ("12", "SE", None), ("not a number", "SE", None),
    ],
)  # fmt: skip
def test_phones_become_e164_with_the_country_of_the_address(
    phone: str, country: str | None, expected: str | None
) -> None:
    body = {"id": 1, "first_name": "Åsa 李", "default_address": {"phone": phone, "country_code": country}}
    result = mapped("customers/create", body)
    (event,) = result.events
    assert event.customer.mobile_phone == expected  # type: ignore[union-attr]
    assert event.customer.first_name == "Åsa 李"  # type: ignore[union-attr]
    assert bool(result.notes) is (expected is None)


def test_no_topic_is_both_mapped_and_ignored() -> None:
    assert not SHOPIFY.topics.keys() & SHOPIFY.ignored_topics


#: What each body of tests/fixtures becomes; a reason in brackets is why nothing is sent.
OWN = {
    "app-uninstalled-1": "ShopUninstalled", "customers-create-1": "CustomerCreated", "customers-create-2": "CustomerCreated",
    "customers-create-3": "CustomerCreated", "customers-update-1": "CustomerUpdated", "customers-delete-1": "CustomerDeleted",
    "customers-merge-1": "CustomerMerged", "customers_email_marketing_consent-update-1": "ConsentChanged",
    "customers_marketing_consent-update-1": "ConsentChanged",
    "customers_email_marketing_consent-update-2": "[the state 'pending' is not an answer of the shopper]",
    "customers_email_marketing_consent-update-3": "[the state 'not_subscribed' is not an answer of the shopper]",
    "customers_marketing_consent-update-2": "[the state 'not_subscribed' is not an answer of the shopper]",
    "customers-redact-1": "CustomerErased", "customers-data_request-1": "DataRequested", "shop-redact-1": "ShopUninstalled",
    "orders-paid-1": "OrderPaid 489.00 SEK", "orders-paid-2": "OrderPaid 3465 JPY", "orders-cancelled-1": "OrderCancelled",
    "refunds-create-1": "OrderRefunded 129.00 SEK", "refunds-create-2": "OrderRefunded 25.00 SEK",
    "refunds-create-3": "OrderRefunded 1500 JPY", "refunds-create-4": "[a refund of a test order]",
}  # fmt: skip
#: The same for bodies that were found elsewhere, where PAYLOADS_DIR is set.
FOUND = {
    "customers-create-1": "[a test delivery]", "customers-create-2": "CustomerCreated", "customers-create-3": "CustomerCreated",
    "customers-update-1": "[a test delivery]", "customers-delete-1": "[a test delivery]", "customers-merge-1": "[a test delivery]",
    "customers_email_marketing_consent-update-1": "[a test delivery]",
    "customers_marketing_consent-update-1": "[a test delivery]",
    "customers_email_marketing_consent-update-2": "[the state 'not_subscribed' is not an answer of the shopper]",
    "customers_marketing_consent-update-2": "[the state 'not_subscribed' is not an answer of the shopper]",
    "customers-redact-1": "CustomerErased", "customers-data_request-1": "DataRequested", "shop-redact-1": "ShopUninstalled",
    "orders-paid-1": "[a test delivery]", "orders-paid-2": "[a test delivery]",
    "orders-paid-3-derived-multicurrency-discount": "OrderPaid", "orders-cancelled-1": "[a test delivery]",
    "refunds-create-1": "[a test delivery]", "refunds-create-2": "OrderRefunded", "refunds-create-3": "OrderRefunded",
    "refunds-create-4": "[a refund of a test order]", "refunds-create-5": "OrderRefunded",
}  # fmt: skip


@pytest.mark.parametrize(
    ("topic", "body", "test", "outcome"),
    [
        *(pytest.param(topic, body, "", OWN[name], id=name) for name, topic, body in samples(SHOPIFY)),
        *(
            pytest.param(
                webhook.topic,
                webhook.body,
                webhook.headers.get("x-shopify-test", ""),
                FOUND[webhook.name],
                id=f"found-{webhook.name}",
            )
            for webhook in found_shopify_webhooks()
            if webhook.name in FOUND
        ),
    ],
)
def test_a_sample_becomes_the_events_in_the_table(topic: str, body: bytes, test: str, outcome: str) -> None:
    result = mapped(topic, body, test=test)
    became = f"[{result.ignored}]"
    for event in result.events:
        became = type(event).__name__
        if isinstance(event, OrderPaid | OrderRefunded) and " " in outcome:
            became += f" {event.total} {event.currency}"
    assert became == outcome
