"""Converting a request body of the API to the element of one row. Pure: no I/O.

XML allows no control characters and no lone surrogates, and one of them would stop the whole file (docs/libraries.md#lxml):
they and line breaks become spaces, and each text that held some is counted. A key that held some is rejected.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from lxml import etree

from plugin.engage_files.names import ENTRIES, NAMES, ORDER, PAIR, PAIR_NAME, PAIRS, FileKind
from plugin.errors import PayloadError

_NOT_XML = re.compile("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME = re.compile(r"[A-Za-z_][\w.\-]*")
_LAST = len(ORDER)


@dataclass(slots=True)
class Row:
    """One row, ready to be written. lines: how many lines it counts for in the importer. cleaned: altered texts."""

    element: etree._Element
    lines: int
    cleaned: int


def row_of(kind: FileKind, body: Mapping[str, Any]) -> Row:
    """Return the row of a body. Raises PayloadError for a key or name that XML cannot express."""
    names = NAMES[kind]
    # without a namespace of its own it inherits the file's, and no declaration is repeated on each row
    builder = _RowBuilder(etree.Element(names.row), names.keys)
    builder.fill(builder.element, body)
    items = body.get("items")
    return Row(builder.element, max(1, len(items)) if isinstance(items, Sequence) else 1, builder.cleaned)


class _RowBuilder:
    def __init__(self, element: etree._Element, keys: frozenset[str]) -> None:
        self.element = element
        self.cleaned = 0
        self._keys = keys

    def fill(self, parent: etree._Element, values: Mapping[str, Any]) -> None:
        """Add each value as a child, in the order of ORDER; unknown names come last."""
        for name in sorted(values, key=lambda name: ORDER.get(name, _LAST)):
            value = values[name]
            if value is not None and value not in ([], {}):
                self._add(parent, name, value)

    def _add(self, parent: etree._Element, name: str, value: Any) -> None:
        if name not in ORDER and not _NAME.fullmatch(name):
            raise PayloadError("the name cannot be the name of an XML element", name)
        child = etree.SubElement(parent, name)
        if isinstance(value, Mapping):
            self.fill(child, value)
        elif name == PAIRS:
            for pair in value:
                entry = etree.SubElement(child, PAIR, {PAIR_NAME: self._text(PAIR_NAME, pair["name"])})
                entry.text = self._text(PAIR, pair["value"])
        elif isinstance(value, list):
            for item in value:
                self.fill(etree.SubElement(child, ENTRIES[name]), item)
        else:
            child.text = self._text(name, value)

    def _text(self, name: str, value: Any) -> str:
        if isinstance(value, str):
            if value.isprintable():
                return value
            cleaned = _NOT_XML.sub(" ", value)
            if cleaned != value:
                if name in self._keys:
                    raise PayloadError("it holds control characters, which a file cannot hold", name)
                self.cleaned += 1
            return cleaned
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, Decimal):
            return f"{value:f}"
        if isinstance(value, datetime | date):
            return value.isoformat()
        return str(value)
