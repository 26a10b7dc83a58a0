"""When Engage stays away: receipts go into files, the files to Engage; when it answers again, all comes back to the API.

One process at a time does this for a shop, under a named lease. Every step is a change of state in the database first or
last, never both sides of a doubt: what a crash leaves behind says by its state what is to be done (plugin.store.models,
FileState), and the same end is reached.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from plugin.engage_files import disk
from plugin.engage_files.transfer import Transfer
from plugin.engage_files.writer import TEMPORARY
from plugin.errors import ConflictError, LeaseLostError, describe_unexpected
from plugin.store.files.files import FallbackFiles, StoredFile
from plugin.store.files.rows import UNSENT
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.files import FileState
from webhooks.attempt.context import Stores
from webhooks.fallback.sender import Sender
from webhooks.fallback.writer import ShopFileWriter, WriteBackoff

log = logging.getLogger(__name__)

INBOX = "inbox"
_AGAIN = "Engage answers again: its events go by the API"


class EngageAvailability(Enum):
    """How Engage stands with a shop. UNKNOWN: Redis, which keeps it, does not answer."""

    ANSWERS = "answers"
    AWAY = "away"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class EngageStatus:
    """How Engage stands, and since when it is away."""

    standing: EngageAvailability
    since: datetime | None = None


@dataclass(slots=True)
class ShopFileSession:
    """One process's turn at a shop's files. Its lease is prolonged by `renew_lease`, which raises LeaseLostError."""

    shop: RegisteredShop
    stores: Stores
    files: FallbackFiles
    folder: Path
    clock: Callable[[], datetime]
    retry_base_s: float
    digest: Callable[[object], str]
    prolong: Callable[[], bool]
    lease: timedelta
    prolonged_at: datetime

    def renew_lease(self) -> None:
        """Prolong the lease when a quarter of it is over."""
        now = self.clock()
        if now - self.prolonged_at < self.lease / 4:
            return
        if not self.prolong():
            raise LeaseLostError(f"The files of shop {self.shop.name} are another process's work now; this one stops.")
        self.prolonged_at = now


@dataclass(slots=True)
class FallbackRunner:
    """Does everything that is due for the files of all shops.

    transfer_for: the way out, as the shop has it set. folder_for: where files lie on this machine. engage_status_for: how Engage
    stands. probe: asks Engage something small, so that the breaker can close while nothing else asks.
    """

    stores: Stores
    files: FallbackFiles
    transfer_for: Callable[[RegisteredShop], Transfer]
    folder_for: Callable[[RegisteredShop], Path]
    engage_status_for: Callable[[RegisteredShop], EngageStatus]
    probe: Callable[[RegisteredShop], None]
    fallback_after: timedelta
    retry_base_s: float
    lease: timedelta
    clock: Callable[[], datetime]
    digest: Callable[[object], str]
    pauses: dict[int, WriteBackoff] = field(default_factory=dict)

    def run(self) -> None:
        """Do what is due for every shop; a shop that another process is at is left to it."""
        for shop in self.stores.shops.all():
            try:
                self._run(shop)
            except LeaseLostError as error:
                log.warning("shop=%s %s", shop.name, error)
            except SQLAlchemyError:
                raise
            except Exception as error:  # noqa: BLE001 - a fault with one shop's files must not hold up the others'
                log.error("shop=%s its files met an %s", shop.name, describe_unexpected(error))

    def _run(self, shop: RegisteredShop) -> None:
        if not self._has_work(shop):
            return
        with self.lease_shop(shop) as work:
            if work is not None:
                self.run_cycle(work)

    def run_cycle(self, work: ShopFileSession) -> None:
        """Write, send, look, take back and end, as Engage stands."""
        shop = work.shop
        self.recover(work)
        outage = self.engage_status_for(shop)
        if outage.standing is EngageAvailability.ANSWERS or not shop.settings.fallback:
            self.return_to_api(work, _AGAIN if shop.settings.fallback else "the setting fallback is no")
        elif outage.since is not None and self.clock() - outage.since >= self.fallback_after:
            self.write(work)
        sender = Sender(work, self.transfer_for)
        sender.send(inbox=outage.standing is EngageAvailability.AWAY and shop.settings.fallback)
        sender.look()
        while self.stores.spooled_events.settle(shop, self.clock()):
            work.renew_lease()
        self._tidy(work)
        if outage.standing is EngageAvailability.AWAY and self.stores.spooled_events.has_spooled(shop):
            self.probe(shop)

    def write(self, work: ShopFileSession) -> int:
        """Write files of what waits; returns how many events are in them."""
        if work.shop.stopped_reason is not None:
            return 0
        return ShopFileWriter(work, self.pauses.setdefault(work.shop.id, WriteBackoff())).write()

    def return_to_api(self, work: ShopFileSession, reason: str) -> int:
        """Take back every file that did not get to the other side, and let the API do the rest; returns how many."""
        self.pauses.pop(work.shop.id, None)
        sender = Sender(work, self.transfer_for)
        recalled = 0
        for file in work.files.live(work.shop, *UNSENT):
            if file.origin == INBOX:
                recalled += self.stores.spooled_events.release(file.id, UNSENT, reason, self.clock())
                work.renew_lease()
        recalled += sender.take_back_unknown(reason)
        if work.shop.settings.fallback_transfer == "folder":
            recalled += sender.take_back_placed(reason)
        while self.stores.spooled_events.release_rest(work.shop, self.clock()):
            work.renew_lease()
        return recalled

    def recall(self, work: ShopFileSession, file: StoredFile, reason: str) -> None:
        """Take one file back at a person's wish. Raises ConflictError for one that was sent."""
        if file.state is FileState.SENT and work.shop.settings.fallback_transfer == "folder":
            if Sender(work, self.transfer_for).take_back_placed(reason, only=file.id):
                return
        elif self.stores.spooled_events.release(file.id, UNSENT, reason, self.clock()):
            return
        raise ConflictError(f"The file {file.name} is {file.state}: only what has not been sent can be taken back.")

    def recover(self, work: ShopFileSession) -> None:
        """Put right what a crash left behind, and keep from going out what must not."""
        now, inbox = self.clock(), self.stores.spooled_events
        for file in work.files.live(work.shop, FileState.WRITING, FileState.SENDING, FileState.WRITTEN):
            if file.origin != INBOX:
                continue
            if file.state is FileState.WRITING:
                inbox.release(file.id, (FileState.WRITING,), "its writer did not end it", now)
            elif file.erased:
                inbox.release(file.id, UNSENT, "a person in it was erased", now)
        for file in work.files.live(work.shop, FileState.SENDING):
            work.files.back_to_written(file.id, (FileState.SENDING,), "its sender did not end it", now)
        Sender(work, self.transfer_for).end_recalls()

    @contextmanager
    def lease_shop(self, shop: RegisteredShop) -> Iterator[ShopFileSession | None]:
        """Take the lease on a shop's files; None while another process has it."""
        name, locks = f"fallback:{shop.id}", self.stores.locks
        with locks.hold(name, self.clock, self.lease) as token:
            if token is None:
                yield None
                return
            yield ShopFileSession(
                shop=shop,
                stores=self.stores,
                files=self.files,
                folder=self.folder_for(shop),
                clock=self.clock,
                retry_base_s=self.retry_base_s,
                digest=self.digest,
                prolong=lambda: locks.extend(name, token, self.clock(), self.lease),
                lease=self.lease,
                prolonged_at=self.clock(),
            )

    def _has_work(self, shop: RegisteredShop) -> bool:
        if shop.settings.fallback and self.engage_status_for(shop).standing is EngageAvailability.AWAY:
            return True
        if self.files.has_open(shop) or self.stores.spooled_events.has_spooled(shop):
            return True
        return bool(self._unknown_copies(shop))

    def _unknown_copies(self, shop: RegisteredShop) -> list[Path]:
        """Return copies here that nothing is recorded of: their shop was erased."""
        copies = list(self.folder_for(shop).glob("*.xml*"))
        names = {path: path.name.partition(".xml")[0] + ".xml" for path in copies}
        known = self.files.known(shop, sorted(set(names.values()))) if copies else set()
        return [path for path in copies if names[path] not in known]

    def _tidy(self, work: ShopFileSession) -> None:
        """Delete copies that have served, and rows that nobody asks for any more."""
        settings, now = work.shop.settings, self.clock()
        for file in work.files.undeleted(work.shop, now - timedelta(days=settings.fallback_keep_days)):
            for name in (file.name, file.name + TEMPORARY, withdrawn_name(file.name)):
                disk.remove(work.folder / name)
            work.files.deleted(file.id, now)
        for path in self._unknown_copies(work.shop):
            disk.remove(path)
        work.files.forget_rows(work.shop, now - timedelta(days=settings.keep_bodies_days))


def withdrawn_name(name: str) -> str:
    """Return the name of a file that was taken back out of the merchant's folder."""
    return f"{name}.withdrawn"
