"""The pages: who asks is proved, each page calls only what it shows, and Engage's absence is borne calmly."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from babel import Locale
from flask import Blueprint, Response, jsonify, render_template, request

from mypages import views
from mypages.identity import SESSION_S, Sessions, Shopper, read_token
from plugin.engage.cached import Cached, CachedEngage, owner_of
from plugin.engage.client import EngageClient
from plugin.engage.models import Contact, Page, PromotionAssignment, Transaction
from plugin.errors import EngageError, VerificationError
from plugin.store.contacts import Contacts
from plugin.store.orders import Orders
from plugin.store.shops import RegisteredShop, Shops
from plugin.store.tokens import UsedTokens
from plugin.store.vault import Vault

log = logging.getLogger(__name__)
T = TypeVar("T")

PAGE_SIZE = 20
#: How many of the shopper's own orders are looked at for the total that was paid.
KNOWN_ORDERS = 200
#: No shopper waits longer than this, in seconds.
PATIENCE_S = 2.8
PARTS = ("profile", "transactions", "promotions")


@dataclass(frozen=True, slots=True)
class MyPages:
    """What the pages need. secure: shoppers come over https, so cookies may be Secure."""

    shops: Shops
    contacts: Contacts
    orders: Orders
    used_tokens: UsedTokens
    cached: CachedEngage
    client_of: Callable[[RegisteredShop], EngageClient]
    vault: Vault
    secure: bool
    clock: Callable[[], datetime]
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16, thread_name_prefix="my-pages"))


def blueprint(my_pages: MyPages) -> Blueprint:
    """Return the blueprint of My Pages."""
    routes = Blueprint("mypages", __name__, url_prefix="/mypages", template_folder="templates", static_folder="static")
    sessions = Sessions(my_pages.vault)

    @routes.post("/<shop>/session")
    def start_session(shop: str) -> Response:
        return _start_session(my_pages, sessions, shop)

    @routes.post("/<shop>/logout")
    def logout(shop: str) -> Response:
        found = _shop(my_pages, shop)
        if found is None:
            return _no_such_shop()
        answer = Response(status=303, headers={"Location": found.settings.login_url or f"/mypages/{shop}/"})
        answer.delete_cookie(_cookie_name(my_pages), path="/", secure=my_pages.secure, httponly=True)
        return _guarded(answer, found)

    @routes.get("/<shop>/", defaults={"part": "overview"})
    @routes.get("/<shop>/<any(profile, transactions, promotions):part>")
    def page(shop: str, part: str) -> Response:
        found = _shop(my_pages, shop)
        if found is None:
            return _no_such_shop()
        shopper = sessions.open(request.cookies.get(_cookie_name(my_pages), ""), found.name, my_pages.clock())
        if shopper is None:
            return _guarded(_no_session(found), found)
        answer = _page(my_pages, found, shopper, part)
        _set_cookie(my_pages, answer, sessions.seal(shopper, my_pages.clock()), found)
        return _guarded(answer, found)

    return routes


def _start_session(my_pages: MyPages, sessions: Sessions, name: str) -> Response:
    shop = _shop(my_pages, name)
    if shop is None:
        return _no_such_shop()
    try:
        shopper = read_token(shop, request.form.get("token", ""), my_pages.used_tokens, my_pages.clock())
    except VerificationError as error:
        log.info("shop=%s a shopper's token was refused: %s", shop.name, error)
        return _guarded(_no_session(shop, str(error)), shop)
    answer = Response(status=303, headers={"Location": f"/mypages/{shop.name}/"})
    _set_cookie(my_pages, answer, sessions.seal(shopper, my_pages.clock()), shop)
    return _guarded(answer, shop)


def _page(my_pages: MyPages, shop: RegisteredShop, shopper: Shopper, part: str) -> Response:
    now = my_pages.clock()
    locale = views.locale_of(shopper.locale, shop.settings.locale)
    data = _Data(my_pages, shop, shopper, locale, now, _page_number())
    wanted = PARTS if part == "overview" else (part,)
    content = data.load(wanted)
    content |= {"part": part, "linked": data.linked}
    if request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json":
        return jsonify(content)
    html = render_template(
        f"mypages/{part}.html", shop=shop, title=shop.settings.page_title or shop.name, locale=locale, **content
    )
    return Response(html, mimetype="text/html")


class _Data:
    """What one page shows of one shopper."""

    def __init__(
        self, my_pages: MyPages, shop: RegisteredShop, shopper: Shopper, locale: Locale, now: datetime, page: int
    ) -> None:
        self._my_pages, self._shop, self._shopper = my_pages, shop, shopper
        self._locale, self._now, self._offset = locale, now, (page - 1) * PAGE_SIZE
        link = my_pages.contacts.link(shop, shopper.customer_id)
        # over a link that nobody vouches for, only what this shop itself knows is shown (DESIGN, who is who)
        self._contact_id = link.contact_id if link is not None and link.verified else None
        self.linked = self._contact_id is not None

    def load(self, parts: tuple[str, ...]) -> dict[str, Any]:
        """Return the parts; those that need Engage are asked for side by side."""
        loaders = {"profile": self._profile, "transactions": self._transactions, "promotions": self._promotions}
        if self._contact_id is None:
            local = {"transactions": self._own_orders()} if "transactions" in parts else {}
            return {name: local.get(name) for name in parts}
        futures: dict[str, Future[dict[str, Any]]] = {name: self._my_pages.pool.submit(loaders[name]) for name in parts}
        return {name: self._result(name, future) for name, future in futures.items()}

    def _result(self, name: str, future: "Future[dict[str, Any]]") -> dict[str, Any]:
        try:
            return future.result(PATIENCE_S)
        except (EngageError, FutureTimeoutError) as error:
            log.warning("shop=%s part=%s is not to be had: %s", self._shop.name, name, type(error).__name__)
            away: dict[str, Any] = self._own_orders() if name == "transactions" else {}
            return {**away, "away": True}

    def _read(self, ask: Callable[[EngageClient], T]) -> Cached[T]:
        contact_id = self._contact_id or ""
        generation = self._my_pages.contacts.generation(self._shop, contact_id)
        owner = owner_of(self._shop.name, self._shop.tenant, contact_id, generation)
        return self._my_pages.cached.read(self._my_pages.client_of(self._shop), owner, ask)

    def _profile(self) -> dict[str, Any]:
        found: Cached[Contact] = self._read(lambda client: client.get_contact(self._contact_id or ""))
        rows, preferences = views.profile_rows(found.value), views.preference_rows(found.value)
        shown = {"rows": [_pair(r) for r in rows], "preferences": [_pair(r) for r in preferences]}
        return shown | self._age(found)

    def _transactions(self) -> dict[str, Any]:
        offset = self._offset
        found: Cached[Page[Transaction]] = self._read(
            lambda client: client.list_transactions(self._contact_id or "", offset=offset, count=PAGE_SIZE)
        )
        orders = self._my_pages.orders.newest_of(self._shop, self._shopper.customer_id, KNOWN_ORDERS)
        fetched = [_plain(p) for p in views.purchases(found.value, orders, self._shop.name, self._locale)]
        total = found.value.total_count
        more = offset + len(fetched) < total if total is not None else len(fetched) == PAGE_SIZE
        paging = {"page": offset // PAGE_SIZE + 1, "more": more}
        own = self._own_orders(found.value)["purchases"] if not offset else []
        return {"purchases": own + fetched} | paging | self._age(found)

    def _promotions(self) -> dict[str, Any]:
        found: Cached[Page[PromotionAssignment]] = self._read(
            lambda client: client.list_promotion_assignments(self._contact_id or "")
        )
        active, used = views.promotions(found.value, self._locale, self._now)
        return {"active": [_plain(p) for p in active], "used": [_plain(p) for p in used]} | self._age(found)

    def _own_orders(self, page: Page[Transaction] | None = None) -> dict[str, Any]:
        orders = self._my_pages.orders.newest_of(self._shop, self._shopper.customer_id)
        own = views.not_yet_imported(orders, page, self._shop.name, self._locale)
        return {"purchases": [_plain(p) for p in own], "page": 1, "more": False}

    def _age(self, found: Cached[Any]) -> dict[str, Any]:
        if not found.stale:
            return {}
        return {"age": views.age(found.fetched_at, self._now, self._locale)}


def _page_number() -> int:
    """Return the page that the address asks for, 1 at least."""
    text = request.args.get("page", "1")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 and int(text) > 0 else 1


def _pair(row: views.Row) -> dict[str, str]:
    return {"label": row.label, "value": row.value}


def _plain(view: Any) -> dict[str, Any]:
    return {name: getattr(view, name) for name in view.__slots__}


def _shop(my_pages: MyPages, name: str) -> RegisteredShop | None:
    return next((shop for shop in my_pages.shops.all() if shop.name == name), None)


def _no_such_shop() -> Response:
    return _guarded(Response(render_template("mypages/message.html", title="Not found", locale="en", heading="Not found",
                             text="There is no shop under this address.", login_url=""), 404), None)  # fmt: skip


def _no_session(shop: RegisteredShop, why: str = "") -> Response:
    text = "Log in at the shop to see your pages." + (f" {why}" if why else "")
    body = render_template(
        "mypages/message.html",
        title=shop.settings.page_title or shop.name,
        locale="en",
        heading="Please log in",
        text=text,
        login_url=shop.settings.login_url,
    )
    return Response(body, 401, mimetype="text/html")


def _cookie_name(my_pages: MyPages) -> str:
    return "__Host-engage-session" if my_pages.secure else "engage-session"


def _set_cookie(my_pages: MyPages, answer: Response, value: str, shop: RegisteredShop) -> None:
    framed = bool(shop.settings.frame_ancestors) and my_pages.secure
    answer.set_cookie(
        _cookie_name(my_pages),
        value,
        max_age=SESSION_S,
        path="/",
        secure=my_pages.secure,
        httponly=True,
        samesite="None" if framed else "Lax",
        partitioned=framed,
    )


def _guarded(answer: Response, shop: RegisteredShop | None) -> Response:
    """Add the headers that keep a personal page personal."""
    ancestors = shop.settings.frame_ancestors if shop is not None else ""
    answer.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        f"frame-ancestors {ancestors or chr(39) + 'none' + chr(39)}"
    )
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Vary"] = "Cookie, Accept"
    return answer
