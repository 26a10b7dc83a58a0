"""Delivery to Engage (processor, bulk sync, fallback files), the shop's history, and the search for missing events."""

from __future__ import annotations

import contextlib
import random
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from redis import Redis

from plugin.services.core import CoreServices, is_available
from plugin.store.inbox.sweep import Sweep
from plugin.store.shops.shops import RegisteredShop

if (
    TYPE_CHECKING
):  # the modules are imported in the functions: a command starts fast, and a worker loads nothing of the web
    from pathlib import Path

    from rq import SimpleWorker

    from plugin.engage_files.transfer import Transfer as FileTransfer
    from webhooks.attempt.runtime import DeliveryRuntime
    from webhooks.bulk.profile_changes import BulkProfileSync
    from webhooks.fallback.runner import EngageStatus, FallbackRunner
    from webhooks.processing.preview import Preview
    from webhooks.processing.processor import EventProcessor
    from webhooks.processing.worker import InboxWorker
    from webhooks.sync.backfill import Backfill
    from webhooks.sync.ingest import ResourceIngestor
    from webhooks.sync.monitor import SubscriptionMonitor
    from webhooks.sync.reconcile import Reconciler

WORKER_REDIS_TIMEOUT_S = 60.0
#: RQ lets an idle worker wait for this less 15 seconds before it cleans its registries again.
WORKER_TTL_S = 35


