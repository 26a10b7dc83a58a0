"""engage-plugin fallback and the SFTP user's secrets, as an operator types them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.sftp_servers import PASSWORD, SftpServer, make_key, scripted

from plugin.cli import main
from plugin.store.database.engine import Database
from plugin.store.files.files import FallbackFiles
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import NewShop
from plugin.store.shops.vault import Vault
from webhooks.fallback.receipt_stream import ReceiptStream

SECRET_KEY = "a key of tests that is longer than thirty-two characters"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SftpServer]:
    with scripted(tmp_path / "sshd") as running:
        yield running


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Any) -> Iterator[Shops]:
    """A registered shop and an environment for commands."""
    url = f"sqlite:///{tmp_path / 'plugin.sqlite'}"
    for name, value in {"DATABASE_URL": url, "SECRET_KEY": SECRET_KEY, "STATE_DIR": str(tmp_path / "var")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("REDIS_URL", raising=False)
    database = Database(url)
    database.migrate()
    made = Shops(database, Vault(SECRET_KEY))
    made.add(NewShop("web-se", "standard", "http://127.0.0.1:9", "k", "whsec_" + "A" * 32, {"store": "s"}), clock())
    yield made
    database.close()


def run(*arguments: str, ends_with: int = 0) -> str:
    result: Result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == ends_with, result.output
    return result.output


def test_host_key_is_shown_pinned_and_checked_step_by_step(shops: Shops, server: SftpServer, tmp_path: Path) -> None:
    place = [f"fallback_port={server.port}", f"fallback_base={tmp_path}", "fallback_user=merchant"]
    run("shops", "set", "web-se", "fallback_host=127.0.0.1", *place, f"fallback_password={PASSWORD}")
    shown = run("fallback", "check", "web-se", ends_with=1)
    assert f"fallback_host_key={server.host_key}" in shown
    run("shops", "set", "web-se", f"fallback_host_key={server.host_key}")
    missing = run("fallback", "check", "web-se", ends_with=1)
    assert "login as merchant: ok" in missing
    assert "no such file or folder" in missing
    (tmp_path / "integration" / "transactionImport").mkdir(parents=True)
    assert "fallback_receipts_folder=integration/transactionImport: ok" in run("fallback", "check", "web-se")
    _, other = make_key(tmp_path / "other")
    run("shops", "set", "web-se", f"fallback_host_key={other}")
    assert "another host key" in run("fallback", "check", "web-se", ends_with=1)


def test_secrets_are_encrypted_and_faults_of_settings_are_reported(shops: Shops, tmp_path: Path) -> None:
    private, _ = make_key(tmp_path / "key")
    run("shops", "set", "web-se", f"fallback_key=@{tmp_path / 'key'}")
    assert shops.get("web-se").file_access == {"key": private}
    run("shops", "set", "web-se", "fallback_password=secret word")
    assert shops.get("web-se").file_access == {"password": "secret word"}
    assert b"secret word" not in (tmp_path / "plugin.sqlite").read_bytes()
    assert "not a readable text file" in run("shops", "set", "web-se", "fallback_key=@/nowhere", ends_with=2)
    assert "cannot be read" in run("shops", "set", "web-se", "fallback_key=nonsense", ends_with=2)
    for fault in ("fallback_host_key=ssh-rsa", "fallback_base=../x", "fallback_lines=20001", "fallback_folder=x"):
        assert fault.partition("=")[0] in run("shops", "set", "web-se", fault, ends_with=2)


def test_files_without_events_are_listed_sent_and_their_states_explained(
    shops: Shops, server: SftpServer, tmp_path: Path, clock: Any
) -> None:
    from bench.fallback_files import receipt

    shop = shops.get("web-se")
    files = FallbackFiles(Database(f"sqlite:///{tmp_path / 'plugin.sqlite'}"))
    folder = tmp_path / "var" / "fallback" / "web-se"
    with ReceiptStream(files, shop, folder, clock) as history:
        assert [history.add(receipt(number)) for number in range(3)] == [None] * 3
        name = history.finish()
    assert "written 1" in run("fallback", "send", "web-se")
    status = json.loads(run("fallback", "status", "--json"))
    (file,) = status["files"]
    assert (file["name"], file["state"], file["rows"], file["origin"]) == (name, "written", 3, "backfill")
    assert "No host key" in file["reason"]
    (tmp_path / "integration" / "transactionImport").mkdir(parents=True)
    place = [f"fallback_port={server.port}", f"fallback_base={tmp_path}", "fallback_user=merchant"]
    access = [f"fallback_password={PASSWORD}", f"fallback_host_key={server.host_key}", "fallback_host=127.0.0.1"]
    run("shops", "set", "web-se", *place, *access)
    assert "sent 1" in run("fallback", "send", "web-se")
    (there,) = (tmp_path / "integration" / "transactionImport").iterdir()
    assert there.name == name
    there.unlink()
    assert "taken 1" in run("fallback", "send", "web-se")
    assert "only a file that was not sent" in run("fallback", "recall", str(name), ends_with=1)
    assert "There is no file x.xml" in run("fallback", "recall", "x.xml", ends_with=1)
    assert (
        "Engage is not known to be unavailable for shop web-se (Redis, which holds that state, does not answer)"
        in run("fallback", "write", "web-se", ends_with=1)
    )


def test_backfill_that_crashed_leaves_no_file_that_could_be_sent(shops: Shops, tmp_path: Path, clock: Any) -> None:
    from bench.fallback_files import receipt

    shop, folder = shops.get("web-se"), tmp_path / "files"
    files = FallbackFiles(Database(f"sqlite:///{tmp_path / 'plugin.sqlite'}"))
    dying = ReceiptStream(files, shop, folder, clock).__enter__()
    dying.add(receipt(1))
    with ReceiptStream(files, shop, folder, clock) as history:
        history.add(receipt(2))
        assert history.finish() is not None
    dying.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert [(file.state.value, file.rows) for file in files.newest(shop, 9)] == [("written", 1), ("failed", 0)]
    failing = ReceiptStream(files, shop, folder, clock).__enter__()
    failing.add(receipt(3))
    failing.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert [file.state.value for file in files.newest(shop, 9)] == ["failed", "written", "failed"]
    assert len(list(folder.glob("*.xml"))) == 1
