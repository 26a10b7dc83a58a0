"""WooCommerce from its webhooks to contacts and receipts: the receiver, the inbox, the handlers and a sandbox Engage."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from support.bodies import PROMOTION, promotion
from support.captured import CAPTURED
from support.crash_points import Crash, CrashPoint
from support.woocommerce_shop import KEY, SECRET, WooShop, running_shop

from plugin.platforms.base import Delivery
from plugin.platforms.shop_api import ShopApi
from plugin.platforms.woocommerce import SUBSCRIBED, WOOCOMMERCE
from plugin.store.shops.shops import NewShop, RegisteredShop
from webhooks.attempt.context import Origin
from webhooks.receiving.new_event import new_event
from webhooks.sync.ingest import ResourceIngestor
from webhooks.sync.monitor import SubscriptionMonitor

FIXTURES = CAPTURED / "woocommerce"
WEBHOOK_SECRET = "lettersAndDigits1"
PATH = "/webhooks/woocommerce/butik"
#: The rest of the way is the same on both databases, and told on both by a few of these tests.
one_database = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class WooRig:
    """A rig with a WooCommerce shop, whose REST API answers."""

    def __init__(self, rig: Any, woo: WooShop) -> None:
        rig.clock.time = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
        self.rig, self.woo = rig, woo
        new = NewShop(
            "butik", "woocommerce", rig.sandbox.url, "key-butik", WEBHOOK_SECRET, {"store": "web-se"}, woo.url
        )
        self.shop: RegisteredShop = rig.stores.shops.add(new, datetime(2026, 11, 20, 8, 0, tzinfo=UTC))
        rig.stores.shops.save_credentials("butik", {"key": KEY, "secret": SECRET})

    def post(self, topic: str, body: dict[str, Any], *, delivery: str = "of this second") -> Any:
        raw = json.dumps(body).encode()
        headers = {
            "X-WC-Webhook-Topic": topic,
            "X-WC-Webhook-Source": "https://butik.example/",
            "X-WC-Webhook-Delivery-ID": delivery,
            "X-WC-Webhook-Signature": base64.b64encode(
                hmac.new(WEBHOOK_SECRET.encode(), raw, hashlib.sha256).digest()
            ).decode(),
        }
        answer = self.rig.web.post(PATH, data=raw, headers=headers, content_type="application/json")
        assert answer.status_code == 200, answer.text
        return answer.json

    def send(self, topic: str, body: dict[str, Any]) -> int:
        return int(self.post(topic, body)["event_id"])

    def receipt_ids(self) -> list[str]:
        return sorted(self.rig.receipts())

    def items(self, receipt_id: str) -> list[tuple[str, str, float]]:
        return [(i["type"], i["sku"], i["quantity"]) for i in self.rig.receipts()[receipt_id]["items"]]


@pytest.fixture
def woo(rig: Any) -> Iterator[WooRig]:
    with running_shop(WooShop()) as shop:
        yield WooRig(rig, shop)


def fixture(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_bytes())
    return found


PAID, REFUNDED = fixture("order-updated-1-paid"), fixture("order-updated-2-refunded")
OF_CAP = [{"id": 1, "key": "_refunded_item_id", "value": "10"}]
CAP_BACK = {
    "id": 17, "date_created_gmt": "2026-11-23T05:41:08", "amount": "179.55", "reason": "damaged",
    "line_items": [{"id": 99, "quantity": -1, "total": "-143.64", "total_tax": "-35.91", "meta_data": OF_CAP}],
}  # fmt: skip
THE_REST = {"id": 18, "date_created_gmt": "2026-11-23T06:00:00", "amount": "1487.20", "line_items": []}


@one_database
def test_the_unsigned_ping_is_answered_200_and_not_stored(woo: WooRig) -> None:
    raw = (FIXTURES / "ping-1.txt").read_bytes()
    answer = woo.rig.web.post(PATH, data=raw, content_type="application/x-www-form-urlencoded")
    assert (answer.status_code, answer.json["message"]) == (200, "pong")
    assert woo.rig.desk.status()["accepted"] == 0
    assert woo.rig.web.post(PATH, data=raw, content_type="application/json").status_code == 401


def test_a_captured_order_history_sends_each_receipt_once(woo: WooRig) -> None:
    """Signup, unpaid, paid, refunded, completed: each body as it was delivered, in the same second, with one delivery id."""
    woo.woo.orders, woo.woo.refunds[16] = [REFUNDED], [CAP_BACK]
    for topic, name in (
        ("customer.created", "customer-created-1"),
        ("customer.updated", "customer-updated-1"),
        ("order.created", "order-created-1"),
        ("order.updated", "order-updated-1-paid"),
        ("order.updated", "order-updated-2-refunded"),
        ("order.updated", "order-updated-3-completed"),
    ):
        assert woo.post(topic, fixture(name))["message"] == "stored"
    woo.rig.work_for(60)
    contact = woo.rig.contacts()["bea@example.se"]
    assert (contact["attributes"]["lastName"], contact["attributes"]["mobilePhone"]) == ("Berg-Ek", "+46701234568")
    assert woo.receipt_ids() == ["butik-16", "butik-16-R17"]
    assert woo.items("butik-16") == [("PURCHASE", "SWE-M", 2), ("PURCHASE", "CAP-1", 1), ("PURCHASE", "SHIPPING", 1)]
    assert woo.items("butik-16-R17") == [("RETURN", "CAP-1", -1)]
    assert {row["times_received"] for row in woo.rig.receipts().values()} == {1}
    assert woo.woo.paths() == ["GET /wc/v3/orders/16/refunds"]  # read once, however often the order is sent
    assert woo.rig.parked() == []


@one_database
def test_two_deliveries_with_one_id_are_two_events_and_a_repeated_body_is_one(woo: WooRig) -> None:
    first = woo.post("order.updated", PAID)
    second = woo.post("order.updated", {**PAID, "id": 20, "number": "20"})
    assert first["event_id"] != second["event_id"]
    assert woo.post("order.updated", PAID, delivery="another")["message"] == "duplicate"
    woo.rig.work()
    assert woo.receipt_ids() == ["butik-16", "butik-20"]


def test_an_order_first_received_after_its_refunds_is_sent_with_its_returns(woo: WooRig) -> None:
    """Several changes collapse into one delivery: paid, partly refunded, then refunded in whole, then called off."""
    woo.woo.orders, woo.woo.refunds[16] = [PAID], [CAP_BACK, THE_REST]
    named = [{"id": 18, "reason": "", "total": "-1487.20"}, {"id": 17, "reason": "", "total": "-179.55"}]
    event = woo.send("order.created", {**PAID, "status": "cancelled", "refunds": named})
    assert woo.rig.work() == ["delivered"]
    assert woo.receipt_ids() == ["butik-16", "butik-16-R17", "butik-16-R18"]
    assert woo.items("butik-16-R17") == [("RETURN", "CAP-1", -1)]
    assert woo.items("butik-16-R18") == [("RETURN", "SWE-M", -2), ("RETURN", "SHIPPING", -1)]
    receipts = woo.rig.receipts()
    assert sum(row["totalGrossPrice"] for row in receipts.values()) == pytest.approx(0)
    assert "cancelled" in woo.rig.steps(event)


@one_database
def test_an_order_cancelled_before_its_payment_sends_nothing(woo: WooRig) -> None:
    event = woo.send("order.created", {**PAID, "status": "cancelled", "date_paid_gmt": None})
    assert woo.rig.work() == ["ignored"]
    assert "before it was paid" in (woo.rig.event(event).last_error or "")


@one_database
def test_a_refund_waits_for_its_lines_while_the_shop_is_away(woo: WooRig) -> None:
    woo.send("order.updated", PAID)
    woo.rig.work()
    woo.woo.orders, woo.woo.refunds[16], woo.woo.away = [REFUNDED], [CAP_BACK], 2
    event = woo.send("order.updated", REFUNDED)
    assert woo.rig.work() == ["retry"]
    assert "shop" in (woo.rig.event(event).last_error or "")
    woo.rig.work_for(600)
    assert woo.items("butik-16-R17") == [("RETURN", "CAP-1", -1)]


@one_database
def test_a_refund_is_sent_as_an_amount_when_the_shop_stays_away(woo: WooRig) -> None:
    woo.send("order.updated", PAID)
    woo.rig.work()
    woo.woo.away = 10_000
    event = woo.send("order.updated", REFUNDED)
    woo.rig.work_for(2400, step=120)
    assert woo.rig.event(event).state == "delivered"
    assert woo.items("butik-16-R17") == [("RETURN", "REFUND", -1)]
    assert woo.rig.receipts()["butik-16-R17"]["totalGrossPrice"] == pytest.approx(-179.55)


@one_database
@pytest.mark.parametrize("keys", [{}, {"key": KEY, "secret": "cs_revoked00"}])
def test_a_refund_without_working_keys_is_sent_as_an_amount_with_the_reason(woo: WooRig, keys: dict[str, str]) -> None:
    woo.rig.stores.shops.save_credentials("butik", keys)
    event = woo.send("order.updated", REFUNDED)
    assert woo.rig.work() == ["delivered"]
    assert woo.items("butik-16-R17") == [("RETURN", "REFUND", -1)]
    notes = [entry.outcome for entry in woo.rig.desk.show(event)[1]]
    assert any("could not be read" in note for note in notes)


@one_database
def test_lines_from_the_companion_are_used_without_asking_the_shop(woo: WooRig) -> None:
    woo.send("order.updated", {**REFUNDED, "engage_refunds": [CAP_BACK]})
    assert woo.rig.work() == ["delivered"]
    assert woo.items("butik-16-R17") == [("RETURN", "CAP-1", -1)]
    assert woo.woo.asked == []


def test_lines_read_for_a_refund_survive_a_crash(woo: WooRig) -> None:
    woo.woo.orders, woo.woo.refunds[16] = [REFUNDED], [CAP_BACK]
    woo.rig.fault(error_rate=1.0, error_statuses=[503], operations=["createReceipt"], next=1)
    woo.send("order.updated", REFUNDED)
    woo.rig.work_for(120)
    assert woo.receipt_ids() == ["butik-16", "butik-16-R17"]
    assert len(woo.woo.asked) == 1


def test_reconciliation_and_webhooks_send_everything_once(woo: WooRig) -> None:
    """What polling finds goes through the same mapping as the webhooks, in any order, without a second receipt."""
    woo.woo.orders, woo.woo.refunds[16] = [REFUNDED], [CAP_BACK]
    woo.woo.customers = [fixture("customer-created-1")]
    api = WOOCOMMERCE.api(woo.rig.stores.shops.get("butik"), lambda _: None)
    assert api is not None
    found = [*api.customers(None, None), *api.orders(None, None)]
    for one in found:
        delivery = Delivery(one.topic, meta=one.meta)
        new = new_event(
            woo.rig.stores.inbox, woo.rig.stores.vault, woo.shop, WOOCOMMERCE, delivery, one.body, woo.rig.clock()
        )
        woo.rig.stores.inbox.accept(new)
    woo.rig.work_for(60)
    assert woo.receipt_ids() == ["butik-16", "butik-16-R17"]
    woo.send("order.updated", PAID)
    woo.send("order.updated", REFUNDED)
    woo.rig.work_for(60)
    assert {row["times_received"] for row in woo.rig.receipts().values()} == {1}
    assert woo.items("butik-16-R17") == [("RETURN", "CAP-1", -1)]
    assert woo.rig.parked() == []


@one_database
def test_a_check_that_created_the_webhooks_reports_no_problem(woo: WooRig) -> None:
    shops = woo.rig.stores.shops

    def api_for(shop: RegisteredShop) -> ShopApi | None:
        return WOOCOMMERCE.api(shop, lambda credentials: shops.save_credentials(shop.name, credentials))

    monitor = SubscriptionMonitor(
        woo.rig.services.delivery_runtime,
        ResourceIngestor(woo.rig.stores, lambda _: None),
        api_for,
        lambda _: f"https://plugin.example{PATH}",
    )
    look = monitor.check_shop(shops.get("butik"))
    assert len(look.repaired) == len(SUBSCRIBED)
    assert (look.problems, woo.rig.stores.shop_monitors.get(woo.shop).problems) == ((), ())


@one_database
def test_a_free_gift_is_returned_with_its_order(woo: WooRig) -> None:
    gift = {**PAID["line_items"][1], "id": 12, "sku": "GIFT", "taxes": []}
    gift |= dict.fromkeys(("subtotal", "subtotal_tax", "total", "total_tax"), "0.00")
    body = {**PAID, "line_items": [*PAID["line_items"], gift]}
    woo.send("order.updated", {**body, "status": "refunded", "refunds": [{"id": 18, "total": "-1666.75"}]})
    assert woo.rig.work() == ["delivered"]
    returned = [("RETURN", sku, -quantity) for _, sku, quantity in woo.items("butik-16")]
    assert ("RETURN", "GIFT", -1) in returned
    assert woo.items("butik-16-R18") == returned


@one_database
def test_an_order_of_a_guest(woo: WooRig) -> None:
    woo.send("order.updated", {**PAID, "customer_id": 0})
    woo.rig.work()
    contact = woo.rig.contacts()["bea@example.se"]
    assert contact["attributes"]["contactType"] == "Contact"
    assert woo.rig.receipts()["butik-16"]["contact"]["matchKey"] == contact["id"]


@one_database
def test_an_unverified_email_shows_and_changes_nothing(woo: WooRig) -> None:
    (contact_id,) = woo.rig.seed(contacts=[{"contactType": "Member", "email": "bea@example.se", "firstName": "Real"}])[
        "contacts"
    ]
    event = woo.send("customer.created", fixture("customer-created-1"))
    woo.send("order.updated", PAID)
    assert sorted(woo.rig.work()) == ["delivered", "ignored"]
    assert "vouch" in (woo.rig.event(event).last_error or "")
    assert woo.rig.contacts()["bea@example.se"]["attributes"]["firstName"] == "Real"
    assert woo.rig.receipts()["butik-16"]["contact"]["matchKey"] == contact_id


@one_database
def test_a_deleted_customer_is_erased_and_later_bodies_with_customer_0_add_nothing(woo: WooRig) -> None:
    woo.send("customer.created", fixture("customer-created-1"))
    woo.send("order.updated", PAID)
    woo.rig.work()
    woo.send("customer.deleted", {"id": 3})
    woo.rig.work()
    assert woo.rig.stores.links.find(woo.shop, "3") is None
    woo.send("order.updated", {**PAID, "customer_id": 0, "status": "completed"})
    woo.rig.work()
    assert {row["times_received"] for row in woo.rig.receipts().values()} == {1}


@one_database
def test_a_signed_body_under_another_topic_erases_and_changes_nothing(woo: WooRig) -> None:
    signup = fixture("customer-created-1")
    woo.send("customer.created", signup)
    woo.rig.work()
    before = woo.rig.contacts()["bea@example.se"]["attributes"]
    for topic, body in (("customer.deleted", signup), ("customer.updated", {**PAID, "id": signup["id"]})):
        event = woo.send(topic, body)
        assert woo.rig.work() == ["parked"]
        assert "does not cover the topic" in (woo.rig.event(event).last_error or "")
    assert woo.rig.stores.links.find(woo.shop, "3") is not None
    assert woo.rig.contacts()["bea@example.se"]["attributes"] == before
    woo.send("customer.deleted", {"id": 3})
    assert woo.rig.work() == ["delivered"]
    assert woo.rig.stores.links.find(woo.shop, "3") is None


def consents(woo: WooRig) -> dict[str, Any]:
    found: dict[str, Any] = woo.rig.contacts()["bea@example.se"]["preferences"]
    return found


@one_database
def test_a_field_of_the_shop_is_a_consent_by_setting_once_it_changes(woo: WooRig) -> None:
    woo.rig.stores.shops.change("butik", {"consent_fields": "accepts_email:email"})
    signup = fixture("customer-created-1")
    woo.send("customer.created", signup)
    woo.rig.work()
    assert consents(woo)["acceptsEmail"] is True
    no = [{"id": 62, "key": "accepts_email", "value": "no"}]
    woo.send("customer.updated", {**signup, "meta_data": no, "date_modified_gmt": "2026-11-23T07:00:00"})
    woo.rig.work()
    assert consents(woo)["acceptsEmail"] is False
    woo.send("customer.updated", {**signup, "date_modified_gmt": "2026-11-23T08:00:00"})
    woo.rig.work()
    assert consents(woo)["acceptsEmail"] is True, "the shopper ticked it again"


@one_database
def test_a_field_with_a_repeated_opt_in_does_not_undo_an_opt_out_from_elsewhere(woo: WooRig) -> None:
    woo.rig.stores.shops.change("butik", {"consent_fields": "accepts_email:email"})
    signup = fixture("customer-created-1")
    woo.send("customer.created", signup)
    woo.rig.work()
    no = [
        {"key": "engage_consent_email", "value": "no"},
        {"key": "engage_consent_email_at", "value": "2026-11-23T06:00:00Z"},
    ]
    meta = [*signup["meta_data"], *no]
    woo.send("customer.updated", {**signup, "meta_data": meta, "date_modified_gmt": "2026-11-23T07:00:00"})
    woo.rig.work()
    assert consents(woo)["acceptsEmail"] is False
    woo.send("customer.updated", {**signup, "first_name": "B", "date_modified_gmt": "2026-11-23T08:00:00"})
    woo.rig.work()
    assert consents(woo)["acceptsEmail"] is False


@one_database
def test_a_field_with_its_time_can_opt_in_later(woo: WooRig) -> None:
    woo.rig.stores.shops.change("butik", {"consent_fields": "accepts_email:email@accepted_at"})
    signup = {**fixture("customer-created-1"), "meta_data": []}
    woo.send("customer.created", signup)
    woo.rig.work()
    assert consents(woo).get("acceptsEmail") in {None, False}
    meta = [{"key": "accepts_email", "value": "1"}, {"key": "accepted_at", "value": "2026-11-23 07:00:00"}]
    woo.send("customer.updated", {**signup, "meta_data": meta})
    woo.rig.work()
    assert consents(woo)["acceptsEmail"] is True


@one_database
def test_a_consent_at_the_checkout_counts_once_and_a_newer_opt_out_wins(woo: WooRig) -> None:
    def meta(value: str, at: str) -> list[dict[str, str]]:
        return [
            {"key": "engage_consent_email", "value": value},
            {"key": "engage_consent_email_at", "value": at},
            {"key": "engage_consent_email_source", "value": "checkout"},
        ]

    woo.send("order.updated", {**PAID, "meta_data": meta("yes", "2026-11-23T05:41:00Z")})
    woo.rig.work()
    assert consents(woo)["acceptsEmail"] is True
    woo.send("customer.updated", {**fixture("customer-created-1"), "meta_data": meta("no", "2026-11-23T06:00:00Z")})
    woo.rig.work()
    # the next order of the same customer still carries the older yes
    woo.send("order.updated", {**PAID, "id": 30, "number": "30", "meta_data": meta("yes", "2026-11-23T05:41:00Z")})
    woo.rig.work()
    assert consents(woo)["acceptsEmail"] is False


@one_database
def test_a_permission_error_of_the_shop_is_parked(woo: WooRig) -> None:
    woo.send("order.updated", {"code": "woocommerce_rest_cannot_view", "message": "No.", "data": {"status": 401}})
    assert woo.rig.work() == ["parked"]
    assert "manage_woocommerce" in (woo.rig.parked()[0].last_error or "")


@one_database
@pytest.mark.parametrize("named", ["by its code", "by its id"])
def test_a_promotion_that_the_order_used_is_redeemed(woo: WooRig, named: str) -> None:
    woo.send("customer.created", fixture("customer-created-1"))
    woo.rig.work()
    contact_id = woo.rig.contacts()["bea@example.se"]["id"]
    channels = [{"type": "ECOM", "valueType": "EXTERNALOFFER", "value": "WELCOME10"}]
    woo.rig.seed(promotions=[{**promotion(), "redemptionChannels": channels}])
    (assignment,) = woo.rig.seed(assignments=[{"contactId": contact_id, "promotionId": PROMOTION}])["assignments"]
    body = PAID
    if named == "by its id":
        meta = [{"key": "engage_promotion_assignment_id", "value": assignment}]
        body = {**PAID, "coupon_lines": [], "meta_data": meta}
    woo.send("order.updated", body)
    assert woo.rig.work() == ["delivered"]
    assert [row["id"] for row in woo.rig.redemptions()] == [assignment]
    used = woo.rig.receipts()["butik-16"]["usedPromotions"]
    assert [entry["promotionId"] for entry in used] == [PROMOTION]


@one_database
@pytest.mark.parametrize("named", ["by its code", "by its id"])
@pytest.mark.parametrize("told", ["edited", "refunded"])
def test_an_order_paid_before_its_shop_was_registered_redeems_nothing(woo: WooRig, named: str, told: str) -> None:
    woo.send("customer.created", fixture("customer-created-1"))
    woo.rig.work()
    contact = woo.rig.contacts()["bea@example.se"]
    channels = [{"type": "ECOM", "valueType": "EXTERNALOFFER", "value": "WELCOME10"}]
    woo.rig.seed(promotions=[{**promotion(), "redemptionChannels": channels}])
    given = {"contactId": contact["id"], "promotionId": PROMOTION}
    (assignment,) = woo.rig.seed(assignments=[given])["assignments"]
    body = {**PAID, "status": "completed", "date_paid_gmt": "2025-05-02T10:00:00"}
    body["billing"] = {**PAID["billing"], "address_1": "A former street 1"}
    body["meta_data"] = [{"key": "engage_consent_email", "value": "yes"}]
    if named == "by its id":
        body["meta_data"] = [*body["meta_data"], {"key": "engage_promotion_assignment_id", "value": assignment}]
    if told == "refunded":
        body |= {"status": "refunded", "refunds": [{"id": 18, "total": "-1666.75"}]}
    event = woo.send("order.updated", {**body, "date_modified_gmt": "2026-11-24T09:00:00"})
    assert woo.rig.work() == ["delivered"]
    assert woo.rig.redemptions() == []
    receipt = woo.rig.receipts()["butik-16"]
    assert receipt["createdDate"].startswith("2025-05-02")
    assert not receipt.get("usedPromotions")
    assert ("butik-16-R18" in woo.receipt_ids()) is (told == "refunded")
    assert woo.rig.contacts()["bea@example.se"]["attributes"] == contact["attributes"]
    assert woo.rig.contacts()["bea@example.se"]["preferences"] == contact["preferences"]
    assert "a historical order" in " ".join(entry.outcome for entry in woo.rig.desk.show(event)[1])


# --- failed, cancelled, paid again ---

VOUCHER = [{"key": "engage_voucher_number", "value": "V-1"}]


class Story:
    """A member with a voucher and an order that uses it, told in bodies of its states."""

    def __init__(self, woo: WooRig) -> None:
        self.woo, self.rig = woo, woo.rig
        woo.send("customer.created", fixture("customer-created-1"))
        woo.rig.work()
        contact_id = woo.rig.contacts()["bea@example.se"]["id"]
        voucher = {"contactId": contact_id, "voucherNumber": "V-1", "value": {"amount": 50, "currency": "SEK"}}
        woo.rig.seed(vouchers=[voucher])

    def tell(self, status: str, time: str, **changes: Any) -> int:
        """Send the order's body as it stood at a time of day."""
        body = {**PAID, "coupon_lines": [], "meta_data": VOUCHER, "status": status, **changes}
        return self.woo.send("order.updated", {**body, "date_modified_gmt": f"2026-11-24T{time}:00"})

    def outcomes(self) -> list[str]:
        return [row["outcome"] for row in self.rig.redemptions()]

    def ended(self) -> str | None:
        ended: str | None = self.rig.stores.orders.get(self.woo.shop, "16").details.get("ended")
        return ended


