"""Backfill of a shop's history: in bulk where possible, otherwise singly; once, resumable, and without consents."""

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.bodies import customer
from support.history_harness import HistoryRig

from plugin.errors import ConfigurationError, ConflictError, ShopUnavailableError
from plugin.event_kinds import EventKind
from plugin.store.contacts.sync_state import SyncedValue
from plugin.store.sync.backfill_runs import Run, RunState
from webhooks.contacts.attributes import EDITED


@pytest.fixture
def history(rig: Any) -> HistoryRig:
    return HistoryRig(rig)


def start(history: HistoryRig, what: str = "customers", form: str = "api", source: str = "api") -> Run:
    return history.rig.stores.backfill_runs.start(
        history.shop, what, source, None, None, {"form": form}, history.rig.clock()
    )


def work(history: HistoryRig, run: Run) -> RunState:
    """Carry a run out as the command does, and return it as stored."""
    run = history.rig.stores.backfill_runs.get(history.shop, run.id)
    rows = history.backfill.rows(
        history.shop, run.what, str(run.options["form"]), run.source, run.since, run.until, run.cursor
    )
    return history.backfill.work(history.shop, run, rows)


def counts(history: HistoryRig, run: Run) -> Counter[str]:
    return Counter(history.rig.stores.backfill_runs.get(history.shop, run.id).counts)


def seed(history: HistoryRig, *numbers: int, **fields: Any) -> None:
    people = [{"contactType": "Member", "email": f"c{n}@example.com", "firstName": "Old", **fields} for n in numbers]
    history.rig.seed(contacts=people)


def test_known_contacts_go_in_bulk_and_new_ones_are_created_in_their_store(history: HistoryRig) -> None:
    assert history.listed is not None
    seed(history, 1, 2)
    history.listed.found = [history.customer(n) for n in range(1, 4)]
    run = start(history)
    assert work(history, run) is RunState.FINISHED
    contacts = history.rig.contacts()
    assert [contacts[f"c{n}@example.com"]["attributes"]["lastName"] for n in (1, 2, 3)] == ["Nr 1", "Nr 2", "Nr 3"]
    assert contacts["c3@example.com"]["meta"]["createdInStore"] == "web-se"
    assert history.rig.calls().count("bulkUpdateContacts") == 1
    run_counts = counts(history, run)
    assert (run_counts["read"], run_counts["in_bulk"], run_counts["singly"]) == (3, 2, 1)
    assert history.backfill.confirmed(history.shop, run, run_counts) == 3


def test_new_contacts_go_in_bulk_by_setting(history: HistoryRig) -> None:
    assert history.listed is not None
    history.settings(backfill_new="bulk")
    history.listed.found = [history.customer(n) for n in range(1, 4)]
    run = start(history)
    work(history, run)
    assert len(history.rig.contacts()) == 3
    assert history.rig.calls().count("createContact") == 0
    assert counts(history, run)["created_in_bulk"] == 3


def test_no_contact_is_changed_because_of_an_unverified_email(history: HistoryRig) -> None:
    assert history.listed is not None
    seed(history, 1)
    history.listed.found = [history.customer(1, email_verified=False)]
    run = start(history)
    assert work(history, run) is RunState.FINISHED
    assert history.rig.contacts()["c1@example.com"]["attributes"]["firstName"] == "Old"
    assert [row.code for row in history.backfill.not_delivered(history.shop, run)] == ["not_for_us"]


def test_history_raises_no_consent_and_records_a_dated_opt_out(history: HistoryRig) -> None:
    assert history.listed is not None
    seed(history, 1, 2, preferences={"acceptsEmail": False})
    long_ago = (history.rig.clock() - timedelta(days=90)).isoformat()
    yes = [{"channel": "email", "value": True, "at": long_ago}]
    no = [{"channel": "sms", "value": False, "at": long_ago}]
    history.listed.found = [history.customer(1, consents=yes), history.customer(2, consents=no)]
    work(history, start(history))
    contacts = history.rig.contacts()
    assert contacts["c1@example.com"]["preferences"]["acceptsEmail"] is False
    assert contacts["c2@example.com"]["preferences"]["acceptsSms"] is False


