"""One request of an authenticated shopper: showing a page, changing data, and reloading data from Engage."""

import json
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale
from flask import request

from mypages.auth.authenticator import query_param
from mypages.auth.csrf import CsrfTokens
from mypages.auth.visit import AccessDeniedError, AuthMethod, MessageKind, Visit
from mypages.data.fetch import Fetcher
from mypages.http.dependencies import PageDependencies
from mypages.http.responses import MIMETYPES, RenderedBody, as_json, html, wants_json
from mypages.views import editing, profile
from mypages.views.builder import ViewBuilder
from mypages.views.formatting import Formatter
from mypages.views.language import locale_for
from mypages.views.models import PartState
from mypages.views.optional_parts import OPTIONAL_PARTS, OptionalParts
from mypages.views.page_context import PageContext
from plugin.engage.cache.cached import Owner
from plugin.store.contacts.snapshot import ShopperSnapshot
from plugin.store.inbox.keys import customer_key

#: The name of each part's view model in its template and in JSON.
CONTENT_NAMES = {
    "overview": "overview",
    "profile": "profile",
    "transactions": "purchases",
    "transaction": "receipt",
    "promotions": "promotions",
    "points": "points",
    "vouchers": "vouchers",
}
#: The least time between two reloads of a shopper's data from Engage.
RELOAD_PAUSE = timedelta(seconds=60)
EMPTY = RenderedBody(b"", "text/html")


@dataclass(frozen=True, slots=True)
class PageResult:
    """A body with its status, or the location that the browser is redirected to."""

    rendered: RenderedBody = EMPTY
    status: int = 200
    location: str = ""


