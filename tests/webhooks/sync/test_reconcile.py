"""Reconciliation: what is missing in the inbox or in Engage is found, reported, and ingested on demand."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from support.history_harness import HistoryRig

from plugin.event_kinds import EventKind
from plugin.platforms.shop_api import PolledResource
from plugin.store.orders.orders import write_refund
from webhooks.attempt.context import Origin
from webhooks.sync.reconcile import Difference, Report

DAY = timedelta(days=1)


@pytest.fixture
def history(rig: Any) -> HistoryRig:
    """Return a shop with three orders paid two hours ago, of which two were received, one of them with its refund."""
    history = HistoryRig(rig)
    assert history.listed is not None
    history.listed.found = [history.order(1), history.order(2), history.refund(2), history.order(3)]
    history.ingestor.ingest(history.shop, history.listed.found[:3], Origin.WEBHOOK, rig.clock())
    rig.work_for(60)
    rig.clock.forward(7200)
    return history


def compare(history: HistoryRig, *, repair: bool = False) -> Report:
    now = history.rig.clock()
    return history.reconciler.compare(history.shop, now - DAY, now, repair=repair)


def differences(report: Report) -> list[tuple[str, str, str]]:
    return [(difference.difference.name, difference.what, difference.resource_id) for difference in report.differences]


def test_missing_events_are_found_and_ingested(history: HistoryRig) -> None:
    assert differences(compare(history)) == [("NOT_HERE", "order", "O3")]
    assert "web-se-O3" not in history.rig.receipts()
    assert compare(history, repair=True).differences[0].repaired
    history.rig.work_for(60)
    assert history.rig.receipts()["web-se-O3"]["times_received"] == 1
    history.rig.clock.forward(7200)
    assert differences(compare(history)) == []


def test_a_receipt_missing_in_engage_is_sent_again_under_its_id(history: HistoryRig) -> None:
    assert history.listed is not None
    history.listed.found = history.listed.found[:3]
    contact = history.rig.contacts()["c1@example.com"]["id"]
    history.rig.delete_contact(contact)
    assert differences(compare(history)) == [("NO_CONTACT", "order", "O1")]


def test_a_refund_without_a_receipt_is_not_reported_as_missing(history: HistoryRig) -> None:
    assert history.listed is not None
    history.listed.found = history.listed.found[:3]
    rig, at = history.rig, history.rig.clock() - timedelta(hours=3)
    empty = {"at": at.isoformat(), "total": "0", "currency": "SEK", "lines": {}}
    with rig.database.transaction() as session:
        write_refund(session, history.shop, "O2", "R9", empty)
    again = replace(history.refund(2, at=at), resource_id="R9")
    called_off = history.resource("order.cancelled", EventKind.CANCELLATION, "O2", {"order": {"id": "O2"}}, at)
    nothing = {"id": "R8", "order_id": "O2", "currency": "SEK", "total": "0"}
    restock = history.resource("order.refunded", EventKind.REFUND, "R8", {"refund": nothing}, at)
    history.listed.found += [again, restock]
    monkey = history.listed.orders
    history.listed.orders = lambda *args: iter([*monkey(*args), called_off])  # type: ignore[method-assign,assignment]
    report = compare(history)
    assert differences(report) == []
    assert (report.counts["orders"], report.counts["refunds"]) == (2, 3)


def test_a_parked_event_is_reported(history: HistoryRig) -> None:
    assert history.listed is not None
    broken = history.order(4, lines=[{"id": "1", "quantity": 1, "gross_paid": "90.00"}])
    history.ingestor.ingest(history.shop, [broken], Origin.WEBHOOK, history.rig.clock())
    history.rig.work()
    history.listed.found = [broken]
    history.rig.clock.forward(60)
    assert differences(compare(history)) == [("PARKED", "order", "O4")]


def test_a_receipt_missing_in_the_purchase_history_is_sent_again(
    history: HistoryRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert history.listed is not None
    history.listed.found = history.listed.found[:3]
    real = history.reconciler._receipt_ids
    monkeypatch.setattr(type(history.reconciler), "_receipt_ids", lambda _self, _client, _contact: iter(()))
    report = compare(history, repair=True)
    assert {resource_id for _, _, resource_id in differences(report)} == {"O1", "O2", "R2"}
    assert all(difference.repaired for difference in report.differences)
    history.rig.work_for(60)
    assert {row["times_received"] for row in history.rig.receipts().values()} == {2}
    monkeypatch.setattr(type(history.reconciler), "_receipt_ids", lambda _self, client, contact: real(client, contact))
    assert differences(compare(history)) == []


def test_without_an_api_received_orders_are_compared_with_engage(history: HistoryRig) -> None:
    history.listed = None
    report = compare(history)
    assert (report.counts["orders"], report.counts["receipts_compared"], differences(report)) == (2, 2, [])


def test_a_missing_customer_is_ingested(history: HistoryRig) -> None:
    assert history.listed is not None
    history.listed.found = [history.customer(1), history.customer(9)]
    history.rig.clock.forward(60)
    assert differences(compare(history, repair=True)) == [("NOT_HERE", "customer", "C9")]
    history.rig.work()
    assert "c9@example.com" in history.rig.contacts()
    assert differences(compare(history)) == []


def test_staff_are_not_reported_as_missing_customers(history: HistoryRig) -> None:
    assert history.listed is not None
    body = json.dumps({"id": 5, "role": "administrator", "email": "staff@example.com"}).encode()
    at = history.rig.clock()
    staff = PolledResource("customer.updated", EventKind.PROFILE_CHANGE, "5", body, at, "", platform="woocommerce")
    shopper = PolledResource(
        "customer.updated", EventKind.PROFILE_CHANGE, "6", body.replace(b"administrator", b"customer"), at, "",
        platform="woocommerce",
    )  # fmt: skip
    history.listed.found = [staff, shopper]
    history.rig.clock.forward(60)
    assert differences(compare(history)) == [("NOT_HERE", "customer", "6")]


def test_an_unreachable_shop_produces_no_differences(history: HistoryRig) -> None:
    assert history.listed is not None
    history.listed.away_after = 0
    report = compare(history)
    assert (report.error, report.differences) == ("The shop answered 503.", [])


def test_the_daily_comparison_runs_once_a_day_by_setting(history: HistoryRig) -> None:
    assert history.reconciler.daily() == []
    history.settings(reconcile_daily="yes")
    assert [differences(report) for report in history.reconciler.daily()] == [[("NOT_HERE", "order", "O3")]]
    assert history.reconciler.daily() == []
    last = history.rig.stores.reconciliations.last(history.shop)
    assert last is not None
    assert last[1][Difference.NOT_HERE.name.lower()] == 1
    history.rig.clock.forward(DAY.total_seconds())
    assert len(history.reconciler.daily()) == 1
