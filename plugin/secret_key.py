"""The secret key that a start makes once under STATE_DIR, where SECRET_KEY is not set and the database is the embedded one."""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from plugin.errors import ConfigurationError

SECRET_KEY_BYTES = 32


def read_or_create_secret_key(state_dir: Path, in_use: Callable[[], bool]) -> str:
    """Return the key that an earlier start made, or make it. Raises ConfigurationError.

    in_use: returns whether the database holds what another key encrypted; then none is made.
    """
    path = state_dir / "secret-key"
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            if in_use():
                raise ConfigurationError([_missing_key_text(path)])
            _create_key(path)
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            [
                f"STATE_DIR {state_dir} cannot hold the secret key ({error.strerror if isinstance(error, OSError) else 'not text'}); "
                "make it a writable folder or set SECRET_KEY."
            ]
        ) from error
    if len(key) < SECRET_KEY_BYTES:
        raise ConfigurationError([f"{path} holds a key that is too short; restore it from a backup or set SECRET_KEY."])
    return key


def _missing_key_text(path: Path) -> str:
    return (
        f"SECRET_KEY is not set and {path} does not exist, but the database holds shops, whose secrets need the key they were "
        "stored with: set that SECRET_KEY, in every terminal, or restore the file from a backup."
    )


def _create_key(path: Path) -> None:
    """Write a new key to a draft and give it its name in one step; of several processes the first one wins."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    draft.touch(mode=0o600)
    try:
        draft.write_text(secrets.token_urlsafe(SECRET_KEY_BYTES), encoding="ascii")
        with contextlib.suppress(FileExistsError):  # a process that starts at the same time was first
            os.link(draft, path)
    finally:
        draft.unlink()
