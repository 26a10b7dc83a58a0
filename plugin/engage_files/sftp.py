"""Transfer by SFTP with a pinned host key. The only module that uses paramiko (docs/libraries.md#paramiko).

The server removes files as soon as it has read them: a file that is gone after its rename was picked up, so paramiko's
`confirm`, which would look for it, is not used.
"""

import base64
import binascii
import hashlib
import io
import logging
import posixpath
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import paramiko

from plugin.engage_files.transfer import Heartbeat, RemoteListing
from plugin.errors import TransferError

logging.getLogger("paramiko").setLevel(
    logging.CRITICAL
)  # it logs tracebacks of errors that are reported here as TransferError

CHUNK = 32 * 1024
CONNECT_TIMEOUT_S = 10.0
#: Seconds without any progress after which a transfer counts as cut off.
SILENCE_S = 30.0
#: The signature algorithms allowed with an RSA key, without SHA-1 (RFC 8332).
_RSA = ("rsa-sha2-512", "rsa-sha2-256")
_KEY_CLASSES: tuple[type[paramiko.PKey], ...] = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)


@dataclass(frozen=True, slots=True)
class SftpAccess:
    """The server and our login. host_key: TYPE BASE64 as in known_hosts; key: a private key as text (PEM or OpenSSH)."""

    host: str
    port: int
    user: str
    host_key: str
    base: str = ""
    password: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    silence_s: float = SILENCE_S


@dataclass(frozen=True, slots=True)
class HostKey:
    """A server's public key. line: the text to pin; fingerprint: SHA256, as ssh-keygen shows it."""

    line: str
    fingerprint: str


class SftpTransfer:
    """One SFTP session."""

    def __init__(self, access: SftpAccess) -> None:
        self._access = access
        self._where = f"{access.host}:{access.port}"

    def __enter__(self) -> Self:
        """See Transfer. The error says what to correct when the host key, the user or the secret is wrong."""
        access = self._access
        if not access.host_key:
            raise TransferError(
                f"No host key of {self._where} is pinned: `engage-plugin fallback check NAME` shows it; compare it with "
                "the one that Voyado gave you, then set fallback_host_key."
            )
        try:
            kind, wanted = parse_host_key(access.host_key)
        except ValueError as error:
            raise TransferError(f"The setting fallback_host_key {error}.") from error
        self._transport = _connect(access, kind)
        try:
            self._check_host_key(wanted)
            self._log_in()
            self._sftp = self._open()
        except BaseException:
            self._transport.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """See Transfer."""
        self._transport.close()

    def put(self, local: Path, folder: str, temporary: str, heartbeat: Heartbeat) -> None:
        """See Transfer."""
        path, size = self._path(folder, temporary), local.stat().st_size
        with self._translated_errors(f"write {path}"):
            with local.open("rb") as source, self._sftp.open(path, "wb") as target:
                target.set_pipelined(True)
                while chunk := source.read(CHUNK):
                    target.write(chunk)
                    heartbeat()
            written = self._sftp.stat(path).st_size
        if written != size:
            # chunks are sent without waiting for each answer, so a failed write shows only in the size
            raise TransferError(
                f"{self._where} holds {written} of {size} bytes of {path}: is there room, or was the transfer cut short?"
            )

    def publish(self, folder: str, temporary: str, name: str) -> None:
        """See Transfer."""
        with self._translated_errors(f"rename {self._path(folder, temporary)} to {name}"):
            self._sftp.rename(self._path(folder, temporary), self._path(folder, name))

    def find(self, folder: str, name: str, temporary: str | None) -> RemoteListing:
        """See Transfer."""
        with self._translated_errors(f"find {self._path(folder, name)}"):
            final = self._size(self._path(folder, name))
            return RemoteListing(final, None if temporary is None else self._size(self._path(folder, temporary)))

    def discard(self, folder: str, temporary: str) -> None:
        """See Transfer."""
        with self._translated_errors(f"delete {self._path(folder, temporary)}"), suppress(FileNotFoundError):
            self._sftp.remove(self._path(folder, temporary))

    def check_folder(self, folder: str) -> None:
        """Raise TransferError unless the folder exists."""
        path = self._path(folder, "")
        with self._translated_errors(f"find the folder {path}"):
            self._sftp.stat(path)

    def _path(self, folder: str, name: str) -> str:
        return posixpath.join(self._access.base, folder, name)

    def _size(self, path: str) -> int | None:
        try:
            return self._sftp.stat(path).st_size
        except FileNotFoundError:
            return None

    def _check_host_key(self, wanted: bytes) -> None:
        key = self._transport.get_remote_server_key()
        if key.asbytes() != wanted:
            raise TransferError(
                f"{self._where} shows another host key ({_fingerprint(key.asbytes())}) than the pinned one "
                f"({_fingerprint(wanted)}). Nothing was sent. Ask Voyado whether the key was changed; only then pin the new "
                "one with `engage-plugin fallback check NAME`."
            )

    def _log_in(self) -> None:
        access = self._access
        try:
            if access.key:
                self._transport.auth_publickey(access.user, _private_key(access.key))
            else:
                self._transport.auth_password(access.user, access.password, fallback=False)
        except (paramiko.SSHException, EOFError, OSError) as error:
            refused = isinstance(error, paramiko.AuthenticationException)
            what = "refuses" if refused else f"ended the login of ({type(error).__name__})"
            raise TransferError(
                f"{self._where} {what} the user {access.user!r} with this {'key' if access.key else 'password'}: "
                "check the settings fallback_user and fallback_password or fallback_key."
            ) from error

    def _open(self) -> paramiko.SFTPClient:
        try:
            sftp = paramiko.SFTPClient.from_transport(self._transport)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise TransferError(f"{self._where} offers no SFTP to this user ({type(error).__name__}).") from error
        assert sftp is not None, "paramiko returns None only for a transport that is closed"
        channel = sftp.get_channel()
        assert channel is not None, "it was opened just now"
        channel.settimeout(self._access.silence_s)
        return sftp

    @contextmanager
    def _translated_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise TransferError(f"{self._where} did not answer in time; it was to {what}.") from error
        except FileNotFoundError as error:
            raise TransferError(f"{self._where} has no such file or folder; it was to {what}.") from error
        except PermissionError as error:
            raise TransferError(f"{self._where} does not allow this user to {what}.") from error
        except OSError as error:
            raise TransferError(
                f"{self._where} could not {what} ({error.strerror or error}): is there room, may this user do it?"
            ) from error
        except (paramiko.SSHException, EOFError) as error:
            raise TransferError(f"The connection to {self._where} was cut off; it was to {what}.") from error


