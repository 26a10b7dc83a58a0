"""The command: what it prints, how it refuses, and that every command explains itself."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import click
import pytest
import requests
from click.testing import CliRunner, Result
from sqlalchemy import update
from support.bodies import customer, order
from support.running_plugin import free_port

from plugin.cli import main
from plugin.commands.common import make_services
from plugin.event_kinds import EventKind
from plugin.sandbox.testing import running_sandbox
from plugin.store.database.engine import Database
from plugin.store.inbox.inbox import Inbox, NewEvent
from plugin.store.shops.shops import NewShop
from plugin.store.tables.inbox import State
from plugin.store.tables.shops import Shop


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path))

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments))

    return invoke


ADD = [
    "shops",
    "add",
    "web-se",
    "--platform",
    "standard",
    "--engage-url",
    "http://127.0.0.1:9",
    "--engage-key",
    "K",
    "--store",
    "s",
]


def commands(group: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(group, click.Group):
        return [path]
    context = click.Context(group)
    inner = [(name, group.get_command(context, name)) for name in group.list_commands(context)]
    return [found for name, command in inner if command for found in commands(command, (*path, name))]


@pytest.mark.parametrize("path", commands(main), ids=" ".join)
def test_every_command_has_help_with_an_example(run, path: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    answer = run(*path, "--help")
    assert answer.exit_code == 0
    text = "".join(answer.output.split())
    assert "Example:" in text
    assert f"engage-plugin{path[0]}" in text


def test_shop_is_registered_and_what_its_developer_needs_is_printed(run) -> None:  # type: ignore[no-untyped-def]
    card = json.loads(run(*ADD).stdout)
    assert card["webhook_url"] == "http://127.0.0.1:8000/webhooks/standard/web-se"
    assert card["mypages_url"] == "http://127.0.0.1:8000/mypages/web-se/"
    assert card["webhook_secret"].startswith("whsec_")
    assert len(card["shopper_secret"]) >= 32
    assert [shop["name"] for shop in json.loads(run("shops", "list", "--json").output)] == ["web-se"]


def test_every_fault_of_a_new_shop_is_reported_at_once(run) -> None:  # type: ignore[no-untyped-def]
    answer = run(
        *("shops", "add", "Web SE", "--platform", "standard", "--engage-url", "http://acme.voyado.com"),
        *("--engage-key", "", "--store", "s", "--webhook-secret", "short"),
    )
    assert answer.exit_code == 2
    for part in ("name 'Web SE'", "key is empty", "https", "secret"):
        assert part in answer.output, part
    assert json.loads(run("shops", "list", "--json").output) == []


def test_engage_key_is_stored_encrypted_and_never_shown(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run(*ADD[:-3], "very-secret-key", "--store", "s")
    assert b"very-secret-key" not in b"".join(path.read_bytes() for path in tmp_path.glob("*.sqlite*"))
    assert "very-secret-key" not in run("shops", "show", "web-se", "--secrets").output


def test_settings_are_typed_and_every_fault_is_listed(run) -> None:  # type: ignore[no-untyped-def]
    run(*ADD)
    answer = run("shops", "set", "web-se", "redeem_wait_s=soon", "email_trust=never", "nonsense=1")
    assert answer.exit_code == 2
    for name in ("redeem_wait_s", "email_trust", "nonsense"):
        assert name in answer.output
    assert run("shops", "set", "web-se", "redeem_wait_s=60", "guest_orders=no").exit_code == 0
    shown = json.loads(run("shops", "show", "web-se", "--json").output)["settings"]
    values = {row["setting"]: row["value"] for row in shown}
    assert (values["redeem_wait_s"], values["guest_orders"], values["parked_hold_contacts"]) == ("60", "no", "yes")
    assert all(row["meaning"] for row in shown)


@pytest.mark.parametrize(
    "change",
    [
        {"--engage-url": "http://engage.example.com"},
        {"--engage-url": "https://acme.voyado.com/api/v3"},
        {"--engage-url": "acme"},
        {"--platform": "magento"},
        {"--webhook-secret": "short"},
        {"--store": "a store"},
    ],
)
def test_faulty_registration_is_refused_with_the_reason(run, change: dict[str, str]) -> None:  # type: ignore[no-untyped-def]
    arguments = list(ADD)
    for name, value in change.items():
        if name in arguments:
            arguments[arguments.index(name) + 1] = value
        else:
            arguments += [name, value]
    answer = run(*arguments)
    assert answer.exit_code == 2
    assert answer.output.strip()


def test_second_shop_of_the_same_name_is_refused(run) -> None:  # type: ignore[no-untyped-def]
    run(*ADD)
    answer = run(*ADD)
    assert answer.exit_code == 1
    assert "shops list" in answer.output


@pytest.mark.parametrize("platform", ["saleor", "shopify", "woocommerce"])
def test_shop_without_its_domain_gets_a_warning_and_can_be_given_one(run, platform: str) -> None:  # type: ignore[no-untyped-def]
    answer = run(*[{"standard": platform}.get(word, word) for word in ADD])
    assert answer.exit_code == 0
    assert "shops set web-se shop_domain=" in answer.stderr
    assert run("shops", "set", "web-se", "shop_domain=").exit_code == 2
    assert run("shops", "set", "web-se", "shop_domain=Shop.Example/Butik").exit_code == 0
    assert json.loads(run("shops", "show", "web-se", "--json").stdout)["shop_domain"] == "shop.example/Butik"
    other = [{"standard": platform, "web-se": "web-no"}.get(word, word) for word in ADD]
    assert run(*other).exit_code == 0
    taken = run("shops", "set", "web-no", "shop_domain=shop.example/Butik")
    assert (taken.exit_code, "Another shop" in taken.stderr) == (1, True)


def test_new_database_and_addresses_of_this_machine_are_announced_once(  # type: ignore[no-untyped-def]
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(*ADD).stderr
    assert f"Created a new database: sqlite:///{tmp_path}/engage-plugin.sqlite" in first
    assert "PUBLIC_URL is not set" in first
    monkeypatch.setenv("PUBLIC_URL", "https://engage.shop.example")
    second = run(*["web-no" if word == "web-se" else word for word in ADD])
    assert json.loads(second.stdout)["webhook_url"] == "https://engage.shop.example/webhooks/standard/web-no"
    assert second.stderr == ""


def test_shop_of_an_app_without_the_apps_secret_gets_a_warning(  # type: ignore[no-untyped-def]
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = [*("shopify" if word == "standard" else word for word in ADD), "--shop-domain"]
    told = "shops set web-se webhook_secret=SECRET"
    assert told in run(*shop, "kiosk.myshopify.com").stderr
    own = [word.replace("web-se", "own") for word in shop]
    assert "webhook_secret" not in run(*own, "own.myshopify.com", "--webhook-secret", "shpss_0123456789abcdef").stderr
    monkeypatch.setenv("SHOPIFY_CLIENT_ID", "app")
    monkeypatch.setenv("SHOPIFY_CLIENT_SECRET", "shpss_0123456789abcdef")
    of_app = run(*[word.replace("web-se", "of-app") for word in shop], "of-app.myshopify.com")
    assert "webhook_secret" not in of_app.stderr
    assert json.loads(of_app.stdout)["webhook_secret"] == "shpss_0123456789abcdef"


def test_every_fault_of_a_change_is_reported_at_once_and_nothing_is_changed(run) -> None:  # type: ignore[no-untyped-def]
    run(*ADD)
    before = run("shops", "show", "web-se", "--secrets", "--json").stdout
    answer = run(
        *("shops", "set", "web-se", "redeem_wait_s=soon", "nonsense=1", "engage_url=http://x.example", "engage_key="),
        *("webhook_secret=short", "fallback_key=@/nowhere", "source=A", "source=B", "words"),
    )
    assert answer.exit_code == 2
    for part in (
        *("redeem_wait_s", "nonsense", "must be https", "engage_key must not", "whsec_", "fallback_key names /nowhere"),
        *("source is given twice", "'words' is not KEY=VALUE"),
    ):
        assert part in answer.stderr, part
    assert run("shops", "show", "web-se", "--secrets", "--json").stdout == before


def test_doctor_sees_that_events_of_a_standard_shop_arrive(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run(*ADD)

    def told() -> dict[str, str]:
        checks = json.loads(run("doctor", "web-se", "--json").stdout)
        return {check["what"]: check["todo"] for check in checks if "installation" in check["what"]}

    assert told() == {"web-se: installation": "Nothing is installed yet: engage-plugin shops install web-se"}
    now = datetime.now(UTC)
    database = Database(f"sqlite:///{tmp_path / 'engage-plugin.sqlite'}")
    new = NewEvent(1, "standard", "customer.created", EventKind.SIGNUP, "first", "c:1", now, now, b"{}")
    Inbox(database).accept(new)
    database.close()
    assert told() == {"web-se: installation, events arrive": ""}


def test_status_of_an_empty_inbox_adds_up(run) -> None:  # type: ignore[no-untyped-def]
    counts = json.loads(run("status", "--json").output)
    assert counts == dict.fromkeys(
        ["accepted", "pending", "leased", "delivered", "ignored", "parked", "spooled", "discarded"], 0
    )


def test_unknown_things_are_named(run) -> None:  # type: ignore[no-untyped-def]
    for arguments in (("shops", "show", "nobody"), ("events", "show", "7"), ("events", "retry", "7")):
        answer = run(*arguments)
        assert answer.exit_code == 1
        assert arguments[-1] in answer.output


def test_wrong_environment_stops_the_start_with_every_fault(run, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("ENGAGE_RATE", "500")
    monkeypatch.setenv("RETRY_BASE_S", "soon")
    monkeypatch.setenv("PUBLIC_URL", "http://shop.example.com")
    monkeypatch.setenv("DATABASE_URL", "mysql://x")
    answer = run("run")
    assert answer.exit_code == 2
    for name in ("ENGAGE_RATE", "RETRY_BASE_S", "PUBLIC_URL", "DATABASE_URL"):
        assert name in answer.output


def test_sandbox_prints_its_address(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "plugin.cli", "sandbox", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as sandbox:
        try:
            assert sandbox.stdout is not None
            assert f"http://127.0.0.1:{port}" in sandbox.stdout.readline()
        finally:
            sandbox.terminate()


@pytest.mark.parametrize("command", ["web", "worker", "sweep"])
def test_single_process_requires_database_and_redis_addresses(run, command: str) -> None:  # type: ignore[no-untyped-def]
    assert "SECRET_KEY" in run(command, "--help").output
    answer = run(command)
    assert answer.exit_code == 2
    assert "DATABASE_URL" in answer.output
    assert "REDIS_URL" in answer.output


def test_schema_that_is_behind_stops_the_start(run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'empty.sqlite'}")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9")
    answer = run("sweep")
    assert answer.exit_code == 2
    assert "engage-plugin migrate" in answer.output


def test_doctor_says_what_to_fix(run) -> None:  # type: ignore[no-untyped-def]
    with running_sandbox() as sandbox:
        arguments = [sandbox.url if a == "http://127.0.0.1:9" else a for a in ADD]
        run(*arguments)
        answer = run("doctor", "web-se", "--json")
        assert answer.exit_code == 1
        checks = {check["what"]: check for check in json.loads(answer.stdout)}
        assert "would create it" in checks["web-se: key and stores"]["todo"]
        assert checks["balance, 0 events accepted"]["result"] == "ok"


def test_doctor_reports_a_shop_without_an_address_and_continues(run) -> None:  # type: ignore[no-untyped-def]
    run(*ADD)
    services = make_services()
    new = NewShop("butik", "woocommerce", "http://127.0.0.1:9", "k", "s" * 40, {"store": "s"})
    services.stores.shops.add(new, services.clock())  # as older versions let be registered
    services.close()
    checks = {check["what"]: check for check in json.loads(run("doctor", "--json").stdout)}
    assert checks["butik: the shop's own API"]["result"] == "fault"
    assert "shop_domain=" in checks["butik: the shop's own API"]["todo"]
    assert "web-se: key and stores" in checks


def test_doctor_checks_types_clock_and_time_to_answer(run) -> None:  # type: ignore[no-untyped-def]
    with running_sandbox() as sandbox:
        seeds = {"stores": [{"externalId": "s", "name": "S"}]}
        requests.post(f"{sandbox.url}/sandbox/seed", json=seeds, timeout=5).raise_for_status()
        run(*[sandbox.url if a == "http://127.0.0.1:9" else a for a in ADD])
        checks = {check["what"]: check for check in json.loads(run("doctor", "web-se", "--json").stdout)}
        assert {name: checks[f"web-se: {name}"]["result"] for name in ("key and stores", "contact types", "clock")} == {
            "key and stores": "ok", "contact types": "ok", "clock": "ok",
        }  # fmt: skip
        assert checks["web-se: key attribute"]["result"] == checks["web-se: article register"]["result"] == "by hand"
        assert any(what.startswith("web-se: time to answer, slowest of") for what in checks)
        run("shops", "set", "web-se", "contact_type=Nobility")
        checks = {check["what"]: check for check in json.loads(run("doctor", "web-se", "--json").stdout)}
        assert "Nobility" in checks["web-se: contact types"]["todo"]


def test_doctor_lists_what_is_inferred_and_compares_a_swagger(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    listed = json.loads(run("doctor", "--contract", "--json").stdout)
    assert {"list_promotion_assignments", "get_bulk_status"} <= {row["operation"] for row in listed if row["whole"]}
    assert "compare" in run("doctor", "--contract").output
    swagger = tmp_path / "swagger.json"
    swagger.write_text(json.dumps({"openapi": "3.0.1", "paths": {"/api/v3/receipt": {"post": {}}}}))
    answer = run("doctor", "--contract", str(swagger))
    assert answer.exit_code == 1
    assert "create_receipt" in answer.output
    assert run("doctor", "--contract", str(tmp_path / "none.json")).exit_code == 2


ORDER = {
    "type": "order.paid", "timestamp": "2026-03-05T09:30:00Z",
    "data": {"order": order(customer=customer())},
}  # fmt: skip


def test_preview_of_a_file_prints_what_would_be_sent_and_sends_nothing(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with running_sandbox() as sandbox:
        run(*[sandbox.url if a == "http://127.0.0.1:9" else a for a in ADD])
        path = tmp_path / "order.json"
        path.write_text(json.dumps(ORDER))
        answer = run("preview", str(path), "--shop", "web-se")
        assert answer.exit_code == 0, answer.output
        shown = json.loads(run("preview", str(path), "--shop", "web-se", "--json").stdout, parse_float=Decimal)
        assert [call["operation"] for call in shown["calls"]][-1] == "create_receipt"
        receipt = shown["calls"][-1]["body"]
        assert (receipt["uniqueReceiptId"], receipt["totalGrossPrice"]) == ("web-se-9001", Decimal("299.00"))
        assert shown["state"] == "delivered"
        assert "uniqueReceiptId" in answer.output
        assert requests.get(f"{sandbox.url}/sandbox/calls", timeout=5).json() == []
        assert json.loads(run("status", "--json").output)["accepted"] == 0
        run("preview", str(path), "--shop", "web-se", "--ask")
        asked = requests.get(f"{sandbox.url}/sandbox/calls", timeout=5).json()
        assert {call["method"] for call in asked} == {"GET"}


def test_preview_says_why_an_event_would_be_parked_or_cannot_be_read(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run(*ADD)
    path = tmp_path / "order.json"
    path.write_text(json.dumps({"topic": "order.paid", "body": {"type": "order.paid", "data": {"order": {"id": 1}}}}))
    shown = json.loads(run("preview", str(path), "--shop", "web-se", "--json").stdout)
    assert (shown["state"], shown["calls"]) == ("parked", [])
    assert "timestamp: is missing" in shown["error"]
    assert run("preview", str(path)).exit_code == 2
    assert run("preview", str(tmp_path / "none.json"), "--shop", "web-se").exit_code == 1
    assert run("preview", "77").exit_code == 1
    path.write_bytes(b"\xff")
    assert run("preview", str(path), "--shop", "web-se").exit_code == 2
    path.write_text("garbage")
    assert (
        f"{path} does not hold a webhook: the body is not JSON" in run("preview", str(path), "--shop", "web-se").stderr
    )
    assert "order.paid" in run("preview", str(path), "--shop", "web-se", "--topic", "no.such").output


def test_list_says_what_an_event_waits_for_and_a_discard_releases_it(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    shop_id = 1
    run(*ADD)
    database = Database(f"sqlite:///{tmp_path / 'engage-plugin.sqlite'}")
    inbox, now = Inbox(database), datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
    poison, later, last = [
        inbox.accept(
            NewEvent(
                shop_id=shop_id, platform="standard", topic="customer.updated", kind=EventKind.PROFILE_CHANGE,
                dedupe_key=key, ordering_key="customer:1", occurred_at=now, received_at=now, body=b"{}",
            )
        ).event_id
        for key in ("poison", "later", "last")
    ]  # fmt: skip
    (claimed,) = inbox.claim_many(now, timedelta(minutes=1), 5)
    shown = " ".join(run("events", "show", str(later)).output.split())
    assert "Waits for the customer's earlier events." in shown
    inbox.finish(
        claimed, State.PARKED, now, error="no e-mail", error_code="missing_key:email", blocks_later_changes=True
    )
    assert inbox.claim_many(now, timedelta(minutes=1), 5) == []
    shown = " ".join(run("events", "show", str(later)).output.split())
    assert f"Waits for event {poison} of the same customer: `engage-plugin events show {poison}` says why." in shown
    listed = run("events", "list", "--state", "pending").output
    assert "Waits" in listed
    run("events", "discard", str(poison), "--why", "a test")
    (claimed,) = inbox.claim_many(datetime.now(UTC), timedelta(minutes=1), 5)
    assert claimed.id == later
    assert "2026-03-05 09:30:00" in run("events", "show", str(last)).output
    database.close()


def test_mistyped_command_is_refused_and_changes_nothing(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run(*ADD)
    database = Database(f"sqlite:///{tmp_path / 'engage-plugin.sqlite'}")
    inbox, now = Inbox(database), datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
    ids = [
        inbox.accept(
            NewEvent(
                shop_id=1, platform="standard", topic="customer.updated", kind=EventKind.PROFILE_CHANGE, dedupe_key=key,
                ordering_key=f"customer:{key}", occurred_at=now, received_at=now, body=b"{}",
            )
        ).event_id
        for key in "abc"
    ]  # fmt: skip
    for claimed in inbox.claim_many(now, timedelta(minutes=1), 5):
        inbox.finish(claimed, State.PARKED, now, error="no e-mail", error_code="missing_key:email")
    database.close()

    both = run("events", "retry", str(ids[0]), "--shop", "web-se")
    assert (both.exit_code, "not both" in both.output) == (1, True)
    for command in (["events", "list"], ["events", "retry"]):
        unknown = run(*command, "--shop", "web-es")
        assert (unknown.exit_code, "no shop named 'web-es'" in unknown.output) == (1, True)
    assert run("events", "discard", str(ids[0]), "--why", " ").exit_code == 2
    assert [row["state"] for row in json.loads(run("events", "list", "--json").output)] == ["parked"] * 3

    assert json.loads(run("events", "retry", str(ids[0]), str(ids[0]), "--json").stdout)["retried"] == ids[:1]
    assert run("events", "discard", str(ids[1]), "--why", "a colleague's test").exit_code == 0
    previewed = json.loads(run("events", "retry", "--preview", str(ids[1]), "--json").output)
    assert (previewed[0]["would_be"], previewed[0]["why"]) == ("discarded", "It would not be retried.")
    listed = run("events", "list", "--limit", "2").output
    assert "a colleague's test" in " ".join(listed.split())
    assert "missing_key:email" in listed
    assert f"id {ids[0]}," not in listed
    assert "newest 2" in listed
    assert [row["id"] for row in json.loads(run("events", "list", "--after", "0", "--json").output)] == ids
    shown = json.loads(run("events", "show", str(ids[0]), "--json").output)
    assert [step["operation"] for step in shown["timeline"]] == ["received", "retry"]


def test_status_says_why_a_whole_shop_waits(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run(*ADD)
    database = Database(f"sqlite:///{tmp_path / 'engage-plugin.sqlite'}")
    now = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
    Inbox(database).accept(
        NewEvent(
            shop_id=1, platform="standard", topic="customer.updated", kind=EventKind.PROFILE_CHANGE, dedupe_key="1",
            ordering_key="customer:1", occurred_at=now, received_at=now, body=b"{}",
        )
    )  # fmt: skip
    with database.transaction() as session:
        session.execute(update(Shop).values(stopped_reason="Engage refuses the API key (401)."))
    database.close()
    assert "web-se: deliveries are stopped: Engage refuses the API key (401)." in run("status").output
    listed = " ".join(run("events", "list").output.split())
    assert "Deliveries of the shop are stopped: `engage-plugin shops show web-se` says why." in listed


def test_webhook_secret_set_twice_revokes_the_former_one(run) -> None:  # type: ignore[no-untyped-def]
    run(*ADD)
    secret = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY="
    assert "The former webhook secret stays valid" in run("shops", "set", "web-se", f"webhook_secret={secret}").output
    assert (
        "The former webhook secret is no longer valid"
        in run("shops", "set", "web-se", f"webhook_secret={secret}").output
    )
