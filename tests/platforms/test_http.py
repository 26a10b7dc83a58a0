"""HTTP to shops: the guard against private addresses, time-outs, limits and answers."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from plugin.errors import ShopApiError, ShopUnavailableError
from plugin.platforms import http
from plugin.platforms.http import PrivateAddressError, ShopHttp


class Shop(BaseHTTPRequestHandler):
    """Answers as its path says."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        status, body = {
            "/ok": (200, b'{"amount": 20.38}'),
            "/moved": (302, b""),
            "/busy": (429, b""),
            "/broken": (503, b""),
            "/no": (404, b"not json"),
            "/large": (200, b"x" * 4096),
        }[self.path.partition("?")[0]]
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/ok")
        if status == 429:
            self.send_header("Retry-After", "999999999")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def shop() -> Iterator[str]:
    Shop.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_answer_has_exact_money(shop: str) -> None:
    answer = ShopHttp(private=True).send("GET", f"{shop}/ok", query={"page": "1"})
    assert (answer.status, str(answer.json()["amount"])) == (200, "20.38")
    assert Shop.asked == ["/ok?page=1"]


def test_a_redirect_is_not_followed(shop: str) -> None:
    assert ShopHttp(private=True).send("GET", f"{shop}/moved").status == 302
    assert Shop.asked == ["/moved"]


def test_busy_and_broken_shops_are_unavailable_for_a_bounded_time(shop: str) -> None:
    with pytest.raises(ShopUnavailableError) as busy:
        ShopHttp(private=True).send("GET", f"{shop}/busy")
    assert busy.value.retry_after is not None
    assert busy.value.retry_after.total_seconds() == http.MAX_RETRY_AFTER_S
    with pytest.raises(ShopUnavailableError, match="503"):
        ShopHttp(private=True).send("GET", f"{shop}/broken")


def test_an_answer_that_is_not_json_is_reported(shop: str) -> None:
    with pytest.raises(ShopApiError, match="not JSON"):
        ShopHttp(private=True).send("GET", f"{shop}/no").json()


def test_an_endless_answer_is_cut_off(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", 1000)
    with pytest.raises(ShopApiError, match="larger than"):
        ShopHttp(private=True).send("GET", f"{shop}/large")


def test_an_unreachable_shop_is_unavailable(shop: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ShopUnavailableError):
            ShopHttp(private=True).send("GET", f"http://127.0.0.1:{taken.getsockname()[1]}/ok")


@pytest.mark.parametrize(
    "url", ["http://shop.example/", "ftp://shop.example/", "https:///x", "https://u:p@shop.example/"]
)
def test_only_plain_https_addresses_are_called(url: str) -> None:
    with pytest.raises(ShopApiError):
        ShopHttp().send("GET", url)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "::1", "::ffff:127.0.0.1", "fe80::1%lo", "0.0.0.0"],
)
def test_a_connection_to_a_private_address_is_closed_before_a_byte_is_sent(address: str) -> None:
    class Connected:
        """A socket as it is after its name was resolved."""

        closed = False

        def getpeername(self) -> tuple[str, int]:
            return (address, 443)

        def close(self) -> None:
            self.closed = True

    connection = Connected()
    with pytest.raises(OSError, match="private address"):
        http._checked(connection)  # type: ignore[arg-type]
    assert connection.closed


def test_a_public_name_that_resolves_to_this_machine_is_refused(shop: str) -> None:
    port = shop.rpartition(":")[2]
    with pytest.raises(PrivateAddressError, match="ALLOW_PRIVATE_SHOPS"):
        ShopHttp().send("GET", f"https://localhost:{port}/ok")
    assert Shop.asked == []
