"""engage-plugin backfill, reconcile and watch, as an operator types them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner, Result

from plugin.cli import main
from plugin.sandbox.testing import RunningSandbox, running_sandbox

Run = Callable[..., Result]


@pytest.fixture
def sandbox() -> object:
    with running_sandbox() as running:
        yield running


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: RunningSandbox) -> Run:
    """The command, with a shop whose contact c1@example.com is in Engage."""
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments))

    people = {"contacts": [{"contactType": "Member", "email": "c1@example.com"}]}
    requests.post(f"{sandbox.url}/sandbox/seed", json=people, timeout=5).raise_for_status()
    shop = ["--platform", "standard", "--engage-url", sandbox.url, "--engage-key", "K", "--store", "s"]
    assert invoke("shops", "add", "web-se", *shop).exit_code == 0
    return invoke


@pytest.fixture
def customers(tmp_path: Path) -> str:
    path = tmp_path / "customers.csv"
    path.write_text(
        "id,email,email_verified,last_name\nC1,c1@example.com,yes,Berg\n,x@example.com,yes,\n", encoding="utf-8"
    )
    return str(path)


def test_backfill_counts_sends_lists_and_writes_refused_rows(
    run: Run, customers: str, tmp_path: Path, sandbox: RunningSandbox
) -> None:
    dry = run("backfill", "customers", "--shop", "web-se", "--csv", customers, "--dry-run", "--json")
    assert json.loads(dry.output)["counts"] == {"read": 2, "would_go_in_bulk": 1, "refused": 1}
    done = json.loads(run("backfill", "customers", "--shop", "web-se", "--csv", customers, "--json").stdout)
    assert (done["state"], done["read"], done["confirmed"], done["refused"]) == ("finished", 2, 1, 1)
    contacts = requests.get(f"{sandbox.url}/sandbox/contacts", timeout=5).json()
    assert [contact["attributes"]["lastName"] for contact in contacts] == ["Berg"]
    listed = json.loads(run("backfill", "list", "--shop", "web-se", "--json").output)
    assert [(one["run"], one["state"]) for one in listed] == [(done["run"], "finished")]
    report = tmp_path / "refused.csv"
    assert run("backfill", "report", str(done["run"]), "--shop", "web-se", "--csv", str(report)).exit_code == 0
    with report.open(encoding="utf-8") as file:
        assert [row["code"] for row in csv.DictReader(file)] == ["payload:customer.id"]


def test_backfill_prints_what_engage_confirmed(run: Run, customers: str) -> None:
    answer = run("backfill", "customers", "--shop", "web-se", "--csv", customers)
    assert "2 read, 1 confirmed by Engage" in answer.stdout
    assert "engage-plugin backfill report" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backfill", "orders", "--shop", "web-se"], "exactly one of --api"),
        (["backfill", "orders", "--shop", "web-se", "--api"], "no API that could be read"),
        (["backfill", "orders", "--shop", "web-se", "--jsonl", "/no/such/file"], "cannot be read"),
        (["backfill", "orders", "--shop", "web-se", "--csv", "x", "--from", "soon"], "not an ISO 8601 time"),
        (["backfill", "resume", "7", "--shop", "web-se"], "has no run 7"),
        (["backfill", "customers", "--shop", "nobody", "--api"], "no shop named"),
    ],
)
def test_impossible_command_says_why(run: Run, arguments: list[str], said: str) -> None:
    answer = run(*arguments)
    assert answer.exit_code != 0
    assert said in answer.output


def test_finished_run_is_neither_resumed_nor_paused(run: Run, customers: str) -> None:
    run("backfill", "customers", "--shop", "web-se", "--csv", customers)
    assert "is finished" in run("backfill", "resume", "1", "--shop", "web-se").output
    assert "only a running one" in run("backfill", "pause", "1", "--shop", "web-se").output


def test_shop_without_an_api_is_compared_with_engage_only(run: Run) -> None:
    answer = run("reconcile", "--shop", "web-se", "--from", "2026-03-01", "--json")
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.output)["differences"] == []
    assert "no API" in run("watch", "web-se").output
