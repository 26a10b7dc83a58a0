"""Installation in a Saleor shop: the app's token is posted here, and verified before it is used.

See docs/platforms/saleor.md#installation.

That POST is unsigned, and its headers say where the token is valid. So it counts only for a shop that an operator
registered, and only after the shop's own API knew the token and named our app by it. Nothing else is called, so a forged
POST reaches no other host.
"""

import logging
from typing import TYPE_CHECKING, Any

import jwt
from flask import Blueprint, Response, jsonify, render_template, request

from plugin.errors import ShopApiError, ShopUnavailableError, UnverifiableError, VerificationError
from plugin.platforms.base import InstallationService, ShopCredentials
from plugin.platforms.saleor import queries
from plugin.platforms.saleor.addresses import checked_api_url, domain_of
from plugin.platforms.saleor.api import SaleorApi, call
from plugin.platforms.saleor.keys import fetch_jwks
from plugin.platforms.saleor.manifest import ADDRESS

if TYPE_CHECKING:
    from plugin.platforms.saleor import Saleor

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 4096
MAX_TOKEN = 1024
#: What the page of the app may do: run its own script, ask this plugin. The Dashboard shows it in a frame, from any host.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'"
)


def blueprint(service: InstallationService, platform: "Saleor") -> Blueprint:
    """Return the blueprint below /install/saleor: the token's registration, and the app's page in the Dashboard."""
    routes = Blueprint(
        "install_saleor", __name__, url_prefix="/install/saleor", template_folder="templates", static_folder="static"
    )

    @routes.post("/token")
    def token() -> Response:
        try:
            return jsonify({"installed": _register(service).name})
        except VerificationError as error:
            return _refused(403, str(error))
        except ShopUnavailableError as error:
            return _refused(503, f"{error} Install the app again when it answers.")
        except ShopApiError as error:
            return _refused(403, str(error))

    @routes.get("/")
    def app_page() -> Response:
        page = Response(render_template("saleor/app.html"), mimetype="text/html")
        page.headers["Content-Security-Policy"] = POLICY
        page.headers["Referrer-Policy"] = "no-referrer"
        page.headers["Cache-Control"] = "no-store"
        return page

    @routes.get("/status")
    def status() -> Response:
        answer = _status(service, platform)
        answer.headers["Cache-Control"] = "no-store"
        return answer

    return routes


def _register(service: InstallationService) -> ShopCredentials:
    """Verify a token with a call to its shop and store it. Raises VerificationError, ShopApiError, ShopUnavailableError."""
    given = request.headers.get("Saleor-Api-Url") or request.headers.get("X-Saleor-Api-Url") or ""
    api_url = checked_api_url(given)
    shop = _shop_of(service, api_url)
    if shop is None:
        raise VerificationError(
            f"The shop {domain_of(api_url)} is not registered here: an operator must first run `engage-plugin shops add` with "
            "this as --shop-domain."
        )
    token = _token_in_body()
    app = call(shop, api_url, token, queries.PROOF).get("app")
    if not isinstance(app, dict) or not isinstance(app.get("id"), str) or not app["id"]:
        raise VerificationError("The shop does not know this token.")
    if app.get("identifier") not in {None, "", service.manifest["id"]}:
        raise VerificationError("The token belongs to another app.")
    credentials = {
        "api_url": api_url,
        "token": token,
        "app_id": app["id"],
        "former_app_id": _former_app_id(shop, app["id"]),
        "jwks": fetch_jwks(shop, api_url),
        "jwks_at": service.now().isoformat(),
    }
    installed = service.save_credentials(shop.name, credentials)
    log.info("shop=%s step=installed platform=saleor", shop.name)
    return installed


def _former_app_id(shop: ShopCredentials, app_id: str) -> str | None:
    """Return the id that our app had in this shop before: what Saleor still sends for it is for us too."""
    present = shop.credentials.get("app_id")
    return present if present != app_id else shop.credentials.get("former_app_id")


def _shop_of(service: InstallationService, api_url: str) -> ShopCredentials | None:
    domain = domain_of(api_url)
    return next((shop for shop in service.shops("saleor") if domain and shop.shop_domain == domain), None)


def _token_in_body() -> str:
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise VerificationError("The body is too large for a token.")
    try:
        body = request.get_json(silent=True)
    except RecursionError:  # silent covers what is not JSON, but not JSON that is nested too deeply
        body = None
    token = body.get("auth_token") if isinstance(body, dict) else None
    if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN or not token.isascii() or not token.isprintable():
        raise VerificationError("The body holds no auth_token.")
    return token


def _status(service: InstallationService, platform: "Saleor") -> Response:
    """Answer what is connected, to staff of the shop: the Dashboard's token says who asks."""
    try:
        shop = _shop_of_staff(service, platform)
    except VerificationError as error:
        return _refused(401, str(error))
    except UnverifiableError as error:
        return _refused(503, str(error))
    return jsonify(_connection(service, shop))


def _shop_of_staff(service: InstallationService, platform: "Saleor") -> ShopCredentials:
    """Return the shop whose Dashboard asks. Raises VerificationError, UnverifiableError."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise VerificationError("Open this page in the Saleor Dashboard.")
    shop = _shop_of(service, _claimed_issuer(token))
    if shop is None:
        raise VerificationError("The token comes from a shop that is not registered here.")
    platform.check_app_page_token(token, shop, service.now())
    return shop


def _connection(service: InstallationService, shop: ShopCredentials) -> dict[str, Any]:
    address = f"{service.public_url}{ADDRESS}/{shop.name}"
    connection: dict[str, Any] = {"shop": shop.name, "webhooks": [], "problem": None}
    try:
        api = SaleorApi(shop)
        connection["name"] = api.check()
        connection["webhooks"] = [
            {"topic": entry.topic, "problem": entry.problem or None} for entry in api.subscriptions(address)
        ]
    except ShopApiError as error:
        connection["problem"] = str(error)
    return connection


def _claimed_issuer(token: str) -> str:
    """Read whose keys a token must be checked with; trusted only after that."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise VerificationError("The token is not a JWT.") from None
    return str(claims.get("iss") or "")


def _refused(status: int, message: str) -> Response:
    """Answer in the form that Saleor shows to staff."""
    answer = jsonify({"error": {"message": message}})
    answer.status_code = status
    return answer
