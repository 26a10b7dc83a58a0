"""Operations on local files, each durable when it returns."""

import os
from pathlib import Path
from typing import BinaryIO

FOLDER_MODE, FILE_MODE = 0o700, 0o600


def private_folder(path: Path) -> Path:
    """Create a folder that only this user may read, and return it."""
    path.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    return path


def create(path: Path) -> BinaryIO:
    """Open a new file for writing, replacing one of that name that a crash left behind."""
    remove(path)
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE), "w+b")


def sync(file: BinaryIO) -> None:
    """Flush a file's contents to the disk."""
    file.flush()
    os.fsync(file.fileno())


def rename(path: Path, target: Path) -> None:
    """Rename a file, and flush the change to the disk."""
    path.rename(target)
    _sync_folder(target.parent)
    if path.parent != target.parent:
        _sync_folder(path.parent)


def remove(path: Path) -> None:
    """Delete a file if it exists."""
    path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
