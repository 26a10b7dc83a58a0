"""The pages: who asks is proved, each page calls only what it shows, and Engage's absence is borne calmly."""

import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, request
from sqlalchemy.exc import SQLAlchemyError

from mypages.auth.authenticator import BEARER, AccessDeniedError, Authenticator, AuthMethod, Visit, link, query_param
from mypages.auth.csrf import CsrfTokens
from mypages.auth.sessions import SESSION_S, Sessions
from mypages.data.page_cache import PageCache
from mypages.http import openapi
from mypages.http.page import PageController, PageResult
from mypages.http.responses import as_json, message, wants_json, with_cors, with_security_headers
from mypages.views import language, theme
from mypages.views.models import MessageKind, Mode
from plugin.engage.cache.cached import CachedEngage
from plugin.engage.client import EngageClient
from plugin.errors import ConfigurationError
from plugin.store.contacts.snapshot import ShopperSnapshots
from plugin.store.contacts.sync_state import SyncStates
from plugin.store.inbox.edits import Edits
from plugin.store.orders.orders import Orders
from plugin.store.shops.handover_tokens import UsedTokens
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import RegisteredShop
from plugin.store.shops.vault import Vault

log = logging.getLogger(__name__)

#: Threads for calls to Engage: each of 16 web threads may wait for five, and what it no longer waits for goes on a while.
POOL_SIZE = 160
#: Questions of browsers before a script asks are answered by a route of ours.
_OPTIONS: Mapping[str, Any] = {"provide_automatic_options": False}
PARTS = "any(profile, promotions, points, vouchers, transactions)"


@dataclass(frozen=True, slots=True)
class MyPages:
    """What the pages need.

    secure: shoppers come over https, so cookies may be Secure. wake: told the id of each stored event; must not raise.
    public_url: the address under which shoppers reach us, without a slash at its end.
    """

    shops: Shops
    sync_states: SyncStates
    shoppers: ShopperSnapshots
    orders: Orders
    edits: Edits
    used_tokens: UsedTokens
    cached: CachedEngage
    client_for: Callable[[RegisteredShop], EngageClient]
    vault: Vault
    secure: bool
    clock: Callable[[], datetime]
    wake: Callable[[int], None]
    public_url: str
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(POOL_SIZE, thread_name_prefix="my-pages")
    )
    memory: PageCache = field(default_factory=PageCache)


def blueprint(my_pages: MyPages) -> Blueprint:
    """Return the blueprint of My Pages."""
    routes = Blueprint(
        "mypages", __name__, url_prefix="/mypages", template_folder="../templates", static_folder="../static"
    )
    desk = MyPagesController(my_pages)
    theme.add_route(routes, desk.settings_of)
    routes.record_once(lambda state: language.install(cast("Flask", state.app)))

    @routes.post("/<shop>/session", **_OPTIONS)
    def start_session(shop: str) -> Response:
        return desk.start_session(shop)

    @routes.post("/<shop>/logout")
    def logout(shop: str) -> Response:
        return desk.logout(shop)

    @routes.get("/<shop>/", defaults={"part": "overview"}, **_OPTIONS)
    @routes.get(f"/<shop>/<{PARTS}:part>", **_OPTIONS)
    @routes.get("/<shop>/<any(transactions):part>/<path:one>", **_OPTIONS)
    def page(shop: str, part: str, one: str = "") -> Response:
        return desk.serve(lambda: desk.door.visit(shop), lambda showing: showing.page(part, one))

    @routes.post("/<shop>/<any(profile, reload):action>", **_OPTIONS)
    def act(shop: str, action: str) -> Response:
        return desk.serve(lambda: desk.door.visit(shop), lambda showing: showing.act(action))

    @routes.get("/proxy/<platform>/", defaults={"part": "overview"}, strict_slashes=False)
    @routes.get(f"/proxy/<platform>/<{PARTS}:part>")
    @routes.get("/proxy/<platform>/<any(transactions):part>/<path:one>")
    def proxied_page(platform: str, part: str, one: str = "") -> Response:
        return desk.serve(lambda: desk.door.proxied(platform), lambda showing: showing.page(part, one), Mode.LIQUID)

    @routes.post("/proxy/<platform>/<any(profile, reload):action>")
    def proxied_act(platform: str, action: str) -> Response:
        return desk.serve(lambda: desk.door.proxied(platform), lambda showing: showing.act(action), Mode.LIQUID)

    @routes.route("/<shop>/", methods=["OPTIONS"], defaults={"rest": ""})
    @routes.route("/<shop>/<path:rest>", methods=["OPTIONS"])
    def before_a_script_asks(shop: str, rest: str) -> Response:  # noqa: ARG001
        return with_cors(Response(status=204))

    @routes.get("/openapi.json")
    def described() -> Response:
        return with_cors(Response(json.dumps(openapi.description()), mimetype="application/json"))

    return routes