def test_known_data_causes_no_call_and_older_data_changes_nothing(history: HistoryRig) -> None:
    assert history.listed is not None
    before = history.customer(1, at=history.rig.clock() - timedelta(days=5), last_name="Older")
    history.rig.send(
        "customer.created", customer=customer(id="C1", email="c1@example.com", first_name="Ada", last_name="New")
    )
    history.rig.work()
    history.listed.found = [before]
    history.rig.calls()
    run = start(history)
    work(history, run)
    assert history.rig.contacts()["c1@example.com"]["attributes"]["lastName"] == "New"
    assert counts(history, run)["unchanged"] == 1


def test_history_does_not_undo_edits_on_my_pages(history: HistoryRig) -> None:
    assert history.listed is not None
    rig = history.rig
    changed = history.customer(1, at=rig.clock() + timedelta(seconds=10), last_name="Shop")
    rig.send("customer.created", customer=customer(id="C1", email="c1@example.com", first_name="Ada", last_name="Old"))
    rig.work()
    contact = rig.contacts()["c1@example.com"]["id"]
    rig.clock.forward(60)
    edited = {EDITED + "lastName": SyncedValue(rig.stores.vault.digest_of("Mine"), rig.clock())}
    with rig.database.transaction() as session:
        rig.stores.sync_states.sent_write(history.shop, contact, edited, rig.clock())(session)
    history.listed.found = [changed]
    run = start(history)
    work(history, run)
    assert rig.contacts()["c1@example.com"]["attributes"]["lastName"] == "Old"
    assert counts(history, run)["unchanged"] == 1


def test_a_cancellation_in_the_history_is_not_a_rejected_row(history: HistoryRig) -> None:
    data = {"order": {"id": "O1"}}
    gone = history.resource("order.cancelled", EventKind.CANCELLATION, "O1", data, history.rig.clock())
    run = start(history, "orders")
    assert history.backfill.work(history.shop, run, iter([history.order(1), gone])) is RunState.FINISHED
    run_counts = counts(history, run)
    assert (run_counts["singly"], run_counts["cancellations"], run_counts["refused"]) == (1, 1, 0)


def test_an_unmappable_row_is_reported_and_does_not_stop_the_run(history: HistoryRig) -> None:
    assert history.listed is not None
    history.listed.found = [history.customer(1, id=None), history.customer(2)]
    run = start(history)
    work(history, run)
    assert [(row.code, row.resource_id) for row in history.rig.stores.backfill_runs.rejected_rows(run)] == [
        ("payload:customer.id", "C1")
    ]
    assert "c2@example.com" in history.rig.contacts()


