"""Calls to a shop, its webhooks and the installation, over real HTTP to a stand-in with the real one's habits."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.captured import CAPTURED
from support.helpers import Clock, KnownShop
from support.woocommerce_shop import KEY, SECRET, WooShop, running_shop

from plugin.errors import ShopApiError, ShopUnavailableError
from plugin.event_kinds import EventKind
from plugin.events import OrderCancelled
from plugin.installation.service import ShopInstallationService
from plugin.platforms.base import Delivery
from plugin.platforms.shop_api import PolledResource
from plugin.platforms.woocommerce import CANCELLED_TOPIC, REFUNDED, SUBSCRIBED, WOOCOMMERCE
from plugin.platforms.woocommerce.api import WooApi, api_for, prove
from plugin.platforms.woocommerce.install import blueprint, steps
from plugin.platforms.woocommerce.rest import base_of
from plugin.store.database.engine import Database
from plugin.store.shops.installations import PendingInstallations
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import NewShop, RegisteredShop
from plugin.store.shops.vault import Vault

FIXTURES = CAPTURED / "woocommerce"
ADDRESS = "https://plugin.example/webhooks/woocommerce/web-se"
T0 = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


class Keeper:
    """A registered shop whose credentials can be stored."""

    def __init__(self, url: str, **credentials: Any) -> None:
        self.credentials: Mapping[str, Any] = {"key": KEY, "secret": SECRET, **credentials}
        self.url, self.webhook_secret = url, "aSecret1"

    def api(self) -> WooApi:
        shop = KnownShop((self.webhook_secret,), self.credentials, platform="woocommerce", shop_domain=self.url)
        api = api_for(shop, self._keep)
        assert api is not None
        return api

    def _keep(self, credentials: Mapping[str, Any]) -> None:
        self.credentials = json.loads(json.dumps(dict(credentials)))


@pytest.fixture
def woo() -> Iterator[WooShop]:
    with running_shop(WooShop()) as shop:
        yield shop


@pytest.fixture
def keeper(woo: WooShop) -> Keeper:
    return Keeper(woo.url)


# --- connection ---


@pytest.mark.parametrize(
    ("drops", "plain", "came"),
    [(False, False, "basic"), (True, False, "query"), (False, True, "basic"), (True, True, "query")],
)
def test_how_a_shop_accepts_keys_is_detected_and_stored(
    woo: WooShop, keeper: Keeper, drops: bool, plain: bool, came: str, caplog: pytest.LogCaptureFixture
) -> None:
    woo.drops_authorization, woo.plain_permalinks = drops, plain
    with caplog.at_level(logging.INFO):
        assert keeper.api().check() == "Butiken & Co"
        woo.asked.clear()
        keeper.api().subscriptions(ADDRESS)
    assert [asked[3] for asked in woo.asked] == [came]
    assert SECRET not in caplog.text


def test_the_request_for_the_sites_name_has_no_keys(woo: WooShop, keeper: Keeper) -> None:
    keeper.api().check()
    assert [asked[3] for asked in woo.asked if asked[1] == "/"] == [""]


@pytest.mark.parametrize(("name", "value"), [("secret", "cs_" + "x" * 40), ("key", "ck_" + "x" * 40)])
def test_wrong_keys_are_reported_as_wrong(woo: WooShop, name: str, value: str) -> None:
    with pytest.raises(ShopApiError, match="keys are wrong") as caught:
        Keeper(woo.url, **{name: value}).api().check()
    assert caught.value.status == 401
    assert value not in str(caught.value)


def test_the_error_for_a_shop_that_moved_names_its_new_address(woo: WooShop, keeper: Keeper) -> None:
    woo.moved_to = "https://www.shop.example"
    with pytest.raises(ShopApiError, match=r"www\.shop\.example.*--shop-domain"):
        keeper.api().check()


def test_a_shop_in_maintenance_is_unavailable(woo: WooShop, keeper: Keeper) -> None:
    woo.away = 1
    with pytest.raises(ShopUnavailableError):
        keeper.api().check()
    assert keeper.api().check()


def test_a_site_without_woocommerce_is_reported_as_such(woo: WooShop, keeper: Keeper) -> None:
    woo.plain_permalinks = True
    keeper.credentials = {**keeper.credentials, "plain": False}
    with pytest.raises(ShopApiError, match="WooCommerce active"):
        keeper.api().subscriptions(ADDRESS)


@pytest.mark.parametrize(
    ("typed", "base"),
    [
        ("shop.example", "https://shop.example"),
        ("shop.example/shop/", "https://shop.example/shop"),
        ("https://shop.example/", "https://shop.example"),
        ("127.0.0.1:8700", "https://127.0.0.1:8700"),
        ("http://127.0.0.1:8700", "http://127.0.0.1:8700"),
        ("http://10.0.0.5", "http://10.0.0.5"),
        ("http://wordpress:8080", "http://wordpress:8080"),
    ],
)
def test_the_base_address_follows_what_the_operator_typed(typed: str, base: str) -> None:
    assert base_of(KnownShop(shop_domain=typed)) == base


@pytest.mark.parametrize(
    "typed",
    [
        "http://shop.example",
        "http://8.8.8.8",
        "ftp://shop.example",
        "https://u:p@shop.example",
        "",
        None,
        "https://",
        "https://[::1",
    ],
)
def test_an_address_that_must_not_receive_keys_is_refused(typed: str | None) -> None:
    with pytest.raises(ShopApiError):
        base_of(KnownShop(shop_domain=typed))


def test_without_stored_keys_no_call_is_made() -> None:
    assert WOOCOMMERCE.api(KnownShop(shop_domain="shop.example"), lambda _: None) is None
    assert WOOCOMMERCE.fetch_refunds(KnownShop(shop_domain="shop.example"), "16", ["17"]) == {}


# --- webhooks ---


def test_repair_creates_a_webhook_per_topic_with_our_secret(woo: WooShop, keeper: Keeper) -> None:
    assert {s.problem for s in keeper.api().subscriptions(ADDRESS)} == {"missing"}
    assert len(keeper.api().repair(ADDRESS)) == len(SUBSCRIBED)
    assert sorted(hook["topic"] for hook in woo.webhooks.values()) == sorted(SUBSCRIBED)
    assert {hook["delivery_url"] for hook in woo.webhooks.values()} == {ADDRESS}
    assert set(woo.secrets.values()) == {"aSecret1"}
    assert all(s.active and not s.problem for s in keeper.api().subscriptions(ADDRESS))
    assert keeper.credentials["webhooks"] == {hook["topic"]: str(number) for number, hook in woo.webhooks.items()}
    assert keeper.api().repair(ADDRESS) == ()


def test_webhooks_that_were_switched_off_moved_or_removed_are_repaired(woo: WooShop, keeper: Keeper) -> None:
    keeper.api().repair(ADDRESS)
    woo.webhooks[1]["status"] = "disabled"  # what the shop does after its seventh failure in a row
    woo.webhooks[2]["delivery_url"] = "https://old.example/hook"
    gone = woo.webhooks.pop(3)["topic"]
    problems = {s.topic: s.problem for s in keeper.api().subscriptions(ADDRESS) if s.problem}
    assert sorted(problems.values()) == ["delivers to another address", "missing", "switched off (disabled)"]
    assert problems[gone] == "missing"
    assert len(keeper.api().repair(ADDRESS)) == 3
    assert all(not s.problem for s in keeper.api().subscriptions(ADDRESS))
    assert len(woo.webhooks) == len(SUBSCRIBED)


def test_repair_after_a_rotation_gives_webhooks_the_new_secret(woo: WooShop, keeper: Keeper) -> None:
    keeper.api().repair(ADDRESS)
    keeper.webhook_secret = "aNewSecret2"
    assert {s.problem for s in keeper.api().subscriptions(ADDRESS)} == {"may sign with another secret"}
    keeper.api().repair(ADDRESS)
    assert set(woo.secrets.values()) == {"aNewSecret2"}
    assert all(not s.problem for s in keeper.api().subscriptions(ADDRESS))


def test_webhooks_of_other_receivers_are_left_alone(woo: WooShop, keeper: Keeper) -> None:
    for _ in range(120):  # more than one page of them
        woo.add_hook("order.updated", "https://other.example/hook", "disabled")
    keeper.api().repair(ADDRESS)
    keeper.api().remove()
    assert len(woo.webhooks) == 120
    assert {hook["status"] for hook in woo.webhooks.values()} == {"disabled"}
    assert keeper.credentials["webhooks"] == {}


def test_webhooks_that_were_created_manually_are_adopted(woo: WooShop, keeper: Keeper) -> None:
    number = woo.add_hook("order.updated", ADDRESS, "paused")
    keeper.api().repair(ADDRESS)
    assert woo.webhooks[number]["status"] == "active"
    assert woo.secrets[number] == "aSecret1"
    assert len(woo.webhooks) == len(SUBSCRIBED)


def test_repair_after_a_failure_creates_no_duplicates(woo: WooShop, keeper: Keeper) -> None:
    woo.rights = "read"
    with pytest.raises(ShopApiError, match="read and write"):
        keeper.api().repair(ADDRESS)
    woo.rights = "read_write"
    keeper.api().repair(ADDRESS)
    assert len(woo.webhooks) == len(SUBSCRIBED)


def test_an_interrupted_repair_leaves_the_unrepaired_webhooks_reported(woo: WooShop, keeper: Keeper) -> None:
    by_hand = [woo.add_hook(topic, ADDRESS) for topic in SUBSCRIBED]
    woo.refuses = {"PUT /wc/v3/webhooks/3": 1}
    with pytest.raises(ShopUnavailableError):
        keeper.api().repair(ADDRESS)
    assert [woo.secrets[number] for number in by_hand] == ["aSecret1", "aSecret1", *["by hand"] * 3]
    problems = [s.problem for s in keeper.api().subscriptions(ADDRESS)]
    assert problems == ["", "", *["may sign with another secret"] * 3]
    assert len(keeper.api().repair(ADDRESS)) == 3
    assert set(woo.secrets.values()) == {"aSecret1"}
    assert len(woo.webhooks) == len(SUBSCRIBED)


def test_a_webhook_whose_update_got_no_answer_may_have_another_secret(woo: WooShop, keeper: Keeper) -> None:
    keeper.api().repair(ADDRESS)
    keeper.webhook_secret = "aNewSecret2"
    woo.refuses = {"PUT /wc/v3/webhooks/1": 1}
    with pytest.raises(ShopUnavailableError):
        keeper.api().repair(ADDRESS)
    keeper.webhook_secret = "aSecret1"  # reverted: the first webhook may have received the other secret nevertheless
    problems = [s.problem for s in keeper.api().subscriptions(ADDRESS)]
    assert problems == ["may sign with another secret", *[""] * 4]


def test_a_manually_created_replacement_may_have_another_secret(woo: WooShop, keeper: Keeper) -> None:
    keeper.api().repair(ADDRESS)
    woo.add_hook("order.updated", ADDRESS)
    woo.webhooks.pop(int(keeper.credentials["webhooks"]["order.updated"]))
    problems = {s.topic: s.problem for s in keeper.api().subscriptions(ADDRESS) if s.problem}
    assert problems == {"order.updated": "may sign with another secret"}


def test_stored_credentials_are_used_by_the_next_call(woo: WooShop, keeper: Keeper) -> None:
    woo.drops_authorization = True
    api = keeper.api()
    api.check()
    api.repair(ADDRESS)
    assert all(not s.problem for s in api.subscriptions(ADDRESS))
    assert keeper.credentials["in_query"] is True, "repair overwrote what check had detected"


def test_removing_a_webhook_that_is_already_gone_succeeds(woo: WooShop, keeper: Keeper) -> None:
    keeper.api().repair(ADDRESS)
    del woo.webhooks[1]
    assert sum("gone already" in line for line in keeper.api().remove()) == 1
    assert woo.webhooks == {}


# --- reading changes ---


def at(seconds: int) -> str:
    return (T0 + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def order(number: int, changed: int, **more: Any) -> dict[str, Any]:
    whole = json.loads((FIXTURES / "order-updated-1-paid.json").read_bytes())
    return {**whole, "id": number, "date_modified_gmt": at(changed), **more}


def places(resources: Iterator[PolledResource]) -> list[tuple[str, str]]:
    return [(resource.topic, resource.resource_id) for resource in resources]


def test_orders_are_read_by_last_change_without_unpaid_ones(woo: WooShop, keeper: Keeper) -> None:
    woo.orders = [
        order(3, 10),
        order(1, 20),
        order(2, 5),
        order(4, 1, date_paid_gmt=None),
        order(5, 2, status="on-hold"),
        order(6, 3, status="failed"),
    ]
    resources = list(keeper.api().orders(None, None))
    assert [resource.resource_id for resource in resources] == ["2", "3", "1"]
    assert [resource.changed_at for resource in resources] == [T0 + timedelta(seconds=s) for s in (5, 10, 20)]
    assert all(resource.kind is EventKind.ORDER_PAID for resource in resources)


def test_orders_are_read_from_the_start_inclusive_to_the_end_exclusive(woo: WooShop, keeper: Keeper) -> None:
    woo.orders = [order(number, number) for number in range(10)]
    resources = keeper.api().orders(T0 + timedelta(seconds=3), T0 + timedelta(seconds=6))
    assert [resource.resource_id for resource in resources] == ["3", "4", "5"]


def test_more_orders_in_one_second_than_a_page_holds_are_each_read_once(woo: WooShop, keeper: Keeper) -> None:
    woo.orders = [order(n, 7 if 20 <= n < 270 else n) for n in range(1, 420)]
    ids = [resource.resource_id for resource in keeper.api().orders(None, None)]
    assert len(ids) == len(set(ids)) == 419


def test_orders_that_change_during_reading_are_not_lost(woo: WooShop, keeper: Keeper) -> None:
    woo.orders = [order(n, n) for n in range(1, 301)]
    reader = keeper.api().orders(None, None)
    ids = [next(reader).resource_id for _ in range(50)]
    for moved in woo.orders[:40]:  # already read; the change moves them to the end
        moved["date_modified_gmt"] = at(1000 + moved["id"])
    ids += [resource.resource_id for resource in reader]
    assert set(ids) == {str(n) for n in range(1, 301)}


def between_pages(woo: WooShop, route: str, change: Callable[[int], None]) -> None:
    """Call `change` with the number of later pages asked before, each time before such a page is read."""
    later: list[int] = []

    def meanwhile(asked: str, query: dict[str, str]) -> None:
        if asked == f"/wc/v3/{route}" and (query.get("offset", "0") != "0" or query.get("page", "1") != "1"):
            change(len(later))
            later.append(1)

    woo.meanwhile = meanwhile


@pytest.mark.parametrize("moved", [1, 19, 20, 100, 249])
def test_orders_of_the_same_second_that_move_up_between_pages_are_not_lost(
    woo: WooShop, keeper: Keeper, moved: int
) -> None:
    woo.orders = [order(n, 7) for n in range(1, 251)] + [order(n, 9) for n in range(300, 400)]

    def edit(before: int) -> None:
        if before == 0:
            for listed in woo.orders[250 - moved : 250]:  # those that the shop lists first
                listed["date_modified_gmt"] = at(3000)

    between_pages(woo, "orders", edit)
    ids = [int(resource.resource_id) for resource in keeper.api().orders(None, T0 + timedelta(hours=2))]
    assert set(ids) == {*range(1, 251), *range(300, 400)}


@pytest.mark.parametrize("deleted", [1, 19, 20, 100, 200])
def test_customers_that_move_up_after_deletions_are_not_lost(woo: WooShop, keeper: Keeper, deleted: int) -> None:
    woo.customers = [customer(n, n) for n in range(1, 451)]

    def delete(before: int) -> None:
        if before == 2:
            woo.customers = woo.customers[deleted:]

    between_pages(woo, "customers", delete)
    ids = [int(resource.resource_id) for resource in keeper.api().customers(None, None)]
    assert ids == list(range(deleted + 1, 451))


def test_reading_a_list_that_keeps_changing_is_abandoned_until_the_next_run(woo: WooShop, keeper: Keeper) -> None:
    woo.customers = [customer(n, n) for n in range(1, 5000)]

    def delete(_before: int) -> None:
        woo.customers = woo.customers[120:] + [customer(woo.customers[-1]["id"] + n, 0) for n in range(1, 121)]

    between_pages(woo, "customers", delete)
    with pytest.raises(ShopApiError, match="next look"):
        list(keeper.api().customers(None, None))


@pytest.mark.parametrize("stop", [1, 99, 100, 101, 249])
def test_reading_continues_after_the_last_cursor(woo: WooShop, keeper: Keeper, stop: int) -> None:
    woo.orders = [order(n, n // 3) for n in range(1, 251)]
    first = []
    for resource in keeper.api().orders(None, None):
        first.append(resource)
        if len(first) == stop:
            break
    rest = list(keeper.api().orders(None, None, first[-1].cursor))
    assert sorted(int(resource.resource_id) for resource in (*first, *rest)) == list(range(1, 251))


def test_refunds_follow_their_order_with_their_lines(woo: WooShop, keeper: Keeper) -> None:
    named = [{"id": 18, "total": "-1.00"}, {"id": 17, "total": "-179.55"}]
    woo.orders = [order(16, 10, refunds=named), order(20, 11)]
    back = {"id": 99, "quantity": -1, "total": "-143.64", "total_tax": "-35.91", "name": "Cap",
            "meta_data": [{"id": 1, "key": "_refunded_item_id", "value": "10"}]}  # fmt: skip
    woo.refunds[16] = [
        {"id": 17, "date_created_gmt": at(9), "amount": "179.55", "reason": "Bea is ill", "line_items": [back]}
    ]
    resources = list(keeper.api().orders(None, None))
    assert places(iter(resources)) == [
        ("order.updated", "16"),
        (REFUNDED, "17"),
        (REFUNDED, "18"),
        ("order.updated", "20"),
    ]
    assert [resource.kind for resource in resources[1:3]] == [EventKind.REFUND, EventKind.REFUND]
    assert b"Bea is ill" not in resources[1].body
    # reading stopped within an order starts with it again, and after its last refund with the next order
    assert places(keeper.api().orders(None, None, resources[1].cursor)) == places(iter(resources))
    assert places(keeper.api().orders(None, None, resources[2].cursor)) == [("order.updated", "20")]


def test_a_cancellation_follows_its_order_and_refunds(woo: WooShop, keeper: Keeper) -> None:
    woo.orders = [
        order(16, 10, status="cancelled", refunds=[{"id": 17, "total": "-1.00"}]),
        order(20, 11, status="cancelled", date_paid_gmt=None),
        order(21, 12, status="cancelled"),
    ]
    resources = list(keeper.api().orders(None, None))
    assert [(resource.topic, resource.resource_id) for resource in resources] == [
        ("order.updated", "16"), (REFUNDED, "17"), (CANCELLED_TOPIC, "16"), ("order.updated", "21"), (CANCELLED_TOPIC, "21"),
    ]  # fmt: skip
    assert resources[2].kind is EventKind.CANCELLATION
    (event,) = WOOCOMMERCE.normalise(Delivery(CANCELLED_TOPIC), resources[2].body, resources[2].changed_at).events
    assert isinstance(event, OrderCancelled)
    assert (event.order_id, event.occurred_at) == ("16", resources[2].changed_at)
    for stopped_after, begins_with in ((1, "16"), (2, "21"), (3, "21")):
        rest = keeper.api().orders(None, None, resources[stopped_after].cursor)
        assert next(rest).resource_id == begins_with


def test_a_shop_too_old_for_the_time_filter_is_reported_with_the_version(woo: WooShop, keeper: Keeper) -> None:
    woo.knows_modified_after, woo.orders = False, [order(1, 1)]
    with pytest.raises(ShopApiError, match=r"5\.8"):
        list(keeper.api().orders(T0 + timedelta(seconds=60), None))


def test_a_shop_that_repeats_the_same_page_is_reported(woo: WooShop, keeper: Keeper) -> None:
    woo.cached, woo.orders = True, [order(n, 7) for n in range(1, 150)]
    woo.customers = [customer(n, n) for n in range(1, 150)]
    for listing in (keeper.api().orders(None, None), keeper.api().customers(None, None)):
        with pytest.raises(ShopApiError, match="same page"):
            list(listing)


def customer(number: int, changed: int, role: str = "customer") -> dict[str, Any]:
    whole = json.loads((FIXTURES / "customer-created-1.json").read_bytes())
    return {**whole, "id": number, "date_modified_gmt": at(changed), "role": role}


def test_customers_are_returned_by_last_change_though_the_shop_cannot_sort(woo: WooShop, keeper: Keeper) -> None:
    woo.customers = [customer(n, 1000 - n) for n in range(1, 251)] + [customer(900, 5, "subscriber")]
    resources = list(keeper.api().customers(None, None))
    assert [resource.resource_id for resource in resources] == ["900", *(str(n) for n in range(250, 0, -1))]
    assert json.loads(resources[0].body)["email"] == "bea@example.se"
    rest = list(keeper.api().customers(None, None, resources[100].cursor))
    assert [resource.resource_id for resource in rest] == [resource.resource_id for resource in resources[101:]]
    selected = keeper.api().customers(T0 + timedelta(seconds=990), T0 + timedelta(seconds=995))
    assert [resource.resource_id for resource in selected] == ["10", "9", "8", "7", "6"]


def test_a_malformed_cursor_is_refused(keeper: Keeper) -> None:
    for cursor in ("x", "2026-03-01T08:00:00|x", "|1"):
        with pytest.raises(ShopApiError):
            list(keeper.api().customers(None, None, cursor))


# --- installation ---


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """One kind of database is enough here: the store's own tests take both."""
    made = Database(f"sqlite:///{tmp_path / 'plugin.sqlite'}")
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def shops(database: Database, vault: Vault) -> Shops:
    return Shops(database, vault)