@pytest.fixture
def story(woo: WooRig) -> Story:
    return Story(woo)


@one_database
def test_a_failed_payment_sends_and_parks_nothing(story: Story) -> None:
    plain = story.tell("failed", "09:20")
    assert story.rig.work() == ["ignored"]
    story.woo.woo.orders, story.woo.woo.refunds[16] = [REFUNDED], [CAP_BACK]
    with_refund = story.tell("failed", "09:21", refunds=REFUNDED["refunds"])
    story.rig.work_for(2 * 3600, step=120)
    assert [story.rig.event(one).state for one in (plain, with_refund)] == ["ignored", "ignored"]
    assert story.woo.receipt_ids() == []


@one_database
def test_a_return_is_sent_though_the_payment_failed_later(story: Story) -> None:
    story.woo.woo.orders, story.woo.woo.refunds[16] = [REFUNDED], [CAP_BACK]
    story.tell("processing", "09:10")
    story.rig.work()
    story.tell("failed", "09:20", refunds=REFUNDED["refunds"])
    assert story.rig.work() == ["delivered"]
    assert story.woo.receipt_ids() == ["butik-16", "butik-16-R17"]
    assert story.outcomes() == ["Redeemed"]


@one_database
@pytest.mark.parametrize("sequence", [(0, 1, 2, 3), (1, 0, 2, 3), (1, 2, 3, 0), (3, 1, 2, 0)])
def test_an_order_that_failed_between_two_payments_keeps_its_voucher(story: Story, sequence: tuple[int, ...]) -> None:
    told = [("processing", "09:10"), ("failed", "09:20"), ("processing", "09:25"), ("completed", "09:29")]
    for position in sequence:
        story.tell(*told[position])
        story.rig.work()
    story.rig.work_for(7200, step=240)
    assert story.outcomes() == ["Redeemed"]
    assert story.ended() is None
    assert len(story.rig.receipts()["butik-16"]["usedRewardVouchers"]) == 1
    assert story.rig.parked() == []


