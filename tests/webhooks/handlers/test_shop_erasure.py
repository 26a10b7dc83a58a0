"""The end of an installation: uninstalled, erased as a whole, and what a shopper may ask for."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from support.bodies import customer, order
from support.helpers import Clock, once_before

from plugin.cli import main
from plugin.demo.bodies import paid_order, signup
from plugin.store.database.engine import Database
from plugin.store.inbox.inbox import Inbox
from plugin.store.privacy.shop_erasure import KEPT_TABLES, SHARED_TABLES, of_shop
from plugin.store.shops.registry import Shops
from plugin.store.shops.vault import Vault
from plugin.store.tables.base import Base
from plugin.store.tables.inbox import DeliveryAttempt, InboxEvent
from plugin.store.tables.shops import Shop
from plugin.store.tables.sync import BackfillRefusal, BackfillRun, Erasure
from webhooks.receiving.endpoint import WebhookReceiver, blueprint

APP_SECRET = "shpss_of_the_app"


def everything(database: Database, shop: str) -> str:
    """Return all that the database holds of a shop but the shop's own row, as text."""
    found = []
    with database.reading() as session:
        shop_id = session.scalar(select(Shop.id).where(Shop.name == shop))
        events = select(InboxEvent.id).where(InboxEvent.shop_id == shop_id)
        for table in Base.metadata.sorted_tables:
            if "shop_id" in table.c:
                rows = select(table).where(table.c.shop_id == shop_id)
            elif table.name == DeliveryAttempt.__tablename__:
                rows = select(table).where(table.c.event_id.in_(events))
            else:
                continue
            found += [f"{table.name} {row}" for row in session.execute(rows)]
    return "\n".join(sorted(found))


def ids(body: dict[str, Any]) -> dict[str, Any]:
    """Give the demo's order and customer ids that are nowhere else."""
    changed = json.dumps(body).replace("5001", "987654321").replace("70001", "112233445")
    return dict(json.loads(changed))


def fill(rig: Any) -> list[int]:
    """Let the Shopify shop do something of every kind, some of it still waiting, parked or refused."""
    at = rig.clock()
    events = [
        rig.send_shopify("customers/create", ids(signup(at))),
        rig.send_shopify("orders/paid", ids(paid_order(at))),
        rig.send_shopify("customers/update", {"id": "not for", "email": "bad"}),
    ]
    rig.work()
    events.append(rig.send_shopify("customers/update", ids({**signup(at), "last_name": "Waiting"})))
    return events


def test_an_uninstallation_stops_deliveries_and_drops_the_token(rig: Any) -> None:
    rig.stores.shops.save_credentials("kiosk", {"access_token": "shpat_dead"})
    gone = rig.send_shopify("app/uninstalled", {"id": 1})
    rig.work()
    shop = rig.stores.shops.get("kiosk")
    assert (rig.event(gone).state, shop.credentials) == ("delivered", {})
    assert "removed the plugin" in shop.stopped_reason
    waiting = rig.send_shopify("customers/create", signup(rig.clock()))
    assert rig.work_for(30) == []
    assert rig.event(waiting).state == "pending"


def test_an_old_uninstallation_does_not_undo_a_newer_installation(rig: Any) -> None:
    late = rig.send_shopify("app/uninstalled", {"id": 1})
    redact = rig.send_shopify("shop/redact", {"shop_id": 1})
    installed_at = rig.clock.forward(60).isoformat()
    rig.stores.shops.save_credentials("kiosk", {"access_token": "shpat_new", "installed_at": installed_at})
    rig.work()
    assert rig.event(late).state == "ignored"
    assert rig.stores.shops.get("kiosk").credentials["access_token"] == "shpat_new"
    assert rig.stores.shops.get("kiosk").stopped_reason is None
    assert rig.event(redact).state == "parked"
    assert "shops erase kiosk" in rig.event(redact).last_error


