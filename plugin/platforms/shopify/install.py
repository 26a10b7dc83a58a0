"""Shopify's installation pages: the app's configuration, and the authorization code grant (docs/platforms/shopify.md#installation).

Only registered shops can be installed. A redirect counts when its hmac is right and young, its state was made here for
that very shop, is used for the first time, and comes from the browser that began.
"""

import hashlib
import hmac
import html
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request

from plugin.errors import ShopApiError, VerificationError
from plugin.platforms.base import InstallationService, ShopCredentials
from plugin.platforms.shop_api import ShopApi
from plugin.platforms.shopify import admin, app_toml
from plugin.platforms.shopify.queries import check_redirect, shop_domain

if TYPE_CHECKING:
    from plugin.platforms.shopify import Shopify

log = logging.getLogger(__name__)

BROWSER_COOKIE = "engage-install"
STATE_LIFE_S = 3600


@dataclass(frozen=True, slots=True)
class App:
    """The app's own credentials."""

    client_id: str
    client_secret: str


def blueprint(platform: "Shopify", service: InstallationService) -> Blueprint:
    """Return the pages below /install/shopify."""
    routes = Blueprint("install_shopify", __name__, url_prefix=app_toml.START)
    pages = Pages(platform, service)
    routes.add_url_rule("", "start", pages.start)
    routes.add_url_rule("/callback", "callback", pages.callback)
    routes.add_url_rule("/shopify.app.toml", "app_toml", pages.configuration)
    return routes


