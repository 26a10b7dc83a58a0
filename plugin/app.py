"""The composition root: everything is put together here, from settings, and nowhere else."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import random
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
from plugin.settings import Settings
from plugin.store.db import Database
from plugin.store.inbox_desk import InboxDesk
from plugin.store.shops import RegisteredShop
from plugin.store.sweep import Sweep
from plugin.store.vault import Vault

if TYPE_CHECKING:  # imported where it is made: a command starts fast, and a worker holds nothing of the web in memory
    from pathlib import Path

    from flask import Flask, Response
    from rq import SimpleWorker

    from plugin.api.asking import Gatekeeper
    from plugin.engage.cached import CachedEngage
    from plugin.engage.client import EngageClient
    from plugin.engage.gate import Gates
    from plugin.engage.transport import EngageAccount, Transport
    from plugin.fallback.transfer import Transfer as FileTransfer
    from plugin.installation import Desk
    from plugin.manifest import Manifest
    from plugin.metrics import Metrics, ShopHealth
    from plugin.platforms.base import ShopApi
    from plugin.promotions.assigning import Assigning
    from plugin.promotions.checkout import Checkout
    from plugin.promotions.desk import PromotionDesk
    from plugin.store.api_tokens import ApiTokens
    from plugin.store.history import History
    from plugin.store.tokens import UsedTokens
    from webhooks import jobs
    from webhooks.backfill import Backfill
    from webhooks.backlog import Backlog
    from webhooks.context import Stores
    from webhooks.delivery import Courier
    from webhooks.fallback import Fallback, Outage
    from webhooks.found import Intake
    from webhooks.preview import Preview
    from webhooks.reconcile import Reconciler
    from webhooks.watch import Watchdog

REDIS_TIMEOUT_S = 0.5
WORKER_REDIS_TIMEOUT_S = 60.0
#: An idle worker looks at its registries between waits of this less 15 seconds (library trap 3.1.1).
WORKER_TTL_S = 35


@dataclass(frozen=True)
class Services:
    """All parts of one process, made when they are first asked for."""

    settings: Settings
    redis_url: str
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self) -> None:
        """Tell the way to shops and the app-wide platform what this installation wants."""
        allow_private_shops(self.settings.allow_private_shops)
        from plugin.platforms.shopify import SHOPIFY, AppOptions

        SHOPIFY.options = AppOptions(self.settings.shopify_api_version, self.settings.shopify_webhooks == "shop")

    @cached_property
    def manifest(self) -> Manifest:
        """The checked manifest."""
        from plugin.manifest import load_manifest
        from plugin.platforms.registry import PLATFORMS

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
        """Redis with short time-outs and no retries of its own: nobody waits for it (library trap 3.1.12)."""
        return Redis.from_url(
            self.redis_url,
            socket_timeout=REDIS_TIMEOUT_S,
            socket_connect_timeout=REDIS_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    @cached_property
    def stores(self) -> Stores:
        """The stores that processing needs."""
        from webhooks.context import Stores

        return Stores.on(self.database, self.vault)

    @cached_property
    def desk(self) -> InboxDesk:
        """The operator's view of the inbox."""
        return InboxDesk(self.database)

    @cached_property
    def sweep(self) -> Sweep:
        """The sweep."""
        from plugin.engage.retry import CAP

        return Sweep(
            self.database,
            longest_lease=timedelta(seconds=self.settings.lease_s),
            longest_wait=timedelta(seconds=CAP * self.settings.retry_base_s),
        )

    @cached_property
    def metrics(self) -> Metrics:
        """The figures of this process."""
        from plugin.metrics import Metrics

        return Metrics(self.desk, self.open_breakers, self.shop_health)

    def open_breakers(self) -> dict[str, bool]:
        """Tell of each shop whether the breaker of its key is open."""
        shops = self.stores.shops.all()
        return {shop.name: self.gates.of(shop.engage_key).open_since() is not None for shop in shops}

    def shop_health(self) -> dict[str, ShopHealth]:
        """Tell of each shop what the watchdog and the last reconciliation found."""
        from plugin.metrics import ShopHealth
        from webhooks.reconcile import DIFFERENCES

        health = {}
        for shop in self.stores.shops.all():
            watched, last = self.history.watched(shop), self.history.last_reconciliation(shop)
            differences = {} if last is None else {name: last[1].get(name, 0) for name in DIFFERENCES}
            health[shop.name] = ShopHealth(
                len(watched.problems), watched.error is not None, watched.checked_at, differences
            )
        return health

    @cached_property
    def gates(self) -> Gates:
        """Rate budget and breaker of every API key."""
        from plugin.engage.gate import GateRules, Gates

        rules = GateRules(rate=self.settings.engage_rate, probe_s=self.settings.retry_base_s)
        return Gates(self.redis, rules, self.metrics.waited)

    @cached_property
    def transport(self) -> Transport:
        """HTTP to Engage."""
        from plugin.engage import schemas
        from plugin.engage.transport import Transport

        schemas.unknown_field_observer = self.metrics.unknown_field
        return Transport(self.gates, self.metrics.called)

    @cached_property
    def wake_ups(self) -> jobs.WakeUps:
        """Wake-ups for workers."""
        from webhooks import jobs

        return jobs.WakeUps(self.redis)

    def account_of(self, shop: RegisteredShop) -> EngageAccount:
        """Return a shop's access to its tenant."""
        from plugin.engage.transport import EngageAccount

        return EngageAccount(
            base_url=shop.engage_url,
            api_key=shop.engage_key,
            shop=shop.name,
            platform=shop.platform,
            source=shop.settings.source,
            store_external_id=shop.settings.store,
            voucher_field=shop.settings.voucher_field,
        )

    def client_of(self, shop: RegisteredShop) -> EngageClient:
        """Return the Engage client of a shop."""
        from plugin.engage.client import EngageClient

        def remember_path(path: str) -> None:
            self.stores.shops.change(shop.name, {"transactions_path": path})

        return EngageClient(
            self.account_of(shop),
            self.transport,
            transactions_path=shop.settings.transactions_path,
            on_transactions_path=remember_path,
        )

    def shop_api_of(self, shop: RegisteredShop) -> ShopApi | None:
        """Return the calls to a shop itself; None where its platform has none or nothing is installed yet."""
        from plugin.platforms.registry import PLATFORMS

        def keep(credentials: Mapping[str, Any]) -> None:
            self.stores.shops.keep_credentials(shop.name, credentials)

        return PLATFORMS[shop.platform].api(shop, keep)

    @property
    def app_secrets(self) -> Mapping[str, str]:
        """The secrets with which one app signs the webhooks of all of its shops, by platform."""
        secret = self.settings.shopify_client_secret
        return {"shopify": secret} if secret else {}

    @cached_property
    def install_desk(self) -> Desk:
        """The plugin's side of installation pages."""
        from plugin.installation import Desk
        from plugin.store.installations import PendingInstallations

        return Desk(
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

    def open_time(self, shop: RegisteredShop) -> timedelta:
        """Return how long the breaker of a shop's key was open in all."""
        return self.gates.of(shop.engage_key).open_time()

    @cached_property
    def courier(self) -> Courier:
        """Takes events to Engage."""
        from webhooks.delivery import Courier

        return Courier(
            stores=self.stores,
            client_of=self.client_of,
            open_time=self.open_time,
            retry_base_s=self.settings.retry_base_s,
            lease=timedelta(seconds=self.settings.lease_s),
            clock=self.clock,
            spread=random.random,
            count=self.metrics.tried,
            forget_kept=self.forget_kept,
        )

    @cached_property
    def backlog(self) -> Backlog:
        """Drains waiting profile changes through the bulk API."""
        from plugin.store.bulk_inbox import BulkInbox
        from webhooks.backlog import Backlog

        return Backlog(
            stores=self.stores,
            inbox=BulkInbox(self.database),
            client_of=self.client_of,
            retry_base_s=self.settings.retry_base_s,
            lease=timedelta(seconds=self.settings.lease_s),
            clock=self.clock,
            digest=self.vault.digest_of,
            pause=self.stopping.wait,
        )

    def outage_of(self, shop: RegisteredShop) -> Outage:
        """Tell how Engage stands with a shop's key."""
        from webhooks.fallback import Outage, Standing

        if not _works(self.redis.ping):
            return Outage(Standing.UNKNOWN)
        since = self.gates.of(shop.engage_key).open_since()
        return Outage(Standing.ANSWERS) if since is None else Outage(Standing.AWAY, since)

    def probe(self, shop: RegisteredShop) -> None:
        """Ask Engage something small when a probe is due, so that the breaker closes though nothing else asks."""
        from plugin.engage.operations import Lane
        from plugin.errors import EngageError

        with contextlib.suppress(EngageError):  # what came of it stands in the breaker
            self.client_of(shop).with_options(lane=Lane.BACKFILL).list_stores()

    def file_folder_of(self, shop: RegisteredShop) -> Path:
        """Return the folder of a shop's files on this machine."""
        return self.settings.state_dir / "fallback" / shop.name

    def transfer_of(self, shop: RegisteredShop) -> FileTransfer:
        """Return the way that a shop's files leave this machine."""
        settings = shop.settings
        if settings.fallback_transfer == "folder":
            from pathlib import Path

            from plugin.fallback.folder import FolderTransfer

            outbox = self.file_folder_of(shop) / "outbox"
            return FolderTransfer(Path(settings.fallback_folder) if settings.fallback_folder else outbox)
        from plugin.fallback.sftp import SftpAccess, SftpTransfer

        access = SftpAccess(
            host=settings.fallback_host,
            port=settings.fallback_port,
            user=settings.fallback_user,
            host_key=settings.fallback_host_key,
            base=settings.fallback_base,
            password=shop.file_access.get("password", ""),
            key=shop.file_access.get("key", ""),
        )
        return SftpTransfer(access)

    @cached_property
    def fallback(self) -> Fallback:
        """Takes receipts to Engage as files while its API stays away."""
        from plugin.store.fallback_files import FallbackFiles
        from webhooks.fallback import Fallback

        return Fallback(
            stores=self.stores,
            files=FallbackFiles(self.database),
            transfer_of=self.transfer_of,
            folder_of=self.file_folder_of,
            outage_of=self.outage_of,
            probe=self.probe,
            fallback_after=timedelta(seconds=self.settings.fallback_after_s),
            retry_base_s=self.settings.retry_base_s,
            lease=timedelta(seconds=self.settings.lease_s),
            clock=self.clock,
            digest=self.vault.digest_of,
        )

    @cached_property
    def history(self) -> History:
        """What is kept of the watchdog, of runs of the history, and of reconciliations."""
        from plugin.store.history import History

        return History(self.database)

    @cached_property
    def intake(self) -> Intake:
        """Puts what was read from a shop into the inbox."""
        from webhooks.found import Intake

        return Intake(self.stores, self.wake_ups.wake)

    @cached_property
    def watchdog(self) -> Watchdog:
        """Looks after the shops' webhook subscriptions and fetches what they missed."""
        from webhooks.watch import Watchdog

        return Watchdog(
            stores=self.stores,
            history=self.history,
            intake=self.intake,
            api_of=self.shop_api_of,
            webhook_url=lambda shop: f"{self.settings.public_url}/webhooks/{shop.platform}/{shop.name}",
            clock=self.clock,
        )

    @cached_property
    def backfill(self) -> Backfill:
        """Takes a shop's history to Engage."""
        from plugin.store.bulk_inbox import BulkInbox
        from webhooks.backfill import Backfill
        from webhooks.backfill_customers import CustomersInBulk

        return Backfill(
            stores=self.stores,
            history=self.history,
            intake=self.intake,
            customers=CustomersInBulk(
                bulk=BulkInbox(self.database),
                client_of=self.client_of,
                clock=self.clock,
                digest=self.vault.digest_of,
                pause=self.stopping.wait,
            ),
            api_of=self.shop_api_of,
            clock=self.clock,
            pause=self.stopping.wait,
        )

    @cached_property
    def reconciler(self) -> Reconciler:
        """Compares shop, inbox and Engage."""
        from webhooks.reconcile import Reconciler

        return Reconciler(
            stores=self.stores,
            history=self.history,
            intake=self.intake,
            api_of=self.shop_api_of,
            client_of=self.client_of,
            clock=self.clock,
        )

    @cached_property
    def preview(self) -> Preview:
        """Shows what would be sent, and sends nothing."""
        from webhooks.preview import Preview

        return Preview(self.database, self.vault, self.account_of, self.transport, self.settings.lease_s, self.clock)

    @cached_property
    def stopping(self) -> threading.Event:
        """Set when this process is to stop."""
        return threading.Event()

    @cached_property
    def drain(self) -> jobs.Drain:
        """Works the inbox off, in a worker."""
        from webhooks import jobs

        return jobs.Drain(self.courier, self.wake_ups, self.settings.delivery_threads, self.backlog.run, self.stopping)

    def worker(self) -> SimpleWorker:
        """Return a worker that runs this process's jobs without a fork, so that connections to Engage stay open."""
        from rq import SimpleWorker
        from rq.serializers import JSONSerializer

        from webhooks import jobs

        jobs.configure(self.drain)
        # keep-alive finds a dead TCP connection; a unix socket does not know the option
        options = {} if self.redis_url.startswith("unix:") else {"socket_keepalive": True}
        redis = Redis.from_url(self.redis_url, socket_timeout=WORKER_REDIS_TIMEOUT_S, **options)
        return SimpleWorker(
            [jobs.QUEUE], connection=redis, serializer=JSONSerializer, worker_ttl=WORKER_TTL_S, maintenance_interval=60
        )

    @cached_property
    def cached(self) -> CachedEngage:
        """Reads for My Pages, cached: in the Redis that machines share where there is one, else in a file."""
        from plugin.engage.answers import Answer
        from plugin.engage.cached import CachedEngage, CachedTransport
        from plugin.engage.flights import Flights
        from plugin.engage.kept import KeptAnswers

        key = self.vault.derive("my pages cache")
        if self.settings.redis_url is not None:
            kept = KeptAnswers.in_redis(self.redis, key)
        else:
            kept = KeptAnswers.in_file(self.settings.state_dir / "my-pages-cache.sqlite", key)
        flights: Flights[Answer] = Flights(self.redis)
        return CachedEngage(
            CachedTransport(self.gates, kept, flights, self.metrics.called, self.metrics.read_through_cache)
        )

    def forget_kept(self, shop: RegisteredShop, contact_id: str) -> bool:
        """Delete what My Pages keep of a contact; False when the cache cannot be reached now."""
        return self.cached.transport.forget_contact(shop.name, shop.tenant, contact_id)

    @cached_property
    def used_tokens(self) -> UsedTokens:
        """Hand-over tokens that were used."""
        from plugin.store.tokens import UsedTokens

        return UsedTokens(self.database)

    @cached_property
    def api_tokens(self) -> ApiTokens:
        """Tokens of shops' own servers."""
        from plugin.store.api_tokens import ApiTokens

        return ApiTokens(self.database, self.vault)

    @cached_property
    def gatekeeper(self) -> Gatekeeper:
        """Who asks /api."""
        from plugin.api.asking import Gatekeeper
        from plugin.platforms.registry import PLATFORMS

        return Gatekeeper(self.stores.shops, PLATFORMS.__getitem__, self.api_tokens, self.used_tokens, self.clock)

    @cached_property
    def promotion_desk(self) -> PromotionDesk:
        """Creates and finds promotions."""
        from plugin.promotions.desk import PromotionDesk
        from plugin.store.promotions import Promotions

        return PromotionDesk(Promotions(self.database), self.client_of, self.clock)

    @cached_property
    def assigning(self) -> Assigning:
        """Assigns promotions to people."""
        from plugin.promotions.assigning import Assigning
        from plugin.store.promotions import Promotions

        return Assigning(
            Promotions(self.database),
            self.stores.contacts,
            self.client_of,
            self.vault.digest_of,
            self.clock,
            self.stopping.wait,
        )

    @cached_property
    def checkout(self) -> Checkout:
        """Answers shops' checkouts."""
        from plugin.promotions.checkout import Checkout

        return Checkout(self.stores.contacts, self.stores.redemptions, self.cached, self.client_of, self.clock)

    def close(self) -> None:
        """Close what was opened."""
        # the cache too: a SQLite file that is open before a fork is no longer safe after it
        for name in ("transport", "database", "cached", "redis"):
            if name in self.__dict__:
                self.__dict__[name].close()


def create_app(services: Services) -> Flask:
    """Return the web application. Raises ConfigurationError when the manifest is faulty."""
    from flask import Flask

    from mypages.pages import MyPages
    from mypages.pages import blueprint as mypages_blueprint
    from plugin.api import checkout as checkout_api
    from plugin.api import promotions as promotions_api
    from plugin.platforms.registry import PLATFORMS
    from plugin.store.edits import Edits
    from plugin.store.shoppers import Shoppers
    from webhooks.receive import Door
    from webhooks.receive import blueprint as webhooks_blueprint

    settings = services.settings
    app = Flask("plugin")
    # a little above the webhooks' own limit, which answers with a better message
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes + 1024
    app.register_blueprint(
        webhooks_blueprint(
            Door(
                shops=services.stores.shops,
                inbox=services.stores.inbox,
                store=services.stores.inbox.receiving(),
                vault=services.vault,
                wake=services.wake_ups.wake,
                max_body_bytes=settings.max_body_bytes,
                count=services.metrics.received,
                clock=services.clock,
                app_secrets=services.app_secrets,
            )
        )
    )
    app.register_blueprint(
        mypages_blueprint(
            MyPages(
                shops=services.stores.shops,
                contacts=services.stores.contacts,
                shoppers=Shoppers(services.database),
                orders=services.stores.orders,
                edits=Edits(services.database),
                used_tokens=services.used_tokens,
                cached=services.cached,
                client_of=services.client_of,
                vault=services.vault,
                secure=settings.secure,
                clock=services.clock,
                wake=services.wake_ups.wake,
                public_url=settings.public_url,
            )
        )
    )
    app.register_blueprint(checkout_api.blueprint(services.checkout, services.gatekeeper, services.stores.shops))
    app.register_blueprint(promotions_api.blueprint(services.promotion_desk, services.assigning, services.gatekeeper))
    for platform in PLATFORMS.values():
        routes = platform.install_routes(services.install_desk)
        if routes is not None:
            app.register_blueprint(routes)
    _add_plain_routes(app, services)
    return app


def _add_plain_routes(app: Flask, services: Services) -> None:
    from flask import Response, jsonify
    from werkzeug.exceptions import HTTPException

    from plugin.platforms.standard.normalise import schema as standard_schema

    manifest = services.manifest.absolute(services.settings.public_url)

    @app.get("/")
    def index() -> Response:
        return Response(
            f"{manifest['name']} {manifest['version']}\nThis address serves a shop's webhooks and My Pages.\n",
            mimetype="text/plain",
        )

    @app.get("/manifest.json")
    def manifest_json() -> Response:
        return jsonify(manifest)

    @app.get("/schemas/standard.json")
    def standard_json() -> Response:
        answer = jsonify(standard_schema())
        answer.mimetype = "application/schema+json"
        return answer

    @app.get("/healthz")
    def healthz() -> Response:
        return jsonify({"status": "ok"})

    @app.get("/readyz")
    def readyz() -> tuple[Response, int]:
        checks = {"database": _works(services.database.check), "redis": _works(services.redis.ping)}
        return jsonify(checks), 200 if all(checks.values()) else 503

    @app.get("/metrics")
    def metrics() -> tuple[Response, int]:
        if not _may_read_metrics(services.settings.metrics_token):
            return jsonify({"message": "Ask from this machine, or with the bearer METRICS_TOKEN."}), 401
        return Response(services.metrics.render(), mimetype="text/plain; version=0.0.4"), 200

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> tuple[Response, int]:
        return jsonify({"message": error.description or error.name}), error.code or 500


def _works(check: Callable[[], object]) -> bool:
    try:
        check()
    except (SQLAlchemyError, RedisError, OSError):
        return False
    return True


def _may_read_metrics(token: str | None) -> bool:
    from flask import request

    given = request.headers.get("Authorization", "").encode()
    if token is not None and hmac.compare_digest(given, f"Bearer {token}".encode()):
        return True
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False  # a proxy on this machine speaks for somebody else
    try:
        return ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False
