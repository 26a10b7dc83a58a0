"""Shops by the names that addresses hold."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from plugin.errors import ConfigurationError, ConflictError
from plugin.platforms.woocommerce.rest import base_of
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import NewShop, RegisteredShop


@pytest.mark.parametrize("name", ["", "\x00", "web\x00", "WEB", "@kiosk.example", "x" * 300, "\udcff"])
def test_an_invalid_name_finds_no_shop_on_either_database(shops: Shops, shop: RegisteredShop, name: str) -> None:
    assert shops.find(shop.platform, name) is None
    assert shops.find(shop.platform, name, fresh=True) is None
    assert shops.named(name) is None
    found = shops.named(shop.name)
    assert found is not None
    assert found.id == shop.id


@pytest.mark.parametrize("name", ["login_url", "signup_url", "theme_help_url"])
@pytest.mark.parametrize(
    "text", ["https://x.example/\r\nSet-Cookie: a=b", "https://x.example/\n", "https://x.example/a b"]
)
def test_a_url_with_spaces_or_line_breaks_is_refused(shops: Shops, shop: RegisteredShop, name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        shops.change(shop.name, {name: text})


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Kiosk.MyShopify.com", "kiosk.myshopify.com"),
        ("Shop.Example/Butik", "shop.example/Butik"),
        ("HTTPS://Shop.Example:8443/Butik/", "https://shop.example:8443/Butik/"),
        ("", None),
        (None, None),
    ],
)
def test_a_domains_host_is_case_insensitive_but_its_folder_is_not(
    shops: Shops, typed: str | None, kept: str | None
) -> None:
    new = NewShop("butik", "woocommerce", "http://127.0.0.1:9", "k", "aSecret1", {"store": "web-se"}, typed)
    assert shops.add(new, datetime.now(UTC)).shop_domain == kept
    assert shops.get("butik").shop_domain == kept
    if kept is None:
        return
    found = shops.of_domain("woocommerce", kept)
    assert found is not None
    assert base_of(found).endswith(kept.rstrip("/"))
    host, slash, folder = kept.partition("example")
    with pytest.raises(ConflictError):
        shops.add(replace(new, name="again", shop_domain=f"{host.upper()}{slash}{folder}"), datetime.now(UTC))