def test_a_run_that_died_continues_from_its_cursor_and_repeats_nothing(
    history: HistoryRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert history.listed is not None
    monkeypatch.setattr("webhooks.sync.backfill.MAX_BATCH_ROWS", 2)
    seed(history, *range(1, 6))
    begin = history.rig.clock()
    history.listed.found = [history.customer(n, at=begin - timedelta(minutes=60 - n)) for n in range(1, 8)]
    run = start(history)
    history.listed.away_after = 3
    with pytest.raises(ShopUnavailableError):
        work(history, run)
    assert counts(history, run)["read"] == 2
    history.listed.away_after = None
    assert work(history, run) is RunState.FINISHED
    assert history.listed.asked[-1][2] == "2"
    run_counts = counts(history, run)
    assert (run_counts["read"], run_counts["in_bulk"], run_counts["singly"]) == (7, 5, 2)
    assert len(history.rig.contacts()) == 7


def test_a_crash_between_the_batch_and_the_cursor_repeats_one_page_harmlessly(
    history: HistoryRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert history.listed is not None
    seed(history, 1)
    history.listed.found = [history.customer(1), history.customer(2)]
    run = start(history)
    advance = history.rig.stores.backfill_runs.advance

    def die(*_args: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(history.rig.stores.backfill_runs, "advance", die)
    with pytest.raises(SystemExit):
        work(history, run)
    monkeypatch.setattr(history.rig.stores.backfill_runs, "advance", advance)
    assert work(history, run) is RunState.FINISHED
    assert sorted(history.rig.contacts()) == ["c1@example.com", "c2@example.com"]
    assert history.backfill.confirmed(history.shop, run, counts(history, run)) == 2


def test_a_run_pauses_after_its_page_and_continues(history: HistoryRig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert history.listed is not None
    monkeypatch.setattr("webhooks.sync.backfill.MAX_BATCH_ROWS", 1)
    history.listed.found = [history.customer(n) for n in range(1, 4)]
    run = start(history)
    rows = history.backfill.rows(history.shop, "customers", "api", "api", None, None, None)
    asked_to_pause = [False]

    def tell(_counts: Counter[str]) -> None:
        if not asked_to_pause[0]:
            asked_to_pause[0] = True
            history.rig.stores.backfill_runs.set_state(run, RunState.PAUSED, history.rig.clock())

    assert history.backfill.work(history.shop, run, rows, tell) is RunState.PAUSED
    assert counts(history, run)["read"] < 3
    assert work(history, run) is RunState.FINISHED
    assert counts(history, run)["read"] == 3


def test_history_waits_while_engage_is_away(history: HistoryRig) -> None:
    assert history.listed is not None
    seed(history, 1)
    history.listed.found = [history.customer(1)]
    history.rig.fault(error_rate=1.0, operations=["bulkUpdateContacts"], next=2)
    run = start(history)
    assert work(history, run) is RunState.FINISHED
    assert counts(history, run)["in_bulk"] == 1


def test_old_and_known_orders_are_skipped_and_refunds_follow_their_orders(history: HistoryRig) -> None:
    assert history.listed is not None
    now = history.rig.clock()
    history.settings(backfill_months="12")
    history.rig.send("order.paid", order=_order_body(history, 3))
    history.rig.work()
    history.listed.found = [
        history.order(1, at=now - timedelta(days=500)),
        history.order(2, at=now - timedelta(days=100)),
        history.refund(2, at=now - timedelta(days=90)),
        history.order(3, at=now),
    ]
    run = start(history, "orders")
    assert work(history, run) is RunState.FINISHED
    run_counts = counts(history, run)
    assert (run_counts["too_old"], run_counts["known"], run_counts["singly"]) == (1, 1, 2)
    receipts = history.rig.receipts()
    assert set(receipts) == {"web-se-O2", "web-se-O2-RR2", "web-se-O3"}
    assert all(receipt["times_received"] == 1 for receipt in receipts.values())
    assert receipts["web-se-O2"]["createdDate"].startswith("2025")


def test_an_old_order_redeems_nothing(history: HistoryRig) -> None:
    assert history.listed is not None
    history.rig.send("customer.created", customer=customer(id="C1", email="c1@example.com"))
    history.rig.work()
    contact = history.rig.contacts()["c1@example.com"]["id"]
    offer = {
        "name": "Spring",
        "redemptionChannels": [{"type": "ECOM", "valueType": "EXTERNALOFFER", "value": "SPRING"}],
    }
    promotion = history.rig.seed(promotions=[offer])["promotions"][0]
    history.rig.seed(assignments=[{"contactId": contact, "promotionId": promotion}])
    history.listed.found = [
        history.order(1, at=history.rig.clock() - timedelta(days=30), promotions=[{"code": "SPRING"}])
    ]
    work(history, start(history, "orders"))
    assert "web-se-O1" in history.rig.receipts()
    assert history.rig.redemptions() == []


def test_an_estimate_sends_and_stores_nothing(history: HistoryRig) -> None:
    assert history.listed is not None
    history.listed.found = [
        history.customer(1),
        history.customer(2, email_verified=False),
        history.customer(3, id=None),
    ]
    rows = history.backfill.rows(history.shop, "customers", "api", "api", None, None, None)
    run_counts, rejections = history.backfill.estimate(history.shop, "customers", rows)
    assert (run_counts["would_go_in_bulk"], run_counts["would_go_singly"], run_counts["refused"]) == (1, 1, 1)
    assert [row.code for row in rejections] == ["payload:customer.id"]
    assert history.rig.desk.status()["accepted"] == 0
    assert history.rig.contacts() == {}


def test_live_events_go_before_history(history: HistoryRig) -> None:
    assert history.listed is not None
    history.listed.found = [history.customer(n, email_verified=False) for n in range(30)]
    run = start(history)
    page = history.backfill.customers.send(history.shop, history.listed.found)
    assert page is not None
    history.backfill._ingest_single_events(history.shop, run, page, lambda: None)
    live = history.rig.send("customer.created", customer=customer())
    claimed = history.rig.processor.claim()
    assert [event.id for event in claimed] == [live]


def test_a_csv_of_customers(history: HistoryRig, tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_text(
        "\ufeffid;email;email_verified;first_name;zip_code;country_code;phone\n"
        "C1;c1@example.com;yes;Åsa;111 22;SE;070-123 45 67\n"
        ";nobody@example.com;yes;;;;\n",
        encoding="utf-8",
    )
    run = start(history, form="csv", source=str(path))
    assert work(history, run) is RunState.FINISHED
    attributes = history.rig.contacts()["c1@example.com"]["attributes"]
    assert (attributes["firstName"], attributes["mobilePhone"]) == ("Åsa", "+46701234567")
    assert [row.code for row in history.rig.stores.backfill_runs.rejected_rows(run)] == ["payload:customer.id"]


def test_a_csv_of_order_lines(history: HistoryRig, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(
        "order_id,paid_at,currency,customer_id,email,email_verified,sku,quantity,gross_paid,tax_amount\n"
        "O1,2026-01-05T09:30:00+01:00,SEK,C1,c1@example.com,1,CAP,2,199.50,39.90\n"
        "O1,2026-01-05T09:30:00+01:00,SEK,C1,c1@example.com,1,BAG,1,100.50,20.10\n"
        "O2,2026-01-06,SEK,C1,c1@example.com,1,CAP,1,99.00,0\n"
        "O3,2026-01-07T09:30:00+01:00,SEK,C1,c1@example.com,1,CAP,many,99.00,0\n",
        encoding="utf-8",
    )
    run = start(history, "orders", "csv", str(path))
    assert work(history, run) is RunState.FINISHED
    receipt = history.rig.receipts()["web-se-O1"]
    assert (len(receipt["items"]), float(receipt["totalGrossPrice"])) == (2, 300.0)
    assert [
        (row.resource_id, "offset" in row.reason) for row in history.rig.stores.backfill_runs.rejected_rows(run)
    ] == [("O2", True)]
    assert [row.resource_id for row in history.backfill.not_delivered(history.shop, run)] == ["O3"]


def test_json_lines_of_either_kind(history: HistoryRig, tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    own = history.customer(1).body.decode()
    wrapped = '{"topic": "customer.updated", "body": ' + history.customer(2).body.decode() + "}"
    path.write_text(f"{own}\n\n{wrapped}\nnot json\n" + '{"type": "no.such"}\n', encoding="utf-8")
    run = start(history, form="jsonl", source=str(path))
    assert work(history, run) is RunState.FINISHED
    assert sorted(history.rig.contacts()) == ["c1@example.com", "c2@example.com"]
    assert [row.resource_id for row in history.rig.stores.backfill_runs.rejected_rows(run)] == ["line 4", "line 5"]


def test_an_unreadable_file_and_a_shop_without_an_api_are_reported(history: HistoryRig, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("name\nAda\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="has no column id"):
        next(history.backfill.rows(history.shop, "customers", "csv", str(tmp_path / "x.csv"), None, None, None))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        next(history.backfill.rows(history.shop, "customers", "jsonl", str(tmp_path / "no"), None, None, None))
    history.listed = None
    with pytest.raises(ConflictError, match="--csv or --jsonl"):
        history.backfill.rows(history.shop, "customers", "api", "api", None, None, None)


def _order_body(history: HistoryRig, number: int) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(history.order(number).body)["data"]["order"]
    return body
