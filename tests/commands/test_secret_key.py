"""A SECRET_KEY other than the one that shops were stored with: nothing is stored with it, and what was stored is repaired."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.helpers import Clock

from plugin.cli import main
from plugin.errors import ConfigurationError
from plugin.runtime.loops import run_sweep
from plugin.services import Services
from plugin.settings import load_settings
from plugin.store.database.engine import Database
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import NewShop, RegisteredShop
from plugin.store.shops.vault import Vault
from plugin.store.tables.shops import Shop

OTHER = "another key that is longer than thirty-two characters"
Command = Callable[..., Result]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def add(name: str) -> Result:
    tenant = ("--engage-url", "http://127.0.0.1:9", "--engage-key", "k", "--store", "s")
    return run("shops", "add", name, "--platform", "standard", *tenant)


def names() -> list[str]:
    return [shop["name"] for shop in json.loads(run("shops", "list", "--json").stdout)]


def test_shop_is_not_registered_with_another_key_than_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert add("web-se").exit_code == 0
    monkeypatch.setenv("SECRET_KEY", OTHER)
    refused = add("tmpk")
    assert refused.exit_code == 2
    assert "web-se" in refused.stderr
    assert "SECRET_KEY" in refused.stderr
    assert run("run").exit_code == 2
    monkeypatch.delenv("SECRET_KEY")
    assert names() == ["web-se"]


def test_no_key_is_made_when_shops_need_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET_KEY", OTHER)
    assert add("web-se").exit_code == 0
    monkeypatch.delenv("SECRET_KEY")
    for refused in (add("web-no"), run("run"), run("shops", "list")):
        assert refused.exit_code == 2
        assert "set that SECRET_KEY" in refused.stderr
    assert not (tmp_path / "secret-key").exists()
    monkeypatch.setenv("SECRET_KEY", OTHER)
    assert names() == ["web-se"]


@pytest.fixture
def broken(tmp_path: Path) -> Database:
    """An installation with one shop that the present key opens and one that it does not, as older versions let be made."""
    assert add("web-se").exit_code == 0
    database = Database(f"sqlite:///{tmp_path / 'engage-plugin.sqlite'}")
    _store_with_other_key(database, "tmpk")
    return database


def _store_with_other_key(database: Database, name: str) -> None:
    other, secret = Vault(OTHER), "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    with database.transaction() as session:
        session.add(
            Shop(
                name=name,
                platform="standard",
                engage_url="http://127.0.0.1:9",
                engage_key_encrypted=other.seal("k"),
                webhook_secrets_encrypted=other.seal(json.dumps([secret])),
                shopper_secret_encrypted=other.seal("s" * 40),
                settings={"store": "s"},
                created_at=Clock()(),
            )
        )


@pytest.mark.usefixtures("broken")
def test_unreadable_shop_is_left_out_and_named() -> None:
    assert names() == ["web-se"]
    assert add("web-no").exit_code == 0
    checks = {check["what"]: check for check in json.loads(run("doctor", "--json").stdout)}
    assert checks["tmpk: what is stored"]["result"] == "fault"
    assert "SECRET_KEY is not the one" in checks["tmpk: what is stored"]["todo"]
    assert "web-se: key and stores" in checks
    (check,) = [c for c in json.loads(run("doctor", "tmpk", "--json").stdout) if c["what"].startswith("tmpk")]
    assert "shops erase tmpk" in check["todo"]
    assert "shop tmpk: " in run("shops", "show", "tmpk").stderr


@pytest.mark.usefixtures("broken")
def test_erased_unreadable_shop_can_be_set_up_again() -> None:
    erased = run("shops", "erase", "tmpk", "--sure")
    assert erased.exit_code == 0
    assert "were replaced" in erased.stderr
    assert names() == ["tmpk", "web-se"]
    assert run("shops", "set", "tmpk", "engage_key=new").exit_code == 0
    card = json.loads(run("shops", "show", "tmpk", "--secrets", "--json").stdout)
    assert card["webhook_secret"].startswith("whsec_")
    assert card["stopped_reason"] is None
    assert "were replaced" not in run("shops", "erase", "web-se", "--sure").stderr


@pytest.mark.usefixtures("broken")
def test_metrics_report_the_other_shops_and_the_log_names_the_unreadable_one_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    services = Services(load_settings(), "redis://127.0.0.1:1")
    for _ in range(2):
        assert 'engage_plugin_breaker_open{shop="web-se"} 0.0' in services.metrics.render().decode()
    services.close()
    assert [record.message.split(":")[0] for record in caplog.records].count("shop=tmpk is left out") == 1


@pytest.mark.usefixtures("broken")
def test_sweep_continues_after_a_faulty_set_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    services = Services(load_settings(), "redis://127.0.0.1:1")

    def fail() -> tuple[RegisteredShop, ...]:
        raise ConfigurationError(["shop web-se: something is wrong."])

    monkeypatch.setattr(services.stores.shops, "all", fail)
    with caplog.at_level(logging.ERROR):
        run_sweep(services, once=True)
    assert any("shop web-se: something is wrong." in record.message for record in caplog.records)


def test_nothing_of_a_shop_is_stored_with_another_key(shops: Shops, shop: RegisteredShop, database: Database) -> None:
    elsewhere = Shops(database, Vault(OTHER))
    for store in (
        lambda: elsewhere.save_credentials(shop.name, {"token": "t"}),
        lambda: elsewhere.keep_file_access(shop.name, {"password": "p"}),
        lambda: elsewhere.replace_secrets(shop.name, engage_key="k2"),
        lambda: elsewhere.add(NewShop("web-no", "standard", "http://127.0.0.1:9", "k", "w", {"store": "s"}), Clock()()),
        elsewhere.check_key,
    ):
        with pytest.raises(ConfigurationError, match="SECRET_KEY"):
            store()
    assert shops.all() == (shop,)
