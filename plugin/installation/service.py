"""The plugin's side of every platform's installation pages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from plugin.platforms.base import ShopCredentials
from plugin.store.shops.installations import PendingInstallations
from plugin.store.shops.registry import Shops


@dataclass(frozen=True, slots=True)
class ShopInstallationService:
    """What `plugin.platforms.base.InstallationService` asks for, on the store.

    app_credentials: the credentials of the environment that one app has for all of its shops, by their names.
    manifest: the content of manifest.json, which install documents are rendered from.
    """

    public_url: str
    store: Shops
    pending: PendingInstallations
    app_credentials: Mapping[str, str | None]
    clock: Callable[[], datetime]
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def now(self) -> datetime:
        """Return the present time, aware UTC."""
        return self.clock()

    def shops(self, platform: str) -> tuple[ShopCredentials, ...]:
        """Return the registered shops of a platform; only these can be installed."""
        return self.store.of_platform(platform)

    def app_credential(self, name: str) -> str | None:
        """Return an app-wide credential of the environment, or None."""
        return self.app_credentials.get(name)

    def begin(self, shop: str, data: Mapping[str, str]) -> str:
        """Start an installation and return its one-time state. Raises NotFoundHereError."""
        return self.pending.begin(self.store.get(shop), data, self.clock())

    def finish(self, platform: str, state: str) -> tuple[ShopCredentials, Mapping[str, str]] | None:
        """Consume a state; None when it is unknown, used, expired or another platform's."""
        found = self.pending.finish(state, self.clock())
        if found is None:
            return None
        shop = self.store.by_id(found[0])
        return (shop, found[1]) if shop.platform == platform else None

    def save_credentials(
        self, shop: str, credentials: Mapping[str, Any], *, webhook_secret: str | None = None
    ) -> ShopCredentials:
        """Store an installation's credentials, and resume a stopped shop's deliveries. Raises NotFoundHereError."""
        stored = self.store.save_credentials(shop, credentials)
        if webhook_secret is not None and webhook_secret not in stored.webhook_secrets[:1]:
            stored = self.store.replace_secrets(shop, webhook_secret=webhook_secret)
        if stored.stopped_reason is not None:
            self.store.start(stored.id)
        return stored
