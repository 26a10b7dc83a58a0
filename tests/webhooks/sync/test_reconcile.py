"""Reconciliation: what is missing here or in Engage is found, told, and on demand put through."""

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
def books(rig: Any) -> HistoryRig:
    """Three orders paid two hours ago: two came in, one of them with its refund."""
    history = HistoryRig(rig)
    assert history.listed is not None
    history.listed.found = [history.order(1), history.order(2), history.refund(2), history.order(3)]
    history.ingestor.ingest(history.shop, history.listed.found[:3], Origin.WEBHOOK, rig.clock())
    rig.work_for(60)
    rig.clock.forward(7200)
    return history


def compare(books: HistoryRig, *, repair: bool = False) -> Report:
    now = books.rig.clock()
    return books.reconciler.compare(books.shop, now - DAY, now, repair=repair)


def differences(report: Report) -> list[tuple[str, str, str]]:
    return [(found.difference.name, found.what, found.resource_id) for found in report.differences]


def test_what_never_came_in_is_found_and_put_through(books: HistoryRig) -> None:
    assert differences(compare(books)) == [("NOT_HERE", "order", "O3")]
    assert "web-se-O3" not in books.rig.receipts()
    assert compare(books, repair=True).differences[0].repaired
    books.rig.work_for(60)
    assert books.rig.receipts()["web-se-O3"]["times_received"] == 1
    books.rig.clock.forward(7200)
    assert differences(compare(books)) == []


def test_a_receipt_that_engage_lost_is_found_and_sent_again_under_its_id(books: HistoryRig) -> None:
    assert books.listed is not None
    books.listed.found = books.listed.found[:3]
    contact = books.rig.contacts()["c1@example.com"]["id"]
    books.rig.delete_contact(contact)
    assert differences(compare(books)) == [("NO_CONTACT", "order", "O1")]


def test_a_refund_that_made_no_receipt_is_not_missed_in_engage(books: HistoryRig) -> None:
    assert books.listed is not None
    books.listed.found = books.listed.found[:3]
    rig, at = books.rig, books.rig.clock() - timedelta(hours=3)
    empty = {"at": at.isoformat(), "total": "0", "currency": "SEK", "lines": {}}
    with rig.database.transaction() as session:
        write_refund(session, books.shop, "O2", "R9", empty)
    again = replace(books.refund(2, at=at), resource_id="R9")
    called_off = books.resource("order.cancelled", EventKind.CANCELLATION, "O2", {"order": {"id": "O2"}}, at)
    nothing = {"id": "R8", "order_id": "O2", "currency": "SEK", "total": "0"}
    restock = books.resource("order.refunded", EventKind.REFUND, "R8", {"refund": nothing}, at)
    books.listed.found += [again, restock]
    monkey = books.listed.orders
    books.listed.orders = lambda *args: iter([*monkey(*args), called_off])  # type: ignore[method-assign,assignment]
    report = compare(books)
    assert differences(report) == []
    assert (report.counts["orders"], report.counts["refunds"]) == (2, 3)


def test_a_parked_event_is_told(books: HistoryRig) -> None:
    assert books.listed is not None
    broken = books.order(4, lines=[{"id": "1", "quantity": 1, "gross_paid": "90.00"}])
    books.ingestor.ingest(books.shop, [broken], Origin.WEBHOOK, books.rig.clock())
    books.rig.work()
    books.listed.found = [broken]
    books.rig.clock.forward(60)
    assert differences(compare(books)) == [("PARKED", "order", "O4")]


def test_a_receipt_missing_in_the_purchase_history_is_sent_again(
    books: HistoryRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert books.listed is not None
    books.listed.found = books.listed.found[:3]
    real = books.reconciler._receipt_ids
    monkeypatch.setattr(type(books.reconciler), "_receipt_ids", lambda _self, _client, _contact: iter(()))
    report = compare(books, repair=True)
    assert {found[2] for found in differences(report)} == {"O1", "O2", "R2"}
    assert all(found.repaired for found in report.differences)
    books.rig.work_for(60)
    assert {row["times_received"] for row in books.rig.receipts().values()} == {2}
    monkeypatch.setattr(type(books.reconciler), "_receipt_ids", lambda _self, client, contact: real(client, contact))
    assert differences(compare(books)) == []


def test_without_an_api_what_came_in_is_compared_with_engage(books: HistoryRig) -> None:
    books.listed = None
    report = compare(books)
    assert (report.counts["orders"], report.counts["receipts_compared"], differences(report)) == (2, 2, [])


def test_a_missing_customer_is_put_through(books: HistoryRig) -> None:
    assert books.listed is not None
    books.listed.found = [books.customer(1), books.customer(9)]
    books.rig.clock.forward(60)
    assert differences(compare(books, repair=True)) == [("NOT_HERE", "customer", "C9")]
    books.rig.work()
    assert "c9@example.com" in books.rig.contacts()
    assert differences(compare(books)) == []


def test_whoever_works_at_the_shop_is_no_missing_customer(books: HistoryRig) -> None:
    assert books.listed is not None
    body = json.dumps({"id": 5, "role": "administrator", "email": "staff@example.com"}).encode()
    at = books.rig.clock()
    staff = PolledResource("customer.updated", EventKind.PROFILE_CHANGE, "5", body, at, "", platform="woocommerce")
    shopper = PolledResource(
        "customer.updated", EventKind.PROFILE_CHANGE, "6", body.replace(b"administrator", b"customer"), at, "",
        platform="woocommerce",
    )  # fmt: skip
    books.listed.found = [staff, shopper]
    books.rig.clock.forward(60)
    assert differences(compare(books)) == [("NOT_HERE", "customer", "6")]


def test_a_shop_that_is_away_makes_no_false_differences(books: HistoryRig) -> None:
    assert books.listed is not None
    books.listed.away_after = 0
    report = compare(books)
    assert (report.error, report.differences) == ("The shop answered 503.", [])


def test_once_a_day_by_setting(books: HistoryRig) -> None:
    assert books.reconciler.daily() == []
    books.settings(reconcile_daily="yes")
    assert [differences(report) for report in books.reconciler.daily()] == [[("NOT_HERE", "order", "O3")]]
    assert books.reconciler.daily() == []
    last = books.rig.stores.reconciliations.last(books.shop)
    assert last is not None
    assert last[1][Difference.NOT_HERE.name.lower()] == 1
    books.rig.clock.forward(DAY.total_seconds())
    assert len(books.reconciler.daily()) == 1
