"""Historical orders as files: receipts of known contacts in files, other orders through the inbox, a crash harmless."""

from pathlib import Path
from typing import Any

import pytest
from support.bodies import customer
from support.history_harness import HistoryRig
from support.outage import Files, files_of

from plugin.errors import ConflictError
from plugin.store.sync.backfill_runs import Run, RunState
from plugin.store.tables.files import FileState
from webhooks.attempt.context import Origin


@pytest.fixture
def files(rig: Any, tmp_path: Path) -> Files:
    return files_of(rig, rig.standard, tmp_path)


@pytest.fixture
def history(rig: Any, files: Files, tmp_path: Path) -> HistoryRig:
    """Return a history in which customer C1 is known and C2 is not."""
    rig.send("customer.created", customer=customer(id="C1", email="c1@example.com"))
    rig.work()
    made = HistoryRig(rig, tmp_path / "files")
    assert made.listed is not None
    made.listed.found = [made.order(1), made.refund(1), made.order(2)]
    return made


def work(history: HistoryRig) -> Run:
    options = {"form": "api", "files": True}
    run = history.rig.stores.backfill_runs.start(
        history.shop, "orders", "api", None, None, options, history.rig.clock()
    )
    return continue_run(history, run)


def continue_run(history: HistoryRig, run: Run) -> Run:
    run = history.rig.stores.backfill_runs.get(history.shop, run.id)
    rows = history.backfill.rows(history.shop, "orders", "api", "api", None, None, run.cursor)
    assert history.backfill.work(history.shop, run, rows) is RunState.FINISHED
    return history.rig.stores.backfill_runs.get(history.shop, run.id)


def test_receipts_of_known_contacts_go_in_a_file_and_the_rest_through_the_inbox(
    history: HistoryRig, files: Files
) -> None:
    run = work(history)
    assert (run.counts["read"], run.counts["in_files"], run.counts["singly"]) == (3, 2, 1)
    assert list(history.rig.receipts()) == ["web-se-O2"], "whose customer was not known"
    files.fallback.run()
    assert [file.state for file in files.files()] == [FileState.SENT]
    taken = files.server.take(history.rig.sandbox.state, history.rig.clock(), "integration/transactionImport")
    assert taken["imported"] == 2
    receipts = history.rig.receipts()
    assert set(receipts) == {"web-se-O1", "web-se-O1-RR1", "web-se-O2"}
    assert float(receipts["web-se-O1-RR1"]["totalGrossPrice"]) == -40


def test_an_order_sent_in_a_file_is_not_sent_again(history: HistoryRig, files: Files) -> None:
    work(history)
    again = work(history)
    assert (again.counts["known"], again.counts.get("in_files", 0)) == (3, 0)
    assert history.listed is not None
    history.ingestor.ingest(history.shop, history.listed.found[:1], Origin.WEBHOOK, history.rig.clock())
    assert history.rig.work() == ["delivered"]
    assert "web-se-O1" not in history.rig.receipts(), "its receipt is on its way in the file"


def test_a_crash_before_the_cursor_moved_repeats_the_page_and_each_receipt_is_imported_once(
    history: HistoryRig, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = history.rig.stores.backfill_runs.advance

    def die(*_args: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(history.backfill.in_files.__class__, "_record", die)
    with pytest.raises(SystemExit):
        work(history)
    monkeypatch.undo()
    assert history.rig.stores.backfill_runs.advance == advance
    continue_run(history, history.rig.stores.backfill_runs.list_for(history.shop)[0])
    files.fallback.run()
    assert [file.state for file in files.files()] == [FileState.SENT, FileState.SENT]
    files.server.take(history.rig.sandbox.state, history.rig.clock(), "integration/transactionImport")
    assert set(history.rig.receipts()) == {"web-se-O1", "web-se-O1-RR1", "web-se-O2"}


def test_files_are_not_started_without_a_transfer(history: HistoryRig) -> None:
    history.settings(fallback_user="")
    with pytest.raises(ConflictError, match="no file transfer"):
        history.backfill.in_files.check(history.shop)