def test_an_older_cancellation_does_not_undo_a_newer_payment(story: Story) -> None:
    story.tell("processing", "09:25")
    story.rig.work()
    late = story.tell("cancelled", "09:20")
    assert story.rig.work() == ["delivered"]
    assert "unchanged" in story.rig.steps(late)
    assert (story.outcomes(), story.ended()) == (["Redeemed"], None)


def test_a_cancelled_order_that_is_paid_again_uses_its_voucher_again(story: Story) -> None:
    story.tell("processing", "09:10")
    story.tell("cancelled", "09:15")
    story.rig.work()
    assert (story.outcomes(), story.ended()) == (["Redeemed", "Reactivated"], "cancelled")
    story.tell("processing", "09:12")  # an older body
    story.tell("cancelled", "09:16")  # it was only edited
    story.tell("processing", "09:15")  # of the very second: the cancellation counts
    story.rig.work()
    assert (story.outcomes(), story.ended()) == (["Redeemed", "Reactivated"], "cancelled")
    again = story.tell("completed", "09:25")
    assert story.rig.work() == ["delivered"]
    assert "reopened" in story.rig.steps(again)
    assert (story.outcomes(), story.ended()) == (["Redeemed", "Reactivated", "Redeemed"], None)
    story.tell("completed", "09:26")
    story.tell("cancelled", "09:20")
    story.rig.work()
    assert (story.outcomes(), story.ended()) == (["Redeemed", "Reactivated", "Redeemed"], None)
    story.tell("cancelled", "09:29")
    story.rig.work()
    assert (story.outcomes()[-1], story.ended()) == ("Reactivated", "cancelled")
    assert story.rig.receipts()["butik-16"]["times_received"] == 1


