"""A shop's historical orders as files: receipts are streamed into as many files as they need, outside of the inbox.

The files are sent by the same process as all others, whether Engage answers or not. The caller records which receipts
are in them: a file counts once `add` or `finish` returned its name, and a file that was not finished is never sent.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from plugin.engage.data.receipts import Receipt
from plugin.engage.data.request_bodies import receipt_body
from plugin.engage_files import disk
from plugin.engage_files.names import FileKind, file_name
from plugin.engage_files.rows import row_of
from plugin.engage_files.writer import FileWriter
from plugin.errors import FileFaultError
from plugin.store.files.files import FallbackFiles, StoredFile
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.files import FileOrigin, FileState


class ReceiptStream:
    """Writes receipts of known contacts, one file after the other, in constant memory.

    with ReceiptStream(files, shop, folder, clock) as stream:
        for receipt in receipts:
            finished = stream.add(receipt)     # the name of a file that is complete now, or None
        last = stream.finish()
    """

    def __init__(self, files: FallbackFiles, shop: RegisteredShop, folder: Path, clock: Callable[[], datetime]) -> None:
        self._files, self._shop, self._folder, self._clock = files, shop, folder, clock
        sheet = shop.settings.fallback_receipts_xslt
        self._reshape = Path(sheet) if sheet else None
        self._stored: StoredFile | None = None
        self._writer: FileWriter | None = None

    def __enter__(self) -> Self:
        """Mark files as failed that an earlier run did not finish: one run at a time writes a shop's history."""
        disk.private_folder(self._folder)
        for file in self._files.live(self._shop, FileState.WRITING):
            if file.origin == FileOrigin.BACKFILL:
                self._files.fail(
                    file.id, "its writer did not finish it; its receipts go into another file", self._clock()
                )
                disk.remove(self._folder / file.name)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Discard a file that was not finished."""
        if self._writer is not None:
            self._writer.__exit__(kind, error, at)
        if self._stored is not None and (error is None or isinstance(error, Exception)):
            self._files.fail(self._stored.id, "its writer ended before it was complete", self._clock())

    def add(self, receipt: Receipt) -> str | None:
        """Write a receipt; return the name of the previous file when that is full and therefore complete now.

        Raises PayloadError for a receipt that no file can hold, and FileFaultError for a file that does not fit its
        schema or that its style sheet cannot convert.
        """
        row = row_of(FileKind.RECEIPTS, receipt_body(receipt, self._shop.settings.voucher_field))
        finished = None
        if self._writer is not None and not self._writer.fits(row):
            finished = self.finish()
        if self._writer is None:
            self._writer = self._begin()
        self._writer.add(row)
        return finished

    def finish(self) -> str | None:
        """Complete the current file and return its name; None when nothing was written since the last one."""
        if self._writer is None or self._stored is None:
            return None
        try:
            written = self._writer.finish()
        except FileFaultError as error:
            self._files.fail(self._stored.id, str(error), self._clock())
            self._stored = None
            raise
        self._writer.__exit__(None, None, None)
        name = self._stored.name
        self._files.written(
            self._stored.id,
            sha256=written.sha256,
            size=written.size,
            lines=written.lines,
            rows=written.rows,
            cleaned=written.cleaned,
            now=self._clock(),
        )
        self._stored = self._writer = None
        return name

    def _begin(self) -> FileWriter:
        self._stored = self._files.reserve(self._shop, FileKind.RECEIPTS, FileOrigin.BACKFILL, file_name, self._clock())
        below = self._shop.settings.fallback_lines
        writer = FileWriter(FileKind.RECEIPTS, self._folder, self._stored.name, below=below, reshape=self._reshape)
        return writer.__enter__()
