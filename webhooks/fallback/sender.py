"""Sending files: upload under a temporary name, check the size, then rename. A file that is gone afterwards was picked up.

Before the rename the file's state becomes `renaming`: from then on it is unknown whether the file arrived, until the
server's folder shows it. A file that has its name on the server is never sent again.
"""

import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from plugin.engage_files.folder import FolderTransfer
from plugin.engage_files.names import FileKind
from plugin.engage_files.transfer import Transfer
from plugin.engage_files.writer import TEMPORARY, measure
from plugin.errors import TransferError
from plugin.retry import file_wait
from plugin.store.files.files import StoredFile
from plugin.store.files.rows import UNSENT
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.files import FileOrigin, FileState
from webhooks.fallback.session import ShopFileSession, withdrawn_name

log = logging.getLogger(__name__)

#: How long until an uploaded file is looked for again, as a multiple of RETRY_BASE_S.
CHECK_INTERVAL = 6
PICKED_UP = "gone from the server after it got its name: it was picked up"
NOT_PICKED_UP = "on the server; not picked up yet"
NO_FOLDER = "stays here: no folder is set for this kind"


@dataclass(slots=True)
class FileSender:
    """Sends the files of one shop and checks what became of them. transfer_for: the connection to use."""

    session: ShopFileSession
    transfer_for: Callable[[RegisteredShop], Transfer]

    def send(self, *, inbox: bool = True) -> int:
        """Send due files, each kind in its order; return how many arrived. inbox: whether to send files of inbox events."""
        files = self._due(FileState.WRITTEN, FileState.RENAMING)
        due = [file for file in files if inbox or file.origin != FileOrigin.INBOX]
        sent = 0
        with self._connected(due) as transfer:
            if transfer is None:
                return 0
            stopped: set[str] = set()
            for file in due:
                if file.kind in stopped:
                    continue
                if self._send_or_resolve(transfer, file):
                    sent += 1
                else:
                    stopped.add(file.kind)
        return sent

    def check_uploaded(self) -> int:
        """Look for files on the server; return how many were picked up."""
        session, picked_up = self.session, 0
        due = self._due(FileState.SENT)
        with self._connected(due) as transfer:
            if transfer is None:
                return 0
            for file in due:
                try:
                    listing = transfer.find(self._folder(file), file.name, None)
                except TransferError as error:
                    session.files.explain(file.id, str(error), self._next_check())
                    return picked_up
                if listing.final is None:
                    picked_up += session.files.taken(session.shop, file, PICKED_UP, session.runtime.clock())
                else:
                    session.files.explain(file.id, NOT_PICKED_UP, self._next_check())
                session.renew_lease()
        return picked_up

    def resolve_unknown(self, reason: str) -> int:
        """Find out whether files arrived whose transfer was cut off; return how many were recalled.

        Called once Engage answers again. Where it cannot be found out, receipts go by the API as well, which ignores a
        unique receipt id that it has already.
        """
        session, recalled = self.session, 0
        renaming = session.files.live(session.shop, FileState.RENAMING)
        files = [file for file in renaming if file.origin == FileOrigin.INBOX]
        with self._connected(files, explain=False) as transfer:
            for file in files:
                if transfer is None:
                    recalled += self._end_unknown(file, reason, TransferError("the server cannot be reached"))
                    continue
                try:
                    if not self._has_arrived(transfer, file):
                        transfer.discard(self._folder(file), file.temporary or "")
                        recalled += self._release(file, (FileState.RENAMING,), reason)
                except TransferError as error:
                    recalled += self._end_unknown(file, reason, error)
        return recalled

    def withdraw_from_folder(self, reason: str, *, only: int | None = None) -> int:
        """Take files back that the merchant has not moved out of the folder yet; return how many. only: one file's id."""
        for file in self.session.files.live(self.session.shop, FileState.SENT):
            if only in {None, file.id}:
                self.session.files.begin_recalling(file.id)
        return self.finish_withdrawals(reason)

    def finish_withdrawals(self, reason: str = "it was taken back out of the folder") -> int:
        """Move files out of the folder that are marked `recalling`; one that is gone was picked up. Return how many."""
        session, withdrawn = self.session, 0
        files = session.files.live(session.shop, FileState.RECALLING)
        with self._connected(files, explain=False) as transfer:
            if not isinstance(transfer, FolderTransfer):
                return 0
            for file in files:
                if transfer.withdraw(self._folder(file), file.name, session.folder / withdrawn_name(file.name)):
                    withdrawn += self._release(file, (FileState.RECALLING,), reason)
                else:
                    session.files.taken(session.shop, file, PICKED_UP, session.runtime.clock())
        return withdrawn

    # --- one file ---

    def _send_or_resolve(self, transfer: Transfer, file: StoredFile) -> bool:
        """Return whether the next file of the same kind may be sent."""
        try:
            if file.state is FileState.RENAMING:
                return self._finish_rename(transfer, file)
            return self._send(transfer, file)
        except TransferError as error:
            self._record_failure(file, error)
            return False

    def _send(self, transfer: Transfer, file: StoredFile) -> bool:
        session, folder = self.session, self._folder(file)
        local = session.folder / file.name
        fault = _local_fault(local, file)
        if fault is not None:
            self._release(file, UNSENT, fault)
            return True
        if file.temporary:
            transfer.discard(folder, file.temporary)
        temporary = f"{file.name}.{secrets.token_hex(4)}{TEMPORARY}"
        if not session.files.begin_sending(file.id, temporary):
            return True  # it was recalled meanwhile, or a person in it was erased
        transfer.put(local, folder, temporary, session.renew_lease)
        if not session.files.begin_renaming(file.id, temporary):
            transfer.discard(folder, temporary)
            return True
        transfer.publish(folder, temporary, file.name)
        return self._record_arrival(transfer, file)

    def _finish_rename(self, transfer: Transfer, file: StoredFile) -> bool:
        """Continue with a file whose sender stopped just before or after the rename."""
        if self._has_arrived(transfer, file):
            return True
        if file.erased:
            transfer.discard(self._folder(file), file.temporary or "")
            self._release(file, (FileState.RENAMING,), "a person in it was erased")
            return True
        transfer.publish(self._folder(file), file.temporary or "", file.name)
        return self._record_arrival(transfer, file)

    def _has_arrived(self, transfer: Transfer, file: StoredFile) -> bool:
        """Return whether a file got its name, and record that: it is there under that name, or gone under both."""
        listing = transfer.find(self._folder(file), file.name, file.temporary)
        if listing.final is None and listing.temporary is not None:
            return False
        return self._record_arrival(transfer, file)

    def _record_arrival(self, transfer: Transfer, file: StoredFile) -> bool:
        session = self.session
        session.files.sent(file.id, session.runtime.clock(), self._next_check())
        log.info("shop=%s file=%s sent", session.shop.name, file.name)
        if transfer.find(self._folder(file), file.name, None).final is None:
            session.files.taken(session.shop, file, PICKED_UP, session.runtime.clock())
        return True

    def _record_failure(self, file: StoredFile, error: TransferError) -> None:
        """Record why a file was not sent and when to try again. One that may have arrived stays in its state."""
        session, now = self.session, self.session.runtime.clock()
        at = now + file_wait(session.runtime.retry_base_s, file.attempts)
        log.warning("shop=%s file=%s not sent: %s", session.shop.name, file.name, error)
        states = (FileState.WRITTEN, FileState.SENDING)
        if not session.files.back_to_written(file.id, states, str(error), at):
            session.files.explain(file.id, str(error), at)

    def _end_unknown(self, file: StoredFile, reason: str, error: TransferError) -> int:
        """Give up finding out whether a file arrived; return how many files were recalled."""
        if file.kind == FileKind.RECEIPTS:
            text = f"{reason}; whether it arrived is unknown ({error}), so its receipts go by the API as well"
            return self._release(file, (FileState.RENAMING,), text)
        self.session.files.sent(
            file.id, self.session.runtime.clock(), self._next_check()
        )  # the API confirms each of its rows
        return 0

    def _release(self, file: StoredFile, states: tuple[FileState, ...], reason: str) -> int:
        """Return a file's events to the inbox; a file without events fails."""
        session = self.session
        if file.origin != FileOrigin.INBOX:
            session.files.fail(file.id, reason, session.runtime.clock())
            return 0
        return int(session.runtime.stores.spooled_events.release(file.id, states, reason, session.runtime.clock()))

    # --- all files ---

    def _due(self, *states: FileState) -> list[StoredFile]:
        """Return due files, of each kind up to the first that is not due: files of a kind stay in their order."""
        session, due, stopped = self.session, [], set()
        now = session.runtime.clock()
        for file in session.files.live(session.shop, *states):
            if file.state is FileState.WRITTEN and not self._folder(file):
                if file.reason != NO_FOLDER:
                    session.files.explain(file.id, NO_FOLDER, None)
                continue
            if file.next_attempt_at is not None and file.next_attempt_at > now:
                stopped.add(file.kind)
            elif file.kind not in stopped:
                due.append(file)
        return due

    @contextmanager
    def _connected(self, files: Iterable[StoredFile], *, explain: bool = True) -> Iterator[Transfer | None]:
        """Connect and yield the connection; yield None without files, or when it fails.

        explain: whether a failure is recorded with each file.
        """
        files = list(files)
        if not files:
            yield None
            return
        try:
            transfer = self.transfer_for(self.session.shop)
            transfer.__enter__()
        except TransferError as error:
            for file in files if explain else ():
                self._record_failure(file, error)
            yield None
            return
        try:
            yield transfer
        finally:
            transfer.__exit__(None, None, None)

    def _folder(self, file: StoredFile) -> str:
        return remote_folders(self.session.shop)[file.kind]

    def _next_check(self) -> datetime:
        return self.session.runtime.clock() + timedelta(seconds=self.session.runtime.retry_base_s * CHECK_INTERVAL)


def remote_folders(shop: RegisteredShop) -> Mapping[str, str]:
    """Return the server's folder for each kind of file; empty where none is set."""
    settings = shop.settings
    return {
        FileKind.RECEIPTS: settings.fallback_receipts_folder,
        FileKind.CONTACTS: settings.fallback_contacts_folder,
        FileKind.REDEMPTIONS: settings.fallback_redemptions_folder,
    }


def _local_fault(local: Path, file: StoredFile) -> str | None:
    """Return why the local copy must not be sent, or None when it may."""
    if not local.exists():
        return "its copy is not on this machine: it is written again"
    if measure(local)[:2] != (file.sha256, file.size):
        return "its copy here was altered: it is written again"
    return None
