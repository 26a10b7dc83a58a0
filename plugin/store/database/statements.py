"""Helpers to run writing statements, and to name a fault of the database."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import (
    Delete,
    Update,
)
from sqlalchemy.engine import CursorResult, Result
from sqlalchemy.exc import OperationalError, SQLAlchemyError
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


def what_failed(error: SQLAlchemyError) -> str:
    """Name a fault of the database for an operator: of a connection that fails, with the driver's own first line.

    Other faults keep their text to themselves: it may hold people's data.
    """
    name = type(error).__name__
    lines = str(error.orig).strip().splitlines() if isinstance(error, OperationalError) else []
    return f"{name}: {lines[0]}" if lines else name


def run(session: Session, statement: Update, parameters: Mapping[str, Any] | None = None) -> int:
    """Run an UPDATE without reading back what it changed, and return how many rows it touched."""
    return changed_rows(session.connection().execute(statement, parameters))


def changed_rows(result: Result[Any]) -> int:
    """Return how many rows a writing statement touched."""
    return cast("CursorResult[Any]", result).rowcount