def test_a_shop_that_asks_is_erased_and_another_shop_is_not(rig: Any, database: Database) -> None:
    fill(rig)
    rig.send("customer.created", customer=customer())
    rig.send("order.paid", order=order())
    rig.work()
    before = rig.desk.status()
    kept = everything(database, "web-se")
    assert "987654321" in everything(database, "kiosk")
    rig.send_shopify("app/uninstalled", {"id": 1})
    rig.work()
    waiting = rig.send_shopify("customers/update", ids({**signup(rig.clock()), "last_name": "Waiting"}))
    redact = rig.send_shopify("shop/redact", {"shop_id": 1, "shop_domain": "kiosk.myshopify.com"})
    rig.work()
    assert (rig.event(redact).state, rig.event(waiting).state) == ("delivered", "discarded")
    left = everything(database, "kiosk")
    for word in ("987654321", "112233445", "ada@example", "Ada", "Lind", "Waiting", "CAP-BLUE"):
        assert word not in left, word
    for contact in rig.contacts().values():
        assert contact["id"] not in left
    after = rig.desk.status()
    assert after["accepted"] == before["accepted"] + 3 == sum(v for k, v in after.items() if k != "accepted")
    with database.reading() as session:
        (record,) = session.scalars(select(Erasure)).all()
    assert (record.event_id, record.done["scope"], record.done["contact_links"]) == (redact, "shop", 1)
    assert record.done["shop_orders"] == 1
    assert record.done["events discarded"] == before["parked"] + 1
    assert everything(database, "web-se") == kept
    assert rig.stores.links.find(rig.standard, "1001") is not None
    assert rig.stores.orders.get(rig.standard, "9001") is not None


def test_compliance_requests_work_after_the_uninstallation(rig: Any) -> None:
    fill(rig)
    rig.send_shopify("app/uninstalled", {"id": 1})
    rig.work()
    redact = rig.send_shopify("customers/redact", {"customer": {"id": 987654321}, "orders_to_redact": []})
    asks = rig.send_shopify("customers/data_request", {"customer": {"id": 987654321}, "data_request": {"id": 9}})
    rig.work()
    assert (rig.event(redact).state, rig.event(asks).state) == ("delivered", "parked")
    assert rig.stores.links.find(rig.shopify, "987654321") is None


def test_compliance_requests_do_not_wait_for_pending_events_of_a_stopped_shop(rig: Any) -> None:
    _, _, _, waiting = fill(rig)
    rig.stores.shops.uninstall(rig.shopify.id, "The shop removed the plugin.")
    rig.clock.forward(48 * 3600)
    asks = rig.send_shopify("customers/data_request", {"customer": {"id": 987654321}, "data_request": {"id": 9}})
    redact = rig.send_shopify("customers/redact", {"customer": {"id": 987654321}, "orders_to_redact": []})
    rig.work()
    assert [rig.event(one).state for one in (asks, redact, waiting)] == ["parked", "delivered", "discarded"]
    assert rig.stores.links.find(rig.shopify, "987654321") is None


@pytest.mark.parametrize(
    "who", [{"id": 404}, {"id": 404, "email": None}, {"email": "nobody@example.com"}, {"phone": "+46701234567"}]
)
def test_redacting_an_unknown_customer_succeeds(rig: Any, who: dict[str, Any]) -> None:
    redact = rig.send_shopify("customers/redact", {"customer": who, "orders_to_redact": [404]})
    rig.work()
    assert rig.event(redact).state == "delivered"


def test_redacting_a_guest_reaches_their_order_by_email_phone_and_number(rig: Any, database: Database) -> None:
    guest = {**ids(paid_order(rig.clock())), "customer": None, "email": ""}
    first = rig.send_shopify("orders/paid", {**guest, "id": 1, "phone": "+46701234567"})
    second = rig.send_shopify("orders/paid", {**guest, "id": 2, "email": "grace@example.com"})
    rig.work()
    assert rig.stores.orders.get(rig.shopify, "2").details["lines"]
    rig.send_shopify("customers/redact", {"customer": {"phone": "+46701234567"}, "orders_to_redact": [2]})
    rig.work()
    with database.reading() as session:
        assert [session.get(InboxEvent, event_id).body for event_id in (first, second)] == [None, None]
    assert rig.event(first).state == "discarded"  # Engage keys contacts by e-mail here, so it was parked
    assert rig.stores.orders.get(rig.shopify, "2").details == {}


