"""Settings, stores, and the clients of Engage and of shops, on which all other services are built."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.exc import SQLAlchemyError

from plugin.platforms.http import allow_private_shops
from plugin.platforms.registry import PLATFORMS
from plugin.settings import Settings
from plugin.store.database.engine import Database
from plugin.store.inbox.admin import EventAdmin
from plugin.store.shops.shops import RegisteredShop
from plugin.store.shops.vault import Vault

if (
    TYPE_CHECKING
):  # the modules are imported in the functions: a command starts fast, and a worker loads nothing of the web
    from plugin.engage.cache.cached import CachedEngage
    from plugin.engage.client import EngageClient
    from plugin.engage.http.call_guard import CallGuards
    from plugin.engage.http.transport import EngageAccount, Transport
    from plugin.installation.manifest import Manifest
    from plugin.installation.service import ShopInstallationService
    from plugin.metrics import Metrics, ShopHealth
    from plugin.platforms.shop_api import ShopApi
    from plugin.platforms.shopify import Shopify
    from webhooks.attempt.runtime import Stores
    from webhooks.processing.notifier import WorkerNotifier

REDIS_TIMEOUT_S = 0.5
#: Platforms on which one app signs the webhooks of all of its shops, and the setting that holds its secret.
APP_SECRETS = {"shopify": "SHOPIFY_CLIENT_SECRET"}


@dataclass(frozen=True)
class CoreServices:
    """Settings, stores and outgoing clients of one process. Each is made at its first use."""

    settings: Settings
    redis_url: str
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self) -> None:
        """Apply the settings that platforms need: private addresses of shops, and the options of the Shopify app."""
        allow_private_shops(self.settings.allow_private_shops)
        PLATFORMS.configure("shopify", self._set_up_shopify)

    def _set_up_shopify(self, shopify: Shopify) -> None:
        from plugin.platforms.shopify import AppOptions

        shopify.options = AppOptions(self.settings.shopify_api_version, self.settings.shopify_webhooks == "shop")

    @cached_property
    def manifest(self) -> Manifest:
        """The checked manifest."""
        from plugin.installation.manifest import load_manifest

        return load_manifest(PLATFORMS)

    @cached_property
    def database(self) -> Database:
        """The database."""
        return Database(self.settings.database_url)

    @cached_property
    def vault(self) -> Vault:
        """Encryption at rest."""
        return Vault(self.settings.secret_key)

    @cached_property
    def redis(self) -> Redis:
        """Redis with short time-outs and no retries: the inbox works without it, so no request waits for it."""
        return Redis.from_url(
            self.redis_url,
            socket_timeout=REDIS_TIMEOUT_S,
            socket_connect_timeout=REDIS_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    @cached_property
    def stores(self) -> Stores:
        """The stores that processing needs."""
        from webhooks.attempt.runtime import Stores

        return Stores.on(self.database, self.vault)

    @cached_property
    def event_admin(self) -> EventAdmin:
        """What operators read and change in the inbox."""
        return EventAdmin(self.database)

    @cached_property
    def metrics(self) -> Metrics:
        """The metrics of this process."""
        from plugin.metrics import Metrics

        return Metrics(self.event_admin, self.open_breakers, self.shop_health)

    def open_breakers(self) -> dict[str, bool]:
        """Return for each shop whether the circuit breaker of its key is open."""
        shops = self.stores.shops.all()
        return {shop.name: self.call_guards.for_key(shop.engage_key).open_since() is not None for shop in shops}

    def shop_health(self) -> dict[str, ShopHealth]:
        """Return what the monitor and the last reconciliation found in each shop."""
        from plugin.metrics import ShopHealth
        from webhooks.sync.reconcile import DIFFERENCES

        health = {}
        for shop in self.stores.shops.all():
            watched, last = self.stores.shop_monitors.get(shop), self.stores.reconciliations.last(shop)
            differences = {} if last is None else {name: last[1].get(name, 0) for name in DIFFERENCES}
            health[shop.name] = ShopHealth(
                len(watched.problems),
                watched.error is not None,
                watched.checked_at,
                differences,
                shop.stopped_reason is not None,
            )
        return health

    @cached_property
    def call_guards(self) -> CallGuards:
        """Rate limiter and circuit breaker of every API key."""
        from plugin.engage.http.call_guard import CallGuards
        from plugin.engage.http.guard_rules import GuardRules

        rules = GuardRules(rate=self.settings.engage_rate, probe_s=self.settings.retry_base_s)
        return CallGuards(self.redis, rules, self.metrics.waited)

    @cached_property
    def transport(self) -> Transport:
        """HTTP to Engage."""
        from plugin.engage.data import schemas
        from plugin.engage.http.transport import Transport

        schemas.unknown_field_observer = self.metrics.unknown_field
        return Transport(self.call_guards, self.metrics.called)

    @cached_property
    def notifier(self) -> WorkerNotifier:
        """Wake-ups for workers."""
        from webhooks.processing.notifier import WorkerNotifier

        return WorkerNotifier(self.redis)

    def account_for(self, shop: RegisteredShop) -> EngageAccount:
        """Return a shop's access to its tenant."""
        from plugin.engage.http.transport import EngageAccount

        return EngageAccount(
            base_url=shop.engage_url,
            api_key=shop.engage_key,
            shop=shop.name,
            platform=shop.platform,
            source=shop.settings.source,
            store_external_id=shop.settings.store,
            voucher_field=shop.settings.voucher_field,
        )

    def client_for(self, shop: RegisteredShop) -> EngageClient:
        """Return the Engage client of a shop."""
        from plugin.engage.client import EngageClient

        def save_path(path: str) -> None:
            self.stores.shops.change(shop.name, {"transactions_path": path})

        return EngageClient(
            self.account_for(shop),
            self.transport,
            transactions_path=shop.settings.transactions_path,
            on_transactions_path=save_path,
        )

    def shop_api_for(self, shop: RegisteredShop) -> ShopApi | None:
        """Return the client of a shop's own API; None where its platform has none or nothing is installed yet."""

        def save(credentials: Mapping[str, Any]) -> None:
            self.stores.shops.save_credentials(shop.name, credentials)

        return PLATFORMS[shop.platform].api(shop, save)

    @property
    def app_secrets(self) -> Mapping[str, str]:
        """The secrets with which one app signs the webhooks of all of its shops, by platform."""
        secret = self.settings.shopify_client_secret
        return {"shopify": secret} if secret else {}

    @cached_property
    def installation_service(self) -> ShopInstallationService:
        """What the installation pages of platforms call."""
        from plugin.installation.service import ShopInstallationService
        from plugin.store.shops.installations import PendingInstallations

        return ShopInstallationService(
            public_url=self.settings.public_url,
            store=self.stores.shops,
            pending=PendingInstallations(self.database, self.vault),
            app_credentials={
                "SHOPIFY_CLIENT_ID": self.settings.shopify_client_id,
                "SHOPIFY_CLIENT_SECRET": self.settings.shopify_client_secret,
            },
            clock=self.clock,
            manifest=self.manifest.content,
        )

    def breaker_open_duration(self, shop: RegisteredShop) -> timedelta:
        """Return for how long in total the circuit breaker of a shop's key was open."""
        return self.call_guards.for_key(shop.engage_key).breaker_open_duration()

    @cached_property
    def stopping(self) -> threading.Event:
        """An event that is set when this process is to stop."""
        return threading.Event()

    @cached_property
    def cached(self) -> CachedEngage:
        """The cached reads of My Pages: in the Redis that machines share if REDIS_URL is set, else in a file."""
        from plugin.engage.cache.cached import CachedEngage
        from plugin.engage.cache.response_cache import ResponseCache
        from plugin.engage.cache.single_flight import SingleFlight
        from plugin.engage.http.http_errors import Answer

        key = self.vault.derive("my pages cache")
        if self.settings.redis_url is not None:
            cache = ResponseCache.in_redis(self.redis, key)
        else:
            cache = ResponseCache.in_file(self.settings.state_dir / "my-pages-cache.sqlite", key)
        flights: SingleFlight[Answer] = SingleFlight(self.redis)
        return CachedEngage(self.call_guards, cache, flights, self.metrics.called, self.metrics.read_through_cache)

    def purge_cache(self, shop: RegisteredShop, contact_id: str) -> bool:
        """Delete the cached answers about a contact; return False when the cache cannot be reached."""
        return self.cached.forget_contact(shop.name, shop.tenant, contact_id)


def is_available(check: Callable[[], object]) -> bool:
    """Return whether a check of the database or of Redis succeeds."""
    try:
        check()
    except (SQLAlchemyError, RedisError, OSError):
        return False
    return True
