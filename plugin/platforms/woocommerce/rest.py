"""How a shop's REST API is reached: its address, and how it accepts the keys (docs/platforms/woocommerce.md#rest-api).

Most shops answer under /wp-json with Basic authentication. Some have plain permalinks (?rest_route=), some hosts drop the
Authorization header (then the keys go as query parameters, which WooCommerce documents; nothing here writes addresses
down). Which route a shop needs is found out once and stored with its keys.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from plugin.errors import ShopApiError
from plugin.platforms.base import ShopCredentials
from plugin.platforms.http import ShopHttp, ShopResponse, shop_http

PREFIX = "/wc/v3"
KEY = re.compile(r"ck_[0-9a-zA-Z]{8,120}")
SECRET = re.compile(r"cs_[0-9a-zA-Z]{8,120}")
#: Endings of names that no public shop has.
PRIVATE_NAMES = (".localhost", ".local", ".internal", ".test", ".lan")


@dataclass(frozen=True, slots=True)
class RestRoute:
    """How requests are made. plain: ?rest_route= in place of /wp-json. in_query: keys as query parameters."""

    plain: bool = False
    in_query: bool = False


HTTP_HINT = (
    " Over plain http WooCommerce takes keys in requests signed with OAuth 1.0a alone, which this plugin does not make: give "
    "the shop https."
)
#: In the order in which they are tried.
ROUTES = (RestRoute(), RestRoute(in_query=True), RestRoute(plain=True), RestRoute(plain=True, in_query=True))


@dataclass(frozen=True, slots=True)
class Rest:
    """Requests to one shop. base: its address without a slash at the end."""

    base: str
    key: str
    secret: str
    route: RestRoute
    http: ShopHttp

    def call(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> Any:
        """Send a request and return the JSON of its answer. Raises ShopApiError that says what to do, ShopUnavailableError."""
        answer = self.send(method, path, query, body)
        if answer.status in {200, 201}:
            return answer.json()
        raise ShopApiError(_explain(answer, f"{method} {path}"), status=answer.status)

    def send(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None, *, keys: bool = True
    ) -> ShopResponse:
        """Send a request and return its answer, whatever it is. keys: False for the site's index, which is public.

        Raises ShopUnavailableError, ShopApiError.
        """
        resource = f"{PREFIX if keys else ''}{path}"
        asked = dict(query or {})
        if self.route.plain:
            asked = {"rest_route": resource, **asked}
        if keys and self.route.in_query:
            asked |= {"consumer_key": self.key, "consumer_secret": self.secret}
        return self.http.send(
            method,
            f"{self.base}/" if self.route.plain else f"{self.base}/wp-json{resource}",
            headers={"Accept": "application/json"},
            query=asked,
            body=body,
            basic=(self.key, self.secret) if keys and not self.route.in_query else None,
        )


def discover_route(base: str, key: str, secret: str) -> Rest:
    """Prove keys with a call that only the shop's managers may make, trying the routes one after the other.

    Raises ShopApiError with the answer of the route that came furthest, ShopUnavailableError.
    """
    best: tuple[int, ShopApiError] | None = None
    for route in ROUTES:
        rest = Rest(base, key, secret, route, shop_http(operator_typed=True))
        answer = rest.send("GET", "/webhooks", {"per_page": "1"})
        if answer.status == 200 and _is_list(answer):
            return rest
        # an answer in JSON comes from WordPress itself, and says more than the page of a host or theme
        rank = (2 if answer.status in {401, 403} else 1) if _code(answer) else 0
        if best is None or rank > best[0]:
            hint = HTTP_HINT if base.startswith("http://") and answer.status in {401, 403} else ""
            best = (rank, ShopApiError(_explain(answer, "GET /webhooks") + hint, status=answer.status))
        if 300 <= answer.status < 400:
            break
    assert best is not None
    raise best[1]


def name_of(rest: Rest) -> str:
    """Return what the site calls itself; empty when its index has no name. Raises ShopUnavailableError."""
    answer = rest.send("GET", "/", {"_fields": "name"}, keys=False)
    found = _object(answer)
    name = found.get("name") if answer.status == 200 else None
    return name if isinstance(name, str) and name.isprintable() else ""


def base_of(shop: ShopCredentials) -> str:
    """Return the shop's address, https unless the operator typed another. Raises ShopApiError.

    Keys travel with every request, so plain http is for private networks alone.
    """
    typed = (shop.shop_domain or "").strip()
    if not typed:
        raise ShopApiError(
            f"The shop {shop.name!r} has no address: engage-plugin shops set {shop.name} shop_domain=shop.example "
            "(with its folder, if it has one)."
        )
    address = typed if "://" in typed else f"https://{typed}"
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ShopApiError(f"The address of the shop {shop.name!r} must be like https://shop.example.")
    if parts.scheme == "http" and not _is_private(parts.hostname):
        raise ShopApiError(
            f"The address of the shop {shop.name!r} must begin with https://: over http its keys could be read on the way."
        )
    return address.rstrip("/")


def check_keys(key: str, secret: str) -> list[str]:
    """Return what is wrong with a pair of keys."""
    faults = []
    if not KEY.fullmatch(key):
        faults.append("The consumer key must be ck_ followed by letters and digits.")
    if not SECRET.fullmatch(secret):
        faults.append("The consumer secret must be cs_ followed by letters and digits.")
    return faults


def _is_private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith(PRIVATE_NAMES)


def _is_list(answer: ShopResponse) -> bool:
    try:
        return isinstance(answer.json(), list)
    except ShopApiError:
        return False


def _code(answer: ShopResponse) -> str:
    """Return the symbolic code of a REST error; empty when the answer is not an error of that form."""
    code = _object(answer).get("code")
    return code[:80] if isinstance(code, str) and code.isprintable() else ""


def _object(answer: ShopResponse) -> dict[str, Any]:
    """Return an answer's JSON object; empty when it is not an object: hosts and themes answer with pages of their own."""
    try:
        found = answer.json()
    except ShopApiError:
        return {}
    return found if isinstance(found, dict) else {}


def _explain(answer: ShopResponse, what: str) -> str:
    code = _code(answer)
    said = f"WooCommerce answered {answer.status}{f' ({code})' if code else ''} to {what}"
    if 300 <= answer.status < 400:
        target = urlsplit(answer.headers.get("location", "")).netloc
        return f"{said} and sends on to {target or 'another address'}: that must be the shop's --shop-domain."
    if answer.status in {401, 403}:
        return f"{said}: the keys are wrong, revoked or may not do this; they need read and write, and a user who manages the shop."
    if answer.status == 404 and code in {"", "rest_no_route"}:
        return f"{said}: is WooCommerce active there, and its REST API not blocked by a security plugin?"
    return f"{said}."
