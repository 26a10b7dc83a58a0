"""Files that stay on this machine in a folder, from where the merchant moves them. One that is gone was taken."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from plugin.engage_files import disk
from plugin.engage_files.transfer import Heartbeat, RemoteListing
from plugin.errors import TransferError


class FolderTransfer:
    """Places files in folders under one base."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def __enter__(self) -> Self:
        """See Transfer."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """See Transfer."""

    def put(self, local: Path, folder: str, temporary: str, heartbeat: Heartbeat) -> None:
        """See Transfer."""
        with self._explained("be written to"):
            target = disk.private_folder(self._base / folder) / temporary
            with local.open("rb") as source, disk.create(target) as file:
                shutil.copyfileobj(source, file, 1024 * 1024)
                disk.sync(file)
        heartbeat()

    def publish(self, folder: str, temporary: str, name: str) -> None:
        """See Transfer."""
        with self._explained("rename files in"):
            disk.rename(self._base / folder / temporary, self._base / folder / name)

    def find(self, folder: str, name: str, temporary: str | None) -> RemoteListing:
        """See Transfer."""
        with self._explained("be read"):
            there = self._base / folder
            return RemoteListing(_size(there / name), None if temporary is None else _size(there / temporary))

    def discard(self, folder: str, temporary: str) -> None:
        """See Transfer."""
        with self._explained("delete files in"):
            disk.remove(self._base / folder / temporary)

    def withdraw(self, folder: str, name: str, to: Path) -> bool:
        """Take a file back that the merchant has not moved yet; False when it is gone."""
        with self._explained("move files out of"):
            source = self._base / folder / name
            if not source.exists():
                return to.exists()
            shutil.move(source, to)
            return True

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TransferError(
                f"The folder {self._base} cannot {what} ({error.strerror}): make room, or mend its permissions."
            ) from error


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
