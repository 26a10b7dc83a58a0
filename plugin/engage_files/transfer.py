"""What a file transfer must do: upload under a temporary name, rename, and say what is there.

Two implementations: `sftp`, and `folder` for merchants who move the files themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

#: Called again and again during an upload, so that the lease on the work can be extended. May raise.
Heartbeat = Callable[[], None]


@dataclass(frozen=True, slots=True)
class RemoteListing:
    """A file's sizes at the destination in bytes, under its final and its temporary name; None where it does not exist."""

    final: int | None
    temporary: int | None


class Transfer(Protocol):
    """A connection to the destination. Every method raises TransferError."""

    def __enter__(self) -> Self:
        """Connect."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the connection."""

    def put(self, local: Path, folder: str, temporary: str, heartbeat: Heartbeat) -> None:
        """Upload a file under a temporary name, and check its size at the destination."""

    def publish(self, folder: str, temporary: str, name: str) -> None:
        """Rename an uploaded file to its final name, which must not exist yet."""

    def find(self, folder: str, name: str, temporary: str | None) -> RemoteListing:
        """Return what is at the destination of a file."""

    def discard(self, folder: str, temporary: str) -> None:
        """Delete the file with a temporary name, if there is one."""
