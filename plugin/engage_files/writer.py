"""Writing one file: rows are streamed under a temporary name, validated, flushed to the disk, then renamed.

Memory does not grow with the file: lxml writes each row at once, and validates while it reads.

    with FileWriter(FileKind.RECEIPTS, folder, name) as file:
        for body in bodies:
            file.add(row_of(FileKind.RECEIPTS, body))
        written = file.finish()
"""

import copy
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from lxml import etree

from plugin.engage_files import disk
from plugin.engage_files.names import LINES_BELOW, NAMES, SCHEMAS, FileKind
from plugin.engage_files.rows import Row
from plugin.errors import FileFaultError

TEMPORARY = ".part"
_DECLARATION = b'<?xml version="1.0" encoding="utf-8"?>\n'
_CHUNK = 1024 * 1024
_ACCESS = ("read_file", "write_file", "create_dir", "read_network", "write_network")
_NO_ACCESS = etree.XSLTAccessControl(**dict.fromkeys(_ACCESS, False))


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file under its final name. lines: its lines of text or the rows that the importer counts, whichever is more.

    size in bytes, sha256 in hex; cleaned: texts whose control characters were replaced by spaces.
    """

    path: Path
    sha256: str
    size: int
    lines: int
    rows: int
    cleaned: int


class FileWriter:
    """One file that is being written. Leaving the block without `finish` leaves nothing behind.

    reshape: the path of an XSLT style sheet that converts our format to the tenant's.
    """

    def __init__(
        self, kind: FileKind, folder: Path, name: str, *, below: int = LINES_BELOW, reshape: Path | None = None
    ) -> None:
        self._kind, self._below, self._reshape = kind, below, reshape
        self._final, self._temporary = folder / name, folder / (name + TEMPORARY)
        self._stack = ExitStack()
        self._text_lines = 1 + 2 * len(NAMES[kind].groups)  # the declaration, and start and end of each group
        self._importer_lines = self.rows = self.cleaned = 0

    def __enter__(self) -> Self:
        """Open the file and begin its root."""
        names = NAMES[self._kind]
        self._file: BinaryIO = disk.create(self._temporary)
        self._file.write(_DECLARATION)
        self._xml: Any = self._stack.enter_context(etree.xmlfile(self._file, encoding="utf-8"))
        for group in names.groups:
            tag, own = f"{{{names.namespace}}}{group}", {None: names.namespace}
            self._stack.enter_context(self._xml.element(tag, nsmap=own if group == names.groups[0] else None))
            self._xml.write("\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the file, and delete it unless it was finished."""
        try:
            if error is None:
                self._stack.close()
        finally:
            self._file.close()
            if error is None or isinstance(error, Exception):  # a process that is killed leaves it to the next one
                disk.remove(self._temporary)

    def fits(self, row: Row) -> bool:
        """Return whether the file stays below its number of lines with one more row."""
        return self._importer_lines + row.lines < self._below and self._text_lines + 1 < self._below

    def add(self, row: Row) -> None:
        """Write a row. Raises FileFaultError when the file is full: ask `fits` first."""
        if not self.fits(row):
            raise FileFaultError(f"A file must stay below {self._below} lines; this row of {row.lines} goes beyond.")
        self._xml.write(row.element, with_tail=False)
        self._xml.write("\n")
        self._text_lines += 1
        self._importer_lines += row.lines
        self.rows += 1
        self.cleaned += row.cleaned

    def finish(self) -> WrittenFile:
        """Complete, validate, reshape, flush and rename the file.

        Raises FileFaultError when it does not fit its schema, or its style sheet fails.
        """
        self._stack.close()
        self._file.write(b"\n")
        self._file.flush()
        check(self._kind, self._temporary)
        if self._reshape is not None:
            self._replace_contents(reshaped(self._temporary, self._reshape))
        disk.sync(self._file)
        sha256, size, text_lines = measure(self._temporary)
        lines = max(self._importer_lines, text_lines)
        if lines >= self._below:
            raise FileFaultError(
                f"The style sheet {self._reshape} produces {lines} lines, which must stay below {self._below}: "
                "lower the setting fallback_lines, or indent less in the style sheet."
            )
        disk.rename(self._temporary, self._final)
        return WrittenFile(self._final, sha256, size, lines, self.rows, self.cleaned)

    def _replace_contents(self, contents: bytes) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._file.write(contents)
        self._file.flush()


def check(kind: FileKind, path: Path) -> None:
    """Validate a file against its schema while it is read. Raises FileFaultError with the number of the invalid row."""
    try:
        for _ in _each_row(kind, path, schema=_schema(kind)):
            pass
    except etree.XMLSyntaxError:
        # the error names neither line nor row, and its message quotes values, which may be personal data
        row = _invalid_row(kind, path)
        where = "" if row is None else f", in row {row + 1}"
        raise FileFaultError(f"The {kind} file does not fit its schema {NAMES[kind].schema}{where}.", row) from None


def _each_row(kind: FileKind, path: Path, **options: Any) -> Iterator[etree._Element]:
    """Yield each row while the file is read, and free its memory afterwards."""
    names = NAMES[kind]
    tag = f"{{{names.namespace}}}{names.row}"
    with path.open("rb") as file:
        parsed = etree.iterparse(file, events=("end",), tag=tag, resolve_entities=False, no_network=True, **options)
        for _, row in parsed:
            yield row
            row.clear()
            group = row.getparent()
            while group is not None and row.getprevious() is not None:
                del group[0]


def _invalid_row(kind: FileKind, path: Path) -> int | None:
    """Return the index of the first row that does not fit the schema on its own."""
    names = NAMES[kind]
    for number, row in enumerate(_each_row(kind, path)):
        parent = root = etree.Element(f"{{{names.namespace}}}{names.groups[0]}")
        for group in names.groups[1:]:
            parent = etree.SubElement(parent, f"{{{names.namespace}}}{group}")
        parent.append(copy.deepcopy(row))
        if not _schema(kind).validate(root):
            return number
    return None


def reshaped(path: Path, style_sheet: Path) -> bytes:
    """Return a file converted by an XSLT style sheet, which has no access to anything else. Raises FileFaultError."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        sheet = etree.XSLT(etree.parse(style_sheet, parser), access_control=_NO_ACCESS)
        return bytes(sheet(etree.parse(path, parser)))
    except (OSError, etree.XMLSyntaxError, etree.XSLTError) as error:
        raise FileFaultError(
            f"The style sheet {style_sheet} cannot be used ({type(error).__name__}): correct it, or unset its setting."
        ) from error


def measure(path: Path) -> tuple[str, int, int]:
    """Return a file's SHA-256 in hex, its size in bytes and its lines of text."""
    digest, size, lines = hashlib.sha256(), 0, 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            lines += chunk.count(b"\n")
    return digest.hexdigest(), size, lines


@cache
def _schema(kind: FileKind) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(SCHEMAS / NAMES[kind].schema))