@one_database
def test_a_voucher_used_up_before_its_order_is_paid_again_parks_the_event(story: Story) -> None:
    story.tell("processing", "09:10")
    story.tell("cancelled", "09:15")
    story.rig.work()
    story.tell("processing", "09:18", id=20, number="20")
    story.rig.work()
    story.tell("processing", "09:25")
    assert story.rig.work() == ["parked"]
    assert "order 20" in (story.rig.parked()[0].last_error or "")
    assert (story.outcomes(), story.ended()) == (["Redeemed", "Reactivated", "Redeemed"], None)


@one_database
def test_a_wholly_returned_order_is_not_reopened(story: Story) -> None:
    story.tell("processing", "09:10")
    story.tell("cancelled", "09:15")
    whole = [{"id": 18, "reason": "", "total": "-1666.75"}]
    story.tell("refunded", "09:20", refunds=whole)
    story.tell("completed", "09:25", refunds=whole)
    story.rig.work()
    assert (story.outcomes(), story.ended()) == (["Redeemed", "Reactivated"], "cancelled")


@one_database
@pytest.mark.parametrize(
    "fault", [{"done_but_504_rate": 1.0}, {"done_but_dropped_rate": 1.0}, {"error_rate": 1.0, "error_statuses": [500]}]
)
def test_a_lost_answer_uses_the_voucher_again_once(story: Story, fault: dict[str, Any]) -> None:
    story.tell("processing", "09:10")
    story.tell("cancelled", "09:15")
    story.rig.work()
    story.rig.fault(**fault, operations=["redeemRewardVoucher"], next=1)
    story.tell("processing", "09:25")
    assert story.rig.work() == ["retry"]
    story.rig.work_for(60, step=20)
    assert story.outcomes() == ["Redeemed", "Reactivated", "Redeemed"]
    assert story.rig.parked() == []


