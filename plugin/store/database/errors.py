"""What an error of the database means: which write is to blame, whether to run a transaction again, how to describe it."""

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

#: PostgreSQL's codes for transactions that met: deadlock_detected and serialization_failure.
SERIALIZATION_CONFLICTS = frozenset({"40P01", "40001"})


def is_unavailable(error: Exception) -> bool:
    """Return whether the database itself fails (no connection, busy, shut down), rather than one statement."""
    return isinstance(error, OperationalError | InterfaceError)


def is_serialization_conflict(error: Exception) -> bool:
    """Return whether two transactions met, so that running this one again is all that is needed."""
    return isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) in SERIALIZATION_CONFLICTS


def is_single_row_error(error: Exception) -> bool:
    """Return whether one write of a group, or two that met, caused the error: then each write is tried alone."""
    return is_serialization_conflict(error) or not is_unavailable(error)


def describe_database_error(error: SQLAlchemyError) -> str:
    """Name an error for an operator: its class, and of a failing connection the driver's first line.

    The text of other errors may hold people's data and is left out.
    """
    name = type(error).__name__
    lines = str(error.orig).strip().splitlines() if isinstance(error, OperationalError) else []
    return f"{name}: {lines[0]}" if lines else name