class Pages:
    """The pages of one app."""

    def __init__(self, platform: "Shopify", service: InstallationService) -> None:
        self._platform = platform
        self._service = service

    def configuration(self) -> Response:
        """Serve shopify.app.toml."""
        client_id = (
            self._service.app_credential("SHOPIFY_CLIENT_ID") or "SET SHOPIFY_CLIENT_ID AND FETCH THIS FILE AGAIN"
        )
        text = self._platform.app_configuration(self._service, client_id)
        return Response(text, mimetype="application/toml", headers={"Cache-Control": "no-store"})

    def start(self) -> Response:
        """Begin: from Shopify's admin (signed), or from the address that an operator opens."""
        app = self._app()
        if app is None:
            return _no_credentials()
        query = request.query_string.decode("latin-1")
        signed = "hmac" in request.args
        try:
            if signed:
                check_redirect(query, [app.client_secret], self._service.now())
        except VerificationError as error:
            return _page(401, "This does not come from Shopify", [str(error)])
        shop = self._registered(shop_domain(request.args.get("shop")))
        if shop is None:
            return _not_registered()
        if signed and self._works(shop):
            return _page(200, "The plugin is connected", [f"{shop.shop_domain} is connected as {shop.name}."])
        return self._to_shopify(app, shop)

    def callback(self) -> Response:
        """Finish: check everything, exchange the code, store the token, and show the next steps."""
        app = self._app()
        if app is None:
            return _no_credentials()
        try:
            found = check_redirect(request.query_string.decode("latin-1"), [app.client_secret], self._service.now())
        except VerificationError as error:
            return _page(401, "This does not come from Shopify", [str(error)])
        domain, code = shop_domain(found.get("shop")), found.get("code", "")
        begun = self._service.finish(self._platform.slug, found.get("state", ""))
        if begun is None or begun[0].shop_domain != domain or domain is None or not code:
            return _page(401, "This installation was not begun here", ["Begin again: it works once and for an hour."])
        shop, data = begun
        if not hmac.compare_digest(data.get("browser", ""), _hash(request.cookies.get(BROWSER_COOKIE, ""))):
            return _page(401, "Another browser began", ["Begin and finish the installation in the same browser."])
        try:
            credentials = admin.exchange_code(domain, app.client_id, app.client_secret, code, self._service.now())
        except ShopApiError as error:
            log.warning("shop=%s the installation got no token: %s", shop.name, error)
            return _page(502, "Shopify gave no token", [str(error)])
        installed = self._service.save_credentials(shop.name, credentials, webhook_secret=app.client_secret)
        log.info("shop=%s is installed in Shopify", shop.name)
        answer = _page(200, "The plugin is connected", self._next_steps(installed))
        answer.delete_cookie(BROWSER_COOKIE, path=app_toml.START)
        return answer

    def _to_shopify(self, app: App, shop: ShopCredentials) -> Response:
        browser = secrets.token_urlsafe(32)
        state = self._service.begin(shop.name, {"browser": _hash(browser)})
        asked = {
            "client_id": app.client_id,
            "scope": ",".join(app_toml.needed_scopes(self._service.manifest)),
            "redirect_uri": self._service.public_url + app_toml.CALLBACK,
            "state": state,
        }
        address = f"{admin.origin(str(shop.shop_domain))}/admin/oauth/authorize?{urlencode(asked)}"
        answer = Response(status=302, headers={"Location": address})
        answer.set_cookie(
            BROWSER_COOKIE,
            browser,
            max_age=STATE_LIFE_S,
            path=app_toml.START,
            secure=self._service.public_url.startswith("https://"),
            httponly=True,
            samesite="Lax",
        )
        return _guarded(answer)

    def _next_steps(self, shop: ShopCredentials) -> list[str]:
        """Return what was done and what is still missing, and make the subscriptions where the plugin does that."""
        lines = [f"{shop.shop_domain} is connected as {shop.name}."]
        granted = str(shop.credentials.get("scope") or "")
        missing = app_toml.missing_scopes(app_toml.needed_scopes(self._service.manifest), granted)
        if missing:
            lines.append(
                f"Not granted: {', '.join(missing)}. Shopify sends nothing of these: deploy shopify.app.toml and open this "
                "page's beginning again."
            )
        if not self._platform.options.by_shop:
            lines.append("The webhooks are those of shopify.app.toml: `shopify app deploy` switches them on.")
            return lines
        try:
            api = self._api(shop)
            done = api.repair(self._platform.address(self._service, shop)) if api is not None else ()
        except ShopApiError as error:
            return [*lines, f"The webhooks are not subscribed yet: {error}"]
        return [*lines, *done, "The webhooks are subscribed."]

    def _works(self, shop: ShopCredentials) -> bool:
        """Return whether a shop that was installed before still is: an uninstallation invalidates its token."""
        try:
            api = self._api(shop)
            return api is not None and bool(api.check())
        except ShopApiError as error:
            log.info("shop=%s is installed again: %s", shop.name, error)
            return False

    def _api(self, shop: ShopCredentials) -> ShopApi | None:
        def save(credentials: Mapping[str, Any]) -> None:
            self._service.save_credentials(shop.name, credentials)

        return self._platform.api(shop, save)

    def _app(self) -> App | None:
        client_id = self._service.app_credential("SHOPIFY_CLIENT_ID")
        client_secret = self._service.app_credential("SHOPIFY_CLIENT_SECRET")
        return App(client_id, client_secret) if client_id and client_secret else None

    def _registered(self, domain: str | None) -> ShopCredentials | None:
        shops = self._service.shops(self._platform.slug) if domain is not None else ()
        return next((shop for shop in shops if shop.shop_domain == domain), None)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _no_credentials() -> Response:
    todo = "Set SHOPIFY_CLIENT_ID and SHOPIFY_CLIENT_SECRET in the plugin's environment, restart it and open this page again."
    return _page(503, "The app's credentials are missing", [todo])


def _not_registered() -> Response:
    todo = (
        "Register it first: engage-plugin shops add NAME --platform shopify --shop-domain YOUR-SHOP.myshopify.com ..."
    )
    return _page(404, "This shop is not registered here", [todo])


def _page(status: int, title: str, lines: Sequence[str]) -> Response:
    """Return a small page. Nothing of a request is repeated unescaped."""
    text = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    heading = html.escape(title)
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{heading}</title>'
    body = f"{head}<h1>{heading}</h1>{text}"
    return _guarded(Response(body, status, mimetype="text/html"))


def _guarded(answer: Response) -> Response:
    answer.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer
