"""A Saleor shop from its signed webhooks to Engage, through inbox and workers."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.helpers import empty_sqlite
from support.saleor_shop import AT, Shop, line, money, order, refunded_order, running_saleor, user

from plugin.platforms.saleor import SALEOR, queries
from plugin.store.database.engine import Database
from plugin.store.shops.shops import NewShop
from webhooks.attempt.context import Origin
from webhooks.sync.ingest import ResourceIngestor

QUERIES = {topic: query for topics, query in queries.WEBHOOKS.values() for topic in topics}
CONSENTS = "metadata.accepts_email:email,metadata.club:club"


class SaleorRig:
    """A rig with a Saleor shop beside the others, installed as its token registration leaves it."""

    def __init__(self, rig: Any, saleor: Shop) -> None:
        self.rig, self.saleor = rig, saleor
        settings = {"store": "web-se", "consent_fields": CONSENTS, "consent_ids": "club:clubConsent"}
        new = NewShop("shop", "saleor", rig.sandbox.url, "key-shop", "secret", settings, saleor.domain)
        rig.stores.shops.add(new, rig.clock())
        rig.stores.shops.save_credentials(
            "shop", {"api_url": saleor.api_url, "token": saleor.token, "app_id": "QXBwOjE="}
        )

    def post(self, topic: str, subject: dict[str, Any], *, minutes: float = 0, path: str = "/webhooks/saleor") -> Any:
        """Send a webhook whose body the shop made with our query. minutes: after the shop's morning."""
        kind = "".join(word.title() for word in topic.split("_"))
        body = self.saleor.body_of(QUERIES[topic], kind, subject, AT + timedelta(minutes=minutes))
        return self.rig.web.post(path, data=body, headers=self.saleor.headers(topic, body))

    def send(self, topic: str, subject: dict[str, Any], *, minutes: float = 0) -> int:
        answer = self.post(topic, subject, minutes=minutes)
        assert answer.status_code == 200, answer.text
        return int(answer.json["event_id"])

    def customer(self, topic: str, minutes: float = 0, **changes: Any) -> int:
        """Tell of a customer that changed at that minute."""
        changes.setdefault("updatedAt", (AT + timedelta(minutes=minutes)).isoformat())
        return self.send(topic, {"user": user(**changes)}, minutes=minutes)

    def receipts(self) -> dict[str, float]:
        """Return the totals of the receipts, by what stands after the shop's name and the order's id."""
        start = "shop-T3JkZXI6OTAwMQ=="
        return {name.removeprefix(start): row["totalGrossPrice"] for name, row in self.rig.receipts().items()}

    def contact(self, email: str = "ada@example.com") -> dict[str, Any]:
        return self.rig.contacts()[email]

    def accepts_email(self) -> Any:
        return self.contact()["preferences"].get("acceptsEmail")


@pytest.fixture(scope="session")
def running() -> Iterator[Shop]:
    with running_saleor() as shop:
        yield shop


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """SQLite alone: nothing of Saleor depends on the kind of database, and the others' tests use both."""
    with empty_sqlite(tmp_path) as made:
        yield made


@pytest.fixture
def shop(rig: Any, running: Shop) -> SaleorRig:
    running.keys, running.broken = ["key-1"], 0
    return SaleorRig(rig, running)


def metadata(**pairs: str) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in pairs.items()]


def test_signup_order_and_refunds_reach_engage_once_each(shop: SaleorRig) -> None:
    shop.customer("customer_created", isConfirmed=False)
    paid = shop.send("order_fully_paid", {"order": order()}, minutes=1)
    assert shop.send("order_fully_paid", {"order": order()}, minutes=1) == paid, "a retry has the same bytes"
    shop.send("order_fully_paid", {"order": order()}, minutes=2)  # a repeat after a further charge has not
    shop.send("order_refunded", {"order": refunded_order(("E1", 100.0))}, minutes=20)
    both = refunded_order(("E1", 100.0), ("E2", 200.0))
    shop.send("order_refunded", {"order": both}, minutes=30)
    shop.send("order_fully_refunded", {"order": both}, minutes=30)
    shop.rig.work()
    assert shop.receipts() == {"": 300.0, "-RE1": -100.0, "-RE2": -200.0}
    assert {row["times_received"] for row in shop.rig.receipts().values()} == {1}
    assert shop.contact()["attributes"]["externalId"] == "VXNlcjoxMDAx"
    assert shop.rig.parked() == []


def test_events_in_the_wrong_order_end_the_same_way(shop: SaleorRig) -> None:
    shop.send("order_fully_refunded", {"order": refunded_order(("E1", 300.0))}, minutes=5)
    shop.send("order_cancelled", {"order": refunded_order(("E1", 300.0), status="CANCELED")}, minutes=6)
    shop.rig.work()
    assert shop.receipts() == {}
    shop.send("order_fully_paid", {"order": order()}, minutes=1)
    shop.customer("account_confirmed", 2)
    shop.customer("customer_created", 1, isConfirmed=False)
    shop.rig.work_for(120)
    assert shop.receipts() == {"": 300.0, "-RE1": -300.0}
    assert len(shop.rig.contacts()) == 1
    assert shop.rig.parked() == []


def test_refunds_that_have_no_ids_are_returned_up_to_their_sum(shop: SaleorRig) -> None:
    """An older query asks for no ids: only the sum grows, and the same sum may be sent twice."""
    shop.send("order_fully_paid", {"order": order()}, minutes=1)
    for minutes, in_all in ((10, 40.0), (11, 40.0), (20, 100.0), (21, 40.0)):
        whole = order(totalRefunded=money(in_all))
        whole["transactions"][0]["events"] = []
        shop.send("order_refunded", {"order": whole}, minutes=minutes)
        shop.rig.work()
    assert shop.receipts() == {"": 300.0, "-Rsum-40.00": -40.0, "-Rsum-100.00": -60.0}
    # the webhook's query was corrected meanwhile, and the same money has ids now
    shop.send("order_refunded", {"order": refunded_order(("E1", 40.0), ("E2", 60.0), ("E3", 25.0))}, minutes=30)
    shop.rig.work()
    assert sum(total for name, total in shop.receipts().items() if name) == -125.0


def test_a_return_names_the_articles_as_the_purchase_did(shop: SaleorRig) -> None:
    granted = {
        "id": "G", "createdAt": AT.isoformat(), "amount": money(100.0), "reason": "", "shippingCostsIncluded": False,
        "lines": [{"id": "x", "quantity": 1, "orderLine": line(1, 1.0, 1.0)}], "transactionEvents": [],
    }  # fmt: skip
    whole = order(lines=[line(1, 200.0, 160.0, 2, productSku=None), line(2, 51.0, 40.8)])
    shop.send("order_fully_paid", {"order": whole}, minutes=1)
    back = refunded_order(("E1", 100.0), grantedRefunds=[granted], lines=whole["lines"])
    shop.send("order_refunded", {"order": back}, minutes=20)
    shop.rig.work()
    bought = shop.rig.receipts()["shop-T3JkZXI6OTAwMQ=="]["items"][0]
    (item,) = shop.rig.receipts()["shop-T3JkZXI6OTAwMQ==-RE1"]["items"]
    assert (item["sku"], item["articleNumber"]) == (bought["sku"], bought["articleNumber"]) == (
        "UHJvZHVjdFZhcmlhbnQ61", "UHJvZHVjdFZhcmlhbnQ61",
    )  # fmt: skip
    assert (item["type"], item["quantity"], item["grossPaidPrice"]) == ("RETURN", -1, 100.0)


