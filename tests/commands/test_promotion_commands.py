"""engage-plugin promotions and api-tokens, as an operator types them."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner, Result

from plugin.cli import main
from plugin.sandbox.testing import HEADERS, RunningSandbox, running_sandbox

Run = Callable[..., Result]


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox() as running:
        yield running


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: RunningSandbox) -> Run:
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path))

    def invoke(*arguments: str, code: int = 0) -> Result:
        answer = CliRunner().invoke(main, list(arguments))
        assert answer.exit_code == code, answer.output
        return answer

    invoke(
        "shops",
        "add",
        "web-se",
        "--platform",
        "standard",
        "--engage-url",
        sandbox.url,
        "--engage-key",
        "K",
        "--store",
        "s",
    )
    return invoke


def seed(sandbox: RunningSandbox, **entries: Any) -> dict[str, list[str]]:
    answer = requests.post(f"{sandbox.url}/sandbox/seed", json=entries, timeout=5)
    assert answer.ok, answer.text
    return dict(answer.json())


def test_promotion_is_created_activated_and_assigned(run: Run, sandbox: RunningSandbox, tmp_path: Path) -> None:
    people = [{"contactType": "Member", "email": f"m{number}@example.com"} for number in range(3)]
    contacts = seed(sandbox, contacts=people)["contacts"]
    created = run(
        "promotions", "create", "web-se", "--name", "Spring", "--code", "SPRING20", "--end", "2099-12-31", "--json"
    )
    made = json.loads(created.stdout)
    assert (made["status"], made["external_id"]) == ("Draft", "SPRING20")
    early = run("promotions", "assign", "web-se", "SPRING20", "--email", "m0@example.com", code=1)
    assert "activate" in early.output
    requests.post(f"{sandbox.url}/sandbox/promotions/{made['promotion_id']}/activate", timeout=5).raise_for_status()
    (listed,) = json.loads(run("promotions", "list", "web-se", "--json").stdout)
    assert (listed["promotion_id"], listed["status"]) == (made["promotion_id"], "Active")

    file, refusals = tmp_path / "members.csv", tmp_path / "refused.csv"
    file.write_text("email\nm0@example.com\nm1@example.com\nnobody@example.com\nM0@example.com\n", encoding="utf-8")
    command = ("promotions", "assign", "web-se", "SPRING20", "--file", str(file), "--refusals", str(refusals))
    said = run(*command, code=1).output
    assert "4 rows: 1 already, 2 assigned, 1 refused" in said
    with refusals.open(encoding="utf-8") as stream:
        (refused,) = csv.DictReader(stream)
    assert (refused["line"], refused["reason"]) == ("4", "no contact in Engage has this e-mail")
    assert "nobody@example.com" not in refusals.read_text(encoding="utf-8")

    seed(sandbox, contacts=[{"contactType": "Member", "email": "nobody@example.com"}])
    assert (
        "1 already, 3 assigned" in run(*command).output
    )  # the corrected row is assigned; no contact gets a second one
    for contact_id in contacts[:2]:
        query = {"contactId": contact_id}
        found = requests.get(
            f"{sandbox.url}/api/v3/promotion-assignments", query, headers=dict(HEADERS), timeout=5
        ).json()
        assert len(found) == 1
    shown = json.loads(
        run("promotions", "show", "web-se", made["promotion_id"], "--email", "m1@example.com", "--json").stdout
    )
    (assignment,) = shown["assignments"]
    mixed_up = run("promotions", "show", "web-se", assignment["assignment_id"], code=1).output
    assert made["promotion_id"] in mixed_up
    assert "assignment" in mixed_up


@pytest.mark.parametrize(
    "options",
    [
        ("--code", "A", "--percent", "20", "--end", "2099-01-01"),
        ("--percent", "20", "--end", "2099-01-01"),
        ("--code", "A", "--end", "soon"),
        ("--money", "5", "--external-id", "X", "--days", "3", "--money-in", "EUR"),
    ],
)
def test_faulty_command_says_what_to_fix(run: Run, options: tuple[str, ...]) -> None:
    assert run("promotions", "create", "web-se", "--name", "A", *options, code=2).output.strip()


def test_what_cannot_be_a_promotion_is_refused(run: Run) -> None:
    said = run(
        "promotions", "create", "web-se", "--name", "A", "--percent", "120", "--external-id", "X", "--days", "3", code=1
    )
    assert "at most 100" in said.output
    assert (
        "either end_date or assigned_days"
        in run("promotions", "create", "web-se", "--name", "A", "--code", "X", code=1).output
    )


def test_api_token_is_shown_once_and_revoked(run: Run, tmp_path: Path) -> None:
    token = json.loads(run("api-tokens", "create", "web-se").stdout)["api_token"]
    assert token.startswith("ept.web-se.")
    (row,) = json.loads(run("api-tokens", "list", "web-se", "--json").stdout)
    assert token.endswith(row["hint"])
    assert token.encode() not in b"".join(path.read_bytes() for path in tmp_path.glob("*.sqlite*"))
    run("api-tokens", "revoke", "web-se", str(row["id"]))
    run("api-tokens", "revoke", "web-se", str(row["id"]), code=1)
    (row,) = json.loads(run("api-tokens", "list", "web-se", "--json").stdout)
    assert row["revoked_at"]


def test_redemptions_are_listed_by_state(run: Run) -> None:
    assert json.loads(run("promotions", "redemptions", "web-se", "--state", "intended", "--json").stdout) == []
    assert "none" in run("promotions", "redemptions", "web-se").output


def test_doctor_counts_redemptions_that_engage_does_not_confirm(run: Run, tmp_path: Path) -> None:
    from datetime import UTC, datetime, timedelta

    from plugin.store.database.engine import Database
    from plugin.store.orders.redemptions import Redemptions
    from plugin.store.shops.registry import Shops
    from plugin.store.shops.vault import Vault

    def line() -> dict[str, str]:
        checks = json.loads(CliRunner().invoke(main, ["doctor", "web-se", "--json"]).stdout)
        return {check["what"]: check for check in checks}["web-se: unconfirmed redemptions"]

    assert line()["result"] == "ok"
    (key,) = tmp_path.glob("*key*")
    database = Database(f"sqlite:///{tmp_path / 'engage-plugin.sqlite'}")
    shop = Shops(database, Vault(key.read_text(encoding="utf-8").strip())).get("web-se")
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    Redemptions(database).intend(shop, "promotion", "a-1", None, "o-1", 1, long_ago)
    database.close()
    assert line()["result"] == "warning"
    rows = json.loads(run("promotions", "redemptions", "web-se", "--state", "intended", "--json").stdout)
    assert [(row["assignment_id"], row["order_id"]) for row in rows] == [("a-1", "o-1")]
