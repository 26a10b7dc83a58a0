"""Installations: states work once, for an hour, for one platform; what they bring is sealed."""

import pytest
from sqlalchemy import select
from support.helpers import Clock

from plugin.installation.service import InstallationService
from plugin.store.database.engine import Database
from plugin.store.shops.installations import PendingInstallations
from plugin.store.shops.shops import RegisteredShop, Shops
from plugin.store.shops.vault import Vault
from plugin.store.tables.shops import PendingInstallation, Shop


@pytest.fixture
def desk(database: Database, vault: Vault, shops: Shops, clock: Clock) -> InstallationService:
    return InstallationService(
        "https://plugin.example", shops, PendingInstallations(database, vault), {"SHOPIFY_CLIENT_ID": "x"}, clock
    )


def test_a_state_works_once(desk: InstallationService, shop: RegisteredShop) -> None:
    state = desk.begin(shop.name, {"return_to": "/"})
    found = desk.finish("standard", state)
    assert found is not None
    assert (found[0].name, found[1]) == (shop.name, {"return_to": "/"})
    assert desk.finish("standard", state) is None
    assert desk.finish("standard", "somebody's guess") is None


def test_a_state_of_another_platform_is_used_up_and_refused(desk: InstallationService, shop: RegisteredShop) -> None:
    state = desk.begin(shop.name, {})
    assert desk.finish("shopify", state) is None
    assert desk.finish("standard", state) is None


def test_a_state_ends_after_an_hour_and_is_forgotten(
    desk: InstallationService, shop: RegisteredShop, clock: Clock, database: Database
) -> None:
    state = desk.begin(shop.name, {})
    clock.forward(3601)
    assert desk.finish("standard", state) is None
    desk.begin(shop.name, {})
    with database.reading() as session:
        assert len(session.scalars(select(PendingInstallation)).all()) == 1


def test_neither_state_nor_data_nor_credentials_can_be_read_in_the_database(
    desk: InstallationService, shop: RegisteredShop, database: Database
) -> None:
    state = desk.begin(shop.name, {"verifier": "a secret word"})
    desk.keep(shop.name, {"access_token": "shpat_secret"}, webhook_secret="whsec_" + "B" * 44)
    with database.reading() as session:
        row, stored = session.scalars(select(PendingInstallation)).one(), session.scalars(select(Shop)).one()
        kept = f"{row.state_hash} {row.data_encrypted!r} {stored.credentials_encrypted!r} {stored.settings}"
    assert state not in kept
    assert "a secret word" not in kept
    assert "shpat_secret" not in kept


def test_what_an_installation_brought_is_there_and_deliveries_go_on(
    desk: InstallationService, shop: RegisteredShop, shops: Shops
) -> None:
    shops.stop(shop.id, "The shop removed the plugin.")
    desk.keep(shop.name, {"access_token": "shpat_one"}, webhook_secret="whsec_" + "B" * 44)
    now = shops.get(shop.name)
    assert now.credentials == {"access_token": "shpat_one"}
    assert now.stopped_reason is None
    assert now.webhook_secrets == ("whsec_" + "B" * 44, *shop.webhook_secrets)
    assert "shpat_one" not in repr(now)


@pytest.mark.parametrize("state", ["\ud800", "\x00", ""])
def test_a_state_that_cannot_be_one_is_none(desk: InstallationService, state: str) -> None:
    assert desk.finish("woocommerce", state) is None
