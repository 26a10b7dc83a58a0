"""Installations: states work once, for an hour, for one platform; what they bring is sealed."""

import pytest
from sqlalchemy import select
from support.helpers import Clock

from plugin.installation.service import ShopInstallationService
from plugin.store.database.engine import Database
from plugin.store.shops.installations import PendingInstallations
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import RegisteredShop
from plugin.store.shops.vault import Vault
from plugin.store.tables.shops import PendingInstallation, Shop


@pytest.fixture
def installation(database: Database, vault: Vault, shops: Shops, clock: Clock) -> ShopInstallationService:
    return ShopInstallationService(
        "https://plugin.example", shops, PendingInstallations(database, vault), {"SHOPIFY_CLIENT_ID": "x"}, clock
    )


def test_a_state_works_once(installation: ShopInstallationService, shop: RegisteredShop) -> None:
    state = installation.begin(shop.name, {"return_to": "/"})
    found = installation.finish("standard", state)
    assert found is not None
    assert (found[0].name, found[1]) == (shop.name, {"return_to": "/"})
    assert installation.finish("standard", state) is None
    assert installation.finish("standard", "somebody's guess") is None


def test_a_state_of_another_platform_is_consumed_and_refused(
    installation: ShopInstallationService, shop: RegisteredShop
) -> None:
    state = installation.begin(shop.name, {})
    assert installation.finish("shopify", state) is None
    assert installation.finish("standard", state) is None


def test_a_state_expires_after_an_hour_and_is_deleted(
    installation: ShopInstallationService, shop: RegisteredShop, clock: Clock, database: Database
) -> None:
    state = installation.begin(shop.name, {})
    clock.forward(3601)
    assert installation.finish("standard", state) is None
    installation.begin(shop.name, {})
    with database.reading() as session:
        assert len(session.scalars(select(PendingInstallation)).all()) == 1


def test_neither_state_nor_data_nor_credentials_can_be_read_in_the_database(
    installation: ShopInstallationService, shop: RegisteredShop, database: Database
) -> None:
    state = installation.begin(shop.name, {"verifier": "a secret word"})
    installation.save_credentials(shop.name, {"access_token": "shpat_secret"}, webhook_secret="whsec_" + "B" * 44)
    with database.reading() as session:
        row, stored = session.scalars(select(PendingInstallation)).one(), session.scalars(select(Shop)).one()
        kept = f"{row.state_hash} {row.data_encrypted!r} {stored.credentials_encrypted!r} {stored.settings}"
    assert state not in kept
    assert "a secret word" not in kept
    assert "shpat_secret" not in kept


def test_an_installation_stores_its_credentials_and_restarts_deliveries(
    installation: ShopInstallationService, shop: RegisteredShop, shops: Shops
) -> None:
    shops.stop(shop.id, "The shop removed the plugin.")
    installation.save_credentials(shop.name, {"access_token": "shpat_one"}, webhook_secret="whsec_" + "B" * 44)
    now = shops.get(shop.name)
    assert now.credentials == {"access_token": "shpat_one"}
    assert now.stopped_reason is None
    assert now.webhook_secrets == ("whsec_" + "B" * 44, *shop.webhook_secrets)
    assert "shpat_one" not in repr(now)


@pytest.mark.parametrize("state", ["\ud800", "\x00", ""])
def test_a_malformed_state_is_not_found(installation: ShopInstallationService, state: str) -> None:
    assert installation.finish("woocommerce", state) is None
