"""The receiver: every answer that outsiders rely on, for both platforms, over a real database."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from standardwebhooks.webhooks import Webhook
from support.helpers import Clock

from plugin.store.database.engine import Database
from plugin.store.inbox.admin import EventAdmin, EventFilter
from plugin.store.inbox.inbox import Accepted, Inbox, NewEvent
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import NewShop, RegisteredShop
from plugin.store.shops.vault import Vault
from webhooks.receiving.endpoint import WebhookReceiver, blueprint
from webhooks.receiving.rejections import RejectionLog

SHOPIFY_SECRET = "shpss_a_client_secret"
LIMIT = 20_000


class ReceiverHarness:
    """A receiver over a database, with the events it woke workers for and what it counted."""

    def __init__(self, database: Database, shops: Shops, vault: Vault, inbox: Inbox) -> None:
        self.woken: list[int] = []
        self.counted: list[tuple[str, str, str]] = []
        self.desk = EventAdmin(database)
        receiver = WebhookReceiver(
            shops=shops,
            inbox=inbox,
            store=inbox.receiving(),
            vault=vault,
            wake=self.woken.append,
            max_body_bytes=LIMIT,
            count=lambda *labels: self.counted.append(labels),
        )
        app = Flask("receiver")
        app.register_blueprint(blueprint(receiver))
        self.client: FlaskClient = app.test_client()

    def rows(self) -> list[Any]:
        return self.desk.find(EventFilter())


@pytest.fixture
def shopify_shop(shops: Shops) -> RegisteredShop:
    return shops.add(
        NewShop(
            name="kiosk",
            platform="shopify",
            engage_url="http://127.0.0.1:9",
            engage_key="k",
            webhook_secret=SHOPIFY_SECRET,
            settings={"store": "web-se"},
            shop_domain="kiosk.myshopify.com",
        ),
        datetime.now(UTC),
    )


@pytest.fixture
def house(
    database: Database, shops: Shops, vault: Vault, shop: RegisteredShop, shopify_shop: RegisteredShop
) -> ReceiverHarness:
    return ReceiverHarness(database, shops, vault, Inbox(database))


def standard(
    shop: RegisteredShop, body: bytes, *, at: datetime | None = None, message_id: str = "msg_1"
) -> dict[str, str]:
    """Sign with the reference library of the specification, an independent signer."""
    at = at or datetime.now(UTC)
    signature = (
        Webhook(shop.webhook_secrets[0]).sign(message_id, at, body.decode("latin-1")) if _is_text(body) else "v1,AAAA"
    )
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
        "Content-Type": "application/json",
    }


def _is_text(body: bytes) -> bool:
    return body.isascii()


def shopify(body: bytes, topic: str = "customers/update", **changes: str) -> dict[str, str]:
    digest = hmac.new(SHOPIFY_SECRET.encode(), body, hashlib.sha256).digest()
    return {
        "X-Shopify-Topic": topic,
        "X-Shopify-Hmac-Sha256": base64.b64encode(digest).decode(),
        "X-Shopify-Shop-Domain": "kiosk.myshopify.com",
        "X-Shopify-Webhook-Id": "delivery-1",
        "X-Shopify-Event-Id": "event-1",
        **changes,
    }


def event(kind: str = "customer.updated", **data: Any) -> bytes:
    body = {"type": kind, "timestamp": "2026-03-05T09:30:00+01:00", "data": data or {"customer": {"id": "1"}}}
    return json.dumps(body).encode()


STANDARD, SHOPIFY = "/webhooks/standard/web-se", "/webhooks/shopify/kiosk"


def test_a_signed_webhook_is_stored_and_workers_are_woken(house: ReceiverHarness, shop: RegisteredShop) -> None:
    body = event()
    answer = house.client.post(STANDARD, data=body, headers=standard(shop, body))
    assert answer.status_code == 200
    (row,) = house.rows()
    assert (row.topic, row.state, row.ordering_key) == ("customer.updated", "pending", "customer:1")
    assert row.occurred_at == datetime(2026, 3, 5, 8, 30, tzinfo=UTC)
    assert house.woken == [row.id]
    assert house.counted == [("web-se", "customer.updated", "stored")]


def test_a_replayed_delivery_is_answered_200_and_stored_once(house: ReceiverHarness, shop: RegisteredShop) -> None:
    body = event()
    headers = standard(shop, body)
    first = house.client.post(STANDARD, data=body, headers=headers)
    again = house.client.post(STANDARD, data=body, headers=headers)
    assert (first.json["message"], again.json["message"]) == ("stored", "duplicate")  # type: ignore[index]
    assert house.desk.status()["accepted"] == 1


def test_shopify_dedupes_by_webhook_id_and_not_by_event_id(house: ReceiverHarness) -> None:
    body = b'{"id": 1}'
    house.client.post(SHOPIFY, data=body, headers=shopify(body))
    other = shopify(body, "customers/create", **{"X-Shopify-Webhook-Id": "delivery-2"})
    assert house.client.post(SHOPIFY, data=body, headers=other).json["message"] == "stored"  # type: ignore[index]


@pytest.mark.parametrize("path", ["/webhooks/standard/nobody", "/webhooks/shopify/web-se", "/webhooks/magento/web-se"])
def test_an_unknown_shop_or_platform_is_404(house: ReceiverHarness, shop: RegisteredShop, path: str) -> None:
    body = event()
    assert house.client.post(path, data=body, headers=standard(shop, body)).status_code == 404
    assert house.rows() == []


@pytest.mark.parametrize(
    "change",
    [
        {"X-Shopify-Hmac-Sha256": ""},
        {"X-Shopify-Hmac-Sha256": "not base64 at all!"},
        {"X-Shopify-Hmac-Sha256": base64.b64encode(b"0" * 32).decode()},
        {"X-Shopify-Hmac-Sha256": "å" * 44},
        {"X-Shopify-Topic": ""},
        {"X-Shopify-Shop-Domain": ""},
        {"X-Shopify-Shop-Domain": "other.myshopify.com"},
    ],
)
def test_a_bad_shopify_proof_is_401(house: ReceiverHarness, change: dict[str, str]) -> None:
    body = b'{"id": 1}'
    assert house.client.post(SHOPIFY, data=body, headers=shopify(body, **change)).status_code == 401
    assert house.rows() == []


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", ["", "rubbish", "v1", "v1,rubbish", "1"])
def test_a_bad_standard_proof_is_401(house: ReceiverHarness, shop: RegisteredShop, name: str, value: str) -> None:
    body = event()
    headers = {**standard(shop, body), name: value}
    assert house.client.post(STANDARD, data=body, headers=headers).status_code == 401
    assert house.rows() == []


@pytest.mark.parametrize("seconds", [-301, 301, -86400])
def test_a_stale_timestamp_is_401(house: ReceiverHarness, shop: RegisteredShop, seconds: int) -> None:
    body = event()
    at = datetime.fromtimestamp(datetime.now(UTC).timestamp() + seconds, UTC)
    answer = house.client.post(STANDARD, data=body, headers=standard(shop, body, at=at))
    assert answer.status_code == 401
    assert "clock" in answer.json["message"]  # type: ignore[index]


def test_a_changed_body_is_401(house: ReceiverHarness, shop: RegisteredShop) -> None:
    body = event()
    assert house.client.post(STANDARD, data=body + b" ", headers=standard(shop, body)).status_code == 401


def test_refusals_are_counted_and_logged_once_a_minute(
    house: ReceiverHarness, shop: RegisteredShop, caplog: pytest.LogCaptureFixture
) -> None:
    body = event()
    for _ in range(3):
        headers = {**standard(shop, body), "webhook-signature": "v1,AAAA"}
        assert house.client.post("/webhooks/standard/web-se", data=body, headers=headers).status_code == 401
    assert house.client.post("/webhooks/standard/nobody", data=body).status_code == 404
    assert house.counted == [("web-se", "other", "refused")] * 3 + [("(unregistered)", "other", "refused")]
    told = [record.getMessage() for record in caplog.records if "step=refused" in record.getMessage()]
    assert len(told) == 2
    assert told[0].startswith("shop=web-se platform=standard step=refused reason=")
    assert "ada@example.com" not in caplog.text


def test_the_number_of_unlogged_refusals_is_in_the_next_log_line(
    shop: RegisteredShop, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    rejections = RejectionLog(lambda *_: None, lambda: now[0])
    for step in (0.0, 1.0, 1.0, 60.0):
        now[0] += step
        rejections.note(shop, "standard", "The signature is not ours.")
    assert [record.getMessage().rpartition("'")[2] for record in caplog.records] == [
        "",
        " (2 more since the last line)",
    ]


def test_the_former_secret_still_verifies_after_a_rotation(
    house: ReceiverHarness, shop: RegisteredShop, shops: Shops
) -> None:
    old = standard(shop, body := event())
    shops.replace_secrets("web-se", webhook_secret="whsec_" + base64.b64encode(b"n" * 32).decode())
    assert house.client.post(STANDARD, data=body, headers=old).status_code == 200
    new = standard(shops.get("web-se"), body, message_id="msg_2")
    assert house.client.post(STANDARD, data=body, headers=new).status_code == 200


def test_chunked_bodies_are_refused_with_411(house: ReceiverHarness) -> None:
    answer = house.client.post(SHOPIFY, input_stream=BytesIO(b"{}"), headers={"Transfer-Encoding": "chunked"})
    assert answer.status_code == 411


def test_a_body_over_the_limit_is_refused_with_413(house: ReceiverHarness, shop: RegisteredShop) -> None:
    body = event(customer={"id": "1", "extra": {"x": "y" * LIMIT}})
    assert house.client.post(STANDARD, data=body, headers=standard(shop, body)).status_code == 413


@pytest.mark.parametrize("body", [b"", b"not json", b"[1]", b"\xff\xfe", b'"text"', b'{"id": {}}'])
def test_a_signed_unreadable_body_is_stored(house: ReceiverHarness, body: bytes) -> None:
    length = {"CONTENT_LENGTH": str(len(body))}
    answer = house.client.post(SHOPIFY, data=body, headers=shopify(body), environ_overrides=length)
    assert answer.status_code == 200
    assert [row.state for row in house.rows()] == ["pending"]


@pytest.mark.parametrize("topic", ["orders/updated", "products/create"])
def test_topics_that_are_not_for_us_are_counted_without_their_body(
    house: ReceiverHarness, database: Database, topic: str
) -> None:
    from plugin.store.tables.inbox import InboxEvent

    body = b'{"id": 1, "email": "ada@example.com"}'
    answer = house.client.post(SHOPIFY, data=body, headers=shopify(body, topic))
    assert answer.status_code == 200
    (row,) = house.rows()
    assert row.state == "ignored"
    with database.reading() as session:
        stored = session.get(InboxEvent, row.id)
        assert stored is not None
        assert stored.body is None
    assert house.woken == []


def test_an_app_wide_webhook_finds_its_shop_by_domain_after_verification(house: ReceiverHarness) -> None:
    body = b'{"id": 1}'
    assert house.client.post("/webhooks/shopify", data=body, headers=shopify(body)).status_code == 200
    assert house.rows()[0].shop == "kiosk"
    foreign = shopify(body, **{"X-Shopify-Shop-Domain": "evil.myshopify.com"})
    assert house.client.post("/webhooks/shopify", data=body, headers=foreign).status_code == 401


def test_guests_are_ordered_by_a_hash_that_does_not_identify_them(house: ReceiverHarness, shop: RegisteredShop) -> None:
    body = event("order.paid", order={"id": "9", "customer": {"email": "Grace@Example.com"}})
    house.client.post(STANDARD, data=body, headers=standard(shop, body))
    key = house.rows()[0].ordering_key
    assert key.startswith("guest:")
    assert "grace" not in key.lower()


def test_a_refund_is_ordered_with_the_customer_of_its_order(house: ReceiverHarness, shop: RegisteredShop) -> None:
    paid = event("order.paid", order={"id": "9", "customer": {"id": "7"}})
    refund = event("order.refunded", refund={"id": "R", "order_id": "9"})
    house.client.post(STANDARD, data=paid, headers=standard(shop, paid, message_id="a"))
    house.client.post(STANDARD, data=refund, headers=standard(shop, refund, message_id="b"))
    assert [row.ordering_key for row in house.rows()] == ["customer:7", "customer:7"]


def test_a_time_from_the_future_is_cut_to_the_time_of_the_webhook(house: ReceiverHarness, shop: RegisteredShop) -> None:
    body = json.dumps(
        {"type": "customer.updated", "timestamp": "2999-01-01T00:00:00Z", "data": {"customer": {"id": 1}}}
    ).encode()
    house.client.post(STANDARD, data=body, headers=standard(shop, body))
    assert house.rows()[0].occurred_at.year < 2999


class BrokenInbox(Inbox):
    """An inbox whose database is away."""

    def accept_waiting(self, waiting: Callable[[], Sequence[NewEvent]]) -> list[Accepted]:
        raise OperationalError("INSERT", {}, OSError("disk full"))


def test_a_webhook_that_cannot_be_stored_is_answered_503_and_leaves_nothing(
    database: Database, shops: Shops, vault: Vault, shop: RegisteredShop
) -> None:
    house = ReceiverHarness(database, shops, vault, BrokenInbox(database))
    body = event()
    answer = house.client.post(STANDARD, data=body, headers=standard(shop, body))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert house.rows() == []
    assert house.woken == []


def test_a_full_disk_is_answered_503_without_a_partial_row_and_200_once_there_is_room(
    tmp_path: Path, vault: Vault, clock: Clock
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'full.sqlite'}", pool_size=1)
    database.migrate()
    shops, inbox = Shops(database, vault), Inbox(database)
    shop = shops.add(
        NewShop("web-se", "standard", "http://127.0.0.1:9", "k", "whsec_" + "A" * 32, {"store": "s"}), clock()
    )
    house = ReceiverHarness(database, shops, vault, inbox)

    def limit_pages(pages: int) -> None:
        with database.transaction() as session:
            session.execute(text(f"PRAGMA max_page_count={pages}"))

    with database.reading() as session:
        used = int(session.scalar(text("PRAGMA page_count")) or 0)
    limit_pages(used)
    big = [event(note="x" * 9000) for _ in range(2)]
    answers = [house.client.post(STANDARD, data=body, headers=standard(shop, body)) for body in big]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert house.rows() == []
    assert house.desk.status()["accepted"] == 0
    limit_pages(used + 1000)
    assert house.client.post(STANDARD, data=big[0], headers=standard(shop, big[0])).status_code == 200
    assert house.desk.status()["accepted"] == house.desk.status()["pending"] == 1
    database.close()