@pytest.fixture
def registered(shops: Shops, woo: WooShop, clock: Clock) -> RegisteredShop:
    new = NewShop("web-se", "woocommerce", "http://127.0.0.1:9", "k", "aSecret1", {"store": "web-se"}, woo.url)
    return shops.add(new, clock())


@pytest.fixture
def installation(shops: Shops, database: Database, vault: Vault, clock: Clock) -> ShopInstallationService:
    return ShopInstallationService("https://plugin.example", shops, PendingInstallations(database, vault), {}, clock)


@pytest.fixture
def web(installation: ShopInstallationService) -> FlaskClient:
    app = Flask("install")
    app.register_blueprint(blueprint(installation))
    return app.test_client()


def approval(installation: ShopInstallationService, shop: RegisteredShop) -> dict[str, str]:
    """Return what the address that the merchant opens asks WooCommerce for."""
    address = steps(installation, shop)[0].split()[-1]
    assert urlsplit(address).path == "/wc-auth/v1/authorize"
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def granted(asked: dict[str, str], **changes: Any) -> dict[str, Any]:
    """Return what the shop's server posts after the merchant approved."""
    return {"key_id": 1, "user_id": asked["user_id"], "consumer_key": KEY, "consumer_secret": SECRET,
            "key_permissions": "read_write", **changes}  # fmt: skip


