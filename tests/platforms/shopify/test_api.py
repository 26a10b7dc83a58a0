"""Shopify's Admin API: tokens, subscriptions, and reading what changed, against a stand-in over real HTTP."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from support.helpers import Clock, KnownShop
from support.shopify_shop import CLIENT_ID, CLIENT_SECRET, DOMAIN, ShopifyShop

from plugin.demo.bodies import paid_order
from plugin.errors import PluginError, ShopApiError, ShopUnavailableError
from plugin.event_kinds import EventKind
from plugin.events import CustomerUpdated, OrderCancelled, OrderPaid, OrderRefunded
from plugin.platforms.base import Delivery
from plugin.platforms.shop_api import PolledResource
from plugin.platforms.shopify import SHOPIFY
from plugin.platforms.shopify.api import ShopifyApi

ADDRESS = "https://plugin.example/webhooks/shopify/kiosk"
START = datetime(2026, 3, 5, 8, 0, tzinfo=UTC)
TOPICS = ["customers/create", "orders/paid", "app/uninstalled"]


class ShopifyHarness:
    """An API of the stand-in and what it stored."""

    def __init__(self, clock: Clock, *, by_shop: bool = True, **credentials: Any) -> None:
        self.kept: list[Mapping[str, Any]] = []
        known = {"access_token": "shpat_first", "client_id": CLIENT_ID, **credentials}
        shop = KnownShop((CLIENT_SECRET,), known, name="kiosk", platform="shopify", shop_domain=DOMAIN)
        self.api = ShopifyApi(
            shop, self.kept.append, topics=TOPICS, api_version="2026-07", by_shop=by_shop, clock=clock
        )


@pytest.fixture
def house(clock: Clock, shopify_server: ShopifyShop) -> ShopifyHarness:
    return ShopifyHarness(clock)


def at(minutes: int) -> str:
    """Return a time with the shop's own offset, as Shopify writes it."""
    return (START + timedelta(minutes=minutes)).isoformat().replace("+00:00", "") + "+00:00"


def order(number: int, minutes: int, **changes: Any) -> dict[str, Any]:
    return {**paid_order(START), "id": number, "updated_at": at(minutes), "processed_at": at(minutes), **changes}


def refund(number: int) -> dict[str, Any]:
    money = {"amount": "10.00", "currency_code": "SEK"}
    line = {"line_item_id": 1, "quantity": 1, "subtotal_set": {"shop_money": money, "presentment_money": money}}
    return {"id": number, "created_at": at(number), "refund_line_items": [line]}


def marks(resources: list[PolledResource]) -> list[tuple[str, str]]:
    return [(resource.topic, resource.resource_id) for resource in resources]


# --- token and scopes ---


def test_check_returns_the_name_of_the_shop(house: ShopifyHarness, shopify_server: ShopifyShop) -> None:
    assert house.api.check() == "Kiosk"
    assert shopify_server.asked[0][1] == "/admin/api/2026-07/shop.json"


def test_a_scope_that_was_not_granted_is_named(house: ShopifyHarness, shopify_server: ShopifyShop) -> None:
    shopify_server.scopes = "read_orders"
    with pytest.raises(ShopApiError, match="read_customers"):
        house.api.check()
    problems = {resource.topic: resource.problem for resource in house.api.subscriptions(ADDRESS)}
    assert "read_customers" in problems["customers/create"]
    assert "read_orders" not in problems["orders/paid"]


def test_the_error_for_an_invalid_token_says_what_to_do(house: ShopifyHarness, shopify_server: ShopifyShop) -> None:
    shopify_server.tokens = set()
    with pytest.raises(ShopApiError, match="shops install kiosk") as caught:
        house.api.check()
    assert caught.value.status == 401
    assert "shpat_" not in str(caught.value)


def test_a_token_is_refreshed_before_it_expires_and_the_new_pair_is_stored(
    clock: Clock, shopify_server: ShopifyShop
) -> None:
    soon = (clock() + timedelta(minutes=4)).isoformat()
    house = ShopifyHarness(clock, refresh_token="shprt_1", expires_at=soon)
    assert house.api.check() == "Kiosk"
    (kept,) = house.kept
    assert (kept["access_token"], kept["refresh_token"]) == ("shpat_1", "shprt_2")
    assert kept["client_id"] == CLIENT_ID
    assert house.api.check() == "Kiosk"  # with the new token, without another refresh
    assert len(shopify_server.exchanged) == 1


def test_a_token_with_time_left_is_not_refreshed(clock: Clock, shopify_server: ShopifyShop) -> None:
    later = (clock() + timedelta(minutes=50)).isoformat()
    ShopifyHarness(clock, refresh_token="shprt_1", expires_at=later).api.check()
    assert shopify_server.exchanged == []


