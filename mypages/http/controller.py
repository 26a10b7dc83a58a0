"""Requests to responses: authenticate, run the page, and answer errors with a message page."""

import logging
from collections.abc import Callable
from urllib.parse import urlsplit

from flask import Response, request
from sqlalchemy.exc import SQLAlchemyError

from mypages.auth.authenticator import BEARER, Authenticator, requested_mode
from mypages.auth.csrf import CsrfTokens
from mypages.auth.sessions import SESSION_LIFETIME_S, Sessions
from mypages.auth.visit import AccessDeniedError, AuthMethod, MessageKind, Mode, Visit, link
from mypages.http.dependencies import PageDependencies
from mypages.http.page import PageController, PageResult
from mypages.http.responses import as_json, message, wants_json, with_cors, with_security_headers
from mypages.views import language
from plugin.errors import ConfigurationError
from plugin.store.shops.settings import ShopSettings
from plugin.store.shops.shops import RegisteredShop

log = logging.getLogger(__name__)

Show = Callable[[PageController], PageResult]


class MyPagesController:
    """Turns requests into responses."""

    def __init__(self, dependencies: PageDependencies) -> None:
        self._dependencies = dependencies
        self._path = urlsplit(dependencies.public_url).path.rstrip("/")
        self._cookie = "__Host-engage-session" if dependencies.secure else "engage-session"
        self._tokens = CsrfTokens(dependencies.vault)
        self._authenticator = Authenticator(
            dependencies.shops,
            dependencies.used_tokens,
            Sessions(dependencies.vault),
            dependencies.clock,
            self._cookie,
            self._path,
        )

    def settings_of(self, name: str) -> ShopSettings | None:
        """Return the settings of a shop, None for an unknown shop."""
        shop = self._dependencies.shops.named(name)
        return None if shop is None else shop.settings

    def serve(self, shop: str, show: Show) -> Response:
        """Answer a request to a shop's own addresses."""
        return self._serve(lambda: self._authenticator.authenticate(shop), show, Mode.PAGE)

    def serve_proxied(self, platform: str, show: Show) -> Response:
        """Answer a request through the proxy of a platform."""
        return self._serve(lambda: self._authenticator.authenticate_proxied(platform), show, Mode.LIQUID)

    def start_session(self, name: str) -> Response:
        """Exchange a token of the shop for a session: a cookie and a redirect, or its value as JSON for a headless shop."""
        try:
            shop, session = self._authenticator.exchange_token(name, request.form.get("token", ""))
        except AccessDeniedError as error:
            return self._denied(error, Mode.PAGE, None)
        except (SQLAlchemyError, ConfigurationError) as error:
            log.error("error=%s database or settings not available; a session request got 503", type(error).__name__)
            return self._denied(AccessDeniedError(MessageKind.BUSY, 503, None), Mode.PAGE, None)
        if wants_json():
            rendered = as_json({"session": session, "expires_in": SESSION_LIFETIME_S})
            return with_security_headers(with_cors(Response(rendered.body, mimetype=rendered.mimetype)), shop)
        location = link(self._authenticator.base_path(shop), requested_mode(), "overview")
        response = Response(status=303, headers={"Location": location})
        self._set_cookie(response, session, shop)
        return with_security_headers(response, shop)

    def logout(self, name: str) -> Response:
        """End the session."""
        try:
            shop = self._authenticator.find_shop(name)
        except AccessDeniedError as error:
            return self._denied(error, Mode.PAGE, None)
        base = self._authenticator.base_path(shop)
        location = shop.settings.login_url or link(base, requested_mode(), "overview")
        response = Response(status=303, headers={"Location": location})
        response.delete_cookie(self._cookie, path="/", secure=self._dependencies.secure, httponly=True)
        return with_security_headers(response, shop)

    def _serve(self, authenticate: Callable[[], Visit], show: Show, mode: Mode) -> Response:
        """Authenticate the shopper and show what they asked for. mode: of messages while the shopper is not known."""
        visit: Visit | None = None
        try:
            visit = authenticate()
            result = show(PageController(self._dependencies, visit, self._tokens, self._assets(visit.mode)))
        except AccessDeniedError as error:
            return self._denied(error, mode if visit is None else visit.mode, visit)
        except (SQLAlchemyError, ConfigurationError) as error:  # also a shop whose secrets cannot be decrypted
            log.error("error=%s database or settings not available; a page request got 503", type(error).__name__)
            shop = None if visit is None else visit.shop
            return self._denied(AccessDeniedError(MessageKind.BUSY, 503, shop), mode, visit)
        if result.location:
            response = Response(status=303, headers={"Location": result.location})
        else:
            response = Response(result.rendered.body, result.status, mimetype=result.rendered.mimetype)
        if visit.auth_method is AuthMethod.BEARER:
            with_cors(response)
        if visit.renewed_session:
            self._set_cookie(response, visit.renewed_session, visit.shop)
        return with_security_headers(response, visit.shop, visit.mode)

    def _assets(self, mode: Mode) -> str:
        """Return the beginning of static files' addresses: inside another page they are absolute."""
        origin = self._path if mode is Mode.PAGE else self._dependencies.public_url
        return f"{origin}/mypages/static/"

    def _denied(self, error: AccessDeniedError, mode: Mode, visit: Visit | None) -> Response:
        shop = error.shop
        if str(error):
            log.info("shop=%s access was denied: %s", shop.name if shop else "-", error)
        base = visit.base if visit is not None else self._authenticator.base_path(shop) if shop is not None else "/"
        locale = language.locale_for(
            visit.shopper.locale if visit is not None else None,
            shop.settings.locale if shop is not None else None,
            None,
            request.accept_languages.values(),
        )
        rendered = message(error.kind, shop, locale, base, self._assets(mode), mode)
        response = Response(rendered.body, error.status, mimetype=rendered.mimetype)
        if error.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        if error.status == 503:
            response.headers["Retry-After"] = "5"
        if request.headers.get("Authorization", "").startswith(BEARER) or wants_json():
            with_cors(response)
        return with_security_headers(response, shop, mode)

    def _set_cookie(self, response: Response, value: str, shop: RegisteredShop) -> None:
        secure = self._dependencies.secure
        framed = bool(shop.settings.frame_ancestors) and secure
        response.set_cookie(
            self._cookie,
            value,
            max_age=SESSION_LIFETIME_S,
            path="/",
            secure=secure,
            httponly=True,
            samesite="None" if framed else "Lax",
            partitioned=framed,
        )
