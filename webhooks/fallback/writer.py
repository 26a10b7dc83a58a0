"""Writing files of what waits in the inbox: planned, set down, written, named; in this order, so that nothing is lost."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from plugin.engage_files import disk
from plugin.engage_files.names import FileKind, file_name
from plugin.engage_files.rows import Row
from plugin.engage_files.writer import FileWriter
from plugin.errors import FileFaultError
from plugin.event_kinds import EventKind
from plugin.store.files.rows import PendingEvent, ReservedFile
from plugin.store.tables.files import FileState
from webhooks.fallback.planner import LOOK_AGAIN, RECEIPT_KINDS, Planned, Planner

if TYPE_CHECKING:
    from webhooks.fallback.runner import ShopFileSession

log = logging.getLogger(__name__)

#: Rows of one file: they are held in memory while they are set down, which is one commit.
MOST_ROWS = 1000
CUSTOMERS = 200
#: Lines that a file has beside its rows.
ENVELOPE_LINES = 8
#: How long writing rests after a fault of the disk or of a style sheet.
BACKOFF = timedelta(minutes=1)
_Plan = Callable[[str, Sequence[PendingEvent]], Iterator[Planned]]


@dataclass(slots=True)
class WriteBackoff:
    """What is not tried before a time: events that no file takes, and all writing after a fault."""

    events: dict[int, datetime] = field(default_factory=dict)
    until: datetime | None = None


class ShopFileWriter:
    """Writes the files of one shop."""

    def __init__(self, work: "ShopFileSession", pauses: WriteBackoff) -> None:
        self._work, self._pauses = work, pauses
        settings = work.shop.settings
        self._below = settings.fallback_lines
        self._reshape = {
            FileKind.RECEIPTS: settings.fallback_receipts_xslt,
            FileKind.CONTACTS: settings.fallback_contacts_xslt,
            FileKind.REDEMPTIONS: settings.fallback_redemptions_xslt,
        }

    def write(self) -> int:
        """Write everything that waits and may go; returns how many events are in files now."""
        now = self._work.clock()
        if self._pauses.until is not None and now < self._pauses.until:
            return 0
        self._pauses.until = None
        planner = Planner(self._work.stores, self._work.shop, self._work.digest, now)
        planner.retry_at_by_event = self._pauses.events
        written = self._write_all(RECEIPT_KINDS, planner.receipts)
        if self._work.shop.settings.fallback_contacts == "file":
            written += self._write_all((EventKind.PROFILE_CHANGE,), planner.contacts)
        return written

    def _write_all(self, kinds: tuple[EventKind, ...], plan: _Plan) -> int:
        written, after, batch, lines = 0, "", list[Planned](), 0
        while self._pauses.until is None:
            after, customers = self._work.stores.spooled_events.waiting_customers(
                self._work.shop, kinds, after, CUSTOMERS
            )
            for key, events in customers.items():
                if not self._is_due(events, kinds):
                    continue
                for planned in plan(key, events):
                    weight = planned.lines + len(planned.rows) - 1
                    if batch and (len(batch) >= MOST_ROWS or lines + weight + ENVELOPE_LINES >= self._below):
                        written += self._flush(batch)
                        batch, lines = [], 0
                    batch.append(planned)
                    lines += weight
            self._work.renew_lease()
            if not after:
                break
        return written + (self._flush(batch) if self._pauses.until is None else 0)

    def _is_due(self, events: Sequence[PendingEvent], kinds: tuple[EventKind, ...]) -> bool:
        now = self._work.clock()
        again = [self._pauses.events.get(event.id, now) for event in events if event.kind in kinds]
        return any(at <= now for at in again)

    def _flush(self, batch: Sequence[Planned]) -> int:
        if not batch:
            return 0
        work = self._work
        rows = {key: row for planned in batch for key, row in planned.rows.items()}
        spooled = [planned.spooled for planned in batch]
        opened = work.stores.spooled_events.open_files(work.shop, spooled, file_name, work.clock())
        return sum(self._write_file(file, rows) for file in opened if self._pauses.until is None)

    def _write_file(self, file: ReservedFile, rows: Mapping[str, Row]) -> int:
        work, kind = self._work, FileKind(file.kind)
        sheet = self._reshape[kind]
        try:
            folder = disk.private_folder(work.folder)
            with FileWriter(
                kind, folder, file.name, below=self._below, reshape=Path(sheet) if sheet else None
            ) as writer:
                for entry in file.entries:
                    writer.add(rows[entry.key])
                written = writer.finish()
        except (FileFaultError, OSError) as error:
            self._failed(file, error)
            return 0
        ensure_lease = work.files.written(
            file.file_id,
            sha256=written.sha256,
            size=written.size,
            lines=written.lines,
            rows=written.rows,
            cleaned=written.cleaned,
            now=work.clock(),
        )
        if not ensure_lease:  # this process slept past its lease, and another one gave the events back
            disk.remove(written.path)
            return 0
        log.info(
            "shop=%s file=%s rows=%d lines=%d cleaned=%d",
            work.shop.name,
            file.name,
            written.rows,
            written.lines,
            written.cleaned,
        )
        return len(set(file.event_ids)) if kind is not FileKind.REDEMPTIONS else 0

    def _failed(self, file: ReservedFile, error: FileFaultError | OSError) -> None:
        """Give the events back; the one at fault waits for the API, any other fault makes all writing rest."""
        work, now = self._work, self._work.clock()
        row = error.row if isinstance(error, FileFaultError) else None
        text = str(error) if isinstance(error, FileFaultError) else f"The folder {work.folder}: {error.strerror}"
        if row is not None and row < len(file.event_ids):
            text = f"{text} It is event {file.event_ids[row]}, which waits for the API."
            self._pauses.events[file.event_ids[row]] = now + LOOK_AGAIN
        else:
            self._pauses.until = now + BACKOFF
        log.error("shop=%s file=%s not written: %s", work.shop.name, file.name, text)
        work.stores.spooled_events.release(file.file_id, (FileState.WRITING,), text, now, failed=True)