def test_an_approved_installation_stores_keys_and_creates_webhooks(
    installation: ShopInstallationService, registered: RegisteredShop, web: FlaskClient, woo: WooShop, shops: Shops
) -> None:
    asked = approval(installation, registered)
    assert (asked["scope"], asked["callback_url"]) == (
        "read_write",
        "https://plugin.example/install/woocommerce/callback",
    )
    answer = web.post("/install/woocommerce/callback", json=granted(asked))
    assert answer.status_code == 200
    assert shops.get("web-se").credentials["key"] == KEY
    page = web.get(urlsplit(asked["return_url"]).path + f"?success=1&user_id={asked['user_id']}")
    assert (page.status_code, "Installed" in page.text) == (200, True)
    assert len(woo.webhooks) == len(SUBSCRIBED)
    assert {hook["delivery_url"] for hook in woo.webhooks.values()} == {ADDRESS}
    assert set(woo.secrets.values()) == {"aSecret1"}
    assert SECRET not in page.text


def test_an_authorisation_works_once(
    installation: ShopInstallationService, registered: RegisteredShop, web: FlaskClient
) -> None:
    asked = approval(installation, registered)
    assert web.post("/install/woocommerce/callback", json=granted(asked)).status_code == 200
    assert web.post("/install/woocommerce/callback", json=granted(asked)).status_code == 403
    back = urlsplit(asked["return_url"]).path + "?success=1"
    assert web.get(back).status_code == 200
    assert web.get(back).status_code == 410


