"""The main job on real input: signed webhooks over HTTP become contacts, receipts and a redemption in the sandbox."""

import base64
import hashlib
import hmac
import http.client
import json
import re
import secrets
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
import requests
from standardwebhooks.webhooks import Webhook
from support.bodies import PROMOTION, customer, order, promotion, refund
from support.captured import captured_request, found_shopify_webhooks
from support.running_plugin import RunningPlugin, wait_for
from support.samples import samples

from plugin.demo import bodies as shopify_bodies
from plugin.event_kinds import EventKind
from plugin.platforms.shopify import SHOPIFY
from plugin.sandbox.testing import RunningSandbox

ARRIVE_S = 60.0


class Shop:
    """A registered shop that posts signed webhooks."""

    def __init__(self, plugin: RunningPlugin, engage: RunningSandbox, platform: str) -> None:
        self.name = f"{platform}-{secrets.token_hex(3)}"
        self.plugin, self.engage = plugin, engage
        card = plugin.command(
            *("shops", "add", self.name, "--platform", platform, "--engage-url", engage.url),
            *("--engage-key", f"key-{self.name}", "--store", "web-se", "--shop-domain", f"{self.name}.myshopify.com"),
        )
        self.secret, self.shopper_secret = card["webhook_secret"], card["shopper_secret"]
        self.webhook_url, self.mypages_url = card["webhook_url"], card["mypages_url"]

    def shopify(self, topic: str, body: Any) -> int:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        digest = hmac.new(self.secret.encode(), raw, hashlib.sha256).digest()
        headers = {
            "X-Shopify-Topic": topic,
            "X-Shopify-Hmac-Sha256": base64.b64encode(digest).decode(),
            "X-Shopify-Shop-Domain": f"{self.name}.myshopify.com",
            "X-Shopify-Webhook-Id": secrets.token_hex(8),
            "X-Shopify-Triggered-At": datetime.now(UTC).isoformat().replace("+00:00", "000Z"),
        }
        answer = requests.post(self.webhook_url, data=raw, headers=headers, timeout=10)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["event_id"])

    def standard(self, kind: str, **data: Any) -> int:
        now = datetime.now(UTC)
        raw = json.dumps({"type": kind, "timestamp": now.isoformat(), "data": data})
        message_id = secrets.token_hex(8)
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(self.secret).sign(message_id, now, raw),
        }
        answer = requests.post(self.webhook_url, data=raw, headers=headers, timeout=10)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["event_id"])

    def arrived(self, event_id: int) -> dict[str, Any]:
        """Wait until an event is finished and return it."""
        found: dict[str, Any] = {}

        def finished() -> bool:
            found.update(self.plugin.event(event_id))
            return found["state"] not in {"pending", "leased"}

        wait_for(finished, ARRIVE_S, f"event {event_id} did not arrive: {found}")
        return found

    def contact(self, email: str) -> dict[str, Any]:
        contacts = requests.get(f"{self.engage.url}/sandbox/contacts", timeout=5).json()
        return dict(next(c for c in contacts if c["attributes"].get("email") == email))

    def receipt(self, order_id: str) -> dict[str, Any]:
        receipts = requests.get(f"{self.engage.url}/sandbox/receipts", timeout=5).json()
        return dict(next(r for r in receipts if r["uniqueReceiptId"] == f"{self.name}-{order_id}"))

    def session(self) -> requests.Session:
        """Log the shopper 1001 in on My Pages."""
        now = int(datetime.now(UTC).timestamp())
        claims = {
            "iss": self.name, "aud": "engage-plugin", "sub": "1001", "iat": now, "exp": now + 60, "jti": secrets.token_hex(8),
            "locale": "sv-SE",
        }  # fmt: skip
        session = requests.Session()
        token = jwt.encode(claims, self.shopper_secret, algorithm="HS256")
        answer = session.post(f"{self.mypages_url}session", data={"token": token}, timeout=10)
        assert answer.status_code == 200, answer.text
        return session


