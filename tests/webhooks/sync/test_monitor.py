"""The monitor: subscriptions are repaired, and changes without a webhook are ingested once."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from support.history_harness import HistoryRig

from plugin.errors import ShopApiError
from plugin.event_kinds import EventKind
from plugin.platforms.registry import PLATFORMS
from plugin.platforms.shop_api import ShopApi
from plugin.store.inbox.admin import EventFilter
from plugin.store.shops.shops import NewShop, RegisteredShop
from webhooks.attempt.context import Origin

HOUR = timedelta(hours=1)
SECRET = PLATFORMS["standard"].new_secret()


@pytest.fixture
def watched(rig: Any) -> HistoryRig:
    return HistoryRig(rig)


def test_an_order_without_a_webhook_is_fetched_once(watched: HistoryRig) -> None:
    assert watched.listed is not None
    watched.monitor.check_shop(watched.shop)
    watched.rig.clock.forward(1800)
    watched.listed.found = [watched.order(1)]
    watched.rig.clock.forward(1800)
    assert watched.monitor.check_shop(watched.shop).missed == 1
    watched.rig.work()
    assert list(watched.rig.receipts()) == ["web-se-O1"]
    watched.rig.clock.forward(3600)
    assert watched.monitor.check_shop(watched.shop).missed == 0
    watched.rig.clock.forward(300)
    assert watched.monitor.check_shop(watched.shop).missed == 0
    assert len(watched.rig.desk.find(EventFilter())) == 1


def test_an_order_with_a_webhook_is_not_ingested_again(watched: HistoryRig) -> None:
    assert watched.listed is not None
    watched.monitor.check_shop(watched.shop)
    order = watched.order(1)
    watched.rig.stores.inbox.accept(
        watched.ingestor._event(watched.shop, order, Origin.WEBHOOK, watched.rig.clock(), "", again=False)
    )
    watched.listed.found = [order]
    watched.rig.clock.forward(3600)
    assert watched.monitor.check_shop(watched.shop).missed == 0, "it waits in the inbox"
    watched.rig.work()
    watched.rig.clock.forward(3600)
    assert watched.monitor.check_shop(watched.shop).missed == 0, "its receipt was sent"
    assert watched.rig.receipts()["web-se-O1"]["times_received"] == 1


def test_a_missed_refund_is_processed_after_its_order(watched: HistoryRig) -> None:
    assert watched.listed is not None
    watched.monitor.check_shop(watched.shop)
    watched.listed.found = [watched.order(1), watched.refund(1)]
    watched.rig.clock.forward(3600)
    assert watched.monitor.check_shop(watched.shop).missed == 2
    watched.rig.work_for(60)
    assert set(watched.rig.receipts()) == {"web-se-O1", "web-se-O1-RR1"}


def test_a_missed_cancellation_is_ingested_once_and_reactivates(watched: HistoryRig) -> None:
    assert watched.listed is not None
    rig = watched.rig
    rig.seed(contacts=[{"contactType": "Member", "email": "c1@example.com"}])
    voucher = {"contactId": rig.contacts()["c1@example.com"]["id"], "voucherNumber": "V-1"}
    rig.seed(vouchers=[{**voucher, "value": {"amount": 50, "currency": "SEK"}}])
    watched.monitor.check_shop(watched.shop)
    order = watched.order(1, vouchers=[{"number": "V-1"}])
    watched.listed.found = [order]
    rig.clock.forward(3600)
    assert watched.monitor.check_shop(watched.shop).missed == 1
    rig.work()
    rig.clock.forward(3000)
    at = rig.clock()
    body = {"order": {"id": "O1"}}
    called_off = watched.resource("order.cancelled", EventKind.CANCELLATION, "O1", body, at)
    watched.listed.found = [replace(order, changed_at=at), called_off]
    rig.clock.forward(600)
    assert watched.monitor.check_shop(watched.shop).missed == 1
    rig.work()
    assert [row["outcome"] for row in rig.redemptions()] == ["Redeemed", "Reactivated"]
    watched.listed.found = [replace(resource, changed_at=rig.clock()) for resource in watched.listed.found]
    rig.clock.forward(600)
    assert watched.monitor.check_shop(watched.shop).missed == 0, "its end is known"


def test_a_fetched_customer_raises_no_consent_but_lowers_one(watched: HistoryRig) -> None:
    assert watched.listed is not None
    yes = [{"channel": "email", "value": True, "at": watched.rig.clock().isoformat()}]
    no = [{"channel": "sms", "value": False, "at": watched.rig.clock().isoformat()}]
    watched.monitor.check_shop(watched.shop)
    watched.listed.found = [watched.customer(1, consents=[*yes, *no])]
    watched.rig.clock.forward(3600)
    watched.monitor.check_shop(watched.shop)
    watched.rig.work()
    preferences = watched.rig.contacts()["c1@example.com"]["preferences"]
    assert not preferences.get("acceptsEmail")
    assert preferences["acceptsSms"] is False


def test_a_disabled_webhook_is_enabled_again(watched: HistoryRig) -> None:
    assert watched.listed is not None
    watched.listed.wrong = {"order.paid": "it is disabled"}
    look = watched.monitor.check_shop(watched.shop)
    assert (look.problems, look.repaired) == ((), ("order.paid switched on",))


def test_wrong_webhooks_are_only_reported_by_setting(watched: HistoryRig) -> None:
    assert watched.listed is not None
    watched.settings(repair_webhooks="no")
    watched.listed.wrong = {"order.paid": "it is disabled"}
    assert watched.monitor.check_shop(watched.shop).problems == ("order.paid: it is disabled",)
    assert watched.rig.stores.shop_monitors.get(watched.shop).problems == ("order.paid: it is disabled",)


def test_a_failed_check_is_reported_and_the_next_one_starts_where_the_last_complete_one_ended(
    watched: HistoryRig,
) -> None:
    assert watched.listed is not None
    watched.monitor.check_shop(watched.shop)
    first = watched.rig.stores.shop_monitors.get(watched.shop).polled_until
    watched.listed.found = [watched.order(n) for n in range(3)]
    watched.listed.away_after = 1
    watched.rig.clock.forward(3600)
    assert watched.monitor.check_shop(watched.shop).error == "The shop answered 503."
    assert watched.rig.stores.shop_monitors.get(watched.shop).polled_until == first
    watched.listed.away_after = None
    watched.rig.clock.forward(3600)
    watched.monitor.check_shop(watched.shop)
    watched.rig.work()
    assert set(watched.rig.receipts()) == {"web-se-O0", "web-se-O1", "web-se-O2"}


def test_a_repair_that_the_shop_rejects_is_reported(watched: HistoryRig) -> None:
    assert watched.listed is not None
    watched.listed.wrong, watched.listed.repairs_allowed = {"order.paid": "it is disabled"}, False
    assert "may not write webhooks" in str(watched.monitor.check_shop(watched.shop).error)


def test_only_due_shops_are_checked_and_by_one_process(watched: HistoryRig) -> None:
    first = {look.shop for look in watched.monitor.check_due_shops(HOUR)}
    assert first == {"kiosk", "web-se"}
    assert watched.monitor.check_due_shops(HOUR) == []
    watched.rig.clock.forward(3601)
    watched.settings(watch="no")
    assert {look.shop for look in watched.monitor.check_due_shops(HOUR)} == {"kiosk"}
    token = watched.rig.stores.locks.acquire(f"watch:{watched.shop.id}", watched.rig.clock(), HOUR)
    assert token is not None
    assert watched.monitor.check_shop(watched.shop).skipped == "another process checks it"


def test_a_shop_without_an_api_is_skipped(watched: HistoryRig) -> None:
    watched.listed = None
    assert watched.monitor.check_shop(watched.shop).skipped is not None


def test_a_shop_with_an_unexpected_answer_does_not_hold_up_others(
    watched: HistoryRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert watched.listed is not None
    good = watched.api_for(watched.shop)

    def api_for(shop: RegisteredShop) -> ShopApi | None:
        if shop.name == "kiosk":
            raise ShopApiError("The address is none.")
        if shop.name == "web-se":
            raise KeyError("edges")
        return good

    new = NewShop("web-zz", "standard", watched.rig.sandbox.url, "key-zz", SECRET, {"store": "web-se"}, None)
    watched.rig.stores.shops.add(new, watched.rig.clock())
    looks = {look.shop: look for look in replace(watched.monitor, api_for=api_for).check_due_shops(HOUR)}
    assert looks["kiosk"].error == "The address is none."
    assert "KeyError" in (looks["web-se"].error or "")
    assert looks["web-zz"].error is None
    assert watched.rig.stores.shop_monitors.get(watched.shop).error == looks["web-se"].error

    for name in looks:
        watched.rig.stores.shops.change(name, {"reconcile_daily": "yes"})
    monkeypatch.setattr(watched.listed, "orders", list)  # called with other arguments than it is declared with
    errors = [report.error for report in watched.reconciler.daily()]
    assert len(errors) == 3
    assert all("unexpected TypeError" in (error or "") for error in errors)
    assert watched.reconciler.daily() == []