def test_a_forged_or_expired_authorisation_is_refused(
    installation: ShopInstallationService,
    registered: RegisteredShop,
    web: FlaskClient,
    shops: Shops,
    clock: Clock,
    woo: WooShop,
) -> None:
    asked = approval(installation, registered)
    for forged in ("x", "", urlsplit(asked["return_url"]).path.rpartition("/")[2]):
        assert web.post("/install/woocommerce/callback", json=granted(asked, user_id=forged)).status_code in {400, 403}
    clock.forward(3601)
    assert web.post("/install/woocommerce/callback", json=granted(asked)).status_code == 403
    assert shops.get("web-se").credentials == {}
    assert woo.asked == []  # an unauthenticated request causes no call to the shop


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"consumer_secret": "cs_" + "x" * 40}, 403),  # keys of another shop
        ({"consumer_key": "nonsense"}, 400),
        ({"key_permissions": "read"}, 400),
        ({"consumer_key": None}, 400),
        ({"user_id": 7}, 400),
    ],
)
def test_keys_that_do_not_work_are_not_stored(
    installation: ShopInstallationService,
    registered: RegisteredShop,
    web: FlaskClient,
    shops: Shops,
    change: dict[str, Any],
    status: int,
) -> None:
    answer = web.post("/install/woocommerce/callback", json=granted(approval(installation, registered), **change))
    assert answer.status_code == status
    assert shops.get("web-se").credentials == {}


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"{" * 5000, b'{"user_id": ' + b"1" * 5000 + b"}", b"x" * 9000])
def test_a_malformed_callback_body_is_refused(web: FlaskClient, body: bytes) -> None:
    assert web.post("/install/woocommerce/callback", data=body).status_code in {400, 413}


