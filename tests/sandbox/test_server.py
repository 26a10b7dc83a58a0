"""The server under the sandbox: connections, sizes, and its end."""

import re
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection

import pytest
import requests
from support.sandbox_client import Engage

from plugin.sandbox.testing import HEADERS, running_sandbox


def address(engage: Engage) -> tuple[str, int]:
    host, _, port = engage.url.removeprefix("http://").partition(":")
    return host, int(port)


def test_connection_serves_many_requests(engage: Engage) -> None:
    connection = HTTPConnection(*address(engage), timeout=10)
    used = set()
    for _ in range(3):
        connection.request("GET", "/api/v3/stores", headers=dict(HEADERS))
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"[]")
        used.add(id(connection.sock))
    connection.close()
    assert len(used) == 1


def test_refused_body_does_not_spoil_the_connection(engage: Engage) -> None:
    connection = HTTPConnection(*address(engage), timeout=10)
    seen = []
    for method, path in (("DELETE", "/api/v3/receipts"), ("POST", "/api/v3/nothing"), ("GET", "/api/v3/stores")):
        connection.request(method, path, b'{"unread": true}', dict(HEADERS))
        answer = connection.getresponse()
        answer.read()
        seen.append(answer.status)
    connection.close()
    assert seen == [405, 404, 200]


def test_head_request_has_no_body(engage: Engage) -> None:
    connection = HTTPConnection(*address(engage), timeout=10)
    connection.request("HEAD", "/")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    connection.request("GET", "/sandbox/stores")
    assert connection.getresponse().read() == b"[]"
    connection.close()


@pytest.mark.parametrize(
    ("header", "status"),
    [("Transfer-Encoding: chunked", 411), ("Content-Length: x", 411), ("Content-Length: 99999999999", 413)],
)
def test_body_of_unknown_or_absurd_length_is_refused(engage: Engage, header: str, status: int) -> None:
    with socket.create_connection(address(engage), timeout=10) as connection:
        connection.sendall(f"POST /api/v3/receipts HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def test_block_s_end_closes_idle_connections() -> None:
    with running_sandbox() as sandbox:
        session = requests.Session()
        assert session.get(f"{sandbox.url}/sandbox/stores", timeout=10).status_code == 200
    with session, pytest.raises(requests.ConnectionError):
        session.get(f"{sandbox.url}/sandbox/stores", timeout=10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_prints_its_address_and_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    program = "from plugin.sandbox import serve; serve(0, ready=lambda url: print(url, flush=True))"
    command = [sys.executable, "-W", "error", "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        with requests.Session() as session:
            assert session.get(f"{url}/api/v3/stores", headers=dict(HEADERS), timeout=10).json() == []
            process.send_signal(number)
            _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


def test_taken_port_is_reported() -> None:
    with running_sandbox() as sandbox:
        port = int(sandbox.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"), running_sandbox(port=port):
            pass