def test_a_guests_order_has_the_store_of_its_channel(shop: SaleorRig) -> None:
    shop.rig.stores.shops.change("shop", {"country_stores": "outlet:web-outlet"})
    shop.rig.seed(stores=[{"externalId": "web-outlet", "name": "Outlet"}])
    guest = order(
        user=None, userEmail="guest@example.com", channel={"id": "c", "slug": "outlet", "currencyCode": "SEK"}
    )
    shop.send("order_fully_paid", {"order": guest})
    shop.rig.work()
    (receipt,) = shop.rig.receipts().values()
    assert receipt["storeExternalId"] == "web-outlet"
    assert "guest@example.com" in shop.rig.contacts()


def test_a_changed_email_moves_with_the_customer(shop: SaleorRig) -> None:
    shop.customer("customer_created")
    shop.customer("account_email_changed", 5, email="new@example.com")
    shop.customer("customer_updated", 5, email="new@example.com")
    shop.rig.work()
    assert list(shop.rig.contacts()) == ["new@example.com"]


def test_repeated_metadata_is_sent_once(shop: SaleorRig) -> None:
    shop.customer("customer_created")
    shop.rig.work()
    size = metadata(size="42")
    first = shop.customer("customer_updated", 5, metadata=size, firstName="Eva")
    second = shop.customer("customer_metadata_updated", 5, metadata=size, firstName="Eva")
    shop.rig.work()
    assert shop.rig.calls().count("ApiV3ContactsByContactIdPatch") <= 1
    assert "unchanged" in shop.rig.steps(second)
    assert "unchanged" not in shop.rig.steps(first)


# --- consent ---


def test_an_opt_in_at_registration_is_sent_once_the_email_is_confirmed(shop: SaleorRig) -> None:
    yes = metadata(accepts_email="true", club="yes")
    shop.customer("customer_created", 0, isConfirmed=False, metadata=yes)
    shop.rig.work()
    assert shop.accepts_email() is not True, "somebody may have registered with another person's address"
    shop.customer("account_confirmed", 5, metadata=yes)
    shop.rig.work()
    assert shop.accepts_email() is True
    shop.customer("customer_updated", 9, metadata=metadata(accepts_email="false", club="yes"), isConfirmed=False)
    shop.rig.work()
    assert shop.accepts_email() is False, "a no needs no proof"


def test_a_repeated_opt_in_does_not_undo_an_opt_out_from_elsewhere(shop: SaleorRig) -> None:
    yes = metadata(accepts_email="true")
    shop.customer("customer_created", 0, metadata=yes)
    shop.rig.work()
    assert shop.accepts_email() is True
    registered = shop.rig.stores.shops.get("shop")
    contact_id, at = shop.contact()["id"], AT + timedelta(minutes=10)
    shop.rig.client_for(registered).patch_contact(contact_id, _no())
    with shop.rig.database.transaction() as session:  # as the webhook of Engage leaves it
        shop.rig.stores.consents.add(session, registered, contact_id, {"email": (False, at, "Engage")}, None, at)
    shop.customer("customer_updated", 20, metadata=yes, firstName="Eva")
    shop.rig.work()
    assert (shop.accepts_email(), shop.contact()["attributes"]["firstName"]) == (False, "Eva")
    shop.customer("customer_updated", 30, metadata=[])
    shop.customer("customer_updated", 40, metadata=yes)
    shop.rig.work()
    assert shop.accepts_email() is True, "asked again and said yes again: the shopper's own newer act"


def test_an_opt_in_read_by_a_sync_is_not_sent_until_it_changes(shop: SaleorRig) -> None:
    shop.customer("customer_updated", 5, metadata=metadata(accepts_email="true"))
    shop.rig.work()
    assert shop.accepts_email() is not True
    shop.customer("customer_updated", 6, metadata=metadata(accepts_email="false"))
    shop.customer("customer_updated", 7, metadata=metadata(accepts_email="true"))
    shop.rig.work()
    assert shop.accepts_email() is True


def test_a_late_signup_dates_its_opt_in(shop: SaleorRig) -> None:
    yes = metadata(accepts_email="true")
    shop.customer("account_confirmed", 5, metadata=yes)
    shop.rig.work()
    assert shop.accepts_email() is not True
    shop.customer("customer_created", 0, isConfirmed=True, metadata=yes)
    shop.rig.work()
    assert shop.accepts_email() is True


