"""Transfer into a local folder, from which the merchant moves the files. A file that is gone was picked up."""

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
        with self._translated_errors("be written to"):
            target = disk.private_folder(self._base / folder) / temporary
            with local.open("rb") as source, disk.create(target) as file:
                shutil.copyfileobj(source, file, 1024 * 1024)
                disk.sync(file)
        heartbeat()

    def publish(self, folder: str, temporary: str, name: str) -> None:
        """See Transfer."""
        with self._translated_errors("rename files in"):
            disk.rename(self._base / folder / temporary, self._base / folder / name)

    def find(self, folder: str, name: str, temporary: str | None) -> RemoteListing:
        """See Transfer."""
        with self._translated_errors("be read"):
            path = self._base / folder
            return RemoteListing(_size(path / name), None if temporary is None else _size(path / temporary))

    def discard(self, folder: str, temporary: str) -> None:
        """See Transfer."""
        with self._translated_errors("delete files in"):
            disk.remove(self._base / folder / temporary)

    def withdraw(self, folder: str, name: str, to: Path) -> bool:
        """Move a file back that the merchant has not moved yet; return False when it is gone."""
        with self._translated_errors("move files out of"):
            source = self._base / folder / name
            if not source.exists():
                return to.exists()
            shutil.move(source, to)
            return True

    @contextmanager
    def _translated_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TransferError(
                f"The folder {self._base} cannot {what} ({error.strerror}): make room, or correct its permissions."
            ) from error


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
