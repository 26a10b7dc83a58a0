"""What a way out of this machine must do: put a file under a temporary name, then give it its own, and tell what is there.

Two ways: `sftp` and `folder` (for merchants who move files themselves).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

#: Told now and then while a file travels, so that the lease on the work can be prolonged. It may raise.
Alive = Callable[[], None]


@dataclass(frozen=True, slots=True)
class RemoteListing:
    """What lies on the other side: sizes in bytes, None where there is no such file."""

    final: int | None
    temporary: int | None


class Transfer(Protocol):
    """One connection to the other side. Every method raises TransferError."""

    def __enter__(self) -> Self:
        """Connect."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the connection."""

    def put(self, local: Path, folder: str, temporary: str, alive: Alive) -> None:
        """Copy a file under a temporary name, and check its size there."""

    def publish(self, folder: str, temporary: str, name: str) -> None:
        """Give a file that was put its own name, which nothing may have yet."""

    def look(self, folder: str, name: str, temporary: str | None) -> RemoteListing:
        """Tell what lies there of a file."""

    def discard(self, folder: str, temporary: str) -> None:
        """Delete what lies under a temporary name, if anything does."""