def parse_host_key(text: str) -> tuple[str, bytes]:
    """Return type and bytes of a pinned key. Raises ValueError."""
    parts = text.split()
    if parts and not parts[0].startswith(("ssh-", "ecdsa-")) and len(parts) > 2:
        parts = parts[1:]  # a line of known_hosts begins with the host
    if len(parts) < 2:
        raise ValueError("must be TYPE BASE64, such as: ssh-ed25519 AAAAC3Nz...")
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except binascii.Error:
        raise ValueError("is not valid base64; copy the whole key") from None
    length = int.from_bytes(blob[:4])
    if blob[4 : 4 + length] != parts[0].encode():
        raise ValueError("holds another type of key than it says; copy the whole line")
    return parts[0], blob


def shown_host_key(host: str, port: int) -> HostKey:
    """Return a server's host key, for a person to compare and pin. Raises TransferError."""
    transport = _connect(SftpAccess(host, port, "", ""), None)
    try:
        key = transport.get_remote_server_key()
    finally:
        transport.close()
    return HostKey(f"{key.get_name()} {key.get_base64()}", _fingerprint(key.asbytes()))


def check_private_key(text: str) -> None:
    """Raise TransferError for a text that is not a private key without a passphrase."""
    _private_key(text)


def _connect(access: SftpAccess, key_type: str | None) -> paramiko.Transport:
    """Connect and exchange keys. key_type: the type of host key to ask for, that of the pinned one."""
    where = f"{access.host}:{access.port}"
    try:
        connection = socket.create_connection((access.host, access.port), timeout=access.connect_timeout_s)
    except OSError as error:
        raise TransferError(f"{where} cannot be reached ({error.strerror or type(error).__name__}).") from error
    transport = None
    try:
        transport = paramiko.Transport(connection)
        transport.banner_timeout = transport.auth_timeout = access.silence_s
        if key_type is not None:
            transport.get_security_options().key_types = _RSA if key_type == "ssh-rsa" else (key_type,)
        transport.start_client(timeout=access.connect_timeout_s)
    except (paramiko.SSHException, EOFError, OSError, ValueError) as error:
        if transport is not None:
            transport.close()
        connection.close()
        offered = f" It may have no host key of the pinned type {key_type}." if key_type else ""
        raise TransferError(f"{where} does not speak SSH as we do ({type(error).__name__}).{offered}") from error
    return transport


def _private_key(text: str) -> paramiko.PKey:
    for key_class in _KEY_CLASSES:
        with suppress(paramiko.SSHException, ValueError, IndexError):
            return key_class.from_private_key(io.StringIO(text))
    raise TransferError(
        "The private key cannot be read: it must be an Ed25519, ECDSA or RSA key without a passphrase, the file's whole text."
    )


def _fingerprint(blob: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
