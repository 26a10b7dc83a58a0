"""A registered shop: who it is, how to verify its webhooks and where its data goes. The register is in `registry`."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from plugin.errors import ConfigurationError
from plugin.store.shops.secrets import open_json
from plugin.store.shops.settings import ShopSettings, parse_settings
from plugin.store.shops.vault import Vault
from plugin.store.tables.shops import Shop


@dataclass(frozen=True, slots=True)
class RegisteredShop:
    """A shop with its secrets opened, for the duration of one piece of work.

    credentials: the platform's own keys and tokens, as its installation stored them. file_access: password or key of
    the SFTP user. tenant: identifies the Engage tenant without naming it; links made in one tenant are not used in another.
    stopped_reason: why deliveries are stopped, None while they run. created_at: when it was registered here, aware UTC.
    """

    id: int
    name: str
    platform: str
    shop_domain: str | None
    engage_url: str
    tenant: str
    settings: ShopSettings
    stopped_reason: str | None
    created_at: datetime
    stored_settings: Mapping[str, str]
    engage_key: str = field(repr=False)
    webhook_secrets: tuple[str, ...] = field(repr=False)
    shopper_secret: str = field(repr=False)
    credentials: Mapping[str, Any] = field(default_factory=dict, repr=False)
    file_access: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class NewShop:
    """A shop to be registered."""

    name: str
    platform: str
    engage_url: str
    engage_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    settings: Mapping[str, str]
    shop_domain: str | None = None


def open_shop(vault: Vault, row: Shop) -> RegisteredShop:
    """Open the secrets of a stored shop. Raises ConfigurationError that names the shop."""
    try:
        return RegisteredShop(
            id=row.id,
            name=row.name,
            platform=row.platform,
            shop_domain=row.shop_domain,
            engage_url=row.engage_url,
            tenant=hashlib.sha256(row.engage_url.encode()).hexdigest()[:16],
            settings=parse_settings(row.settings),
            stopped_reason=row.stopped_reason,
            created_at=row.created_at,
            stored_settings=row.settings,
            engage_key=vault.open(row.engage_key_encrypted),
            webhook_secrets=tuple(json.loads(vault.open(row.webhook_secrets_encrypted))),
            shopper_secret=vault.open(row.shopper_secret_encrypted),
            credentials=open_json(vault, row.credentials_encrypted),
            file_access=open_json(vault, row.file_access_encrypted),
        )
    except ConfigurationError as error:
        raise ConfigurationError([f"shop {row.name}: {fault}" for fault in error.faults]) from error