def test_events_of_a_standard_shop_arrive_in_engage(running: RunningPlugin, engage: RunningSandbox) -> None:
    shop = Shop(running, engage, "standard")
    email = f"ada-{shop.name}@example.com"
    person = customer(email=email)
    assert shop.arrived(shop.standard("customer.created", customer=person))["state"] == "delivered"
    contact = shop.contact(email)
    seeds = {
        "promotions": [promotion(id=f"{secrets.token_hex(4)}{PROMOTION[8:]}", externalId=f"R-{shop.name}")],
    }
    (promotion_id,) = requests.post(f"{engage.url}/sandbox/seed", json=seeds, timeout=5).json()["promotions"]
    given = {"assignments": [{"contactId": contact["id"], "promotionId": promotion_id}]}
    (assignment_id,) = requests.post(f"{engage.url}/sandbox/seed", json=given, timeout=5).json()["assignments"]

    shop.standard("customer.updated", customer={**person, "last_name": "Lind"})
    paid = shop.standard("order.paid", order=order(customer=person, promotions=[{"code": "SPRING20"}]))
    assert shop.arrived(paid)["state"] == "delivered"
    back = shop.standard("order.refunded", refund=refund())
    assert shop.arrived(back)["state"] == "delivered"

    assert shop.contact(email)["attributes"]["lastName"] == "Lind"
    receipt = shop.receipt("9001")
    assert receipt["contact"] == {"matchKey": contact["id"], "matchKeyType": "contactId"}
    assert (receipt["totalGrossPrice"], receipt["currency"]) == (299.00, "SEK")
    assert [item["grossPaidPrice"] for item in receipt["items"]] == [250.00, 49.00]
    assert receipt["usedPromotions"] == [{"promotionId": promotion_id, "couponId": assignment_id}]
    assert shop.receipt("9001-RR1")["totalGrossPrice"] == -250.00

    page = shop.session().get(shop.mypages_url, timeout=10)
    assert page.status_code == 200
    assert "Lind" in page.text
    assert "299,00" in page.text


def test_events_of_a_shopify_shop_arrive_in_engage(running: RunningPlugin, engage: RunningSandbox) -> None:
    shop = Shop(running, engage, "shopify")
    email = f"ada-{shop.name}@example.com"
    now = datetime.now(UTC)
    signup = {**shopify_bodies.signup(now), "email": email}
    assert shop.arrived(shop.shopify("customers/create", signup))["state"] == "delivered"
    paid = shopify_bodies.paid_order(now)
    paid["customer"]["email"] = paid["email"] = email
    assert shop.arrived(shop.shopify("orders/paid", paid))["state"] == "delivered"
    receipt = shop.receipt("70001")
    assert receipt["totalGrossPrice"] == 449.00
    cap, parcel = receipt["items"]
    assert (cap["sku"], cap["quantity"], cap["grossPaidPrice"], cap["taxAmount"]) == ("CAP-BLUE", 2, 400.00, 80.00)
    assert cap["discounts"] == [{"value": -100.00, "type": "discount", "description": "SPRING20"}]
    assert (parcel["sku"], parcel["grossPaidPrice"], parcel["awardsBonus"]) == ("SHIPPING", 49.00, False)


def test_body_that_cannot_be_mapped_is_parked_with_the_fault(running: RunningPlugin, engage: RunningSandbox) -> None:
    shop = Shop(running, engage, "standard")
    event = shop.arrived(shop.standard("order.paid", order={"id": "1"}))
    assert (event["state"], event["error_code"]) == ("parked", "payload:order.currency")
    (row,) = running.command("events", "retry", "--error", event["error_code"], "--preview", "--json")
    assert (row["id"], row["would_send"], row["would_be"]) == (event["id"], [], "parked")
    assert running.command("events", "show", str(event["id"]), "--json")["state"] == "parked"
    running.command("events", "discard", str(event["id"]), "--why", "a test")
    assert running.command("events", "show", str(event["id"]), "--json")["state"] == "discarded"


