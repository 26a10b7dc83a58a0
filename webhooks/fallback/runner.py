"""What is due for the files of each shop: during an outage of Engage receipts go into files, afterwards back to the API.

One process at a time works on a shop's files, under a named lease. Every step begins or ends with a change of state in
the database, so that after a crash the state says what is left to do (FileState), and the result is the same.
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
from plugin.store.tables.files import FileOrigin, FileState
from webhooks.attempt.runtime import DeliveryRuntime
from webhooks.fallback.sender import FileSender
from webhooks.fallback.session import ShopFileSession, WriteBackoff, withdrawn_name
from webhooks.fallback.writer import ShopFileWriter

log = logging.getLogger(__name__)

_ENGAGE_IS_BACK = "Engage answers again: its events go by the API"


class EngageAvailability(Enum):
    """Whether Engage answers. UNKNOWN: Redis, which holds the circuit breakers, does not answer."""

    ANSWERS = "answers"
    AWAY = "away"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class EngageStatus:
    """Whether Engage answers, and since when it does not."""

    availability: EngageAvailability
    since: datetime | None = None


@dataclass(slots=True)
class FallbackRunner:
    """Does everything that is due for the files of all shops.

    transfer_for: the connection that a shop's settings name. folder_for: where a shop's files are on this machine.
    engage_status_for: whether Engage answers. probe: sends a small request, so that the circuit breaker can close while
    nothing else calls.
    """

    runtime: DeliveryRuntime
    files: FallbackFiles
    transfer_for: Callable[[RegisteredShop], Transfer]
    folder_for: Callable[[RegisteredShop], Path]
    engage_status_for: Callable[[RegisteredShop], EngageStatus]
    probe: Callable[[RegisteredShop], None]
    fallback_after: timedelta
    backoffs: dict[int, WriteBackoff] = field(default_factory=dict)

    def run(self) -> None:
        """Do what is due for every shop, except those that another process works on."""
        for shop in self.runtime.stores.shops.all():
            try:
                self._run_shop(shop)
            except LeaseLostError as error:
                log.warning("shop=%s %s", shop.name, error)
            except SQLAlchemyError:
                raise
            except Exception as error:  # noqa: BLE001 - a fault with one shop's files must not hold up the others
                log.error("shop=%s its files met an %s", shop.name, describe_unexpected(error))

    def _run_shop(self, shop: RegisteredShop) -> None:
        if not self._has_work(shop):
            return
        with self.lease_shop(shop) as session:
            if session is not None:
                self.run_cycle(session)

    def run_cycle(self, session: ShopFileSession) -> None:
        """Recover from a crash, then write files or return events to the API, send, check what was picked up, clean up."""
        shop = session.shop
        self.recover(session)
        status = self.engage_status_for(shop)
        away = status.availability is EngageAvailability.AWAY
        if status.availability is EngageAvailability.ANSWERS or not shop.settings.fallback:
            self.return_to_api(session, _ENGAGE_IS_BACK if shop.settings.fallback else "the setting fallback is no")
        elif status.since is not None and self.runtime.clock() - status.since >= self.fallback_after:
            self.write(session)
        sender = FileSender(session, self.transfer_for)
        sender.send(inbox=away and shop.settings.fallback)
        sender.check_uploaded()
        while self.runtime.stores.spooled_events.settle(shop, self.runtime.clock()):
            session.renew_lease()
        self._clean_up(session)
        if away and self.runtime.stores.spooled_events.has_spooled(shop):
            self.probe(shop)

    def write(self, session: ShopFileSession) -> int:
        """Write files of pending events; return how many events are in them."""
        if session.shop.stopped_reason is not None:
            return 0
        return ShopFileWriter(session, self.backoffs.setdefault(session.shop.id, WriteBackoff())).write()

    def return_to_api(self, session: ShopFileSession, reason: str) -> int:
        """Recall every file that did not arrive, and leave the rest of its events to the API; return how many files."""
        self.backoffs.pop(session.shop.id, None)
        sender = FileSender(session, self.transfer_for)
        recalled = 0
        for file in session.files.live(session.shop, *UNSENT):
            if file.origin == FileOrigin.INBOX:
                recalled += self.runtime.stores.spooled_events.release(file.id, UNSENT, reason, self.runtime.clock())
                session.renew_lease()
        recalled += sender.resolve_unknown(reason)
        if session.shop.settings.fallback_transfer == "folder":
            recalled += sender.withdraw_from_folder(reason)
        while self.runtime.stores.spooled_events.release_rest(session.shop, self.runtime.clock()):
            session.renew_lease()
        return recalled

    def recall(self, session: ShopFileSession, file: StoredFile, reason: str) -> None:
        """Recall one file because a person asked for it. Raises ConflictError for one that was sent."""
        if file.state is FileState.SENT and session.shop.settings.fallback_transfer == "folder":
            if FileSender(session, self.transfer_for).withdraw_from_folder(reason, only=file.id):
                return
        elif self.runtime.stores.spooled_events.release(file.id, UNSENT, reason, self.runtime.clock()):
            return
        raise ConflictError(f"The file {file.name} is {file.state}: only a file that was not sent can be taken back.")

    def recover(self, session: ShopFileSession) -> None:
        """Bring files that a crash left half done into a known state, and recall those that must not be sent."""
        now, inbox = self.runtime.clock(), self.runtime.stores.spooled_events
        for file in session.files.live(session.shop, FileState.WRITING, FileState.SENDING, FileState.WRITTEN):
            if file.origin != FileOrigin.INBOX:
                continue
            if file.state is FileState.WRITING:
                inbox.release(file.id, (FileState.WRITING,), "its writer did not finish it", now)
            elif file.erased:
                inbox.release(file.id, UNSENT, "a person in it was erased", now)
        for file in session.files.live(session.shop, FileState.SENDING):
            session.files.back_to_written(file.id, (FileState.SENDING,), "its sender did not finish it", now)
        FileSender(session, self.transfer_for).finish_withdrawals()

    @contextmanager
    def lease_shop(self, shop: RegisteredShop) -> Iterator[ShopFileSession | None]:
        """Hold the lease on a shop's files; yield None while another process holds it."""
        name, locks = f"fallback:{shop.id}", self.runtime.stores.locks
        with locks.hold(name, self.runtime.clock, self.runtime.lease) as token:
            if token is None:
                yield None
                return
            yield ShopFileSession(
                shop=shop,
                runtime=self.runtime,
                files=self.files,
                folder=self.folder_for(shop),
                prolong=lambda: locks.extend(name, token, self.runtime.clock(), self.runtime.lease),
                prolonged_at=self.runtime.clock(),
            )

    def _has_work(self, shop: RegisteredShop) -> bool:
        if shop.settings.fallback and self.engage_status_for(shop).availability is EngageAvailability.AWAY:
            return True
        if self.files.has_open(shop) or self.runtime.stores.spooled_events.has_spooled(shop):
            return True
        return bool(self._unrecorded_copies(shop))

    def _unrecorded_copies(self, shop: RegisteredShop) -> list[Path]:
        """Return local copies that the database has no record of, because their shop was erased."""
        copies = list(self.folder_for(shop).glob("*.xml*"))
        names = {path: path.name.partition(".xml")[0] + ".xml" for path in copies}
        recorded = self.files.known(shop, sorted(set(names.values()))) if copies else set()
        return [path for path in copies if names[path] not in recorded]

    def _clean_up(self, session: ShopFileSession) -> None:
        """Delete local copies that are no longer needed, and records that are older than their retention."""
        settings, now = session.shop.settings, self.runtime.clock()
        for file in session.files.undeleted(session.shop, now - timedelta(days=settings.fallback_keep_days)):
            for name in (file.name, file.name + TEMPORARY, withdrawn_name(file.name)):
                disk.remove(session.folder / name)
            session.files.deleted(file.id, now)
        for path in self._unrecorded_copies(session.shop):
            disk.remove(path)
        session.files.forget_rows(session.shop, now - timedelta(days=settings.keep_bodies_days))
