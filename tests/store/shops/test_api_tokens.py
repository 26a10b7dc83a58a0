"""Tokens of a shop's own server: shown once, revocable, of one shop."""

import pytest
from support.helpers import Clock

from plugin.errors import NotFoundHereError
from plugin.store.database.engine import Database
from plugin.store.shops.api_tokens import ApiTokens
from plugin.store.shops.shops import RegisteredShop
from plugin.store.shops.vault import Vault


def test_a_token_belongs_to_its_shop_until_it_is_revoked(
    database: Database, vault: Vault, shop: RegisteredShop, clock: Clock
) -> None:
    tokens = ApiTokens(database, vault)
    first, second = tokens.create(shop, clock()), tokens.create(shop, clock())
    assert (tokens.shop_of(first), tokens.shop_of(second)) == ("web-se", "web-se")
    for wrong in ("", "ept", first[:-1], f"{first}x", first.replace("web-se", "other"), first.replace("ept", "apt")):
        assert tokens.shop_of(wrong) is None
    rows = tokens.all_of(shop)
    tokens.revoke(shop, rows[0].id, clock())
    assert (tokens.shop_of(first), tokens.shop_of(second)) == (None, "web-se")
    with pytest.raises(NotFoundHereError):
        tokens.revoke(shop, rows[0].id, clock())