@pytest.mark.parametrize(
    ("send", "status"),
    [
        (lambda c, path: c.request("POST", path, iter([b"{}"]), {"Content-Type": "application/json"}), 411),
        (lambda c, path: c.request("POST", path, b"", {}), 401),
        (lambda c, path: c.request("POST", path, b"\xff\xfe", {"webhook-id": "\xe5"}), 401),
        (lambda c, path: c.request("POST", path + "-nobody", b"{}", {}), 404),
        (lambda c, path: c.request("GET", path), 405),
    ],
)
def test_bad_input_over_real_http_gets_a_clear_answer(
    running: RunningPlugin, engage: RunningSandbox, send: Any, status: int
) -> None:
    shop = Shop(running, engage, "standard")
    address = urlsplit(shop.webhook_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    send(connection, address.path)
    answer = connection.getresponse()
    assert answer.status == status
    assert json.loads(answer.read())["message"]
    connection.close()


def test_50_mb_body_is_refused_without_being_read(running: RunningPlugin, engage: RunningSandbox) -> None:
    shop = Shop(running, engage, "standard")
    address = urlsplit(shop.webhook_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    connection.putrequest("POST", address.path)
    connection.putheader("Content-Length", str(50 * 1024 * 1024))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_plain_addresses_answer(running: RunningPlugin) -> None:
    asked_by_saleor = {k: v for k, v in captured_request("saleor-3.24/0001-manifest").headers.items() if k != "host"}
    manifest = requests.get(f"{running.url}/manifest.json", headers=asked_by_saleor, timeout=5).json()
    assert manifest["pages"][0]["url"].startswith(running.url)
    assert requests.get(f"{running.url}/healthz", timeout=5).json() == {"status": "ok"}
    assert requests.get(f"{running.url}/schemas/standard.json", timeout=5).json()["oneOf"]
    figures = requests.get(f"{running.url}/metrics", timeout=5).text
    assert "engage_plugin_balance 0.0" in figures
    assert "engage_plugin_overdue 0.0" in figures
    # counted in the worker and told by the web process
    assert re.search(r'engage_plugin_tries_total{outcome="delivered",shop="shopify-\w+"} [1-9]', figures)
    assert re.search(r'engage_plugin_call_seconds_count{operation="create_receipt",status="202"} [1-9]', figures)
    assert re.search(r'engage_plugin_breaker_open{shop="\S+"} 0\.0', figures)
    proxied = requests.get(f"{running.url}/metrics", headers={"X-Forwarded-For": "203.0.113.9"}, timeout=5)
    assert proxied.status_code == 401


def test_sample_bodies_end_without_an_unexplained_park(running: RunningPlugin, engage: RunningSandbox) -> None:
    shop = Shop(running, engage, "shopify")
    found = [(f"found-{one.name}", one.topic, one.body) for one in found_shopify_webhooks()]
    sent = {
        name: shop.shopify(topic, body)
        for name, topic, body in (*samples(SHOPIFY), *found)
        if SHOPIFY.topics.get(topic) is not EventKind.SHOP  # it ends the deliveries of the shop
        and (topic in SHOPIFY.topics or topic in SHOPIFY.ignored_topics)
    }
    # one order names a promotion that this Engage does not have, until the erasure after it clears the event
    explained = {"data_request", "missing_key:email", "erased", "unknown_assignment"}
    for name, event_id in sent.items():
        wait_for(lambda one=event_id: _is_settled(running.event(one)), ARRIVE_S, f"{name} is not worked on")  # type: ignore[misc]
        event = running.event(event_id)
        assert event["state"] in {"pending", "delivered", "ignored"} or event["error_code"] in explained, (
            name,
            event["last_error"],
        )
    gone = shop.shopify("shop/redact", {"shop_id": 501, "shop_domain": f"{shop.name}.myshopify.com"})
    assert shop.arrived(gone)["state"] == "delivered"
    assert {running.event(event_id)["ordering_key"] for event_id in sent.values()} == {"erased"}


def _is_settled(event: dict[str, Any]) -> bool:
    """An event is finished, parked, or waits for its order or customer, or for a parked one."""
    waits = event["error_code"] == "NotYet" or event["held_by"] is not None
    return event["state"] not in {"pending", "leased"} or (event["state"] == "pending" and waits)


def test_states_add_up_at_the_end(running: RunningPlugin) -> None:
    counts = json.loads(running.command_of_its_own("status", "--json"))
    assert counts["accepted"] == sum(number for state, number in counts.items() if state != "accepted") > 0
