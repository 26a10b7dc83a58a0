"""engage-plugin woocommerce: keys by hand, webhooks, and the way out, as an operator types it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.woocommerce_shop import KEY, SECRET, WooShop, running_shop

from plugin.cli import main
from plugin.platforms.woocommerce import SUBSCRIBED

ENGAGE = ["--engage-url", "http://127.0.0.1:9", "--engage-key", "k", "--store", "web-se"]


@pytest.fixture
def woo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WooShop]:
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "WOOCOMMERCE_KEY", "WOOCOMMERCE_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("PUBLIC_URL", "https://plugin.example")
    with running_shop(WooShop()) as shop:
        added = engage("shops", "add", "butik", "--platform", "woocommerce", "--shop-domain", shop.url, *ENGAGE)
        assert added.exit_code == 0, added.output
        yield shop


def engage(*words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, list(words), input=typed)


@pytest.mark.parametrize("given", ["typed", "file", "json file", "environment"])
def test_keys_are_checked_and_stored_and_webhooks_created(
    woo: WooShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    words, typed = ["woocommerce", "keys", "butik"], None
    if given == "typed":
        typed = f"{KEY}\n{SECRET}\n"
    elif given == "environment":
        monkeypatch.setenv("WOOCOMMERCE_KEY", KEY)
        monkeypatch.setenv("WOOCOMMERCE_SECRET", SECRET)
    else:
        text = (
            f"{KEY}\n{SECRET}\n" if given == "file" else f'{{"consumer_key": "{KEY}", "consumer_secret": "{SECRET}"}}'
        )
        (tmp_path / "keys").write_text(text)
        words += ["--file", str(tmp_path / "keys")]
    done = engage(*words, typed=typed)
    assert done.exit_code == 0, done.output
    assert SECRET not in done.output
    assert len(woo.webhooks) == len(SUBSCRIBED)
    assert {hook["delivery_url"] for hook in woo.webhooks.values()} == {
        "https://plugin.example/webhooks/woocommerce/butik"
    }


@pytest.mark.parametrize(
    ("typed", "status", "said"),
    [(f"{SECRET}\n{KEY}\n", 2, "ck_"), (f"{KEY}\ncs_{'x' * 40}\n", 1, "keys are wrong")],
)
def test_invalid_or_refused_keys_are_not_stored(woo: WooShop, typed: str, status: int, said: str) -> None:
    done = engage("woocommerce", "keys", "butik", typed=typed)
    assert done.exit_code == status
    assert said in done.output
    assert engage("woocommerce", "hooks", "butik").exit_code == 1
    assert woo.webhooks == {}


@pytest.mark.parametrize("text", ["{", "[]", "", '{"consumer_key": 1}', "\x00", "[" * 5000])
def test_file_without_keys_is_refused_with_the_reason(woo: WooShop, tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    done = engage("woocommerce", "keys", "butik", "--file", str(tmp_path / "keys"))
    assert done.exit_code == 2
    assert "consumer key" in done.output


def test_webhooks_are_repaired_and_removed(woo: WooShop) -> None:
    engage("woocommerce", "keys", "butik", typed=f"{KEY}\n{SECRET}\n")
    woo.webhooks[1]["status"] = "disabled"
    assert "switched off" in engage("woocommerce", "hooks", "butik").output
    assert woo.webhooks[1]["status"] == "active"
    assert "Every webhook is correct" in engage("woocommerce", "hooks", "butik").output
    done = engage("woocommerce", "uninstall", "butik")
    assert done.exit_code == 0, done.output
    assert woo.webhooks == {}
    assert "No keys of butik" in engage("woocommerce", "uninstall", "butik").output


def test_keys_of_an_unreachable_shop_are_deleted_on_demand(woo: WooShop) -> None:
    engage("woocommerce", "keys", "butik", typed=f"{KEY}\n{SECRET}\n")
    woo.away = 100
    assert engage("woocommerce", "uninstall", "butik").exit_code == 1
    assert engage("woocommerce", "uninstall", "butik", "--forget").exit_code == 0
    assert "No keys of butik" in engage("woocommerce", "hooks", "butik").output


def test_another_platforms_shop_is_refused(woo: WooShop) -> None:
    assert engage("shops", "add", "web-se", "--platform", "standard", *ENGAGE).exit_code == 0
    done = engage("woocommerce", "keys", "web-se", typed=f"{KEY}\n{SECRET}\n")
    assert done.exit_code == 1
    assert "not on WooCommerce" in done.output


def test_steps_of_an_installation_name_every_address(woo: WooShop) -> None:
    done = engage("shops", "install", "butik")
    assert done.exit_code == 0, done.output
    assert f"{woo.url}/wc-auth/v1/authorize?" in done.output
    assert "engage-plugin woocommerce keys butik" in done.output
