"""Writing files of pending events. First they are planned, then recorded in the database, then the file is written and
named: a crash between two of these steps loses nothing.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from plugin.engage_files import disk
from plugin.engage_files.names import FileKind, file_name
from plugin.engage_files.rows import Row
from plugin.engage_files.writer import FileWriter, WrittenFile
from plugin.errors import FileFaultError
from plugin.event_kinds import EventKind
from plugin.store.files.rows import PendingEvent, ReservedFile
from plugin.store.tables.files import FileState
from webhooks.fallback.planner import RECEIPT_KINDS, REPLAN_AFTER, Planned, Planner
from webhooks.fallback.session import ShopFileSession, WriteBackoff

log = logging.getLogger(__name__)

#: Rows of one file at most: they are held in memory while they are recorded, in one commit.
MAX_ROWS = 1000
CUSTOMERS_PER_PAGE = 200
#: Lines that a file has beside its rows.
ENVELOPE_LINES = 8
#: How long nothing is written after a fault of the disk or of a style sheet.
BACKOFF = timedelta(minutes=1)
_Plan = Callable[[str, Sequence[PendingEvent]], Iterator[Planned]]


class ShopFileWriter:
    """Writes the files of one shop."""

    def __init__(self, session: ShopFileSession, backoff: WriteBackoff) -> None:
        self._session, self._backoff = session, backoff
        settings = session.shop.settings
        self._below = settings.fallback_lines
        self._style_sheets = {
            FileKind.RECEIPTS: settings.fallback_receipts_xslt,
            FileKind.CONTACTS: settings.fallback_contacts_xslt,
            FileKind.REDEMPTIONS: settings.fallback_redemptions_xslt,
        }

    def write(self) -> int:
        """Write all pending events that may go into files; return how many are in files now."""
        session, now = self._session, self._session.runtime.clock()
        if self._backoff.until is not None and now < self._backoff.until:
            return 0
        self._backoff.until = None
        planner = Planner(session.runtime, session.shop, now, self._backoff.events)
        written = self._write_all(RECEIPT_KINDS, planner.receipts)
        if session.shop.settings.fallback_contacts == "file":
            written += self._write_all((EventKind.PROFILE_CHANGE,), planner.contacts)
        return written

    def _write_all(self, kinds: tuple[EventKind, ...], plan: _Plan) -> int:
        """Write the planned events of all customers, as many to a file as its lines allow."""
        written, batch, lines = 0, list[Planned](), 0
        for ordering_key, events in self._pending_customers(kinds):
            for planned in plan(ordering_key, events):
                added = planned.lines + len(planned.rows) - 1
                if batch and (len(batch) >= MAX_ROWS or lines + added + ENVELOPE_LINES >= self._below):
                    written += self._write_batch(batch)
                    batch, lines = [], 0
                batch.append(planned)
                lines += added
        return written + (self._write_batch(batch) if self._backoff.until is None else 0)

    def _pending_customers(self, kinds: tuple[EventKind, ...]) -> Iterator[tuple[str, Sequence[PendingEvent]]]:
        """Yield the pending events of each customer with some of these kinds due; stop after a fault in writing."""
        session, after = self._session, ""
        while self._backoff.until is None:
            after, customers = session.runtime.stores.spooled_events.waiting_customers(
                session.shop, kinds, after, CUSTOMERS_PER_PAGE
            )
            for ordering_key, events in customers.items():
                if self._is_due(events, kinds):
                    yield ordering_key, events
            session.renew_lease()
            if not after:
                return

    def _is_due(self, events: Sequence[PendingEvent], kinds: tuple[EventKind, ...]) -> bool:
        now = self._session.runtime.clock()
        return any(self._backoff.events.get(event.id, now) <= now for event in events if event.kind in kinds)

    def _write_batch(self, batch: Sequence[Planned]) -> int:
        if not batch:
            return 0
        session = self._session
        rows = {key: row for planned in batch for key, row in planned.rows.items()}
        spooled = [planned.spooled for planned in batch]
        reserved = session.runtime.stores.spooled_events.open_files(
            session.shop, spooled, file_name, session.runtime.clock()
        )
        return sum(self._write_file(file, rows) for file in reserved if self._backoff.until is None)

    def _write_file(self, file: ReservedFile, rows: Mapping[str, Row]) -> int:
        """Write a file that was recorded; return how many events are in it, not counting redemptions of orders."""
        session, kind = self._session, FileKind(file.kind)
        try:
            written = self._write_rows(kind, file, rows)
        except (FileFaultError, OSError) as error:
            self._release(file, error)
            return 0
        recorded = session.files.written(
            file.file_id,
            sha256=written.sha256,
            size=written.size,
            lines=written.lines,
            rows=written.rows,
            cleaned=written.cleaned,
            now=session.runtime.clock(),
        )
        if not recorded:  # the lease ran out meanwhile, and another process released the events
            disk.remove(written.path)
            return 0
        log.info(
            "shop=%s file=%s rows=%d lines=%d cleaned=%d",
            session.shop.name,
            file.name,
            written.rows,
            written.lines,
            written.cleaned,
        )
        return len(set(file.event_ids)) if kind is not FileKind.REDEMPTIONS else 0

    def _write_rows(self, kind: FileKind, file: ReservedFile, rows: Mapping[str, Row]) -> WrittenFile:
        sheet = self._style_sheets[kind]
        folder = disk.private_folder(self._session.folder)
        with FileWriter(kind, folder, file.name, below=self._below, reshape=Path(sheet) if sheet else None) as writer:
            for entry in file.entries:
                writer.add(rows[entry.key])
            return writer.finish()

    def _release(self, file: ReservedFile, error: FileFaultError | OSError) -> None:
        """Release the events of a file that was not written.

        An event that is at fault itself waits for the API; after any other fault nothing is written for a while.
        """
        session, now = self._session, self._session.runtime.clock()
        row = error.row if isinstance(error, FileFaultError) else None
        text = str(error) if isinstance(error, FileFaultError) else f"The folder {session.folder}: {error.strerror}"
        if row is not None and row < len(file.event_ids):
            text = f"{text} It is event {file.event_ids[row]}, which waits for the API."
            self._backoff.events[file.event_ids[row]] = now + REPLAN_AFTER
        else:
            self._backoff.until = now + BACKOFF
        log.error("shop=%s file=%s not written: %s", session.shop.name, file.name, text)
        session.runtime.stores.spooled_events.release(file.file_id, (FileState.WRITING,), text, now, failed=True)