class WorkerServices(CoreServices):
    """What workers, the sweep and commands use."""

    @cached_property
    def sweep(self) -> Sweep:
        """Releases lost leases, finds due events and deletes what has expired."""
        from plugin.retry import longest_wait

        return Sweep(
            self.database,
            longest_lease=timedelta(seconds=self.settings.lease_s),
            longest_wait=longest_wait(self.settings.retry_base_s),
        )

    def jitter(self) -> float:
        """Return a random number from 0 up to 1, by which retries are spread."""
        return random.random()  # noqa: S311 - spreads retries, protects nothing

    def pause(self, seconds: float) -> bool:
        """Wait; return whether this process is to stop."""
        return self.stopping.wait(seconds)

    @cached_property
    def delivery_runtime(self) -> DeliveryRuntime:
        """What every part that takes data to Engage works with."""
        from webhooks.attempt.runtime import DeliveryRuntime

        return DeliveryRuntime(
            stores=self.stores,
            client_for=self.client_for,
            clock=self.clock,
            lease=timedelta(seconds=self.settings.lease_s),
            retry_base_s=self.settings.retry_base_s,
            pause=self.pause,
        )

    @cached_property
    def processor(self) -> EventProcessor:
        """Delivers events to Engage."""
        from webhooks.processing.processor import EventProcessor

        return EventProcessor(
            runtime=self.delivery_runtime,
            breaker_open_duration=self.breaker_open_duration,
            jitter=self.jitter,
            count=self.metrics.tried,
            purge_cache=self.purge_cache,
        )

    @cached_property
    def backlog(self) -> BulkProfileSync:
        """Sends waiting profile changes through Engage's bulk API."""
        from plugin.store.inbox.bulk import BulkInbox
        from webhooks.bulk.profile_changes import BulkProfileSync

        return BulkProfileSync(self.delivery_runtime, BulkInbox(self.database))

    def engage_status_for(self, shop: RegisteredShop) -> EngageStatus:
        """Return whether Engage answers the calls of a shop's key, and since when it does not."""
        from webhooks.fallback.runner import EngageAvailability, EngageStatus

        if not is_available(self.redis.ping):
            return EngageStatus(EngageAvailability.UNKNOWN)
        since = self.call_guards.for_key(shop.engage_key).open_since()
        return (
            EngageStatus(EngageAvailability.ANSWERS) if since is None else EngageStatus(EngageAvailability.AWAY, since)
        )

    def probe(self, shop: RegisteredShop) -> None:
        """Make a small call to Engage when a probe is due, so that the breaker closes even if there is no other call."""
        from plugin.engage.operations import Priority
        from plugin.errors import EngageError

        with contextlib.suppress(EngageError):  # the breaker has recorded the outcome
            self.client_for(shop).with_options(priority=Priority.BACKFILL).list_stores()

    def file_folder_for(self, shop: RegisteredShop) -> Path:
        """Return the folder of a shop's files on this machine."""
        return self.settings.state_dir / "fallback" / shop.name

    def transfer_for(self, shop: RegisteredShop) -> FileTransfer:
        """Return how a shop's files are transferred to Engage: by SFTP or into a folder."""
        settings = shop.settings
        if settings.fallback_transfer == "folder":
            from pathlib import Path

            from plugin.engage_files.folder import FolderTransfer

            outbox = self.file_folder_for(shop) / "outbox"
            return FolderTransfer(Path(settings.fallback_folder) if settings.fallback_folder else outbox)
        from plugin.engage_files.sftp import SftpAccess, SftpTransfer

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
    def fallback(self) -> FallbackRunner:
        """Delivers receipts as files while Engage's API is unavailable."""
        from plugin.store.files.files import FallbackFiles
        from webhooks.fallback.runner import FallbackRunner

        return FallbackRunner(
            runtime=self.delivery_runtime,
            files=FallbackFiles(self.database),
            transfer_for=self.transfer_for,
            folder_for=self.file_folder_for,
            engage_status_for=self.engage_status_for,
            probe=self.probe,
            fallback_after=timedelta(seconds=self.settings.fallback_after_s),
        )

    @cached_property
    def ingestor(self) -> ResourceIngestor:
        """Stores in the inbox what was read from a shop."""
        from webhooks.sync.ingest import ResourceIngestor

        return ResourceIngestor(self.stores, self.notifier.wake)

    @cached_property
    def monitor(self) -> SubscriptionMonitor:
        """Checks and repairs the shops' webhook subscriptions and fetches what they missed."""
        from webhooks.sync.monitor import SubscriptionMonitor

        return SubscriptionMonitor(
            runtime=self.delivery_runtime,
            ingestor=self.ingestor,
            api_for=self.shop_api_for,
            webhook_url=lambda shop: f"{self.settings.public_url}/webhooks/{shop.platform}/{shop.name}",
        )

    @cached_property
    def backfill(self) -> Backfill:
        """Imports a shop's history into Engage."""
        from plugin.store.files.files import FallbackFiles
        from plugin.store.inbox.bulk import BulkInbox
        from webhooks.sync.backfill import Backfill
        from webhooks.sync.backfill_customers import CustomersInBulk
        from webhooks.sync.backfill_order_files import OrdersInFiles

        return Backfill(
            runtime=self.delivery_runtime,
            ingestor=self.ingestor,
            customers=CustomersInBulk(self.delivery_runtime, BulkInbox(self.database)),
            in_files=OrdersInFiles(self.stores, FallbackFiles(self.database), self.file_folder_for, self.clock),
            api_for=self.shop_api_for,
        )

    @cached_property
    def reconciler(self) -> Reconciler:
        """Compares a shop, the inbox and Engage."""
        from webhooks.sync.reconcile import Reconciler

        return Reconciler(
            runtime=self.delivery_runtime,
            ingestor=self.ingestor,
            api_for=self.shop_api_for,
        )

    @cached_property
    def preview(self) -> Preview:
        """Returns what an event would send to Engage, without sending it."""
        from webhooks.processing.preview import Preview

        return Preview(self.database, self.vault, self.account_for, self.transport, self.settings.lease_s, self.clock)

    @cached_property
    def inbox_worker(self) -> InboxWorker:
        """Claims and processes the due events of the inbox, in threads."""
        from webhooks.processing.worker import InboxWorker

        return InboxWorker(
            self.processor, self.notifier, self.settings.delivery_threads, self.backlog.run, self.stopping
        )

    def worker(self) -> SimpleWorker:
        """Return an RQ worker that runs its jobs without a fork, so that connections to Engage stay open."""
        from rq import SimpleWorker
        from rq.serializers import JSONSerializer

        from webhooks.processing.notifier import QUEUE
        from webhooks.processing.worker import configure

        configure(self.inbox_worker)
        # keep-alive detects a dead TCP connection; a unix socket does not have the option
        options = {} if self.redis_url.startswith("unix:") else {"socket_keepalive": True}
        redis = Redis.from_url(self.redis_url, socket_timeout=WORKER_REDIS_TIMEOUT_S, **options)
        return SimpleWorker(
            [QUEUE],
            connection=redis,
            serializer=JSONSerializer,
            worker_ttl=WORKER_TTL_S,
            maintenance_interval=60,
        )
