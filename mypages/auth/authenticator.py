"""Authentication of a request: by a session cookie, a bearer token, or the signature of a platform's proxy."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlsplit

from flask import request

from mypages.auth.sessions import Sessions, Shopper, make_shopper, redeem_token
from mypages.auth.visit import AccessDeniedError, AuthMethod, MessageKind, Mode, Visit
from plugin.errors import UnverifiableError, VerificationError
from plugin.platforms.registry import PLATFORMS
from plugin.store.shops.handover_tokens import UsedTokens
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import RegisteredShop

BEARER = "Bearer "
MAX_PREFIX_LENGTH = 200


def query_param(name: str) -> str:
    """Return a parameter of the address, "" where it is missing. Parsing is expensive and most addresses have no query."""
    return request.args.get(name, "") if request.query_string else ""


def requested_mode() -> Mode:
    """Return how the page is to be embedded, as the address says it."""
    return Mode.FRAGMENT if query_param("embed") == "1" else Mode.PAGE


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Authenticates shoppers. cookie: the session cookie's name. public_path: the path of PUBLIC_URL."""

    shops: Shops
    used_tokens: UsedTokens
    sessions: Sessions
    clock: Callable[[], datetime]
    cookie: str
    public_path: str

    def find_shop(self, name: str) -> RegisteredShop:
        """Return a shop by the name in the address. Raises AccessDeniedError."""
        shop = self.shops.named(name)
        if shop is None:
            raise AccessDeniedError(MessageKind.NO_SHOP, 404, None)
        return shop

    def base_path(self, shop: RegisteredShop) -> str:
        """Return the beginning of a shop's addresses on this host."""
        return f"{self.public_path}/mypages/{shop.name}/"

    def exchange_token(self, name: str, token: str) -> tuple[RegisteredShop, str]:
        """Exchange a token of the shop for a session; return its value. Raises AccessDeniedError."""
        shop = self.find_shop(name)
        shopper = self._redeem(shop, token)
        return shop, self.sessions.seal(shopper, self.clock())

    def authenticate(self, name: str) -> Visit:
        """Authenticate a request to a shop's own addresses. Raises AccessDeniedError."""
        shop, mode = self.find_shop(name), requested_mode()
        now, header = self.clock(), request.headers.get("Authorization", "")
        if header.startswith(BEARER):
            value = header.removeprefix(BEARER).strip()
            session = self.sessions.open(value, shop.name, now)
            shopper = session.shopper if session is not None else self._redeem(shop, value)
            return Visit(shop, shopper, AuthMethod.BEARER, mode, self.base_path(shop))
        session = self.sessions.open(request.cookies.get(self.cookie, ""), shop.name, now)
        if session is None:
            raise AccessDeniedError(MessageKind.LOGIN, 401, shop)
        renewed = self.sessions.seal(session.shopper, now) if session.needs_renewal(now) else ""
        return Visit(shop, session.shopper, AuthMethod.COOKIE, mode, self.base_path(shop), renewed)

    def authenticate_proxied(self, slug: str) -> Visit:
        """Authenticate a request through the proxy of a platform. Raises AccessDeniedError."""
        platform, query = PLATFORMS.get(slug), request.query_string.decode("latin-1")
        domain = None if platform is None else platform.claimed_proxy_domain(query)
        shop = None if domain is None else self.shops.of_domain(slug, domain.lower())
        if platform is None or shop is None:
            raise AccessDeniedError(MessageKind.NO_SHOP, 404, None)
        try:
            proxied = platform.verify_proxy_request(query, shop, self.clock())
            if proxied.customer_id is None:
                raise AccessDeniedError(MessageKind.LOGIN, 200, shop)
            shopper = make_shopper(shop, proxied.customer_id, proxied.locale)
        except VerificationError as error:
            raise AccessDeniedError(MessageKind.TOKEN_REFUSED, 401, shop, str(error)) from error
        except UnverifiableError as error:
            raise AccessDeniedError(MessageKind.BUSY, 503, shop, str(error)) from error
        return Visit(shop, shopper, AuthMethod.PROXY, Mode.LIQUID, proxy_base(proxied.path_prefix))

    def _redeem(self, shop: RegisteredShop, token: str) -> Shopper:
        try:
            return redeem_token(shop, PLATFORMS[shop.platform], token, self.used_tokens, self.clock())
        except VerificationError as error:
            raise AccessDeniedError(MessageKind.TOKEN_REFUSED, 401, shop, str(error)) from error
        except UnverifiableError as error:
            raise AccessDeniedError(MessageKind.BUSY, 503, shop, str(error)) from error


def proxy_base(prefix: str) -> str:
    """Return the beginning of addresses behind a proxy: a path of the shop itself, never another host."""
    path = "/" + urlsplit(prefix[:MAX_PREFIX_LENGTH]).path.strip("/\\ ")
    return quote(path.rstrip("/"), safe="/-_.~") + "/"
