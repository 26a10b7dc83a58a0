"""Who visits and by which way: a session's cookie, a bearer token, or a platform's proxy whose signature stands alone."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from flask import request

from mypages.auth.sessions import Sessions, Shopper, read_token, shopper_of
from mypages.views.models import MessageKind, Mode
from plugin.errors import UnverifiableError, VerificationError
from plugin.platforms.registry import PLATFORMS
from plugin.store.shops.handover_tokens import UsedTokens
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import RegisteredShop

BEARER = "Bearer "
MAX_PREFIX_LENGTH = 200


class AuthMethod(StrEnum):
    """By which way a shopper proves who they are. A form token is needed for all but BEARER, which no browser adds itself."""

    COOKIE = "cookie"
    BEARER = "bearer"
    PROXY = "proxy"


class AccessDeniedError(Exception):
    """The visit ends here, with a message."""

    def __init__(self, kind: MessageKind, status: int, shop: RegisteredShop | None, why: str = "") -> None:
        super().__init__(why)
        self.kind = kind
        self.status = status
        self.shop = shop


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a proved shopper. base: beginning of addresses, with a slash at its end.

    sealed: the session's new value, when this visit prolongs it.
    """

    shop: RegisteredShop
    shopper: Shopper
    via: AuthMethod
    mode: Mode
    base: str
    sealed: str = ""

    def link(self, part: str, **query: Any) -> str:
        """Return an address within My Pages that keeps base and mode. id: of a purchase."""
        return link(self.base, self.mode, part, **query)


def link(base: str, mode: Mode, part: str, **query: Any) -> str:
    """Return an address within My Pages."""
    path = "" if part == "overview" else part
    if "id" in query:
        path += "/" + quote(str(query.pop("id")), safe="")
    if mode is Mode.FRAGMENT:
        query["embed"] = 1
    return base + path + (f"?{urlencode(query)}" if query else "")


def query_param(name: str) -> str:
    """Return a parameter of the address, "" where there is none. Most addresses have none, and looking is dear."""
    return request.args.get(name, "") if request.query_string else ""


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Proves who visits. cookie: the session cookie's name. public_path: what PUBLIC_URL has after the host."""

    shops: Shops
    used_tokens: UsedTokens
    sessions: Sessions
    clock: Callable[[], datetime]
    cookie: str
    public_path: str

    def shop(self, name: str) -> RegisteredShop:
        """Return a shop by the name in the address. Raises AccessDeniedError."""
        found = self.shops.named(name)
        if found is None:
            raise AccessDeniedError(MessageKind.NO_SHOP, 404, None)
        return found

    def base_of(self, shop: RegisteredShop) -> str:
        """Return the beginning of a shop's addresses here."""
        return f"{self.public_path}/mypages/{shop.name}/"

    def exchange_token(self, name: str, token: str) -> tuple[RegisteredShop, str]:
        """Turn a token of the shop into a session; return its value. Raises AccessDeniedError."""
        shop = self.shop(name)
        shopper = self._of_token(shop, token)
        return shop, self.sessions.seal(shopper, self.clock())

    def visit(self, name: str) -> Visit:
        """Return the visit of a request to a shop's own addresses. Raises AccessDeniedError."""
        shop = self.shop(name)
        mode = Mode.FRAGMENT if query_param("embed") == "1" else Mode.PAGE
        now, header = self.clock(), request.headers.get("Authorization", "")
        if header.startswith(BEARER):
            value = header.removeprefix(BEARER).strip()
            opened = self.sessions.open(value, shop.name, now)
            shopper = opened.shopper if opened is not None else self._of_token(shop, value)
            return Visit(shop, shopper, AuthMethod.BEARER, mode, self.base_of(shop))
        session = self.sessions.open(request.cookies.get(self.cookie, ""), shop.name, now)
        if session is None:
            raise AccessDeniedError(MessageKind.LOGIN, 401, shop)
        sealed = self.sessions.seal(session.shopper, now) if session.is_to_be_renewed(now) else ""
        return Visit(shop, session.shopper, AuthMethod.COOKIE, mode, self.base_of(shop), sealed)

    def proxied(self, slug: str) -> Visit:
        """Return the visit of a request through a platform's proxy. Raises AccessDeniedError."""
        platform, query = PLATFORMS.get(slug), request.query_string.decode("latin-1")
        domain = None if platform is None else platform.claimed_proxy_domain(query)
        shop = None if domain is None else self.shops.of_domain(slug, domain.lower())
        if platform is None or shop is None:
            raise AccessDeniedError(MessageKind.NO_SHOP, 404, None)
        try:
            proxied = platform.verify_proxy_request(query, shop, self.clock())
            if proxied.customer_id is None:
                raise AccessDeniedError(MessageKind.LOGIN, 200, shop)
            shopper = shopper_of(shop, proxied.customer_id, proxied.locale)
        except VerificationError as error:
            raise AccessDeniedError(MessageKind.TOKEN_REFUSED, 401, shop, str(error)) from error
        except UnverifiableError as error:
            raise AccessDeniedError(MessageKind.BUSY, 503, shop, str(error)) from error
        return Visit(shop, shopper, AuthMethod.PROXY, Mode.LIQUID, proxy_base(proxied.path_prefix))

    def _of_token(self, shop: RegisteredShop, token: str) -> Shopper:
        try:
            return read_token(shop, PLATFORMS[shop.platform], token, self.used_tokens, self.clock())
        except VerificationError as error:
            raise AccessDeniedError(MessageKind.TOKEN_REFUSED, 401, shop, str(error)) from error
        except UnverifiableError as error:
            raise AccessDeniedError(MessageKind.BUSY, 503, shop, str(error)) from error


def proxy_base(prefix: str) -> str:
    """Return the beginning of addresses behind a proxy: a path of the shop itself, never another host."""
    path = "/" + urlsplit(prefix[:MAX_PREFIX_LENGTH]).path.strip("/\\ ")
    return quote(path.rstrip("/"), safe="/-_.~") + "/"