def test_no_worker_takes_an_event_that_an_erasure_discards(rig: Any, database: Database) -> None:
    """A refund under its order's key, whose customer only the erasure's list of orders shows."""
    if database.sqlite:
        pytest.skip("SQLite lets one transaction write at a time")
    body = {
        "id": 55, "order_id": 7, "created_at": rig.clock().isoformat(), "refund_line_items": [], "order_adjustments": [],
        "transactions": [{"kind": "refund", "status": "success", "amount": "10.00", "currency": "SEK", "gateway": "x"}],
    }  # fmt: skip
    refund = rig.send_shopify("refunds/create", body)
    redact = rig.send_shopify("customers/redact", {"customer": {"id": 404}, "orders_to_redact": [7]})
    waiting, erasing = sorted(rig.processor.claim(2), key=lambda one: one.id)
    assert rig.processor.work(waiting) == "retry"
    rig.clock.forward(10)  # it waited for its order, and is due again
    with once_before(database, "UPDATE inbox_events SET state", rig.processor.claim) as taken:
        rig.processor.work(erasing)
    assert taken == [[]]
    assert [rig.event(one).state for one in (redact, refund)] == ["delivered", "discarded"]


def test_an_interrupted_erasure_continues(rig: Any, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugin.store.privacy.shop_erasure.BATCH", 2)
    fill(rig)
    at = rig.clock()
    with database.transaction() as session:  # rows that belong to a row of the shop, more of them than a batch
        run = BackfillRun(
            shop_id=rig.shopify.id, what="orders", source="api", options={}, counts={}, state="finished", started_at=at, updated_at=at
        )  # fmt: skip
        session.add(run)
        session.flush()
        session.add_all(BackfillRefusal(run_id=run.id, resource_id=str(n), code="x", reason="x") for n in range(5))
    redact = rig.send_shopify("shop/redact", {"shop_id": 1})
    real = rig.stores.shop_erasures.erase_some
    steps = []

    def crash(*arguments: Any, **options: Any) -> Any:
        done = real(*arguments, **options)
        steps.append(done)
        if len(steps) == 1:
            raise OSError("the power went")
        return done

    monkeypatch.setattr(type(rig.stores.shop_erasures), "erase_some", lambda _self, *a, **o: crash(*a, **o))
    rig.work_for(120)
    assert rig.event(redact).state == "delivered"
    assert len(steps) > 2
    assert "987654321" not in everything(database, "kiosk")
    with database.reading() as session:
        for table, rows in ((Erasure, 1), (BackfillRun, 0), (BackfillRefusal, 0)):
            assert session.scalar(select(func.count()).select_from(table)) == rows


def test_every_table_is_erased_with_its_shop_or_has_a_reason() -> None:
    """A new table: give it a `shop_id`, or a key to a row that has one; else say in SHARED_TABLES why its rows stay."""
    kept = {table.name for table in Base.metadata.sorted_tables if of_shop(table, 1) is None}
    assert kept == KEPT_TABLES | set(SHARED_TABLES)


# --- a shopper asks what is kept ---


@pytest.fixture
def command(rig: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    from conftest import SECRET_KEY

    monkeypatch.setenv("DATABASE_URL", rig.database.engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("SECRET_KEY", SECRET_KEY)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words])


def test_a_request_for_data_is_answered_by_a_command(rig: Any, command: Any) -> None:
    fill(rig)
    asks = rig.send_shopify(
        "customers/data_request",
        {"customer": {"id": 987654321, "email": "ada@example.com"}, "orders_requested": [112233445], "data_request": {"id": 9}},
    )  # fmt: skip
    rig.work()
    assert f"data-request {asks}" in rig.event(asks).last_error
    found = command("data-request", asks)
    assert found.exit_code == 0, found.output
    answer = json.loads(found.stdout)
    (link,) = answer["links"]
    assert answer["contacts_in_engage"] == [link["contact_id"]]
    assert [row["order_id"] for row in answer["orders"]] == ["112233445"]
    topics = [row["topic"] for row in answer["events"]]
    assert topics.count("orders/paid") == 1
    assert "customers/data_request" in topics
    bodies = {row["topic"]: row["body"] for row in answer["events"]}
    assert bodies["orders/paid"]["line_items"][0]["sku"] == "CAP-BLUE"
    assert "email" in answer["told_to_engage"][0]["fields"]
    assert rig.event(asks).state == "parked"  # until a person says that it was answered
    assert command("events", "discard", asks, "--why", "answered").exit_code == 0


def test_the_answer_holds_no_data_of_other_people(rig: Any, command: Any) -> None:
    fill(rig)
    other = {
        **signup(rig.clock()),
        "id": 5,
        "admin_graphql_api_id": "gid://shopify/Customer/5",
        "email": "eve@example.com",
    }
    rig.send_shopify("customers/create", other)
    asks = rig.send_shopify("customers/data_request", {"customer": {"id": 987654321}})
    rig.work()
    assert "eve@example.com" not in command("data-request", asks).stdout


def test_only_a_request_for_data_is_answered(rig: Any, command: Any) -> None:
    (first, *_) = fill(rig)
    for number in (first, 4040):
        refused = command("data-request", number)
        assert refused.exit_code == 1
        assert refused.stdout == ""


def test_an_operator_can_erase_a_shop(rig: Any, command: Any, database: Database) -> None:
    fill(rig)
    assert "Add --sure" in command("shops", "erase", "kiosk").stdout
    assert "987654321" in everything(database, "kiosk")
    done = command("shops", "erase", "kiosk", "--sure")
    assert json.loads(done.stdout)["still_worked_on"] == 0
    assert "987654321" not in everything(database, "kiosk")


def test_a_shop_of_the_app_is_verified_by_the_apps_secret(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--platform", "shopify", "--engage-url", "http://127.0.0.1:9", "--engage-key", "k", "--store", "s")
    made = command("shops", "add", "lonely", *words, "--shop-domain", "lonely.myshopify.com")
    assert json.loads(made.stdout)["webhook_secret"] != APP_SECRET
    assert "put its client ID and secret into SHOPIFY_CLIENT_ID" in command("shops", "install", "lonely").stdout
    monkeypatch.setenv("SHOPIFY_CLIENT_ID", "an-app")
    monkeypatch.setenv("SHOPIFY_CLIENT_SECRET", APP_SECRET)
    made = command("shops", "add", "of-app", *words, "--shop-domain", "of-app.myshopify.com")
    assert json.loads(made.stdout)["webhook_secret"] == APP_SECRET
    steps = command("shops", "install", "of-app").stdout
    assert "SHOPIFY_CLIENT_ID" not in steps
    assert "/install/shopify/shopify.app.toml" in steps
    assert "/install/shopify?shop=of-app.myshopify.com" in steps


# --- webhooks of the app for shops that are not registered ---


@pytest.fixture
def receiver(database: Database, shops: Shops, vault: Vault) -> FlaskClient:
    inbox = Inbox(database)
    app = Flask("receiver")
    secrets = {"shopify": APP_SECRET}
    made = WebhookReceiver(
        shops, inbox, inbox.receiving(), vault, lambda _: None, 10_000, lambda *_: None, app_secrets=secrets
    )
    app.register_blueprint(blueprint(made))
    return app.test_client()


def of_app(topic: str, *, secret: str = APP_SECRET, domain: str = "stranger.myshopify.com") -> dict[str, Any]:
    body = b'{"shop_id": 1, "customer": {"id": 1}}'
    digest = base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
    headers = {"X-Shopify-Topic": topic, "X-Shopify-Hmac-Sha256": digest, "X-Shopify-Shop-Domain": domain}
    return {"data": body, "headers": headers}


@pytest.mark.parametrize("topic", ["shop/redact", "customers/redact", "customers/data_request", "app/uninstalled"])
def test_a_compliance_request_of_an_unknown_shop_is_answered_200(receiver: FlaskClient, topic: str) -> None:
    answer = receiver.post("/webhooks/shopify", **of_app(topic))
    assert (answer.status_code, "nothing of it is stored" in answer.text) == (200, True)
    assert receiver.post("/webhooks/shopify", **of_app(topic, secret="shpss_forged")).status_code == 401


def test_other_webhooks_of_an_unknown_shop_are_answered_404(receiver: FlaskClient, clock: Clock) -> None:
    assert receiver.post("/webhooks/shopify", **of_app("orders/paid")).status_code == 404
    assert receiver.post("/webhooks/shopify", **of_app("orders/paid", secret="shpss_forged")).status_code == 401
    assert receiver.post("/webhooks/standard", **of_app("shop/redact")).status_code == 401
