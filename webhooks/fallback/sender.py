"""Sending files: temporary name, size check, then the file's own name; what is gone after that was taken.

Before its name is given the file is `renaming`: from there its end is unknown until somebody sees it. A file that got
its name is never sent again.
"""

import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from plugin.engage_files.folder import FolderTransfer
from plugin.engage_files.names import FileKind
from plugin.engage_files.transfer import Transfer
from plugin.engage_files.writer import TEMPORARY, measure
from plugin.errors import TransferError
from plugin.store.files.files import StoredFile, retry_at
from plugin.store.files.rows import UNSENT
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.files import FileState

if TYPE_CHECKING:
    from webhooks.fallback.runner import ShopFileSession

log = logging.getLogger(__name__)

#: How often, in waits of the retry rules, a file that lies on the other side is looked for.
LOOK_EVERY = 6
TAKEN = "gone from the other side after it got its name: it was taken"
NO_FOLDER = "kept here: no folder is set for this kind"


@dataclass(slots=True)
class Sender:
    """Sends the files of one shop and follows what becomes of them. transfer_for: the way out."""

    work: "ShopFileSession"
    transfer_for: Callable[[RegisteredShop], Transfer]

    def send(self, *, inbox: bool = True) -> int:
        """Send what is due, each kind in its order; returns how many files got there.

        inbox: whether files of the inbox go too, or only those that no events stand for.
        """
        files = self._due(FileState.WRITTEN, FileState.RENAMING)
        due = [file for file in files if inbox or file.origin != "inbox"]
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

    def look(self) -> int:
        """Look for files on the other side; returns how many were taken."""
        due = self._due(FileState.SENT)
        taken = 0
        with self._connected(due) as transfer:
            if transfer is None:
                return 0
            for file in due:
                try:
                    seen = transfer.look(self._folder(file), file.name, None)
                except TransferError as error:
                    self.work.files.explain(file.id, str(error), self._look_at())
                    return taken
                if seen.final is None:
                    taken += self.work.files.taken(self.work.shop, file, TAKEN, self.work.clock())
                else:
                    self.work.files.explain(file.id, "lies on the other side; not taken yet", self._look_at())
                self.work.renew_lease()
        return taken

    def take_back_unknown(self, reason: str) -> int:
        """Engage answers: find out how transfers ended that a crash or a cut left open; returns how many came back.

        Where that cannot be found out, receipts go by the API too, which knows each by its unique id.
        """
        files = [file for file in self.work.files.live(self.work.shop, FileState.RENAMING) if file.origin == "inbox"]
        back = 0
        with self._connected(files, explain=False) as transfer:
            for file in files:
                if transfer is None:
                    back += self._end_unknown(file, reason, TransferError("the other side cannot be reached"))
                    continue
                try:
                    if not self._lies_there(transfer, file):
                        transfer.discard(self._folder(file), file.temporary or "")
                        back += self._release(file, (FileState.RENAMING,), reason)
                except TransferError as error:
                    back += self._end_unknown(file, reason, error)
        return back

    def take_back_placed(self, reason: str, *, only: int | None = None) -> int:
        """Take back what the merchant has not moved out of the folder yet; returns how many."""
        for file in self.work.files.live(self.work.shop, FileState.SENT):
            if only in {None, file.id}:
                self.work.files.begin_recalling(file.id)
        return self.end_recalls(reason)

    def end_recalls(self, reason: str = "it was taken back out of the folder") -> int:
        """Move files out of the folder that are marked for it; one that is not there any more was taken."""
        files = self.work.files.live(self.work.shop, FileState.RECALLING)
        back = 0
        with self._connected(files, explain=False) as transfer:
            if not isinstance(transfer, FolderTransfer):
                return 0
            for file in files:
                kept = self.work.folder / f"{file.name}.withdrawn"
                if transfer.withdraw(self._folder(file), file.name, kept):
                    back += self._release(file, (FileState.RECALLING,), reason)
                else:
                    self.work.files.taken(self.work.shop, file, TAKEN, self.work.clock())
        return back

    # --- one file ---

    def _send_or_resolve(self, transfer: Transfer, file: StoredFile) -> bool:
        try:
            if file.state is FileState.RENAMING:
                return self._resolve(transfer, file)
            return self._send(transfer, file)
        except TransferError as error:
            self._not_sent(file, error)
            return False

    def _send(self, transfer: Transfer, file: StoredFile) -> bool:
        work, folder = self.work, self._folder(file)
        local = work.folder / file.name
        fault = _fault(local, file)
        if fault is not None:
            self._release(file, UNSENT, fault)
            return True
        if file.temporary:
            transfer.discard(folder, file.temporary)
        temporary = f"{file.name}.{secrets.token_hex(4)}{TEMPORARY}"
        if not work.files.begin_sending(file.id, temporary):
            return True  # taken back meanwhile, or a person in it was erased
        transfer.put(local, folder, temporary, work.renew_lease)
        if not work.files.begin_renaming(file.id, temporary):
            transfer.discard(folder, temporary)
            return True
        transfer.publish(folder, temporary, file.name)
        return self._arrived(transfer, file)

    def _resolve(self, transfer: Transfer, file: StoredFile) -> bool:
        """Go on with a file that was about to get its name when its sender ended."""
        if self._lies_there(transfer, file):
            return True
        if file.erased:
            transfer.discard(self._folder(file), file.temporary or "")
            self._release(file, (FileState.RENAMING,), "a person in it was erased")
            return True
        transfer.publish(self._folder(file), file.temporary or "", file.name)
        return self._arrived(transfer, file)

    def _lies_there(self, transfer: Transfer, file: StoredFile) -> bool:
        """Tell whether a file got its name: it is there under it, or gone under both."""
        seen = transfer.look(self._folder(file), file.name, file.temporary)
        if seen.final is None and seen.temporary is not None:
            return False
        return self._arrived(transfer, file)

    def _arrived(self, transfer: Transfer, file: StoredFile) -> bool:
        work = self.work
        work.files.sent(file.id, work.clock(), self._look_at())
        log.info("shop=%s file=%s sent", work.shop.name, file.name)
        if transfer.look(self._folder(file), file.name, None).final is None:
            work.files.taken(work.shop, file, TAKEN, work.clock())
        return True

    def _not_sent(self, file: StoredFile, error: TransferError) -> None:
        """Say why, and when it is tried again. One whose end is unknown stays so until it is seen."""
        now = self.work.clock()
        at = retry_at(now, self.work.retry_base_s, file.attempts)
        log.warning("shop=%s file=%s not sent: %s", self.work.shop.name, file.name, error)
        states = (FileState.WRITTEN, FileState.SENDING)
        if not self.work.files.back_to_written(file.id, states, str(error), at):
            self.work.files.explain(file.id, str(error), at)

    def _end_unknown(self, file: StoredFile, reason: str, error: TransferError) -> int:
        if file.kind == FileKind.RECEIPTS:
            text = f"{reason}; whether it got there is unknown ({error}), so its receipts go by the API as well"
            return self._release(file, (FileState.RENAMING,), text)
        self.work.files.sent(file.id, self.work.clock(), self._look_at())  # each row is made sure of by the API
        return 0

    def _release(self, file: StoredFile, states: tuple[FileState, ...], reason: str) -> int:
        work = self.work
        if file.origin != "inbox":
            work.files.fail(file.id, reason, work.clock())
            return 0
        return int(work.stores.spooled_events.release(file.id, states, reason, work.clock()))

    # --- all files ---

    def _due(self, *states: FileState) -> list[StoredFile]:
        """Return what is due, up to the first of each kind that is not: files of a kind keep their order."""
        now, due, stopped = self.work.clock(), [], set()
        for file in self.work.files.live(self.work.shop, *states):
            if file.state is FileState.WRITTEN and not self._folder(file):
                if file.reason != NO_FOLDER:
                    self.work.files.explain(file.id, NO_FOLDER, None)
                continue
            if file.next_attempt_at is not None and file.next_attempt_at > now:
                stopped.add(file.kind)
            elif file.kind not in stopped:
                due.append(file)
        return due

    @contextmanager
    def _connected(self, files: Iterable[StoredFile], *, explain: bool = True) -> Iterator[Transfer | None]:
        """Connect when there are files; None when there are none or it fails, which each file then says."""
        files = list(files)
        if not files:
            yield None
            return
        try:
            transfer = self.transfer_for(self.work.shop)
            transfer.__enter__()
        except TransferError as error:
            for file in files if explain else ():
                self._not_sent(file, error)
            yield None
            return
        try:
            yield transfer
        finally:
            transfer.__exit__(None, None, None)

    def _folder(self, file: StoredFile) -> str:
        return folders_of(self.work.shop)[file.kind]

    def _look_at(self) -> datetime:
        return self.work.clock() + timedelta(seconds=self.work.retry_base_s * LOOK_EVERY)


def folders_of(shop: RegisteredShop) -> Mapping[str, str]:
    """Return the folder of each kind of file on the other side; empty where none is set."""
    settings = shop.settings
    return {
        FileKind.RECEIPTS: settings.fallback_receipts_folder,
        FileKind.CONTACTS: settings.fallback_contacts_folder,
        FileKind.REDEMPTIONS: settings.fallback_redemptions_folder,
    }


def _fault(local: Path, file: StoredFile) -> str | None:
    """Tell what is wrong with the copy here, so that it must not go out."""
    if not local.exists():
        return "its copy is not on this machine: it is written anew"
    if measure(local)[:2] != (file.sha256, file.size):
        return "its copy here was altered: it is written anew"
    return None
