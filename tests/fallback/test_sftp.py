"""SFTP against real servers: what arrives, and what is said when it does not."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.sftp_servers import (
    PASSWORD,
    ScriptedFiles,
    SftpServer,
    cutting_proxy,
    has_openssh,
    make_key,
    openssh,
    scripted,
)

from plugin.engage_files.sftp import SftpAccess, SftpTransfer, parse_host_key, shown_host_key
from plugin.engage_files.transfer import RemoteListing
from plugin.errors import TransferError

FOLDER, TEMPORARY, NAME = "in", "a.xml.0001.part", "a.xml"


@pytest.fixture(scope="module", params=["openssh", "asyncssh"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    folder = tmp_path_factory.mktemp("server")
    if request.param == "asyncssh":
        with scripted(folder) as running:
            yield running
        return
    if not has_openssh():
        pytest.skip("sshd is not installed; asyncssh's server is tested beside it")
    with openssh(folder) as running:
        yield running


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / FOLDER).mkdir()
    return tmp_path


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "local.xml"
    path.write_bytes(b"<x>" + b"0123456789abcdef" * 40_000 + b"</x>")
    return path


def access_to(server: SftpServer, base: Path, **changes: object) -> SftpAccess:
    made = SftpAccess("127.0.0.1", server.port, server.user, server.host_key, str(base), key=server.key, silence_s=20.0)
    return replace(made, **changes)  # type: ignore[arg-type]


def sent(access: SftpAccess, local: Path) -> RemoteListing:
    """Send a file whole and return what lies there afterwards."""
    beats: list[None] = []
    with SftpTransfer(access) as transfer:
        transfer.put(local, FOLDER, TEMPORARY, lambda: beats.append(None))
        transfer.publish(FOLDER, TEMPORARY, NAME)
        assert len(beats) > 10
        return transfer.find(FOLDER, NAME, TEMPORARY)


def test_an_uploaded_file_is_complete_under_its_final_name(server: SftpServer, base: Path, local: Path) -> None:
    assert sent(access_to(server, base), local) == RemoteListing(local.stat().st_size, None)
    assert (base / FOLDER / NAME).read_bytes() == local.read_bytes()


def test_a_temporary_file_on_the_server_is_found_and_discarded(server: SftpServer, base: Path, local: Path) -> None:
    with SftpTransfer(access_to(server, base)) as transfer:
        transfer.put(local, FOLDER, TEMPORARY, lambda: None)
        assert transfer.find(FOLDER, NAME, TEMPORARY) == RemoteListing(None, local.stat().st_size)
        transfer.discard(FOLDER, TEMPORARY)
        transfer.discard(FOLDER, TEMPORARY)
        assert transfer.find(FOLDER, NAME, TEMPORARY) == RemoteListing(None, None)


def test_a_host_key_other_than_the_pinned_one_is_rejected_before_anything_is_sent(
    server: SftpServer, base: Path, tmp_path: Path
) -> None:
    _, other = make_key(tmp_path / "other")
    with pytest.raises(TransferError, match=r"another host key .* Nothing was sent"):
        SftpTransfer(access_to(server, base, host_key=other)).__enter__()
    _, other_type = make_key(tmp_path / "other_type", "ecdsa")
    with pytest.raises(TransferError, match="no host key of the pinned type ecdsa"):
        SftpTransfer(access_to(server, base, host_key=other_type)).__enter__()
    for unusable, said in (("", r"No host key .* is pinned"), ("ssh-ed25519 AAAA", "fallback_host_key holds another")):
        with pytest.raises(TransferError, match=said):
            SftpTransfer(access_to(server, base, host_key=unusable)).__enter__()


def test_the_shown_host_key_is_the_one_to_pin(server: SftpServer, base: Path, local: Path) -> None:
    shown = shown_host_key("127.0.0.1", server.port)
    assert shown.line == server.host_key
    assert shown.fingerprint.startswith("SHA256:")
    assert sent(access_to(server, base, host_key=f"[127.0.0.1]:2222 {shown.line} a comment"), local).final


def test_a_wrong_key_or_password_is_explained(server: SftpServer, base: Path, tmp_path: Path) -> None:
    private, _ = make_key(tmp_path / "stranger")
    with pytest.raises(TransferError, match=r"refuses the user .* with this key: check the settings fallback_user"):
        SftpTransfer(access_to(server, base, key=private)).__enter__()
    with pytest.raises(TransferError, match="with this password: check the settings fallback_user"):
        SftpTransfer(access_to(server, base, key="", password="wrong")).__enter__()
    with pytest.raises(TransferError, match="private key cannot be read"):
        SftpTransfer(access_to(server, base, key="no key at all")).__enter__()


def test_a_missing_folder_and_an_unreachable_server_are_named_in_the_error(
    server: SftpServer, base: Path, local: Path
) -> None:
    with (
        SftpTransfer(access_to(server, base)) as transfer,
        pytest.raises(TransferError, match="no such file or folder"),
    ):
        transfer.put(local, "nowhere", TEMPORARY, lambda: None)
    with pytest.raises(TransferError, match="cannot be reached"):
        SftpTransfer(access_to(server, base, port=1)).__enter__()


def test_a_connection_cut_off_during_upload_leaves_no_file_under_its_final_name(
    server: SftpServer, base: Path, local: Path
) -> None:
    with cutting_proxy(server.port, 200_000) as port, pytest.raises(TransferError, match=r"cut|could not write"):
        sent(access_to(server, base, port=port), local)
    assert not (base / FOLDER / NAME).exists()
    assert (base / FOLDER / TEMPORARY).stat().st_size < local.stat().st_size
    assert sent(access_to(server, base), local).final == local.stat().st_size


def test_a_full_disk_on_the_server_is_reported(tmp_path: Path, base: Path, local: Path) -> None:
    full = type("Full", (ScriptedFiles,), {"full": True})
    with scripted(tmp_path / "server", full) as server, pytest.raises(TransferError, match="is there room"):
        sent(access_to(server, base), local)


def test_a_rejected_rename_leaves_the_temporary_file(tmp_path: Path, base: Path, local: Path) -> None:
    refusing = type("Refusing", (ScriptedFiles,), {"refuses_rename": True})
    with scripted(tmp_path / "server", refusing) as server:
        with pytest.raises(TransferError, match="does not allow this user to rename"):
            sent(access_to(server, base), local)
        with SftpTransfer(access_to(server, base)) as transfer:
            assert transfer.find(FOLDER, NAME, TEMPORARY) == RemoteListing(None, local.stat().st_size)


@pytest.mark.skipif(not has_openssh(), reason="sshd is not installed; asyncssh's server is tested beside it")
def test_openssh_with_a_full_disk_and_without_rename(tmp_path: Path, base: Path, local: Path) -> None:
    with openssh(tmp_path / "full", file_size_limit_kb=100) as server:
        with pytest.raises(TransferError, match="is there room"):
            sent(access_to(server, base), local)
        assert not (base / FOLDER / NAME).exists()
    with openssh(tmp_path / "no_rename", sftp_options="-P rename,posix-rename") as server:
        with pytest.raises(TransferError, match=r"does not allow|could not rename"):
            sent(access_to(server, base), local)
        assert not (base / FOLDER / NAME).exists()


def test_a_file_picked_up_immediately_is_not_an_error(tmp_path: Path, base: Path, local: Path) -> None:
    taking = type("Taking", (ScriptedFiles,), {"takes": True})
    with scripted(tmp_path / "server", taking) as server:
        assert sent(access_to(server, base), local) == RemoteListing(None, None)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the test's server leaves its file open
def test_a_slow_server_is_waited_for_and_a_silent_one_times_out(tmp_path: Path, base: Path, local: Path) -> None:
    slow = type("Slow", (ScriptedFiles,), {"pause_s": 0.05})
    with scripted(tmp_path / "slow", slow) as server:
        # the whole takes longer than the silence that is allowed, each answer does not
        assert sent(access_to(server, base, silence_s=0.9), local).final == local.stat().st_size
    silent = type("Silent", (ScriptedFiles,), {"pause_s": 30.0})
    with scripted(tmp_path / "silent", silent) as server, pytest.raises(TransferError, match="did not answer in time"):
        sent(access_to(server, base, silence_s=0.9), local)


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_other_host_key_types_and_passwords_are_accepted(tmp_path: Path, base: Path, local: Path, kind: str) -> None:
    with scripted(tmp_path / "server", host_key=kind) as server:
        assert sent(access_to(server, base, key="", password=PASSWORD), local).final == local.stat().st_size


@pytest.mark.parametrize("text", ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIA=="])
def test_an_invalid_host_key_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|is no|holds another"):
        parse_host_key(text)
