"""One visit: showing a page, changing data, and asking for newer data."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from babel import Locale
from flask import request

from mypages.auth.authenticator import AccessDeniedError, AuthMethod, Visit, query_param
from mypages.auth.csrf import CsrfTokens
from mypages.data.fetch import Loader
from mypages.data.page_cache import PageCache
from mypages.http.responses import RenderedBody, as_json, html, wants_json
from mypages.views import editing, profile
from mypages.views.builder import ViewBuilder
from mypages.views.formatting import Formatter
from mypages.views.language import locale_for
from mypages.views.models import MessageKind, Mode, PageContext, PartState
from plugin.engage.cache.cached import CachedEngage, Owner
from plugin.engage.client import EngageClient
from plugin.store.contacts.snapshot import ShopperSnapshot, ShopperSnapshots
from plugin.store.contacts.sync_state import SyncStates
from plugin.store.inbox.edits import Edits
from plugin.store.inbox.keys import customer_key
from plugin.store.orders.orders import Orders
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import RegisteredShop

#: The name of each part's content in its template and in JSON.
NAMES = {
    "overview": "overview",
    "profile": "profile",
    "transactions": "purchases",
    "transaction": "receipt",
    "promotions": "promotions",
    "points": "points",
    "vouchers": "vouchers",
}
#: Parts that a tenant may not have.
OPTIONAL_PARTS = ("points", "vouchers")
#: A shopper may ask for newer data this often.
RELOAD_PAUSE = timedelta(seconds=60)
NOTHING = RenderedBody(b"", "text/html")


class PageDependencies(Protocol):
    """What showing needs of `mypages.pages.MyPages`."""

    @property
    def shops(self) -> Shops: ...
    @property
    def sync_states(self) -> SyncStates: ...
    @property
    def shoppers(self) -> ShopperSnapshots: ...
    @property
    def orders(self) -> Orders: ...
    @property
    def edits(self) -> Edits: ...
    @property
    def cached(self) -> CachedEngage: ...
    @property
    def pool(self) -> ThreadPoolExecutor: ...
    @property
    def memory(self) -> PageCache: ...
    def client_for(self, shop: RegisteredShop, /) -> EngageClient: ...
    def clock(self) -> datetime: ...
    def wake(self, event_id: int, /) -> None: ...


@dataclass(frozen=True, slots=True)
class PageResult:
    """What a visit ends with: an answer, or the address that the browser goes on to."""

    answered: RenderedBody = NOTHING
    status: int = 200
    location: str = ""


class PageController:
    """Shows one visitor what is theirs."""

    def __init__(self, parts: PageDependencies, visit: Visit, tokens: CsrfTokens, assets: str) -> None:
        self._parts, self._visit, self._tokens, self._assets = parts, visit, tokens, assets
        self._shop, self._customer_id = visit.shop, visit.shopper.customer_id
        self._now = parts.clock()
        self._json = wants_json()
        self._standing = self._snapshot()

    def page(self, part: str, one: str = "") -> PageResult:
        """Return a page: as it was built a moment ago for this shopper if nothing has changed, else built now."""
        if part in OPTIONAL_PARTS and not self._offers(part):
            raise AccessDeniedError(MessageKind.NO_PAGE, 404, self._shop)
        if "Cache-Control" in request.headers and (
            request.cache_control.no_cache or request.cache_control.max_age == 0
        ):
            self._ask_fresh()  # the browser's own reload
        number = _page_number()
        key = (
            self._shop.id, json.dumps(self._shop.stored_settings, sort_keys=True), self._shop.tenant,
            self._customer_id, self._visit.shopper.locale, self._standing, part, one, number,
            self._json, self._visit.mode, self._visit.base, self._visit.via, request.headers.get("Accept-Language", ""),
        )  # fmt: skip
        kind = "application/json" if self._json else _mimetype(self._visit.mode)
        known = self._parts.memory.get(key, self._now)
        if known is not None:
            return PageResult(RenderedBody(known, kind))
        builder = self._builder(number)
        name = "transaction" if one else part
        content = self._content(builder, part, one)
        answered = self._render(name, content, builder)
        self._parts.memory.put(key, answered.body, builder.until, self._now)
        return PageResult(answered)

    def act(self, action: str) -> PageResult:
        """Carry out what was posted."""
        given = _posted_json() if request.mimetype == "application/json" else None
        token = given.pop("csrf", "") if isinstance(given, dict) else request.form.get("csrf", "")
        if self._visit.via is not AuthMethod.BEARER and not (
            isinstance(token, str) and self._tokens.is_valid(token, self._shop.name, self._customer_id, self._now)
        ):
            raise AccessDeniedError(MessageKind.FORM_TOO_OLD, 403, self._shop)
        if action == "reload":
            return self._reload()
        if self._standing.contact_id is None:
            raise AccessDeniedError(MessageKind.NOT_YOURS_TO_CHANGE, 403, self._shop)
        return self._edit(given, str(token))

    # --- what is shown

    def _content(self, builder: ViewBuilder, part: str, one: str) -> Any:
        if one:
            receipt = builder.receipt(one)
            if receipt.purchase is None and receipt.state not in {PartState.AWAY, PartState.STALE}:
                raise AccessDeniedError(MessageKind.NO_PAGE, 404, self._shop)
            return receipt
        if part == "overview":
            content: Any = builder.overview({name: self._offers(name) for name in OPTIONAL_PARTS})
        else:
            content = getattr(builder, part)()
        self._remember(builder.detected_features)
        if (
            part in OPTIONAL_PARTS
            and builder.detected_features.get(part) == "no"
            and getattr(self._shop.settings, part) == "auto"
        ):
            raise AccessDeniedError(MessageKind.NO_PAGE, 404, self._shop)
        return content

    def _render(self, name: str, content: Any, builder: ViewBuilder) -> RenderedBody:
        settings, linked = self._shop.settings, self._standing.contact_id is not None
        part = "transactions" if name == "transaction" else name
        parts: tuple[str, ...] = ("overview", "profile", "transactions", "promotions")
        if linked:
            parts += tuple(
                other for other in OPTIONAL_PARTS if self._has(other, builder.detected_features) or other == part
            )
        csrf = (
            ""
            if self._visit.via is AuthMethod.BEARER
            else self._tokens.make(self._shop.name, self._customer_id, self._now)
        )
        if self._json:
            words = {"part": name, "locale": str(builder.form.locale), "linked": linked, "parts": parts, "csrf": csrf}
            return as_json({**words, NAMES[name]: content})
        frame = PageContext(
            shop=self._shop,
            title=settings.page_title or self._shop.name,
            locale=builder.form.locale,
            part=part,
            parts=parts,
            base=self._visit.base,
            assets=self._assets,
            mode=self._visit.mode,
            csrf=csrf,
            linked=linked,
            signup_url=settings.signup_url,
            logout=self._visit.via is AuthMethod.COOKIE,
            reloadable=linked,
        )
        return html(name, frame, **{NAMES[name]: content})

    def _snapshot(self) -> ShopperSnapshot:
        return self._parts.shoppers.standing(self._shop, self._customer_id, customer_key(self._customer_id))

    def _builder(self, page: int) -> ViewBuilder:
        parts, shop, standing = self._parts, self._shop, self._standing
        loader = None
        if standing.contact_id is not None:
            owner = Owner(shop.name, shop.tenant, standing.contact_id, standing.generation, standing.fresh_after)
            loader = Loader(parts.cached, parts.client_for(shop), owner, parts.pool)
        edits = parts.edits.open_of(shop, self._customer_id) if standing.edits else ()
        return ViewBuilder(
            shop=shop,
            customer_id=self._customer_id,
            contact_id=standing.contact_id,
            loader=loader,
            overlay=profile.PendingEdits(edits),
            form=Formatter(self._locale(loader), _zone(shop.settings.time_zone)),
            orders=parts.orders,
            now=self._now,
            page=page,
        )

    def _locale(self, loader: Loader | None) -> Locale:
        """Return the language: of the shop, then of the contact where it is known already, then of the browser."""
        token, setting = self._visit.shopper.locale, self._shop.settings.locale or None
        attributes = None
        if loader is not None and not (token or setting):
            contact_id = self._standing.contact_id or ""
            kept = loader.kept(lambda client: client.get_contact(contact_id))
            attributes = kept.value.attributes if kept is not None else None
        return locale_for(token, setting, attributes, request.accept_languages.values())

    def _offers(self, part: str) -> bool:
        """Tell whether the tenant may have points or vouchers."""
        setting, found = getattr(self._shop.settings, part), getattr(self._shop.settings, f"{part}_found")
        return bool(setting == "yes" or (setting == "auto" and found != "no"))

    def _has(self, part: str, detected_features: dict[str, str]) -> bool:
        """Tell whether the tenant has points or vouchers for certain."""
        setting, found = getattr(self._shop.settings, part), getattr(self._shop.settings, f"{part}_found")
        return bool(setting == "yes" or (setting == "auto" and (detected_features.get(part) or found) == "yes"))

    def _remember(self, detected_features: dict[str, str]) -> None:
        """Store what the answers told of the tenant, so that the next page knows it."""
        settings = self._shop.settings
        news = {
            f"{name}_found": what
            for name, what in detected_features.items()
            if getattr(settings, name) == "auto" and getattr(settings, f"{name}_found") != what
        }
        if news:
            self._parts.shops.change(self._shop.name, news)

    # --- what is changed

    def _ask_fresh(self) -> bool:
        """Let older data count as stale; False within a minute after the last time."""
        standing = self._standing
        if standing.contact_id is None:
            return False
        if standing.fresh_after is not None and self._now - standing.fresh_after < RELOAD_PAUSE:
            return False
        asked = self._parts.sync_states.invalidate_before(self._shop, standing.contact_id, self._now, RELOAD_PAUSE)
        self._standing = self._snapshot()
        return asked

    def _reload(self) -> PageResult:
        asked = self._ask_fresh()
        if self._json:
            return PageResult(as_json({"reloaded": asked}))
        back = query_param("back")
        return self._on_to(back if back in NAMES and back != "transaction" else "overview")

    def _edit(self, given: Any, token: str) -> PageResult:
        builder = self._builder(1)
        settings = self._shop.settings
        if request.mimetype == "application/json":
            posted = editing.of_json(given, settings.editable_fields)
            if posted is None:
                return PageResult(as_json({"error": "not_taken", "problems": {}}), 400)
        else:
            posted = editing.of_form(request.form, request.form.getlist("shown"), settings.editable_fields)
        found = builder.contact()
        if found is None or found.cached is None:
            raise AccessDeniedError(MessageKind.NOT_SAVED, 503, self._shop)
        values = profile.values_of(found.cached.value, builder.overlay, settings.editable_fields)
        preferences = {**found.cached.value.preferences, **builder.overlay.preferences}
        checked = editing.check(posted, values, preferences, self._now.date(), builder.form.locale.territory)
        if checked.problems:
            if self._json:
                return PageResult(as_json({"error": "not_taken", "problems": checked.problems}), 422)
            content = builder.profile_of(found, posted.values, checked.problems, posted.was)
            return PageResult(self._render("profile", content, builder), 422)
        if checked:
            stands = f"{self._standing.generation} {self._standing.edits}"
            event_id = editing.accept(
                self._parts.edits, self._shop, self._customer_id, checked, token, self._now, stands=stands
            )
            if event_id is not None:
                self._parts.wake(event_id)
            self._standing = self._snapshot()
        if self._json:
            return PageResult(as_json({"saving": bool(checked)}), 202 if checked else 200)
        return self._on_to("profile")

    def _on_to(self, part: str) -> PageResult:
        """Lead on to a page; behind a proxy, which may follow by itself and unsigned, show it at once."""
        return self.page(part) if self._visit.via is AuthMethod.PROXY else PageResult(location=self._visit.link(part))


def _posted_json() -> Any:
    """Return what was posted as JSON, None where it is none that can be read."""
    try:
        return request.get_json(silent=True)
    except RecursionError:  # silent is about what is no JSON, not about JSON that is nested too deeply
        return None


def _mimetype(mode: Mode) -> str:
    return "application/liquid" if mode is Mode.LIQUID else "text/html"


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _page_number() -> int:
    """Return the page that the address asks for, 1 at least."""
    words = query_param("page")
    return int(words) if words.isascii() and words.isdigit() and len(words) <= 6 and int(words) > 0 else 1
