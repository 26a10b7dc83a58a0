"""A Shopify shop to call, and the installation service."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.helpers import Clock
from support.shopify_shop import CLIENT_ID, CLIENT_SECRET, DOMAIN, ShopifyShop, running_shop

from plugin.installation.manifest import load_manifest
from plugin.installation.service import ShopInstallationService
from plugin.platforms.http import allow_private_shops
from plugin.platforms.registry import PLATFORMS
from plugin.platforms.shopify import admin
from plugin.store.database.engine import Database
from plugin.store.shops.installations import PendingInstallations
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import NewShop, RegisteredShop
from plugin.store.shops.vault import Vault


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy: what these tests prove does not depend on the kind of database."""
    path = tmp_path_factory.mktemp("platforms") / "migrated.sqlite"
    made = Database(f"sqlite:///{path}")
    made.migrate()
    made.close()
    return path


@pytest.fixture
def database(migrated: Path, tmp_path: Path) -> Iterator[Database]:
    path = shutil.copy(migrated, tmp_path / "plugin.sqlite")
    made = Database(f"sqlite:///{path}")
    yield made
    made.close()


@pytest.fixture
def shopify_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ShopifyShop]:
    """The stand-in, reached where kiosk.myshopify.com would be."""
    with running_shop() as shop:
        monkeypatch.setattr(admin, "origin", lambda domain: shop.url if domain == DOMAIN else f"https://{domain}")
        allow_private_shops(True)
        yield shop
        allow_private_shops(False)


@pytest.fixture
def kiosk(shops: Shops, clock: Clock) -> RegisteredShop:
    new = NewShop("kiosk", "shopify", "http://127.0.0.1:9", "a-key", CLIENT_SECRET, {"store": "web-se"}, DOMAIN)
    return shops.add(new, clock())


@pytest.fixture
def installation(database: Database, vault: Vault, shops: Shops, clock: Clock) -> ShopInstallationService:
    return ShopInstallationService(
        "https://plugin.example",
        shops,
        PendingInstallations(database, vault),
        {"SHOPIFY_CLIENT_ID": CLIENT_ID, "SHOPIFY_CLIENT_SECRET": CLIENT_SECRET},
        clock,
        load_manifest(PLATFORMS).content,
    )
