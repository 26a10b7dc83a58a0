"""HTTP to Engage: headers, time-outs, pooled connections, the guard, and a record of each call.

Never retries a write; never follows a redirect; takes nothing from the machine's proxy or netrc settings.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import quote, urlencode

import requests
import simplejson
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

from plugin.engage.http.call_guard import CallGuards
from plugin.engage.http.http_errors import Answer, http_date, parse_body, raise_for_status
from plugin.engage.operations import CONNECT_TIMEOUT_S, Operation, Priority
from plugin.errors import EngageError, TransientError

MAX_ANSWER_BYTES = 32 * 1024 * 1024
POOL_SIZE = 32


@dataclass(frozen=True, slots=True)
class EngageAccount:
    """One shop's access to its tenant. base_url: without a path; platform: for the User-Agent."""

    base_url: str
    api_key: str = field(repr=False)
    shop: str
    platform: str
    source: str | None = None
    store_external_id: str | None = None
    voucher_field: str = "usedRewardVouchers"


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What happened in one call, without personal data. duration_s: seconds; status: None without an answer.

    sent: the names of the fields of the body, never their values. outcome: ok, or the error's text.
    engage_time: what Engage's clock said in the answer, aware UTC.
    """

    shop: str
    operation: str
    at: datetime
    duration_s: float
    status: int | None
    sent: str | None
    outcome: str
    engage_time: datetime | None = None


@cache
def user_agent(platform: str) -> str:
    """Return the User-Agent that Engage asks for on every call: System/Version ."""
    try:
        number = version("engage-shop-plugin")
    except PackageNotFoundError:  # run from a checkout that was not installed
        number = "0"
    return f"EngageShopPlugin/{number} ({platform})"


class Transport:
    """Sends calls. One per process; threads share its pool of connections."""

    def __init__(
        self,
        call_guards: CallGuards,
        observer: Callable[[CallRecord], None] | None = None,
        *,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._call_guards = call_guards
        self._observer = observer
        self._max_answer_bytes = max_answer_bytes
        self._session = requests.Session()
        self._session.trust_env = False
        # cookies of one tenant must not reach another
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = HTTPAdapter(pool_connections=16, pool_maxsize=POOL_SIZE, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def call(
        self,
        account: EngageAccount,
        operation: Operation,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        priority: Priority | None = None,
        read_timeout_s: float | None = None,
        observer: Callable[[CallRecord], None] | None = None,
        ensure_lease: Callable[[], None] = lambda: None,
    ) -> Answer:
        """Make one call and return its answer, or raise the error that it means.

        ensure_lease: called when the call is about to leave, after the wait for its slot; raises LeaseLostError if another
        worker holds the lease by now.
        Raises ThrottledError, TransientError, PermanentError, EngageNotFoundError, EngageConflictError, UnauthorisedError.
        """
        guard = self._call_guards.for_key(account.api_key)
        priority = operation.priority if priority is None else priority
        waiting_since = time.monotonic()
        guard.acquire(priority)
        self._call_guards.on_wait(priority.name.lower(), time.monotonic() - waiting_since)
        ensure_lease()
        at, started, status, outcome = datetime.now(UTC), time.monotonic(), None, "ok"
        engage_time = None
        try:
            answer = self._send(account, operation, path or {}, query or {}, body, read_timeout_s)
            status, engage_time = answer.status, http_date(answer.headers.get("Date"))
            raise_for_status(answer, operation.name, datetime.now(UTC), [path, query, body])
            guard.succeeded()
        except TransientError as error:
            outcome = str(error)
            if error.status == 429:
                guard.on_rate_limited()
                guard.succeeded()  # it answered: too many calls are not an outage
            else:
                guard.failed()
            raise
        except EngageError as error:
            outcome = str(error)
            guard.succeeded()
            raise
        finally:
            record = CallRecord(
                account.shop,
                operation.name,
                at,
                time.monotonic() - started,
                status,
                _field_names(body),
                outcome,
                engage_time,
            )
            for observe in filter(None, (self._observer, observer)):
                observe(record)
        return answer

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()

    def _send(
        self,
        account: EngageAccount,
        operation: Operation,
        path: Mapping[str, str],
        query: Mapping[str, Any],
        body: Any,
        read_timeout_s: float | None,
    ) -> Answer:
        request = _prepared(account, operation, path, query, body)
        read_s = read_timeout_s or operation.read_timeout_s
        timeout = (min(CONNECT_TIMEOUT_S, read_s), read_s)
        try:
            with self._session.send(request, timeout=timeout, allow_redirects=False, stream=True) as response:
                content = _bounded(response, operation.name, self._max_answer_bytes)
                return Answer(response.status_code, parse_body(content), response.headers, content)
        except requests.ConnectTimeout as error:
            raise TransientError(
                f"Engage could not be reached for {operation.name} within {timeout[0]:g} s.",
                operation=operation.name,
                sent=False,
            ) from _bare(error)
        except requests.Timeout as error:
            raise TransientError(
                f"Engage did not answer {operation.name} within {timeout[1]:g} s.", operation=operation.name
            ) from _bare(error)
        except requests.RequestException as error:
            raise TransientError(
                f"The connection to Engage broke during {operation.name} ({type(error).__name__}).",
                operation=operation.name,
                sent=not isinstance(error, requests.exceptions.InvalidURL),
            ) from _bare(error)


def _prepared(
    account: EngageAccount, operation: Operation, path: Mapping[str, str], query: Mapping[str, Any], body: Any
) -> requests.PreparedRequest:
    """Build a request as `requests` would, but without merging session settings and cookies, of which there are none."""
    url = account.base_url + operation.path.format_map({k: quote(v, safe="") for k, v in path.items()})
    request = requests.PreparedRequest()
    request.method = operation.method
    request.url = f"{url}?{urlencode(query)}" if query else url
    request.headers = CaseInsensitiveDict(
        {
            "apikey": account.api_key,
            "User-Agent": user_agent(account.platform),
            # on GET too: without it Engage answers 500 (docs/engage.md#addresses-and-headers)
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "Connection": "keep-alive",
        }
    )
    if body is not None:
        request.body = simplejson.dumps(body, use_decimal=True).encode()
    if operation.method != "GET":
        request.headers["Content-Length"] = str(len(request.body or b""))
    request._cookies = RequestsCookieJar()  # type: ignore[attr-defined]
    return request


def _bounded(response: requests.Response, operation: str, max_bytes: int) -> bytes:
    content = bytearray()
    for chunk in response.iter_content(64 * 1024):
        content += chunk
        if len(content) > max_bytes:
            raise TransientError(
                f"Engage's answer to {operation} is larger than {max_bytes} bytes.",
                operation=operation,
            )
    return bytes(content)


def _bare(error: requests.RequestException) -> Exception:
    """Return the error without its request, which holds the API key and, in the address of a look-up, an e-mail address."""
    return type(error)(type(error).__name__)


def _field_names(body: Any) -> str | None:
    if isinstance(body, Mapping):
        return ", ".join(sorted(str(name) for name in body))
    if isinstance(body, list):
        return f"{len(body)} rows"
    return None