def test_a_token_that_was_invalidated_early_is_refreshed_once(clock: Clock, shopify_server: ShopifyShop) -> None:
    later = (clock() + timedelta(minutes=50)).isoformat()
    house = ShopifyHarness(clock, refresh_token="shprt_1", expires_at=later, access_token="shpat_revoked")
    assert house.api.check() == "Kiosk"
    assert len(shopify_server.exchanged) == 1


def test_the_error_for_a_refused_refresh_says_what_to_do(clock: Clock, shopify_server: ShopifyShop) -> None:
    house = ShopifyHarness(clock, refresh_token="another", expires_at=clock().isoformat())
    with pytest.raises(ShopApiError, match="installation address") as caught:
        house.api.check()
    assert "another" not in str(caught.value)


def test_a_busy_shop_is_unavailable_for_the_time_it_names(house: ShopifyHarness, shopify_server: ShopifyShop) -> None:
    shopify_server.fail = [(429, {"Retry-After": "2.0"})]
    with pytest.raises(ShopUnavailableError) as caught:
        house.api.check()
    assert caught.value.retry_after == timedelta(seconds=2)
    shopify_server.fail = [(503, {})]
    with pytest.raises(ShopUnavailableError):
        house.api.check()


@pytest.mark.parametrize(
    ("status", "message"), [(403, "protected customer data"), (402, "frozen"), (404, "API_VERSION")]
)
def test_errors_for_other_refusals_name_what_to_check(
    house: ShopifyHarness, shopify_server: ShopifyShop, status: int, message: str
) -> None:
    shopify_server.fail = [(status, {})]
    with pytest.raises(ShopApiError, match=message):
        house.api.check()


def test_there_is_no_api_before_the_installation() -> None:
    assert SHOPIFY.api(KnownShop((CLIENT_SECRET,), {}, shop_domain=DOMAIN), lambda _: None) is None


# --- subscriptions ---


def test_missing_and_misdirected_subscriptions_are_found_and_repaired(
    house: ShopifyHarness, shopify_server: ShopifyShop
) -> None:
    shopify_server.webhooks = [
        {"id": 1, "topic": "customers/create", "address": ADDRESS, "format": "json"},
        {"id": 2, "topic": "orders/paid", "address": "https://old.example/x", "format": "json"},
        {"id": 3, "topic": "products/create", "address": "https://old.example/x", "format": "json"},
    ]
    states = {
        subscription.topic: (subscription.active, subscription.problem)
        for subscription in house.api.subscriptions(ADDRESS)
    }
    assert states["customers/create"] == (True, "")
    assert states["orders/paid"] == (False, "goes to another address")
    assert states["app/uninstalled"] == (False, "is missing")
    assert house.api.repair(ADDRESS) == ("orders/paid: corrected the address", "app/uninstalled: subscribed")
    assert all(subscription.active for subscription in house.api.subscriptions(ADDRESS))
    assert house.api.repair(ADDRESS) == ()
    assert shopify_server.webhooks[2]["address"] == "https://old.example/x"  # other topics are left alone


def test_only_duplicates_are_wrong_where_the_app_configuration_subscribes(
    clock: Clock, shopify_server: ShopifyShop
) -> None:
    house = ShopifyHarness(clock, by_shop=False)
    assert all(subscription.active for subscription in house.api.subscriptions(ADDRESS))
    shopify_server.webhooks = [{"id": 1, "topic": "orders/paid", "address": ADDRESS, "format": "json"}]
    wrong = [subscription for subscription in house.api.subscriptions(ADDRESS) if subscription.problem]
    assert [subscription.topic for subscription in wrong] == ["orders/paid"]
    assert house.api.repair(ADDRESS) == ("orders/paid: removed a subscription that doubled the app's own",)
    assert shopify_server.webhooks == []


# --- reading changes ---


def test_paid_orders_are_read_by_last_change_with_refunds_and_cancellation(
    house: ShopifyHarness, shopify_server: ShopifyShop
) -> None:
    shopify_server.page = 2
    shopify_server.orders = [
        order(3, 30, financial_status="refunded", refunds=[refund(8), refund(7)], cancelled_at=at(29)),
        order(1, 10),
        order(2, 20, financial_status="pending"),
        order(4, 40, financial_status="partially_refunded", refunds=[refund(9)]),
        order(5, 60),
        order(6, 50, financial_status="refunded", refunds=[refund(10)], cancelled_at=at(50), test=True),
    ]
    resources = list(house.api.orders(START, START + timedelta(minutes=60)))
    assert marks(resources) == [
        ("orders/paid", "1"),
        ("orders/paid", "3"), ("refunds/create", "7"), ("refunds/create", "8"), ("orders/cancelled", "3"),
        ("orders/paid", "4"), ("refunds/create", "9"),
    ]  # fmt: skip
    kinds = [type(mapped(resource)) for resource in resources]
    assert kinds == [OrderPaid, OrderPaid, OrderRefunded, OrderRefunded, OrderCancelled, OrderPaid, OrderRefunded]
    assert {resource.kind for resource in resources} == {EventKind.ORDER_PAID, EventKind.REFUND, EventKind.CANCELLATION}
    paid = mapped(resources[0])
    assert isinstance(paid, OrderPaid)
    assert paid.occurred_at == START + timedelta(minutes=10)  # when it was bought, not when it was read
    assert mapped(resources[2]).order_id == "3"  # type: ignore[union-attr]
    assert {query.get("status", ["any"])[0] for _, path, query, _ in shopify_server.asked} == {"any"}


