"""What takes events to Engage: couriers, backlog, files, history, and what looks for what is missing."""

from __future__ import annotations

import contextlib
import random
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from redis import Redis

from plugin.services.core import Ground, works
from plugin.store.inbox.sweep import Sweep
from plugin.store.shops.shops import RegisteredShop

if TYPE_CHECKING:  # imported where it is made: a command starts fast, and a worker holds nothing of the web in memory
    from pathlib import Path

    from rq import SimpleWorker

    from plugin.engage_files.transfer import Transfer as FileTransfer
    from webhooks.bulk.profile_changes import Backlog
    from webhooks.fallback.runner import Fallback, Outage
    from webhooks.processing import worker
    from webhooks.processing.preview import Preview
    from webhooks.processing.processor import Courier
    from webhooks.sync.backfill import Backfill
    from webhooks.sync.ingest import Intake
    from webhooks.sync.monitor import Watchdog
    from webhooks.sync.reconcile import Reconciler

WORKER_REDIS_TIMEOUT_S = 60.0
#: An idle worker looks at its registries between waits of this less 15 seconds (library trap 3.1.1).
WORKER_TTL_S = 35


class Delivering(Ground):
    """The parts that workers, sweep and commands use."""

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
    def courier(self) -> Courier:
        """Takes events to Engage."""
        from webhooks.processing.processor import Courier

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
        from plugin.store.inbox.bulk import BulkInbox
        from webhooks.bulk.profile_changes import Backlog

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
        from webhooks.fallback.runner import Outage, Standing

        if not works(self.redis.ping):
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

            from plugin.engage_files.folder import FolderTransfer

            outbox = self.file_folder_of(shop) / "outbox"
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
    def fallback(self) -> Fallback:
        """Takes receipts to Engage as files while its API stays away."""
        from plugin.store.files.files import FallbackFiles
        from webhooks.fallback.runner import Fallback

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
    def intake(self) -> Intake:
        """Puts what was read from a shop into the inbox."""
        from webhooks.sync.ingest import Intake

        return Intake(self.stores, self.wake_ups.wake)

    @cached_property
    def watchdog(self) -> Watchdog:
        """Looks after the shops' webhook subscriptions and fetches what they missed."""
        from webhooks.sync.monitor import Watchdog

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
        from plugin.store.files.files import FallbackFiles
        from plugin.store.inbox.bulk import BulkInbox
        from webhooks.sync.backfill import Backfill
        from webhooks.sync.backfill_customers import CustomersInBulk
        from webhooks.sync.backfill_order_files import OrdersInFiles

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
            in_files=OrdersInFiles(self.stores, FallbackFiles(self.database), self.file_folder_of, self.clock),
            api_of=self.shop_api_of,
            clock=self.clock,
            pause=self.stopping.wait,
        )

    @cached_property
    def reconciler(self) -> Reconciler:
        """Compares shop, inbox and Engage."""
        from webhooks.sync.reconcile import Reconciler

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
        from webhooks.processing.preview import Preview

        return Preview(self.database, self.vault, self.account_of, self.transport, self.settings.lease_s, self.clock)

    @cached_property
    def drain(self) -> worker.Drain:
        """Works the inbox off, in a worker."""
        from webhooks.processing import worker

        return worker.Drain(
            self.courier, self.wake_ups, self.settings.delivery_threads, self.backlog.run, self.stopping
        )

    def worker(self) -> SimpleWorker:
        """Return a worker that runs this process's jobs without a fork, so that connections to Engage stay open."""
        from rq import SimpleWorker
        from rq.serializers import JSONSerializer

        from webhooks.processing.notifier import QUEUE
        from webhooks.processing.worker import configure

        configure(self.drain)
        # keep-alive finds a dead TCP connection; a unix socket does not know the option
        options = {} if self.redis_url.startswith("unix:") else {"socket_keepalive": True}
        redis = Redis.from_url(self.redis_url, socket_timeout=WORKER_REDIS_TIMEOUT_S, **options)
        return SimpleWorker(
            [QUEUE],
            connection=redis,
            serializer=JSONSerializer,
            worker_ttl=WORKER_TTL_S,
            maintenance_interval=60,
        )
