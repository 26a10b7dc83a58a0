"""Shops by the names that addresses hold."""

import pytest

from plugin.errors import ConfigurationError
from plugin.store.shops import RegisteredShop, Shops


@pytest.mark.parametrize("name", ["", "\x00", "web\x00", "WEB", "@kiosk.example", "x" * 300, "\udcff"])
def test_what_is_no_name_is_no_shop_on_either_database(shops: Shops, shop: RegisteredShop, name: str) -> None:
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
def test_an_address_of_several_lines_or_words_is_refused(
    shops: Shops, shop: RegisteredShop, name: str, text: str
) -> None:
    with pytest.raises(ConfigurationError, match=name):
        shops.change(shop.name, {name: text})
