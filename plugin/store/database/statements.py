"""Helpers to run writing statements."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import (
    Delete,
    Update,
)
from sqlalchemy.engine import CursorResult, Result
from sqlalchemy.orm import Session

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql import Insert


@dataclass(frozen=True, slots=True)
class RowWrite:
    """A write of one row; those of one statement that go into one commit are sent to the database together.

    place: they are sent in its order, so that two commits which write the same rows never wait for each other.
    """

    statement: "Insert | Update | Delete"
    row: Mapping[str, Any]
    place: str

    def __call__(self, session: Session) -> None:
        """Write the row alone."""
        session.connection().execute(self.statement, self.row)


def run(session: Session, statement: Update, parameters: Mapping[str, Any] | None = None) -> int:
    """Run an UPDATE without reading back what it changed, and return how many rows it touched."""
    return changed_rows(session.connection().execute(statement, parameters))


def changed_rows(result: Result[Any]) -> int:
    """Return how many rows a writing statement touched."""
    return cast("CursorResult[Any]", result).rowcount
