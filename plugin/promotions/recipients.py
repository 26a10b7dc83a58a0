"""The recipients of a promotion: one by customer id, e-mail or contactId, or a list of them from a file."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

from plugin.errors import ConflictError
from plugin.promotions.service import GUID

CUSTOMER, EMAIL, CONTACT = "customer_id", "email", "contact_id"
KINDS = (CUSTOMER, EMAIL, CONTACT)
MAX_ROWS = 1_000_000
MAX_LENGTH = 320


@dataclass(frozen=True, slots=True)
class Recipient:
    """A row of a list. position: in the list, from 1; line: of the file, for the report. kind: see KINDS.

    fault: why the row names no recipient, else None.
    """

    position: int
    line: int
    kind: str
    value: str
    fault: str | None = None


def recipient(kind: str, value: str, position: int = 1, line: int | None = None) -> Recipient:
    """Return a recipient, with a fault when the value cannot be of its kind."""
    value = value.strip()
    fault = None
    if not value or len(value) > MAX_LENGTH or not value.isprintable():
        fault = f"{kind} must have 1 to {MAX_LENGTH} printable characters"
    elif kind == EMAIL and not 0 < value.find("@") < len(value) - 1:
        fault = "is not an e-mail address"
    elif kind == CONTACT and not GUID.match(value):
        fault = "is not a contactId, which is a GUID"
    return Recipient(position, line or position, kind, value.lower() if kind == EMAIL else value, fault)


def read_recipients(text: str) -> list[Recipient]:
    """Read a list: one value per line, or CSV (comma or semicolon) whose first line names a column after one of KINDS.

    Without a heading an e-mail is recognised by its @ and a contactId by its form; anything else is a customer id.
    Raises ConflictError for a list that is empty or has too many rows.
    """
    rows = list(_rows(text))
    heading = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    columns = [(index, name) for index, name in enumerate(heading) if name in KINDS]
    if columns:
        rows = rows[1:]
    if not rows:
        raise ConflictError("The list is empty.")
    if len(rows) > MAX_ROWS:
        raise ConflictError(f"The list has more than {MAX_ROWS} rows.")
    if columns:
        return [_from_columns(cells, columns, position, line) for position, (line, cells) in enumerate(rows, 1)]
    return [recipient(_guess(cells[0]), cells[0], position, line) for position, (line, cells) in enumerate(rows, 1)]


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), delimiter=";" if ";" in first else ",")
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise ConflictError(f"The list is not CSV at line {reader.line_num}: {error}.") from None


def _from_columns(cells: list[str], columns: list[tuple[int, str]], position: int, line: int) -> Recipient:
    """Take the first column that is filled in."""
    for index, name in columns:
        if index < len(cells) and cells[index].strip():
            return recipient(name, cells[index], position, line)
    return Recipient(position, line, columns[0][1], "", "the row names no recipient")


def _guess(value: str) -> str:
    if "@" in value:
        return EMAIL
    return CONTACT if GUID.match(value.strip()) else CUSTOMER
