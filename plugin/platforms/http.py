"""HTTP to shops: time-outs, no redirects, a limit on the answer, and no private address behind a public name.

The address of a shop may come from outside (an installation callback), so the guard checks the address that a
connection really has, after the name was resolved and before a byte is sent: a name that resolves differently the
second time does not get past it. Platforms' `api` modules use this; nothing else of a platform speaks HTTP.
"""

import ipaddress
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager

from plugin.errors import ShopApiError, ShopUnavailableError

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 32 * 1024 * 1024
#: A longer Retry-After of a shop is cut to this, in seconds.
MAX_RETRY_AFTER_S = 3600
RETRY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class PrivateAddressError(ShopApiError):
    """A name from outside leads to an address of a private network."""


@dataclass(frozen=True, slots=True)
class ShopResponse:
    """What a shop answered. headers: with lower-case names."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    def json(self) -> Any:
        """Return the body as JSON, fractions as Decimal. Raises ShopApiError."""
        try:
            return json.loads(self.body.decode("utf-8"), parse_float=Decimal)
        except (ValueError, RecursionError):
            raise ShopApiError(
                f"The shop answered {self.status} with something that is not JSON; is its address right?",
                status=self.status,
            ) from None


class ShopHttp:
    """Sends requests to shops. private: whether addresses of private networks are allowed (ALLOW_PRIVATE_SHOPS)."""

    def __init__(self, *, private: bool = False, user_agent: str = "engage-shop-plugin") -> None:
        self._private = private
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["User-Agent"] = user_agent
        if not private:
            self._session.mount("https://", _PublicAdapter())
            self._session.mount("http://", _PublicAdapter())

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        basic: tuple[str, str] | None = None,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> ShopResponse:
        """Send a request (body: sent as JSON) and return the response, whatever its status below 500 except 429.

        Raises ShopUnavailableError (no answer, busy, 5xx), PrivateAddressError, ShopApiError (too large, not https).
        """
        check_address(url, private=self._private)
        try:
            with self._session.request(
                method,
                url,
                headers=dict(headers or {}),
                params=dict(query or {}),
                json=body,
                auth=basic,
                timeout=(CONNECT_TIMEOUT_S, timeout_s),
                allow_redirects=False,
                stream=True,
            ) as response:
                answer = ShopResponse(
                    response.status_code,
                    _limited(response),
                    {name.lower(): value for name, value in response.headers.items()},
                )
        except requests.RequestException as error:
            if _private_address_in(error):
                raise PrivateAddressError(
                    f"{host_of(url)} leads to a private address, which is refused; ALLOW_PRIVATE_SHOPS=1 allows it."
                ) from None
            raise ShopUnavailableError(f"{host_of(url)} did not answer ({type(error).__name__}).") from None
        if answer.status in RETRY_STATUSES:
            raise ShopUnavailableError(
                f"{host_of(url)} answered {answer.status}.", status=answer.status, retry_after=_retry_after(answer)
            )
        return answer


def check_address(url: str, *, private: bool) -> None:
    """Raise ShopApiError for an address that is not a plain https address; http is allowed in private networks only."""
    parts = urlsplit(url)
    if parts.scheme not in ({"https", "http"} if private else {"https"}) or not parts.hostname or parts.username:
        raise ShopApiError(
            f"The shop's address must begin with https:// and name a host, not {parts.scheme or 'none'}."
        )


def host_of(url: str) -> str:
    """Return the host of an address, for messages: paths and queries may name people."""
    return urlsplit(url).hostname or "the shop"


_settings = {"private": False}
_made: dict[bool, ShopHttp] = {}


def allow_private_shops(allowed: bool) -> None:
    """Set whether shops may be in private networks. The composition root calls it once."""
    _settings["private"] = allowed


def shop_http(*, operator_typed: bool = False) -> ShopHttp:
    """Return this process's HTTP client for shops; made when it is first needed, so never before a fork.

    operator_typed: the host was typed by an operator (`shops add --shop-domain`); then a private address is accepted
    (docs/platforms/common.md#addresses-from-outside).
    """
    private = operator_typed or _settings["private"]
    if private not in _made:
        _made[private] = ShopHttp(private=private)
    return _made[private]


def _limited(response: requests.Response) -> bytes:
    pieces, size = [], 0
    for piece in response.iter_content(65536):
        size += len(piece)
        if size > MAX_ANSWER_BYTES:
            raise ShopApiError(
                f"The shop's answer is larger than {MAX_ANSWER_BYTES} bytes.", status=response.status_code
            )
        pieces.append(piece)
    return b"".join(pieces)


def _retry_after(answer: ShopResponse) -> timedelta | None:
    text = answer.headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        return None
    return timedelta(seconds=min(seconds, MAX_RETRY_AFTER_S)) if seconds >= 0 else None


class _PrivateConnectionError(OSError):
    """Raised inside the pool, before anything is sent."""


def _checked(connection: socket.socket) -> socket.socket:
    address = ipaddress.ip_address(str(connection.getpeername()[0]).partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    if not (mapped or address).is_global or (mapped or address).is_multicast:
        connection.close()
        raise _PrivateConnectionError("private address")
    return connection


class _PublicHTTPConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _checked(super()._new_conn())


class _PublicHTTPSConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _checked(super()._new_conn())


class _PublicHTTPPool(HTTPConnectionPool):
    ConnectionCls = _PublicHTTPConnection


class _PublicHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _PublicHTTPSConnection


class _PublicAdapter(HTTPAdapter):
    """Opens connections to public addresses only."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        """Make a pool whose connections are checked."""
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _PublicHTTPPool, "https": _PublicHTTPSPool}


def _private_address_in(error: BaseException) -> bool:
    """Return whether the guard is among the causes of an error that requests and urllib3 wrapped."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop()
        if isinstance(cause, _PrivateConnectionError):
            return True
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
    return False