def test_an_answer_is_sent_after_a_failed_attempt(shop: SaleorRig) -> None:
    yes = metadata(accepts_email="true")
    shop.customer("customer_created", 0)
    shop.rig.work()
    shop.rig.fault(outage=True)
    shop.customer("customer_updated", 5, metadata=yes)
    shop.rig.work()
    assert shop.accepts_email() is not True
    shop.rig.no_faults()
    shop.rig.work_for(400)
    assert shop.accepts_email() is True


def test_an_account_with_another_persons_email_changes_nothing(shop: SaleorRig) -> None:
    shop.customer("customer_created", 0, metadata=metadata(accepts_email="false"))
    shop.rig.work()
    stranger = {"id": "VXNlcjo2NjY=", "isConfirmed": False, "firstName": "Eve"}
    shop.customer("customer_created", 5, metadata=metadata(accepts_email="true"), **stranger)
    shop.customer("customer_updated", 6, metadata=metadata(accepts_email="true"), **stranger)
    shop.customer("customer_updated", 7, metadata=metadata(accepts_email="false"))
    shop.rig.work()
    assert (shop.accepts_email(), shop.contact()["attributes"]["firstName"]) == (False, "Ada")


# --- the receiver ---


def test_the_receiver_answers_each_kind_of_request(shop: SaleorRig) -> None:
    subject = {"order": order()}
    assert shop.post("order_fully_paid", subject, path="/webhooks/saleor/shop").status_code == 200
    assert shop.post("order_fully_paid", subject, path="/webhooks/saleor/nobody").status_code == 404
    body = b'{"issuedAt": null}'
    headers = shop.saleor.headers("order_updated", body)
    assert shop.rig.web.post("/webhooks/saleor", data=body, headers=headers).json["message"] == "not for us"
    elsewhere = {**headers, "Saleor-Api-Url": "https://elsewhere.example/graphql/"}
    assert shop.rig.web.post("/webhooks/saleor", data=body, headers=elsewhere).status_code == 401
    assert shop.rig.web.post("/webhooks/saleor/shop", data=body, headers=elsewhere).status_code == 401
    forged = {**headers, "Saleor-Signature": headers["Saleor-Signature"][:-6] + "AAAAAA"}
    assert shop.rig.web.post("/webhooks/saleor", data=body, headers=forged).status_code == 401


def test_a_webhook_is_answered_503_while_the_keys_cannot_be_fetched(
    shop: SaleorRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SALEOR, "_keys", type(SALEOR._keys)())
    shop.saleor.broken = 500
    answer = shop.post("order_fully_paid", {"order": order()})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    shop.saleor.broken = 0
    shop.rig.clock.forward(40)
    assert shop.post("order_fully_paid", {"order": order()}).status_code == 200


def test_a_deleted_customer_is_erased_and_an_uninstalled_app_stops(shop: SaleorRig) -> None:
    shop.customer("customer_created")
    shop.rig.work()
    shop.send("customer_deleted", {"user": user()}, minutes=5)
    shop.send("account_deleted", {"user": user()}, minutes=5)
    shop.rig.work()
    registered = shop.rig.stores.shops.get("shop")
    assert shop.rig.stores.links.find(registered, "VXNlcjoxMDAx") is None
    shop.send("app_deleted", {"app": {"id": "QXBwOjk="}}, minutes=6)
    shop.rig.work()
    assert shop.rig.stores.shops.get("shop").stopped_reason is None
    shop.send("app_deleted", {"app": {"id": "QXBwOjE="}}, minutes=7)
    shop.rig.work()
    assert "removed the plugin" in str(shop.rig.stores.shops.get("shop").stopped_reason)