def test_the_callback_of_an_unavailable_shop_answers_503(
    installation: ShopInstallationService, registered: RegisteredShop, web: FlaskClient, woo: WooShop
) -> None:
    asked = approval(installation, registered)
    woo.away = 1
    assert web.post("/install/woocommerce/callback", json=granted(asked)).status_code == 503


def test_a_refused_approval_shows_a_page_and_creates_no_webhook(
    installation: ShopInstallationService, registered: RegisteredShop, web: FlaskClient, woo: WooShop
) -> None:
    page = web.get(urlsplit(approval(installation, registered)["return_url"]).path + "?success=0")
    assert "Not approved" in page.text
    assert woo.webhooks == {}


def test_without_https_the_steps_describe_manually_created_keys(
    shops: Shops, database: Database, vault: Vault, clock: Clock, registered: RegisteredShop
) -> None:
    plain = ShopInstallationService("http://127.0.0.1:8000", shops, PendingInstallations(database, vault), {}, clock)
    first, by_hand = steps(plain, registered)
    assert "PUBLIC_URL" in first
    assert "engage-plugin woocommerce keys web-se" in by_hand


def test_manually_entered_keys_are_checked_and_stored_webhooks_retained(woo: WooShop) -> None:
    shop = KnownShop(credentials={"webhooks": {"order.updated": "7"}}, shop_domain=woo.url)
    assert prove(shop, KEY, SECRET) == {
        "webhooks": {"order.updated": "7"}, "key": KEY, "secret": SECRET, "plain": False, "in_query": False,
    }  # fmt: skip