def mapped(resource: PolledResource) -> Any:
    """Map a resource as the webhook that it is in the form of."""
    (event,) = SHOPIFY.normalise(
        Delivery(resource.topic, meta=resource.meta), resource.body, datetime(2026, 4, 1, tzinfo=UTC)
    ).events
    return event


def test_reading_continues_after_any_cursor_without_gaps(house: ShopifyHarness, shopify_server: ShopifyShop) -> None:
    shopify_server.page = 2
    shopify_server.orders = [
        order(1, 10, refunds=[refund(7), refund(8)]), order(2, 20), order(3, 20), order(4, 30, refunds=[refund(9)]),
    ]  # fmt: skip
    whole = list(house.api.orders(START, None))
    for position, resource in enumerate(whole):
        rest = list(house.api.orders(START, None, resource.cursor))
        assert set(marks(whole[position + 1 :])) <= set(marks(rest))
        assert (resource.topic, resource.resource_id) not in marks(rest)
    assert list(house.api.orders(START, None, whole[-1].cursor)) == []


def test_an_interrupted_reading_can_be_continued(house: ShopifyHarness, shopify_server: ShopifyShop) -> None:
    shopify_server.page = 2
    shopify_server.customers = [{"id": n, "updated_at": at(n), "first_name": "Åsa"} for n in range(1, 8)]
    reading = house.api.customers(None, None)
    first = list(islice(reading, 2))
    shopify_server.fail = [(429, {"Retry-After": "1"})]
    with pytest.raises(ShopUnavailableError):
        next(reading)
    rest = list(house.api.customers(None, None, first[-1].cursor))
    assert [resource.resource_id for resource in [*first, *rest]] == ["1", "2", "3", "4", "5", "6", "7"]
    event = mapped(rest[0])
    assert isinstance(event, CustomerUpdated)
    assert (event.customer.first_name, event.consents) == ("Åsa", ())
    assert rest[0].changed_at == START + timedelta(minutes=3)


def test_customers_read_from_the_api_carry_no_consent(house: ShopifyHarness, shopify_server: ShopifyShop) -> None:
    consent = {"state": "subscribed", "consent_updated_at": at(0)}
    shopify_server.customers = [
        {"id": 1, "updated_at": at(1), "email_marketing_consent": consent, "accepts_marketing": True}
    ]
    (resource,) = house.api.customers(None, None)
    assert mapped(resource).consents == ()


def test_the_end_of_the_time_range_is_exclusive(house: ShopifyHarness, shopify_server: ShopifyShop) -> None:
    shopify_server.customers = [{"id": n, "updated_at": at(n)} for n in (1, 2, 3)]
    resources = house.api.customers(START + timedelta(minutes=1), START + timedelta(minutes=3))
    assert [resource.resource_id for resource in resources] == ["1", "2"]


def test_an_unsorted_list_is_refused(house: ShopifyHarness, shopify_server: ShopifyShop) -> None:
    shopify_server.sorted = False
    shopify_server.customers = [{"id": 1, "updated_at": at(2)}, {"id": 2, "updated_at": at(1)}]
    with pytest.raises(ShopApiError, match="did not sort"):
        list(house.api.customers(None, None))


@pytest.mark.parametrize("cursor", ["", "x", "|", "2026-03-05|1", "\x00"])
def test_a_malformed_cursor_is_refused(house: ShopifyHarness, cursor: str) -> None:
    with pytest.raises(PluginError, match="cursor"):
        list(house.api.customers(None, None, cursor))


def test_the_token_is_sent_to_the_shops_own_host_alone(house: ShopifyHarness, shopify_server: ShopifyShop) -> None:
    """The next page's address names another host; only its page_info is used."""
    shopify_server.page = 1
    shopify_server.customers = [{"id": n, "updated_at": at(n)} for n in (1, 2)]
    assert len(list(house.api.customers(None, None))) == 2
    assert [path for _, path, _, _ in shopify_server.asked] == ["/admin/api/2026-07/customers.json"] * 2
    assert json.dumps(shopify_server.asked[1][2]) == json.dumps({"limit": ["250"], "page_info": ["page-0"]})
