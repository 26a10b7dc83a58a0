"""Real SFTP servers for tests, on a loopback port: OpenSSH's sshd where it is installed, and asyncssh's for what sshd
cannot be made to do. Both serve the whole file system to the user who runs the tests; tests use a folder of their own.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

import asyncssh

from support.running_plugin import free_port, wait_for

PASSWORD = "a password of tests"
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


@dataclass(frozen=True, slots=True)
class SftpServer:
    """A running server. host_key: its public key as it is pinned; key: a private key that may log in, as text."""

    port: int
    user: str
    host_key: str
    key: str


def make_key(path: Path, kind: str = "ed25519") -> tuple[str, str]:
    """Make a key pair and return its private and public texts."""
    algorithm = {"ed25519": "ssh-ed25519", "rsa": "ssh-rsa", "ecdsa": "ecdsa-sha2-nistp256"}[kind]
    key = asyncssh.generate_private_key(algorithm)
    key.write_private_key(path)
    key.write_public_key(f"{path}.pub")
    path.chmod(0o600)
    return path.read_text(), " ".join(Path(f"{path}.pub").read_text().split()[:2])


def has_openssh() -> bool:
    """Tell whether sshd can be run here; as root it needs its folder for privilege separation."""
    if not Path(SSHD).exists():
        return False
    if os.getuid() == 0:
        try:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # as its own service makes it
        except OSError:
            return False
    return True


@contextmanager
def openssh(folder: Path, *, sftp_options: str = "", file_size_limit_kb: int | None = None) -> Iterator[SftpServer]:
    """Run sshd as a user process. sftp_options: of internal-sftp; file_size_limit_kb: as if the disk were full there."""
    folder.mkdir(parents=True, exist_ok=True)
    _, host_key = make_key(folder / "host_key")
    key, public = make_key(folder / "user_key")
    (folder / "authorized_keys").write_text(public + "\n")
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp {sftp_options}\n"
    )
    limit = "" if file_size_limit_kb is None else f"trap '' XFSZ; ulimit -f {file_size_limit_kb}; "
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"{limit}exec {SSHD} -D -e -f {folder}/sshd_config"], stdout=log, stderr=log
        )
    try:
        wait_for(lambda: _listens(port) or process.poll() is not None, 20, "sshd did not start")
        assert process.poll() is None, (folder / "sshd.log").read_text()
        yield SftpServer(port, getuser(), host_key, key)
    finally:
        process.terminate()
        process.wait(10)


class ScriptedFiles(asyncssh.SFTPServer):
    """What asyncssh's server is to do. takes: deletes a file as soon as it has its name."""

    takes = False
    refuses_rename = False
    full = False
    pause_s = 0.0

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Rename, and take the file away at once where that is wanted."""
        if self.refuses_rename:
            raise asyncssh.SFTPPermissionDenied("not allowed")
        super().rename(oldpath, newpath)
        if self.takes:
            Path(os.fsdecode(newpath)).unlink()

    async def write(self, file_obj: object, offset: int, data: bytes) -> int:
        """Write slowly, or refuse for want of room."""
        if self.full:
            raise asyncssh.SFTPNoSpaceOnFilesystem("No space left on device")
        await asyncio.sleep(self.pause_s)
        return int(super().write(file_obj, offset, data))  # type: ignore[arg-type]


class _Login(asyncssh.SSHServer):
    def __init__(self, public: str, connections: list[asyncssh.SSHServerConnection]) -> None:
        self._public, self._connections = asyncssh.import_public_key(public), connections

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connections.append(conn)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return username == "merchant" and password == PASSWORD

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return key == self._public


@contextmanager
def scripted(
    folder: Path, files: type[ScriptedFiles] = ScriptedFiles, host_key: str = "ed25519"
) -> Iterator[SftpServer]:
    """Run asyncssh's server in a thread of this process."""
    folder.mkdir(parents=True, exist_ok=True)
    _, public_host_key = make_key(folder / "host_key", host_key)
    key, public = make_key(folder / "user_key")
    connections: list[asyncssh.SSHServerConnection] = []
    port, ready, loop = free_port(), threading.Event(), asyncio.new_event_loop()

    async def listen() -> asyncssh.SSHAcceptor:
        acceptor = await asyncssh.listen(
            "127.0.0.1", port, server_host_keys=[str(folder / "host_key")], sftp_factory=files,
            server_factory=lambda: _Login(public, connections),
        )  # fmt: skip
        ready.set()
        return acceptor

    def serve() -> None:
        asyncio.set_event_loop(loop)
        acceptor = loop.run_until_complete(listen())
        loop.run_forever()
        acceptor.close()
        loop.run_until_complete(acceptor.wait_closed())
        for connection in connections:
            connection.abort()
        ended = [connection.wait_closed() for connection in connections]
        loop.run_until_complete(asyncio.gather(*ended, return_exceptions=True))
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(20), "asyncssh did not start"
    try:
        yield SftpServer(port, "merchant", public_host_key, key)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@contextmanager
def cutting_proxy(port: int, after_bytes: int) -> Iterator[int]:
    """Pass one connection after the other on to a server and cut each after so many bytes of the client's."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=_pump, args=(server, client, None), daemon=True).start()
            _pump(client, server, after_bytes)
            for side in (client, server):
                _hang_up(side)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        stop.set()
        _hang_up(listener)
        thread.join(10)


def _pump(source: socket.socket, target: socket.socket, most: int | None) -> None:
    passed = 0
    try:
        while (data := source.recv(4096)) and (most is None or passed < most):
            target.sendall(data)
            passed += len(data)
    except OSError:
        return


def _hang_up(side: socket.socket) -> None:
    with suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
    side.close()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        time.sleep(0.02)
        return False
    return True