@one_database
def test_an_order_paid_again_whose_worker_dies_at_any_point_uses_its_voucher_once(story: Story) -> None:
    rig, minute = story.rig, count()

    def tell(status: str) -> None:
        story.tell(status, f"08:{next(minute):02}")

    rig.options(max_voucher_reactivations=1000)
    fuse = CrashPoint()
    fuse.wire(rig)
    tell("processing")
    rig.work()
    at = 0
    while True:
        fuse.at = None
        (row,) = rig.stores.redemptions.of_order(story.woo.shop, "16")
        with rig.database.transaction() as session:
            rig.stores.redemptions.write(session, story.woo.shop, "voucher", row.assignment_id, reactivations=0)
        tell("cancelled")
        rig.work()
        before = len(story.outcomes())
        tell("processing")
        fuse.passed, fuse.at = [], at
        try:
            rig.work()
        except Crash:
            fuse.at = None
            rig.clock.forward(61)  # longer than the lease
            rig.sweep.run(rig.clock())
            rig.work_for(40, step=20)
        else:
            break
        assert story.outcomes()[before:] == ["Redeemed"], at
        assert story.ended() is None
        at += 1
    assert at > 3
    assert rig.parked() == []


def test_a_cancellation_without_a_webhook_is_found(story: Story) -> None:
    rig = story.rig
    shop = rig.stores.shops.get("butik")
    monitor = SubscriptionMonitor(
        rig.services.delivery_runtime,
        ResourceIngestor(rig.stores, lambda _id: None),
        lambda shop: WOOCOMMERCE.api(shop, lambda _credentials: None),
        lambda _shop: "https://plugin.example/webhooks/woocommerce/butik",
    )
    story.tell("processing", "09:25")
    rig.work()
    monitor.check_shop(shop)
    told = {**PAID, "coupon_lines": [], "meta_data": VOUCHER, "date_modified_gmt": "2026-11-24T09:50:00"}
    story.woo.woo.orders = [{**told, "status": "cancelled"}]
    rig.clock.forward(3600)
    assert monitor.check_shop(shop).missed == 1
    rig.work()
    assert (story.outcomes(), story.ended()) == (["Redeemed", "Reactivated"], "cancelled")
    rig.clock.forward(300)
    story.woo.woo.orders = [{**told, "status": "cancelled", "date_modified_gmt": "2026-11-24T10:25:00"}]
    assert monitor.check_shop(shop).missed == 0
    assert rig.parked() == []


@one_database
def test_a_found_cancellation_of_an_order_that_cannot_be_read_is_not_parked_beside_it(story: Story) -> None:
    api = WOOCOMMERCE.api(story.rig.stores.shops.get("butik"), lambda _: None)
    assert api is not None
    story.woo.woo.orders = [{**PAID, "status": "cancelled", "total": "1.00"}]
    ResourceIngestor(story.rig.stores, lambda _id: None).ingest(
        story.woo.shop, list(api.orders(None, None)), Origin.POLL, story.rig.clock()
    )
    story.rig.work_for(7200, step=240)
    assert [event.topic for event in story.rig.parked()] == ["order.updated"]