def test_a_body_that_cannot_be_mapped_is_parked_with_its_field(shop: SaleorRig) -> None:
    body = b'{"data": {"orderFullyPaid": {"order": {"id": "x"}}}}'
    headers = shop.saleor.headers("order_fully_paid", body)
    assert shop.rig.web.post("/webhooks/saleor", data=body, headers=headers).status_code == 200
    shop.rig.work()
    (parked,) = shop.rig.parked()
    assert "order." in str(parked.last_error)


def _no() -> Any:
    from plugin.engage.data.models import ContactWrite

    return ContactWrite({}, {"acceptsEmail": False})


# --- what no webhook told ---


def found(shop: SaleorRig, now_minutes: float, *, again: bool = False) -> list[str]:
    """Read everything from the shop's API and put it through the inbox, as the reconciliation does."""
    rig, registered = shop.rig, shop.rig.stores.shops.get("shop")
    calls = SALEOR.api(registered, lambda _: None)
    assert calls is not None
    resources = [*calls.customers(None, None), *calls.orders(None, None)]
    ingestor = ResourceIngestor(rig.stores, lambda _id: None)
    fates = ingestor.ingest(registered, resources, Origin.RECONCILE, rig.clock(), run=str(now_minutes), again=again)
    rig.work()
    return [fate.value for fate in fates]


def test_missed_webhooks_are_read_from_the_api_and_late_ones_change_nothing(shop: SaleorRig) -> None:
    shop.saleor.users, shop.saleor.orders = [user()], [refunded_order(("E1", 100.0), ("E2", 200.0))]
    assert found(shop, 1) == ["stored"] * 3
    assert found(shop, 1) == ["known"] * 3
    assert shop.receipts() == {"": 300.0, "-RE1": -100.0, "-RE2": -200.0}
    shop.send("order_fully_paid", {"order": order()}, minutes=1)
    shop.send("order_refunded", {"order": refunded_order(("E1", 100.0))}, minutes=20)
    shop.rig.work()
    assert shop.receipts() == {"": 300.0, "-RE1": -100.0, "-RE2": -200.0}
    assert {row["times_received"] for row in shop.rig.receipts().values()} == {1}
    assert found(shop, 2, again=True) == ["stored"] * 3
    assert shop.receipts() == {"": 300.0, "-RE1": -100.0, "-RE2": -200.0}, "sent again under their ids"
    assert {row["times_received"] for row in shop.rig.receipts().values()} == {2}


def test_an_opt_in_read_from_the_api_is_not_sent_and_an_opt_out_is(shop: SaleorRig) -> None:
    shop.saleor.users, shop.saleor.orders = [user(metadata=metadata(accepts_email="true"))], []
    found(shop, 1)
    assert shop.accepts_email() is not True
    shop.customer("customer_created", 0)
    shop.customer("customer_updated", 5, metadata=metadata(accepts_email="true"))
    shop.rig.work()
    assert shop.accepts_email() is True
    gone = metadata(accepts_email="false")
    shop.saleor.users = [user(metadata=gone, updatedAt=(AT + timedelta(minutes=9)).isoformat())]
    found(shop, 2)
    assert shop.accepts_email() is False


def test_refunds_returned_by_their_sum_are_known_by_their_ids_too(shop: SaleorRig) -> None:
    whole = order(totalRefunded=money(100.0))
    whole["transactions"][0]["events"] = []
    shop.send("order_fully_paid", {"order": order()}, minutes=1)
    shop.send("order_refunded", {"order": whole}, minutes=2)
    shop.send("order_refunded", {"order": refunded_order(("E1", 100.0))}, minutes=3)
    shop.rig.work()
    stored = shop.rig.stores.orders.get(shop.rig.stores.shops.get("shop"), "T3JkZXI6OTAwMQ==")
    assert {name: entry["total"] for name, entry in stored.details["refunds"].items()} == {
        "sum-100.00": "100.00", "E1": "0",
    }  # fmt: skip
    assert shop.receipts() == {"": 300.0, "-Rsum-100.00": -100.0}
