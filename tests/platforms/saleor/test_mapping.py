"""What Saleor's topics become, field by field; captured bodies, and orders of every kind."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from support.captured import CAPTURED, more_payloads
from support.saleor_shop import (
    AT,
    Shop,
    address,
    faults_of,
    happened,
    line,
    money,
    order,
    refunded_order,
    taxed,
    transaction,
    user,
)

from plugin.errors import PayloadError
from plugin.event_kinds import EventKind
from plugin.events import (
    Address,
    Customer,
    CustomerCreated,
    CustomerDeleted,
    CustomerUpdated,
    LineKind,
    MappingResult,
    OrderCancelled,
    OrderPaid,
    OrderRefunded,
    Payment,
    ShopUninstalled,
    UsedPromotion,
    UsedVoucher,
)
from plugin.platforms.base import Delivery
from plugin.platforms.saleor import SALEOR, queries
from plugin.platforms.saleor.customers import language_tag

NOW = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
SEEN = datetime(2026, 11, 24, tzinfo=UTC)
SHOP = Shop(url="https://kiosk.example")


def mapped(topic: str, body: Any, *, at: datetime = NOW, **meta: str) -> MappingResult:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return SALEOR.normalise(Delivery(topic, meta=meta), raw, at)


def webhook_body(kind: str, subject: dict[str, Any], at: datetime = AT) -> bytes:
    """Return the body of an event as the shop makes it with our own query."""
    query = next(query for _, query in queries.WEBHOOKS.values() if f"on {kind} " in query)
    return SHOP.body_of(query, kind, subject, at)


def paid(**changes: Any) -> OrderPaid:
    (event,) = mapped("order_fully_paid", webhook_body("OrderFullyPaid", {"order": order(**changes)})).events
    assert isinstance(event, OrderPaid)
    return event


def refunds(whole: dict[str, Any], topic: str = "order_refunded", kind: str = "OrderRefunded") -> list[OrderRefunded]:
    events = mapped(topic, webhook_body(kind, {"order": whole})).events
    assert all(isinstance(event, OrderRefunded) for event in events)
    for event in events:
        assert sum(line.gross_paid for line in event.lines) == event.total
    return list(events)  # type: ignore[arg-type]


def test_every_topic_that_is_not_ignored_is_subscribed_to_and_nothing_else() -> None:
    subscribed = {topic for topics, _ in queries.WEBHOOKS.values() for topic in topics}
    assert subscribed == set(SALEOR.topics)
    assert not set(SALEOR.topics) & SALEOR.ignored_topics
    assert all(topic == topic.lower() for topic in {*SALEOR.topics, *SALEOR.ignored_topics})


@pytest.mark.parametrize("query", [query for _, query in queries.WEBHOOKS.values()], ids=list(queries.WEBHOOKS))
def test_subscription_queries_are_valid(query: str) -> None:
    assert faults_of(query) == []
    assert faults_of(query.replace("issuedAt", "issued")) != []


# --- captured from a real shop ---


def captured(name: str) -> MappingResult:
    return mapped(name.rpartition("-")[0], (CAPTURED / "saleor" / f"{name}.json").read_bytes(), at=SEEN)


def test_a_captured_signup_is_an_unconfirmed_customer() -> None:
    (event,) = captured("customer_created-1").events
    assert event == CustomerCreated(
        datetime(2026, 11, 23, 5, 35, 26, 832613, tzinfo=UTC),
        Customer(
            "VXNlcjo0Ng==", "anna@example.se", False, first_name="Anna", last_name="Svensson", locale="sv-SE",
            extra=(("metadata.accepts_email", "true"),),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["customer_updated-1", "customer_metadata_updated-1"])
def test_captured_profile_changes_have_the_confirmed_customer(name: str) -> None:
    (event,) = captured(name).events
    assert isinstance(event, CustomerUpdated)
    assert event.customer.email_verified
    assert event.customer.mobile_phone == "+46701234567"
    assert event.customer.address == Address("Storgatan 1", None, "11122", "STOCKHOLM", "SE")


def test_a_captured_paid_order_adds_up_with_its_catalogue_promotion_as_discounts() -> None:
    (event,) = captured("order_fully_paid-1").events
    assert isinstance(event, OrderPaid)
    assert (event.order_number, event.currency, event.total, event.channel, event.country_code) == (
        "21", "USD", Decimal("20.38"), "default-channel", "US",
    )  # fmt: skip
    juice, tee = event.lines
    assert (juice.sku, juice.article_number, juice.name) == (None, "UHJvZHVjdFZhcmlhbnQ6Mzg0", "Apple Juice")
    assert (juice.quantity, juice.gross_paid, juice.tax_percent) == (Decimal(2), Decimal("2.38"), Decimal(0))
    assert [discount.amount for discount in juice.discounts] == [Decimal("1.60")]
    assert (tee.sku, tee.name, tee.gross_paid) == ("328223580", "Monospace Tee - S", Decimal("18.00"))
    assert event.payments == (Payment("Card", Decimal("20.38")),)
    assert (event.customer.customer_id, event.customer.email_verified, event.customer.locale) == (
        "VXNlcjo0Ng==", False, None,
    )  # fmt: skip
    assert event.occurred_at == datetime(2026, 11, 23, 5, 35, 30, 679180, tzinfo=UTC)


def test_a_captured_refund_without_ids_is_an_amount_line() -> None:
    (event,) = captured("order_refunded-1").events
    assert isinstance(event, OrderRefunded)
    assert (event.refund_id, event.total, event.total_refunded) == ("sum-5.00", Decimal("5.00"), Decimal("5.00"))
    assert [line.kind for line in event.lines] == [LineKind.AMOUNT]


def test_a_captured_cancellation_of_a_paid_order_is_mapped() -> None:
    (event,) = captured("order_cancelled-1").events
    assert isinstance(event, OrderCancelled)
    assert event.order_id == "T3JkZXI6ZWFmNjllMzgtMGE1Ni00MWEyLTlmYTktZTJlNTAxMWZkMmFh"


def test_peek_reads_each_captured_body_and_its_topic_is_declared() -> None:
    for path in sorted((CAPTURED / "saleor").glob("*.json")):
        topic = path.name.rpartition("-")[0]
        peek = SALEOR.peek(topic, path.read_bytes())
        assert peek.occurred_at is not None
        assert (peek.customer_id, peek.email) in {
            ("VXNlcjo0Ng==", "anna@example.se"), (None, "guest@example.com"),
        }  # fmt: skip
        assert (peek.order_id is not None) == topic.startswith("order")
        assert (topic in SALEOR.topics) != (topic in SALEOR.ignored_topics)


# --- customers ---


def test_a_customer_in_the_shape_of_our_query_is_mapped() -> None:
    whole = user(
        firstName="김", lastName="민준", externalReference="ERP-7", languageCode="ZH_HANS_CN",
        metadata=[{"key": "size", "value": "42"}, {"key": "empty", "value": ""}],
        defaultBillingAddress=address(phone="070-123 45 67", streetAddress2="lgh 1102"),
    )  # fmt: skip
    (event,) = mapped("customer_updated", webhook_body("CustomerUpdated", {"user": whole})).events
    assert isinstance(event, CustomerUpdated)
    assert event.customer == Customer(
        "VXNlcjoxMDAx", "ada@example.com", True, "+46701234567", first_name="김", last_name="민준",
        address=Address("Storgatan 1, lgh 1102", None, "11122", "STOCKHOLM", "SE"), locale="zh-Hans-CN",
        extra=(("externalReference", "ERP-7"), ("metadata.size", "42")),
    )  # fmt: skip


@pytest.mark.parametrize("topic", ["account_confirmed", "account_email_changed", "customer_metadata_updated"])
def test_other_changes_of_a_customer_are_profile_changes(topic: str) -> None:
    kind = "".join(word.title() for word in topic.split("_"))
    body = webhook_body(kind, {"user": user(email="New@Example.com")})
    (event,) = mapped(topic, body).events
    assert isinstance(event, CustomerUpdated)
    assert event.customer.email == "new@example.com"
    assert SALEOR.topics[topic] is EventKind.PROFILE_CHANGE


@pytest.mark.parametrize("topic", ["customer_deleted", "account_deleted"])
def test_the_query_for_a_deleted_customer_has_its_id_alone(topic: str) -> None:
    kind = "".join(word.title() for word in topic.split("_"))
    body = webhook_body(kind, {"user": user()})
    assert b"ada@example.com" not in body
    assert mapped(topic, body).events == (CustomerDeleted(AT, "VXNlcjoxMDAx"),)


def test_an_invalid_phone_or_e_mail_is_left_out_with_a_note() -> None:
    result = mapped("customer_updated", {"user": {"id": "1", "email": "x", "addresses": [{"phone": "12"}]}})
    (event,) = result.events
    assert isinstance(event, CustomerUpdated)
    assert event.customer.dropped == ("mobilePhone", "email")
    assert len(result.notes) == 2
    assert event.customer.address == Address()


@pytest.mark.parametrize(
    ("code", "tag"),
    [("EN", "en"), ("SV_SE", "sv-SE"), ("SR_LATN_RS", "sr-Latn-RS"), ("ES_419", "es-419"), ("", None), (7, None),
     ("_", None), ("E", None), ("å_SE", None)],
)  # fmt: skip
def test_language_codes_become_language_tags(code: Any, tag: str | None) -> None:
    assert language_tag(code) == tag


def test_the_error_for_a_body_without_its_user_names_the_field() -> None:
    with pytest.raises(PayloadError, match="user"):
        mapped("customer_created", {"user": None})
    with pytest.raises(PayloadError, match=r"user\.id"):
        mapped("customer_created", {"user": {"email": "a@b.se"}})


# --- orders ---


def test_an_order_has_its_lines_shipping_taxes_and_payment() -> None:
    event = paid()
    things, thing, parcel = event.lines
    assert (things.quantity, things.gross_paid, things.tax_amount, things.tax_percent) == (
        Decimal(2), Decimal("200.00"), Decimal("40.00"), Decimal(25),
    )  # fmt: skip
    assert (parcel.kind, parcel.gross_paid, parcel.tax_amount, parcel.tax_percent, parcel.name) == (
        LineKind.SHIPPING, Decimal("49.00"), Decimal("9.80"), Decimal(25), "Parcel",
    )  # fmt: skip
    assert thing.article_number == "UHJvZHVjdFZhcmlhbnQ62"
    assert (event.total, event.currency, event.order_number) == (Decimal("300.00"), "SEK", "9001")
    assert event.payments == (Payment("Card", Decimal("300.00")),)
    assert (event.customer.customer_id, event.customer.email_verified, event.channel) == (
        "VXNlcjoxMDAx",
        True,
        "web-se",
    )
    assert event.occurred_at == AT


@pytest.mark.parametrize(
    "wrapped", [lambda b: {"data": {"orderFullyPaid": b}}, lambda b: {"data": {"event": b}}, lambda b: b]
)
def test_a_body_is_read_with_and_without_its_data_wrapper(wrapped: Any) -> None:
    body = json.dumps(wrapped(json.loads(webhook_body("OrderFullyPaid", {"order": order()})))).encode()
    (event,) = mapped("order_fully_paid", body).events
    assert isinstance(event, OrderPaid)
    assert event.order_id == SALEOR.peek("order_fully_paid", body).order_id == "T3JkZXI6OTAwMQ=="
    assert SALEOR.peek("order_fully_paid", body).customer_id == "VXNlcjoxMDAx"


def test_a_guest_has_an_e_mail_alone_and_the_checkouts_language() -> None:
    event = paid(user=None, userEmail="Guest@Example.com", languageCodeEnum="NB_NO")
    assert (event.customer.customer_id, event.customer.email, event.customer.email_verified, event.customer.locale) == (
        None, "guest@example.com", False, "nb-NO",
    )  # fmt: skip


def test_an_accounts_language_is_preferred_to_the_checkouts() -> None:
    assert paid(languageCodeEnum="EN").customer.locale == "sv-SE"
    assert dict(paid(languageCodeEnum="EN").extra)["language"] == "en"


def test_the_payer_is_the_contact_and_the_shipping_country_is_the_orders() -> None:
    event = paid(
        user=None, userEmail="a@b.se",
        shippingAddress=address(firstName="Bo", country={"code": "NO", "country": ""}, phone="40612345"),
    )  # fmt: skip
    assert (event.customer.first_name, event.customer.address.country_code, event.country_code) == ("Ada", "SE", "NO")


def test_a_voucher_on_a_line_is_a_discount_with_its_code() -> None:
    event = paid(
        voucherCode="SPRING20",
        lines=[
            line(1, 160.0, 128.0, 2, undiscountedUnitPrice=taxed(100.0, 80.0), unitDiscountReason="Voucher code: SPRING20"),
            line(2, 51.0, 40.8),
        ],
        total=taxed(260.0, 208.0), transactions=[transaction(260.0)],
    )  # fmt: skip
    assert [(d.amount, d.code) for d in event.lines[0].discounts] == [(Decimal("40.00"), "SPRING20")]
    assert event.lines[1].discounts == ()
    assert event.promotions == (UsedPromotion(code="SPRING20"),)


def test_an_order_discount_without_lines_is_spread_exactly() -> None:
    event = paid(
        discounts=[{"id": "1", "type": "MANUAL", "name": "Sorry", "valueType": "FIXED", "value": 10, "total": money(10.0)}],
        total=taxed(290.0, 232.0), transactions=[transaction(290.0)],
    )  # fmt: skip
    assert [line.gross_paid for line in event.lines] == [Decimal("192.03"), Decimal("48.97"), Decimal("49.00")]
    assert [d.amount for line in event.lines for d in line.discounts] == [Decimal("7.97"), Decimal("2.03")]
    assert event.lines[0].discounts[0].description == "Sorry"
    assert sum(line.gross_paid for line in event.lines) == event.total == Decimal("290.00")


def test_lines_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(PayloadError, match=r"300\.00 SEK.*250\.00 SEK"):
        paid(total=taxed(250.0, 200.0))
    with pytest.raises(PayloadError):
        paid(total=taxed(350.0, 280.0))


def test_a_used_gift_card_is_a_payment_and_a_bought_gift_card_is_a_line() -> None:
    event = paid(giftCards=[{"id": "R2lmdDox"}], total=taxed(220.0, 176.0), transactions=[transaction(220.0)])
    assert event.total == Decimal("300.00")
    assert event.payments == (Payment("Card", Decimal("220.00")), Payment("gift_card", Decimal("80.00")))
    whole = paid(giftCards=[{"id": "R2lmdDox"}], total=taxed(0.0, 0.0), transactions=[])
    assert whole.payments == (Payment("gift_card", Decimal("300.00")),)
    card = line(3, 100.0, 100.0, taxRate=0.0, variant={"id": "v", "product": {"productType": {"kind": "GIFT_CARD"}}})
    bought = paid(lines=[line(1, 151.0, 120.8), card])
    assert [line.kind for line in bought.lines] == [LineKind.GOODS, LineKind.GIFT_CARD, LineKind.SHIPPING]


def test_a_gift_line_is_a_line_of_zero_with_its_discount() -> None:
    gift = line(3, 0.0, 0.0, isGift=True, undiscountedUnitPrice=taxed(25.0, 20.0), unitDiscountReason="Gift")
    event = paid(lines=[line(1, 200.0, 160.0, 2), line(2, 51.0, 40.8), gift])
    assert (event.lines[2].gross_paid, event.lines[2].discounts[0].amount) == (Decimal(0), Decimal("25.00"))


def test_free_shipping_and_a_missing_shipping_price_make_no_line() -> None:
    assert len(paid(shippingPrice=taxed(0.0, 0.0), total=taxed(251.0, 200.8)).lines) == 2
    body = json.loads(webhook_body("OrderFullyPaid", {"order": order(total=taxed(251.0, 200.8))}))
    body["order"]["shippingPrice"] = None
    assert len(mapped("order_fully_paid", body).events) == 1


def test_prices_shown_without_tax_are_mapped_with_tax() -> None:
    event = paid(displayGrossPrices=False)
    assert event.lines[0].gross_paid == Decimal("200.00"), "net 160 and tax 40"
    body = json.loads(webhook_body("OrderFullyPaid", {"order": order()}))
    for entry in (*body["order"]["lines"], body["order"]["shippingPrice"]):
        (entry.get("totalPrice") or entry).pop("tax")
    (without,) = mapped("order_fully_paid", body).events
    assert isinstance(without, OrderPaid)
    assert [line.tax_amount for line in without.lines] == [line.tax_amount for line in event.lines]


def test_several_payments_are_listed_only_if_they_add_up() -> None:
    two = [transaction(200.0), {**transaction(100.0), "name": "Swish"}]
    assert paid(transactions=two).payments == (Payment("Card", Decimal("200.00")), Payment("Swish", Decimal("100.00")))
    partly = [transaction(200.0), {**transaction(50.0), "name": "Swish"}]
    assert paid(transactions=partly).payments == (Payment("Card", Decimal("300.00"), "Card, Swish"),)
    old = [{"id": "p", "gateway": "mirumee.payments.dummy", "capturedAmount": money(300.0), "transactions": []}]
    assert paid(transactions=[], payments=old).payments == (Payment("mirumee.payments.dummy", Decimal("300.00")),)
    assert paid(transactions=[]).payments == (Payment("other", Decimal("300.00")),)


def test_a_paid_body_in_a_later_state_is_still_the_purchase() -> None:
    whole = refunded_order(("E1", 300.0), status="CANCELED")
    (event,) = mapped("order_fully_paid", webhook_body("OrderFullyPaid", {"order": whole})).events
    assert isinstance(event, OrderPaid)
    assert (event.total, event.payments) == (Decimal("300.00"), (Payment("Card", Decimal("300.00")),))


@pytest.mark.parametrize(
    ("status", "reason"), [("DRAFT", "draft"), ("UNCONFIRMED", "confirmed"), ("EXPIRED", "expired")]
)
def test_an_order_that_may_still_change_is_ignored(status: str, reason: str) -> None:
    result = mapped("order_fully_paid", webhook_body("OrderFullyPaid", {"order": order(status=status)}))
    assert result.events == ()
    assert reason in str(result.ignored)


def test_confirming_an_order_is_a_purchase_only_once_it_is_paid() -> None:
    (event,) = mapped("order_confirmed", webhook_body("OrderConfirmed", {"order": order()})).events
    assert isinstance(event, OrderPaid)
    unpaid = order(isPaid=False, chargeStatus="PARTIAL", transactions=[transaction(100.0)], totalCharged=money(100.0))
    result = mapped("order_confirmed", webhook_body("OrderConfirmed", {"order": unpaid}))
    assert (result.events, result.ignored) == ((), "the order is not paid yet; order_fully_paid follows")


def test_promotions_and_vouchers_are_read_from_the_orders_metadata() -> None:
    event = paid(
        voucherCode="SPRING20",
        metadata=[
            {"key": "engage_promotion_assignment_id", "value": "a1, a2"},
            {"key": "engage_voucher_number", "value": "V-7"},
            {"key": "gift_wrap", "value": "yes"},
        ],
    )
    assert event.promotions == (
        UsedPromotion(assignment_id="a1"), UsedPromotion(assignment_id="a2"), UsedPromotion(code="SPRING20"),
    )  # fmt: skip
    assert event.vouchers == (UsedVoucher(voucher_number="V-7"),)
    assert dict(event.extra)["metadata.gift_wrap"] == "yes"


def test_money_as_a_json_number_is_rounded_to_the_minor_unit() -> None:
    body = webhook_body("OrderFullyPaid", {"order": order()}).replace(b"300.0", b"300.00000000000001")
    (event,) = mapped("order_fully_paid", body).events
    assert isinstance(event, OrderPaid)
    assert event.total == Decimal("300.00")


def test_an_order_without_lines_is_ignored() -> None:
    result = mapped(
        "order_fully_paid",
        webhook_body("OrderFullyPaid", {"order": order(lines=[], shippingPrice=taxed(0, 0), total=taxed(0, 0))}),
    )
    assert result.ignored == "the order has no lines"


def test_the_last_charge_is_the_payment_time_where_the_event_has_none() -> None:
    later = {**transaction(300.0), "events": [happened("c", "CHARGE_SUCCESS", 300.0, minutes=7)]}
    body = json.loads(webhook_body("OrderFullyPaid", {"order": order(transactions=[later])}))
    del body["issuedAt"]
    (event,) = mapped("order_fully_paid", body).events
    assert event.occurred_at == AT + timedelta(minutes=7)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"total": None}, "order.total"),
        ({"lines": None}, "order.lines"),
        ({"total": {"gross": {"amount": 1}}}, "currency"),
        ({"total": {"currency": "SEK", "gross": {"amount": -1}}}, "total"),
        ({"total": {"currency": "SEK", "gross": {"amount": "x"}}}, "amount"),
        ({"lines": [{"id": "1", "quantity": 1}]}, "totalPrice"),
        ({"lines": [{"id": "1", "quantity": 1.5, "totalPrice": {"gross": {"amount": 1}}}]}, "quantity"),
        ({"id": None}, "order.id"),
    ],
)
def test_the_error_for_a_faulty_order_names_the_field(changes: dict[str, Any], field: str) -> None:
    body = json.loads(webhook_body("OrderFullyPaid", {"order": order()}))
    body["order"].update(changes)
    with pytest.raises(PayloadError, match=field):
        mapped("order_fully_paid", body)


# --- refunds ---


def test_a_refund_has_the_same_id_in_every_body_of_its_order() -> None:
    (first,) = refunds(refunded_order(("E1", 100.0)))
    assert (first.refund_id, first.total, first.total_refunded) == ("E1", Decimal("100.00"), Decimal("100.00"))
    assert first.payments == (Payment("Card", Decimal("100.00")),)
    assert first.occurred_at == AT, "never later than the event"
    both = refunds(refunded_order(("E1", 100.0), ("E2", 200.0)), "order_fully_refunded", "OrderFullyRefunded")
    assert [(event.refund_id, event.total) for event in both] == [("E1", Decimal("100.00")), ("E2", Decimal("200.00"))]
    assert {event.total_refunded for event in both} == {Decimal("300.00")}


def test_a_full_refund_has_every_line() -> None:
    (event,) = refunds(refunded_order(("E1", 300.0)))
    assert [(line.line_id, line.gross_paid) for line in event.lines] == [
        ("T3JkZXJMaW5lOj1", Decimal("200.00")), ("T3JkZXJMaW5lOj2", Decimal("51.00")), ("shipping", Decimal("49.00")),
    ]  # fmt: skip
    assert all(not line.discounts for line in event.lines)


def granted(
    amount: float, *lines: tuple[int, int], shipping: bool = False, events: tuple[str, ...] = ()
) -> dict[str, Any]:
    return {
        "id": f"granted-{amount}", "createdAt": AT.isoformat(), "amount": money(amount), "reason": "",
        "shippingCostsIncluded": shipping,
        "lines": [{"id": "x", "quantity": quantity, "orderLine": line(number, 1.0, 1.0)} for number, quantity in lines],
        "transactionEvents": [happened(event, "REFUND_SUCCESS", amount) for event in events],
    }  # fmt: skip


def test_a_granted_refund_names_the_refunded_lines() -> None:
    named = granted(100.0, (1, 1), events=("E1",))
    (event,) = refunds(refunded_order(("E1", 100.0), grantedRefunds=[named, granted(51.0, (2, 1))]))
    assert [(line.line_id, line.quantity, line.gross_paid, line.tax_amount) for line in event.lines] == [
        ("T3JkZXJMaW5lOj1", Decimal(1), Decimal("100.00"), Decimal("20.00")),
    ]  # fmt: skip
    (by_amount,) = refunds(refunded_order(("E1", 100.0), grantedRefunds=[granted(100.0, (2, 1), shipping=True)]))
    assert [(line.line_id, line.gross_paid) for line in by_amount.lines] == [
        ("T3JkZXJMaW5lOj2", Decimal("51.00")), ("shipping", Decimal("49.00")),
    ]  # fmt: skip


def test_two_granted_refunds_of_the_same_amount_make_an_amount_line() -> None:
    twins = [granted(51.0, (2, 1)), granted(51.0, (1, 1))]
    (event,) = refunds(refunded_order(("E1", 51.0), grantedRefunds=twins))
    assert [line.kind for line in event.lines] == [LineKind.AMOUNT]


def test_a_refund_that_differs_from_its_lines_is_lowered_or_gets_an_amount_line() -> None:
    (less,) = refunds(refunded_order(("E1", 60.0), grantedRefunds=[granted(60.0, (1, 1), events=("E1",))]))
    assert [(line.kind, line.gross_paid, line.tax_amount) for line in less.lines] == [
        (LineKind.GOODS, Decimal("60.00"), Decimal("12.00")),
    ]  # fmt: skip
    (more,) = refunds(refunded_order(("E1", 110.0), grantedRefunds=[granted(110.0, (1, 1), events=("E1",))]))
    assert [(line.kind, line.gross_paid) for line in more.lines] == [
        (LineKind.GOODS, Decimal("100.00")), (LineKind.AMOUNT, Decimal("10.00")),
    ]  # fmt: skip


def test_a_refund_of_the_older_payments_api_has_the_lines_of_its_fulfilment() -> None:
    step = {
        "id": "VHJhbnM6OQ==",
        "kind": "REFUND",
        "isSuccess": True,
        "created": AT.isoformat(),
        "amount": money(149.0),
    }
    failed = {**step, "id": "failed", "isSuccess": False}
    payment = {"id": "p", "gateway": "dummy", "capturedAmount": money(151.0), "transactions": [step, failed]}
    back = {
        "id": "f", "status": "REFUNDED_AND_RETURNED", "totalRefundedAmount": money(149.0), "shippingRefundedAmount": money(49.0),
        "lines": [{"id": "l", "quantity": 1, "orderLine": line(1, 1.0, 1.0)}],
    }  # fmt: skip
    whole = order(
        transactions=[], payments=[payment], fulfillments=[back], totalCharged=money(151.0), totalRefunded=money(149.0),
        isPaid=False, chargeStatus="PARTIAL",
    )  # fmt: skip
    (event,) = refunds(whole)
    assert (event.refund_id, event.payments) == ("VHJhbnM6OQ==", (Payment("dummy", Decimal("149.00")),))
    assert [(line.line_id, line.gross_paid) for line in event.lines] == [
        ("T3JkZXJMaW5lOj1", Decimal("100.00")), ("shipping", Decimal("49.00")),
    ]  # fmt: skip


def test_a_refunded_sum_beyond_the_listed_refunds_is_a_separate_refund() -> None:
    whole = refunded_order(("E1", 100.0))
    whole["totalRefunded"] = money(130.0)
    named, rest = refunds(whole)
    assert (named.refund_id, rest.refund_id, rest.total) == ("E1", "sum-130.00", Decimal("30.00"))


def test_a_reverted_refund_is_ignored() -> None:
    whole = refunded_order(("E1", 100.0))
    whole["totalRefunded"] = money(0.0)
    assert mapped("order_refunded", webhook_body("OrderRefunded", {"order": whole})).ignored == "no money was refunded"


def test_a_refund_or_cancellation_of_an_order_never_paid_in_full_is_ignored() -> None:
    whole = order(
        isPaid=False, chargeStatus="NONE", transactions=[transaction(100.0, ("E1", 100.0))], totalCharged=money(0.0),
        totalRefunded=money(100.0),
    )  # fmt: skip
    assert "never paid" in str(mapped("order_refunded", webhook_body("OrderRefunded", {"order": whole})).ignored)
    result = mapped("order_cancelled", webhook_body("OrderCancelled", {"order": {**whole, "status": "CANCELED"}}))
    assert result.ignored == "cancelled before it was paid"


# --- the app ---


def test_only_the_deletion_of_our_own_app_is_an_uninstallation() -> None:
    body = webhook_body("AppDeleted", {"app": {"id": "QXBwOjE="}})
    assert mapped("app_deleted", body, app_id="QXBwOjE=").events == (ShopUninstalled(AT),)
    assert mapped("app_deleted", body).events == (ShopUninstalled(AT),), "its recipient is the app that was deleted"
    other = webhook_body("AppDeleted", {"app": {"id": "QXBwOjk="}})
    assert mapped("app_deleted", other, app_id="QXBwOjE=").ignored == "another app was deleted"


def test_an_email_typed_at_the_checkout_is_not_verified_by_the_account() -> None:
    account = {"id": "VXNlcjo2", "email": "", "isConfirmed": True}
    body = {"order": {**json.loads(webhook_body("OrderFullyPaid", {"order": order()}))["order"], "user": account}}
    body["order"]["userEmail"] = "ada@example.com"
    (event,) = mapped("order_fully_paid", body).events
    assert isinstance(event, OrderPaid)
    assert (event.customer.email, event.customer.email_verified) == ("ada@example.com", False)
    account["email"] = "own@example.com"
    (event,) = mapped("order_fully_paid", body).events
    assert isinstance(event, OrderPaid)
    assert (event.customer.email, event.customer.email_verified) == ("own@example.com", True)


def test_a_signed_body_for_another_app_of_the_shop_is_ignored() -> None:
    body = webhook_body("OrderFullyPaid", {"order": order()})
    assert mapped("order_fully_paid", body, app_id="QXBwOjE=").events
    other = MappingResult(ignored="meant for another app of this shop")
    assert mapped("order_fully_paid", body, app_id="QXBwOjk=") == other
    assert mapped("order_fully_paid", body, app_id="QXBwOjk=", former_app_id="QXBwOjg=") == other


def test_a_body_for_the_app_of_the_former_installation_is_mapped() -> None:
    body = webhook_body("OrderFullyPaid", {"order": order()})
    assert mapped("order_fully_paid", body, app_id="QXBwOjk=", former_app_id="QXBwOjE=").events
    gone = webhook_body("AppDeleted", {"app": {"id": "QXBwOjE="}})
    assert mapped("app_deleted", gone, app_id="QXBwOjk=", former_app_id="QXBwOjE=").ignored == "another app was deleted"


def test_a_profile_change_replayed_as_a_deletion_is_refused() -> None:
    body = webhook_body("CustomerUpdated", {"user": user()})
    with pytest.raises(PayloadError, match="CustomerDeleted"):
        mapped("customer_deleted", body)


# --- all samples ---


def test_every_sample_body_is_mapped_or_has_an_ignored_topic() -> None:
    paths = [*sorted((CAPTURED / "saleor").glob("*.json")), *more_payloads("saleor")]
    for path in [path for path in paths if "manifest" not in path.name]:
        topic = "notify_user" if path.name.startswith("notify-") else path.name.rpartition("-")[0]
        if topic in SALEOR.ignored_topics:
            continue
        assert mapped(topic, path.read_bytes(), at=SEEN).events, path.name