class MyPagesController:
    """Turns requests into answers."""

    def __init__(self, my_pages: MyPages) -> None:
        self._my_pages = my_pages
        self._path = urlsplit(my_pages.public_url).path.rstrip("/")
        self._cookie = "__Host-engage-session" if my_pages.secure else "engage-session"
        self.tokens = CsrfTokens(my_pages.vault)
        self.door = Authenticator(
            my_pages.shops,
            my_pages.used_tokens,
            Sessions(my_pages.vault),
            my_pages.clock,
            self._cookie,
            self._path,
        )

    def settings_of(self, name: str) -> Any:
        """Return the settings of a shop, None where there is none."""
        found = self._my_pages.shops.named(name)
        return None if found is None else found.settings

    def serve(
        self, visit_of: Callable[[], Visit], show: Callable[[PageController], PageResult], mode: Mode = Mode.PAGE
    ) -> Response:
        """Prove who asks, and show them what they asked for; every fault of ours is a calm message."""
        visit: Visit | None = None
        try:
            visit = visit_of()
            shown = show(PageController(self._my_pages, visit, self.tokens, self.assets(visit.mode)))
        except AccessDeniedError as error:
            return self._turned_away(error, mode if visit is None else visit.mode, visit)
        except (SQLAlchemyError, ConfigurationError) as error:  # a shop whose secrets cannot be opened, too
            log.error("My Pages found no database or no settings (%s); answered 503", type(error).__name__)
            shop = None if visit is None else visit.shop
            return self._turned_away(AccessDeniedError(MessageKind.BUSY, 503, shop), mode, visit)
        if shown.location:
            answer = Response(status=303, headers={"Location": shown.location})
        else:
            answer = Response(shown.answered.body, shown.status, mimetype=shown.answered.mimetype)
        if visit.via is AuthMethod.BEARER:
            with_cors(answer)
        if visit.sealed:
            self._set_cookie(answer, visit.sealed, visit.shop)
        return with_security_headers(answer, visit.shop, visit.mode)

    def start_session(self, name: str) -> Response:
        """Start a session with a token from the shop: a cookie and a way on, or its value for a headless shop."""
        try:
            shop, sealed = self.door.exchange_token(name, request.form.get("token", ""))
        except AccessDeniedError as error:
            return self._turned_away(error, Mode.PAGE, None)
        except (SQLAlchemyError, ConfigurationError) as error:
            log.error("No session could begin without database or settings (%s); answered 503", type(error).__name__)
            return self._turned_away(AccessDeniedError(MessageKind.BUSY, 503, None), Mode.PAGE, None)
        if wants_json():
            answered = as_json({"session": sealed, "expires_in": SESSION_S})
            return with_security_headers(with_cors(Response(answered.body, mimetype=answered.mimetype)), shop)
        answer = Response(status=303, headers={"Location": link(self.door.base_of(shop), self._mode(), "overview")})
        self._set_cookie(answer, sealed, shop)
        return with_security_headers(answer, shop)

    def logout(self, name: str) -> Response:
        """End the session."""
        try:
            shop = self.door.shop(name)
        except AccessDeniedError as error:
            return self._turned_away(error, Mode.PAGE, None)
        base = self.door.base_of(shop)
        answer = Response(
            status=303, headers={"Location": shop.settings.login_url or link(base, self._mode(), "overview")}
        )
        answer.delete_cookie(self._cookie, path="/", secure=self._my_pages.secure, httponly=True)
        return with_security_headers(answer, shop)

    def assets(self, mode: Mode) -> str:
        """Return the beginning of static files' addresses: inside another page they are absolute."""
        beginning = self._path if mode is Mode.PAGE else self._my_pages.public_url
        return f"{beginning}/mypages/static/"

    def _turned_away(self, error: AccessDeniedError, mode: Mode, visit: Visit | None) -> Response:
        shop = error.shop
        if str(error):
            log.info("shop=%s a shopper was turned away: %s", shop.name if shop else "-", error)
        base = visit.base if visit is not None else self.door.base_of(shop) if shop is not None else "/"
        locale = language.locale_for(
            visit.shopper.locale if visit is not None else None,
            shop.settings.locale if shop is not None else None,
            None,
            request.accept_languages.values(),
        )
        answered = message(error.kind, shop, locale, base, self.assets(mode), mode)
        answer = Response(answered.body, error.status, mimetype=answered.mimetype)
        if error.status == 401:
            answer.headers["WWW-Authenticate"] = "Bearer"
        if error.status == 503:
            answer.headers["Retry-After"] = "5"
        if request.headers.get("Authorization", "").startswith(BEARER) or wants_json():
            with_cors(answer)
        return with_security_headers(answer, shop, mode)

    def _mode(self) -> Mode:
        return Mode.FRAGMENT if query_param("embed") == "1" else Mode.PAGE

    def _set_cookie(self, answer: Response, value: str, shop: RegisteredShop) -> None:
        secure = self._my_pages.secure
        framed = bool(shop.settings.frame_ancestors) and secure
        answer.set_cookie(
            self._cookie,
            value,
            max_age=SESSION_S,
            path="/",
            secure=secure,
            httponly=True,
            samesite="None" if framed else "Lax",
            partitioned=framed,
        )