class PageController:
    """Answers one request of one shopper."""

    def __init__(self, dependencies: PageDependencies, visit: Visit, tokens: CsrfTokens, assets: str) -> None:
        self._dependencies, self._visit, self._tokens, self._assets = dependencies, visit, tokens, assets
        self._shop, self._customer_id = visit.shop, visit.shopper.customer_id
        self._now = dependencies.clock()
        self._json = wants_json()
        self._snapshot = self._read_snapshot()

    def show(self, part: str, purchase_id: str = "") -> PageResult:
        """Return a page, from the page cache if nothing has changed for this shopper. purchase_id: for a single purchase."""
        if part in OPTIONAL_PARTS and not OptionalParts(self._shop.settings).may_have(part):
            raise AccessDeniedError(MessageKind.NO_PAGE, 404, self._shop)
        if "Cache-Control" in request.headers and (
            request.cache_control.no_cache or request.cache_control.max_age == 0
        ):
            self._invalidate()  # the browser's own reload
        number = _page_number()
        key = (
            self._shop.id, json.dumps(self._shop.stored_settings, sort_keys=True), self._shop.tenant,
            self._customer_id, self._visit.shopper.locale, self._snapshot, part, purchase_id, number,
            self._json, self._visit.mode, self._visit.base, self._visit.auth_method, request.headers.get("Accept-Language", ""),
        )  # fmt: skip
        mimetype = "application/json" if self._json else MIMETYPES[self._visit.mode]
        cached = self._dependencies.page_cache.get(key, self._now)
        if cached is not None:
            return PageResult(RenderedBody(cached, mimetype))
        builder = self._builder(number)
        content = self._content(builder, part, purchase_id)
        rendered = self._render("transaction" if purchase_id else part, content, builder)
        self._dependencies.page_cache.put(key, rendered.body, builder.valid_until, self._now)
        return PageResult(rendered)

    def act(self, action: str) -> PageResult:
        """Carry out a posted action: "profile" or "reload"."""
        posted = _posted_json() if request.mimetype == "application/json" else None
        token = posted.pop("csrf", "") if isinstance(posted, dict) else request.form.get("csrf", "")
        if self._visit.auth_method is not AuthMethod.BEARER and not (
            isinstance(token, str) and self._tokens.is_valid(token, self._shop.name, self._customer_id, self._now)
        ):
            raise AccessDeniedError(MessageKind.FORM_TOO_OLD, 403, self._shop)
        if action == "reload":
            return self._reload()
        if self._snapshot.contact_id is None:
            raise AccessDeniedError(MessageKind.NOT_YOURS_TO_CHANGE, 403, self._shop)
        return self._edit(posted, str(token))

    # --- showing

    def _content(self, builder: ViewBuilder, part: str, purchase_id: str) -> Any:
        if purchase_id:
            receipt = builder.receipt(purchase_id)
            if receipt.purchase is None and receipt.state not in {PartState.AWAY, PartState.STALE}:
                raise AccessDeniedError(MessageKind.NO_PAGE, 404, self._shop)
            return receipt
        content = getattr(builder, part)()
        changes = builder.optional_parts.changed_settings()
        if changes:
            self._dependencies.shops.change(self._shop.name, changes)
        if part in OPTIONAL_PARTS and builder.optional_parts.is_detected_missing(part):
            raise AccessDeniedError(MessageKind.NO_PAGE, 404, self._shop)
        return content

    def _render(self, name: str, content: Any, builder: ViewBuilder) -> RenderedBody:
        settings, linked = self._shop.settings, self._snapshot.contact_id is not None
        part = "transactions" if name == "transaction" else name
        parts: tuple[str, ...] = ("overview", "profile", "transactions", "promotions")
        if linked:
            optional = builder.optional_parts
            parts += tuple(other for other in OPTIONAL_PARTS if optional.has(other) or other == part)
        csrf = (
            ""
            if self._visit.auth_method is AuthMethod.BEARER
            else self._tokens.make(self._shop.name, self._customer_id, self._now)
        )
        if self._json:
            common = {
                "part": name,
                "locale": str(builder.formatter.locale),
                "linked": linked,
                "parts": parts,
                "csrf": csrf,
            }
            return as_json({**common, CONTENT_NAMES[name]: content})
        context = PageContext(
            shop=self._shop,
            title=settings.page_title or self._shop.name,
            locale=builder.formatter.locale,
            part=part,
            parts=parts,
            base=self._visit.base,
            assets=self._assets,
            mode=self._visit.mode,
            csrf=csrf,
            linked=linked,
            signup_url=settings.signup_url,
            logout=self._visit.auth_method is AuthMethod.COOKIE,
            reloadable=linked,
        )
        return html(name, context, **{CONTENT_NAMES[name]: content})

    def _read_snapshot(self) -> ShopperSnapshot:
        return self._dependencies.shoppers.standing(self._shop, self._customer_id, customer_key(self._customer_id))

    def _builder(self, page: int) -> ViewBuilder:
        dependencies, shop, snapshot = self._dependencies, self._shop, self._snapshot
        fetcher = None
        if snapshot.contact_id is not None:
            owner = Owner(shop.name, shop.tenant, snapshot.contact_id, snapshot.generation, snapshot.fresh_after)
            fetcher = Fetcher(dependencies.cached, dependencies.client_for(shop), owner, dependencies.pool)
        edits = dependencies.edits.open_of(shop, self._customer_id) if snapshot.edits else ()
        return ViewBuilder(
            shop=shop,
            customer_id=self._customer_id,
            contact_id=snapshot.contact_id,
            fetcher=fetcher,
            pending_edits=profile.PendingEdits(edits),
            formatter=Formatter(self._locale(fetcher), _zone(shop.settings.time_zone)),
            orders=dependencies.orders,
            now=self._now,
            page=page,
        )

    def _locale(self, fetcher: Fetcher | None) -> Locale:
        """Return the locale: of the shop, else of the contact if it is in the cache, else of the browser."""
        token, setting = self._visit.shopper.locale, self._shop.settings.locale or None
        attributes = None
        if fetcher is not None and not (token or setting):
            contact_id = self._snapshot.contact_id or ""
            contact = fetcher.from_cache(lambda client: client.get_contact(contact_id))
            attributes = contact.value.attributes if contact is not None else None
        return locale_for(token, setting, attributes, request.accept_languages.values())

    # --- changing

    def _invalidate(self) -> bool:
        """Treat cached data as stale; return False within RELOAD_PAUSE of the last time."""
        snapshot = self._snapshot
        if snapshot.contact_id is None:
            return False
        if snapshot.fresh_after is not None and self._now - snapshot.fresh_after < RELOAD_PAUSE:
            return False
        accepted = self._dependencies.sync_states.invalidate_before(
            self._shop, snapshot.contact_id, self._now, RELOAD_PAUSE
        )
        self._snapshot = self._read_snapshot()
        return accepted

    def _reload(self) -> PageResult:
        accepted = self._invalidate()
        if self._json:
            return PageResult(as_json({"reloaded": accepted}))
        back = query_param("back")
        return self._redirect(back if back in CONTENT_NAMES and back != "transaction" else "overview")

    def _edit(self, body: Any, token: str) -> PageResult:
        builder = self._builder(1)
        settings = self._shop.settings
        if request.mimetype == "application/json":
            posted = editing.from_json(body, settings.editable_fields)
            if posted is None:
                return PageResult(as_json({"error": "not_taken", "problems": {}}), 400)
        else:
            posted = editing.from_form(request.form, request.form.getlist("shown"), settings.editable_fields)
        result = builder.contact()
        if result is None or result.cached is None:
            raise AccessDeniedError(MessageKind.NOT_SAVED, 503, self._shop)
        values = profile.values_of(result.cached.value, builder.pending_edits, settings.editable_fields)
        preferences = {**result.cached.value.preferences, **builder.pending_edits.preferences}
        validated = editing.validate(posted, values, preferences, self._now.date(), builder.formatter.locale.territory)
        if validated.problems:
            if self._json:
                return PageResult(as_json({"error": "not_taken", "problems": validated.problems}), 422)
            content = builder.profile_of(result, posted.values, validated.problems, posted.was)
            return PageResult(self._render("profile", content, builder), 422)
        if validated:
            snapshot = f"{self._snapshot.generation} {self._snapshot.edits}"
            event_id = editing.accept(
                self._dependencies.edits, self._shop, self._customer_id, validated, token, self._now, snapshot=snapshot
            )
            if event_id is not None:
                self._dependencies.wake(event_id)
            self._snapshot = self._read_snapshot()
        if self._json:
            return PageResult(as_json({"saving": bool(validated)}), 202 if validated else 200)
        return self._redirect("profile")

    def _redirect(self, part: str) -> PageResult:
        """Redirect to a page. Behind a proxy, which may follow redirects unsigned, show the page at once."""
        return (
            self.show(part)
            if self._visit.auth_method is AuthMethod.PROXY
            else PageResult(location=self._visit.link(part))
        )


def _posted_json() -> Any:
    """Return the posted JSON, None where it cannot be parsed."""
    try:
        return request.get_json(silent=True)
    except RecursionError:  # silent covers malformed JSON, not JSON that is nested too deeply
        return None


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _page_number() -> int:
    """Return the page number of the address, at least 1."""
    digits = query_param("page")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 6 and int(digits) > 0 else 1
