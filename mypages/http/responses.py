"""From content to an answer: HTML in the shopper's language, JSON of the same, and the headers that keep both personal."""

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

from mypages.auth.authenticator import link
from mypages.views.models import Message, MessageKind, Mode, PageContext
from mypages.views.theme import image_sources
from plugin.store.shops.settings import ShopSettings
from plugin.store.shops.shops import RegisteredShop

#: A host and a port, and nothing that means something in a Content-Security-Policy.
_ORIGIN = re.compile(r"[A-Za-z0-9.\-]+(:[0-9]+)?")
MIMETYPES: Mapping[Mode, str] = {
    Mode.PAGE: "text/html",
    Mode.FRAGMENT: "text/html",
    Mode.LIQUID: "application/liquid",
}


@dataclass(frozen=True, slots=True)
class RenderedBody:
    """What is sent: a body and its kind."""

    body: bytes
    mimetype: str


def html(template: str, frame: PageContext, **content: Any) -> RenderedBody:
    """Render a template of My Pages in a frame."""
    g.mypages_locale = frame.locale

    def page_link(part: str, **query: Any) -> str:
        return link(frame.base, frame.mode, part, **query)

    members = {entry.name: getattr(frame, entry.name) for entry in fields(frame)}
    words = render_template(f"mypages/{template}.html", frame=frame, link=page_link, **members, **content)
    if frame.mode is Mode.LIQUID:
        # the shop's theme would run what looks like Liquid, also in a name or a promotion's text
        words = words.replace("{{", "&#123;&#123;").replace("{%", "&#123;%")
    return RenderedBody(words.encode("utf-8", "replace"), MIMETYPES[frame.mode])


def as_json(content: Mapping[str, Any]) -> RenderedBody:
    """Return content as JSON: amounts as texts, times in ISO 8601."""
    return RenderedBody(json.dumps(to_json(content), ensure_ascii=True).encode(), "application/json")


def to_json(value: Any) -> Any:
    """Return a value of `mypages.content` as JSON has it."""
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
    """Return a page, or JSON, that only says something."""
    login_url = shop.settings.login_url if shop is not None else ""
    if wants_json():
        return as_json({"error": kind, "login_url": login_url})
    title = (shop.settings.page_title or shop.name) if shop is not None else ""
    frame = PageContext(
        shop=shop, title=title, locale=locale, part="message", parts=(), base=base, assets=assets, mode=mode
    )
    return html("message", frame, message=Message(kind, login_url))


def wants_json() -> bool:
    """Tell whether the request asks for JSON rather than a page."""
    accepted = request.headers.get("Accept", "")
    if "json" not in accepted and request.mimetype != "application/json":
        return False
    best = request.accept_mimetypes.best_match(["text/html", "application/json"], default="text/html")
    return best == "application/json" or (request.mimetype == "application/json" and "text/html" not in accepted)


def with_security_headers(answer: Response, shop: RegisteredShop | None, mode: Mode = Mode.PAGE) -> Response:
    """Add the headers that keep a personal page personal."""
    headers = answer.headers
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
    return answer


def _login_origin(settings: ShopSettings | None) -> str:
    """Return the origin that logging out leads on to: browsers hold a form's redirects to the policy too."""
    parts = urlsplit(settings.login_url if settings is not None else "")
    return f" {parts.scheme}://{parts.netloc}" if parts.netloc and _ORIGIN.fullmatch(parts.netloc) else ""


def with_cors(answer: Response) -> Response:
    """Let scripts of other origins read an answer that no cookie had a part in (a customer-account extension, facts 1.8)."""
    answer.headers["Access-Control-Allow-Origin"] = "*"
    answer.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, Accept"
    answer.headers["Access-Control-Allow-Methods"] = "GET, POST"
    answer.headers["Access-Control-Max-Age"] = "600"
    return answer
