"""Calls to a Saleor shop: the token's proof, the watch over webhooks, and reading what changed."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.helpers import KnownShop
from support.saleor_shop import AT, Shop, money, order, refunded_order, running_saleor, transaction, user

from plugin.errors import ShopApiError, ShopUnavailableError
from plugin.event_kinds import EventKind
from plugin.events import CustomerUpdated, OrderCancelled, OrderPaid, OrderRefunded
from plugin.platforms.base import Delivery
from plugin.platforms.saleor import SALEOR, api
from plugin.platforms.saleor.manifest import webhooks
from plugin.platforms.shop_api import ShopApi

PUBLIC = "https://plugin.example"
ADDRESS = f"{PUBLIC}/webhooks/saleor/kiosk"
NOW = datetime(2026, 3, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def running() -> Iterator[Shop]:
    with running_saleor() as shop:
        yield shop


@pytest.fixture
def saleor(running: Shop) -> Shop:
    fresh = Shop()
    running.users, running.orders, running.app, running.broken, running.token = [], [], fresh.app, 0, fresh.token
    running.make_webhooks(webhooks(PUBLIC))
    running.asked.clear()
    return running


@pytest.fixture
def calls(saleor: Shop) -> ShopApi:
    shop = KnownShop(
        (), {"api_url": saleor.api_url, "token": saleor.token}, platform="saleor", shop_domain=saleor.domain
    )
    made = SALEOR.api(shop, lambda _: None)
    assert made is not None
    return made


def test_there_is_no_api_before_the_app_is_installed() -> None:
    assert SALEOR.api(KnownShop(()), lambda _: None) is None


def test_check_returns_the_shops_name(calls: ShopApi) -> None:
    assert calls.check() == "Kiosk"


def test_check_reports_what_is_wrong(saleor: Shop, calls: ShopApi) -> None:
    saleor.app["permissions"] = [{"code": "MANAGE_USERS", "name": ""}]
    with pytest.raises(ShopApiError, match="MANAGE_ORDERS"):
        calls.check()
    saleor.app["permissions"] = Shop().app["permissions"]
    saleor.app["isActive"] = False
    with pytest.raises(ShopApiError, match="activate"):
        calls.check()
    saleor.token = "another"
    for call in (calls.check, lambda: calls.subscriptions(ADDRESS)):
        with pytest.raises(ShopApiError, match="install the app again"):
            call()
    saleor.broken = 401
    with pytest.raises(ShopApiError, match="install the app again"):
        calls.check()
    saleor.broken = 503
    with pytest.raises(ShopUnavailableError):
        calls.check()
    saleor.broken = 404
    with pytest.raises(ShopApiError, match="404"):
        calls.check()


def test_a_refused_query_answered_with_200_is_an_error(saleor: Shop) -> None:
    shop = KnownShop((), {}, shop_domain=saleor.domain)
    with pytest.raises(ShopApiError, match="Cannot query field 'nonsense'"):
        api.call(shop, saleor.api_url, saleor.token, "query X { nonsense }")


def test_webhooks_created_by_the_manifest_are_in_order(calls: ShopApi) -> None:
    subscriptions = calls.subscriptions(ADDRESS)
    assert {subscription.topic for subscription in subscriptions} == set(SALEOR.topics)
    assert all(subscription.active and not subscription.problem for subscription in subscriptions)
    assert calls.repair(ADDRESS) == ()


def _no_such(webhook: dict[str, Any]) -> None:
    webhook["name"] = "of another app"


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (_no_such, "no webhook"),
        (lambda w: w.update(isActive=False), "switched off"),
        (lambda w: w.update(targetUrl="https://old.example/webhooks/saleor"), "another address"),
        (lambda w: w.update(targetUrl=PUBLIC), "another address"),
        (lambda w: w.update(subscriptionQuery="subscription { event { issuedAt } }"), "another version"),
        (lambda w: w.update(subscriptionQuery=None), "another version"),
        (lambda w: w["asyncEvents"].clear(), "does not subscribe"),
    ],
)
def test_a_wrong_webhook_is_found_and_repaired(saleor: Shop, calls: ShopApi, harm: Any, problem: str) -> None:
    harm(saleor.app["webhooks"][1])
    before = len(saleor.app["webhooks"])
    wrong = [subscription for subscription in calls.subscriptions(ADDRESS) if subscription.problem]
    assert {subscription.topic for subscription in wrong} == {
        topic for topic in SALEOR.topics if topic.startswith("order")
    }
    assert all(problem in subscription.problem for subscription in wrong)
    (done,) = calls.repair(ADDRESS)
    assert done.startswith("Engage: orders: ")
    assert not any(subscription.problem for subscription in calls.subscriptions(ADDRESS))
    assert calls.repair(ADDRESS) == ()
    assert len(saleor.app["webhooks"]) == before + (harm is _no_such)


def test_whitespace_in_a_query_and_a_per_shop_address_need_no_repair(saleor: Shop, calls: ShopApi) -> None:
    for webhook in saleor.app["webhooks"]:
        webhook["subscriptionQuery"] = "  ".join(webhook["subscriptionQuery"].split())
        webhook["targetUrl"] = ADDRESS
    assert calls.repair(ADDRESS) == ()


def test_a_repair_that_the_shop_refuses_is_reported(
    saleor: Shop, calls: ShopApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.queries, "WEBHOOKS", {"Engage: orders": (("order_paid",), "subscription { nonsense }")})
    saleor.app["webhooks"].clear()
    with pytest.raises(ShopApiError, match="INVALID: query: not valid"):
        calls.repair(ADDRESS)


# --- reading ---


def changed(minutes: int) -> str:
    return (AT + timedelta(minutes=minutes)).isoformat()


def test_customers_are_read_oldest_change_first_and_continue_after_any_cursor(saleor: Shop, calls: ShopApi) -> None:
    total = api.CUSTOMERS_A_PAGE * 2 + 7
    saleor.users = [user(id=f"U{n:04}", updatedAt=changed(n // 3)) for n in range(total)][::-1]
    resources = list(calls.customers(None, None))
    assert [resource.resource_id for resource in resources] == [f"U{n:04}" for n in range(total)]
    assert saleor.asked == ["EngageCustomerPage($first:"] * 3
    for stopped_at in (0, api.CUSTOMERS_A_PAGE - 1, api.CUSTOMERS_A_PAGE, total - 1):
        rest = list(calls.customers(None, None, resources[stopped_at].cursor))
        assert [resource.resource_id for resource in rest] == [
            resource.resource_id for resource in resources[stopped_at + 1 :]
        ]


def test_a_customer_read_from_the_api_is_mapped_like_its_webhook(saleor: Shop, calls: ShopApi) -> None:
    saleor.users = [user()]
    (resource,) = calls.customers(None, None)
    (event,) = SALEOR.normalise(Delivery(resource.topic), resource.body, NOW).events
    assert isinstance(event, CustomerUpdated)
    assert (event.customer.email, event.occurred_at, resource.kind) == ("ada@example.com", AT, EventKind.PROFILE_CHANGE)
    assert SALEOR.topics[resource.topic] is resource.kind


def test_the_start_of_the_time_range_is_inclusive_and_its_end_exclusive(saleor: Shop, calls: ShopApi) -> None:
    saleor.users = [user(id=str(n), updatedAt=changed(n)) for n in range(5)]
    resources = calls.customers(AT + timedelta(minutes=1), AT + timedelta(minutes=3))
    assert [resource.resource_id for resource in resources] == ["1", "2"]


def test_fully_paid_orders_are_followed_by_their_refunds(saleor: Shop, calls: ShopApi) -> None:
    saleor.orders = [
        order(id="O1", updatedAt=changed(1)),
        order(id="O2", updatedAt=changed(2), isPaid=False, chargeStatus="PARTIAL", totalCharged=money(1.0),
              transactions=[transaction(1.0)]),
        order(id="O3", updatedAt=changed(3), status="UNCONFIRMED"),
        refunded_order(("E1", 10.0), ("E2", 20.0), id="O4", updatedAt=changed(4)),
    ]  # fmt: skip
    resources = list(calls.orders(None, None))
    assert [(resource.topic, resource.resource_id) for resource in resources] == [
        ("order_fully_paid", "O1"), ("order_fully_paid", "O4"), ("order_refunded", "E2"),
    ]  # fmt: skip
    (paid,) = SALEOR.normalise(Delivery("order_fully_paid"), resources[1].body, NOW).events
    assert isinstance(paid, OrderPaid)
    assert paid.occurred_at == AT, "the time of the charge, because the body has no other"
    back = SALEOR.normalise(Delivery("order_refunded"), resources[2].body, NOW).events
    assert [event.refund_id for event in back if isinstance(event, OrderRefunded)] == ["E1", "E2"]
    peek = SALEOR.peek("order_refunded", resources[2].body)
    assert (peek.order_id, peek.customer_id) == ("O4", "VXNlcjoxMDAx")


def test_a_cancellation_follows_its_order_and_refunds(saleor: Shop, calls: ShopApi) -> None:
    saleor.orders = [
        order(id="O1", updatedAt=changed(1), status="CANCELED"),
        refunded_order(("E1", 300.0), id="O2", updatedAt=changed(2), status="CANCELED"),
    ]
    resources = list(calls.orders(None, None))
    assert [(resource.topic, resource.resource_id) for resource in resources] == [
        ("order_fully_paid", "O1"), ("order_cancelled", "O1"),
        ("order_fully_paid", "O2"), ("order_refunded", "E1"), ("order_cancelled", "O2"),
    ]  # fmt: skip
    assert resources[1].kind is EventKind.CANCELLATION
    (event,) = SALEOR.normalise(Delivery("order_cancelled"), resources[1].body, NOW).events
    assert isinstance(event, OrderCancelled)
    assert event.order_id == SALEOR.peek("order_cancelled", resources[1].body).order_id == "O1"
    for stopped_after, begins_with in ((0, "O1"), (1, "O2"), (2, "O2"), (3, "O2")):
        rest = [resource.resource_id for resource in calls.orders(None, None, resources[stopped_after].cursor)]
        assert rest[0] == begins_with


def test_reading_stopped_between_an_order_and_its_refund_continues_with_the_refund(
    saleor: Shop, calls: ShopApi
) -> None:
    saleor.orders = [
        order(id="O1", updatedAt=changed(1)),
        refunded_order(("E1", 10.0), id="O2", updatedAt=changed(2)),
        order(id="O3", updatedAt=changed(3)),
    ]
    resources = list(calls.orders(None, None))
    ids = [resource.resource_id for resource in resources]
    assert ids == ["O1", "O2", "E1", "O3"]
    for stopped_at, resource in enumerate(resources):
        rest = [other.resource_id for other in calls.orders(None, None, resource.cursor)]
        assert rest[-len(ids[stopped_at + 1 :]) :] == ids[stopped_at + 1 :] or not rest
    saleor.orders = saleor.orders[1:]
    (first, *_) = calls.orders(None, None)
    assert [resource.resource_id for resource in calls.orders(None, None, first.cursor)] == ["O2", "E1", "O3"]


def test_amounts_read_from_the_api_are_exact(saleor: Shop, calls: ShopApi) -> None:
    saleor.orders = [order(metadata=[{"key": "amount", "value": "å\ud83d"}])]
    (resource,) = calls.orders(None, None)
    assert json.loads(resource.body)["order"]["total"]["gross"]["amount"] == 300.0


def test_a_page_refused_for_lack_of_permission_is_an_error(saleor: Shop, calls: ShopApi) -> None:
    saleor.broken = 500
    with pytest.raises(ShopUnavailableError):
        list(calls.orders(None, None))
