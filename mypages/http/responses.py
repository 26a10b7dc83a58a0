"""Responses: HTML in the shopper's language, JSON of the same content, and the headers that protect both."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from babel import Locale
from flask import Response, g, render_template, request

from mypages.auth.visit import MessageKind, Mode, link
from mypages.views.page_context import Message, PageContext
from mypages.views.theme import image_sources
from plugin.store.shops.settings import ShopSettings
from plugin.store.shops.shops import RegisteredShop

#: A host and a port, without characters that have a meaning in a Content-Security-Policy.
_ORIGIN = re.compile(r"[A-Za-z0-9.\-]+(:[0-9]+)?")
MIMETYPES: Mapping[Mode, str] = {
    Mode.PAGE: "text/html",
    Mode.FRAGMENT: "text/html",
    Mode.LIQUID: "application/liquid",
}


@dataclass(frozen=True, slots=True)
class RenderedBody:
    """The body of a response, and its MIME type."""

    body: bytes
    mimetype: str


def html(template: str, context: PageContext, **content: Any) -> RenderedBody:
    """Render a template of My Pages."""
    g.mypages_locale = context.locale

    def page_link(part: str, **query: Any) -> str:
        return link(context.base, context.mode, part, **query)

    members = {entry.name: getattr(context, entry.name) for entry in fields(context)}
    text = render_template(f"mypages/{template}.html", link=page_link, **members, **content)
    if context.mode is Mode.LIQUID:
        # the shop's theme would run any text that looks like Liquid, also in a name or a promotion
        text = text.replace("{{", "&#123;&#123;").replace("{%", "&#123;%")
    return RenderedBody(text.encode("utf-8", "replace"), MIMETYPES[context.mode])


def as_json(content: Mapping[str, Any]) -> RenderedBody:
    """Return content as JSON: amounts as strings, times in ISO 8601."""
    return RenderedBody(json.dumps(to_json(content), ensure_ascii=True).encode(), "application/json")


def to_json(value: Any) -> Any:
    """Return a view model, or a value of it, as what `json.dumps` takes."""
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: to_json(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): to_json(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(entry) for entry in value]
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, (StrEnum, Locale)) else value


def message(
    kind: MessageKind, shop: RegisteredShop | None, locale: Locale, base: str, assets: str, mode: Mode
) -> RenderedBody:
    """Return a message page, or the same as JSON."""
    login_url = shop.settings.login_url if shop is not None else ""
    if wants_json():
        return as_json({"error": kind, "login_url": login_url})
    title = (shop.settings.page_title or shop.name) if shop is not None else ""
    context = PageContext(
        shop=shop, title=title, locale=locale, part="message", parts=(), base=base, assets=assets, mode=mode
    )
    return html("message", context, message=Message(kind, login_url))


def wants_json() -> bool:
    """Return whether the request asks for JSON rather than a page."""
    accepted = request.headers.get("Accept", "")
    if "json" not in accepted and request.mimetype != "application/json":
        return False
    best = request.accept_mimetypes.best_match(["text/html", "application/json"], default="text/html")
    return best == "application/json" or (request.mimetype == "application/json" and "text/html" not in accepted)


def with_security_headers(response: Response, shop: RegisteredShop | None, mode: Mode = Mode.PAGE) -> Response:
    """Add the headers that keep a personal page out of caches, frames and scripts of others."""
    headers = response.headers
    if mode is not Mode.LIQUID:  # inside a theme the policy is the shop's own
        settings = shop.settings if shop is not None else None
        ancestors = settings.frame_ancestors if settings is not None else ""
        headers["Content-Security-Policy"] = (
            f"default-src 'none'; style-src 'self'; script-src 'self'; img-src {image_sources(settings)}; "
            f"form-action 'self'{_login_origin(settings)}; base-uri 'none'; frame-ancestors {ancestors or chr(39) + 'none' + chr(39)}"
        )
        if not ancestors:
            headers["X-Frame-Options"] = "DENY"
    headers["Cache-Control"] = "no-store"
    headers["Referrer-Policy"] = "no-referrer"
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Vary"] = "Cookie, Authorization, Accept, Accept-Language"
    return response


def _login_origin(settings: ShopSettings | None) -> str:
    """Return the origin that logging out redirects to: browsers apply form-action to redirects too."""
    parts = urlsplit(settings.login_url if settings is not None else "")
    return f" {parts.scheme}://{parts.netloc}" if parts.netloc and _ORIGIN.fullmatch(parts.netloc) else ""


def with_cors(response: Response) -> Response:
    """Let scripts of other origins read a response to a request without a cookie.

    Customer account extensions need it, see docs/platforms/shopify.md#app-proxy-and-session-tokens.
    """
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, Accept"
    response.headers["Access-Control-Allow-Methods"] = "GET, POST"
    response.headers["Access-Control-Max-Age"] = "600"
    return response
