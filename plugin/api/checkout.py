"""GET /api/checkout/promotions and POST /api/checkout/validate: what a cart can use, and whether it still can.

Both answer a shop's server (API token, and the shopper's customer id in a header or the body) and a shopper's browser
(a token that the shop signed; CORS by the setting checkout_origins). Answers are personal and must not be stored.
"""

import logging
from collections.abc import Mapping
from math import ceil
from time import monotonic
from typing import Any

from flask import Blueprint, Response, jsonify, request
from sqlalchemy.exc import SQLAlchemyError

from plugin.api.limits import Limit
from plugin.api.request_parsing import RequestError, choice, currency, json_object, objects, only, text
from plugin.auth.api_auth import ApiAuthenticator, Principal
from plugin.errors import UnverifiableError, VerificationError
from plugin.promotions.checkout import PROMOTION, VOUCHER, Checkout, NamedItem
from plugin.promotions.offers import Cart
from plugin.store.shops.registry import Shops

log = logging.getLogger(__name__)

CHANNELS = ("ECOM", "POS", "OTHER")
CUSTOMER_HEADER = "Engage-Customer-Id"
MAX_NAMED = 20
#: Burst and calls per second for each shopper: checks before payment, and reads of the offers, which the cache answers.
VALIDATE_LIMIT = (10, 0.5)
OFFERS_LIMIT = (60, 5.0)
PREFLIGHT_S = "600"


def blueprint(checkout: Checkout, authenticator: ApiAuthenticator, shops: Shops) -> Blueprint:
    """Return the checkout's blueprint."""
    routes = Blueprint("checkout_api", __name__, url_prefix="/api/checkout")
    offers_limit, validate_limit = Limit(*OFFERS_LIMIT), Limit(*VALIDATE_LIMIT)

    @routes.get("/promotions", provide_automatic_options=False)
    def promotions() -> Response:
        started = monotonic()
        only(request.args, "currency", "channel", "shop")
        cart = Cart(currency(request.args), choice(request.args, "channel", CHANNELS, "ECOM"))
        principal, customer_id = _authenticate(authenticator, {})
        _enforce(offers_limit, principal, customer_id)
        return _personal(jsonify(checkout.offers(principal.shop, customer_id, cart, started=started)), principal)

    @routes.post("/validate", provide_automatic_options=False)
    def validate() -> Response:
        body = json_object(request.get_data())
        only(body, "currency", "channel", "customer_id", "order_id", "promotions", "vouchers", "shop")
        cart = Cart(currency(body), choice(body, "channel", CHANNELS, "ECOM"), text(body, "order_id", 128))
        named = _named(body)
        principal, customer_id = _authenticate(authenticator, body)
        _enforce(validate_limit, principal, customer_id)
        return _personal(jsonify(checkout.validate(principal.shop, customer_id, cart, named)), principal)

    @routes.route("/promotions", methods=["OPTIONS"])
    @routes.route("/validate", methods=["OPTIONS"])
    def preflight() -> Response:
        return _preflight(shops)

    @routes.after_request
    def readable(answer: Response) -> Response:
        """Let a page's script read the reason of a refusal; it contains nothing personal."""
        if answer.status_code >= 400:
            _allow_known_origin(answer, shops)
        return answer

    add_error_answers(routes)
    return routes


def add_error_answers(routes: Blueprint) -> None:
    """Answer errors as JSON with a message and a short code; no request of a stranger causes a 500."""

    @routes.errorhandler(RequestError)
    def bad_request(error: RequestError) -> Response:
        return _error(str(error), error.code, error.status)

    @routes.errorhandler(VerificationError)
    def unverified(error: VerificationError) -> Response:
        answer = _error(str(error), "unauthorised", 401)
        answer.headers["WWW-Authenticate"] = 'Bearer realm="engage-plugin"'
        return answer

    @routes.errorhandler(UnverifiableError)
    def unverifiable(error: UnverifiableError) -> Response:
        return _error(str(error), "unverifiable", 503)

    @routes.errorhandler(SQLAlchemyError)
    def no_database(error: SQLAlchemyError) -> Response:
        log.error("/api could not be answered: the database failed (%s)", type(error).__name__)
        return _error("This plugin cannot answer now: continue the checkout without offers.", "unavailable", 503)


def _error(message: str, code: str, status: int) -> Response:
    answer = jsonify({"message": message, "code": code})
    answer.status_code = status
    answer.headers["Cache-Control"] = "no-store"
    if status == 503:
        answer.headers["Retry-After"] = "2"
    return answer


def _authenticate(authenticator: ApiAuthenticator, body: Mapping[str, Any]) -> tuple[Principal, str]:
    """Return the caller and the shopper whom the request is about. Raises VerificationError, RequestError."""
    named = text(body, "customer_id", 128) or text(
        {CUSTOMER_HEADER: request.headers.get(CUSTOMER_HEADER)}, CUSTOMER_HEADER, 128
    )
    shop = text(body, "shop", 63) or text(request.args, "shop", 63)
    principal = authenticator.shopper(request.headers.get("Authorization", ""), shop, named)
    if principal.customer_id is None:
        raise RequestError(
            f"Say which customer it is about: the header {CUSTOMER_HEADER}, or customer_id in a POST's body."
        )
    if not principal.from_server and named is not None and named != principal.customer_id:
        raise RequestError("The token is another customer's.", "another_customer", 403)
    return principal, principal.customer_id


def _enforce(limit: Limit, principal: Principal, customer_id: str) -> None:
    """Raise RequestError (429) when requests for a shopper are too frequent."""
    wait_s = limit.wait_s(f"{principal.shop.id}:{customer_id}")
    if wait_s:
        raise RequestError(f"Too many requests for this shopper: again in {ceil(wait_s)} s.", "too_many", 429)


def _named(body: Mapping[str, Any]) -> list[NamedItem]:
    named = []
    for entry in objects(body, "promotions", MAX_NAMED):
        only(entry, "assignment_id", "code")
        named.append(NamedItem(PROMOTION, text(entry, "assignment_id", 450), text(entry, "code", 512)))
    for entry in objects(body, "vouchers", MAX_NAMED):
        only(entry, "id", "number")
        named.append(NamedItem(VOUCHER, text(entry, "id", 128), text(entry, "number", 128)))
    if any(item.id is None and item.code is None for item in named):
        raise RequestError("Each promotion needs assignment_id or code, each voucher id or number.")
    return named


def _personal(answer: Response, principal: Principal) -> Response:
    """Add the headers of a personal answer; a browser may read it only on a page of the shop's own."""
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Vary"] = "Origin, Authorization"
    origin = request.headers.get("Origin")
    # a shop's server sends no Origin, and its token has no business in a browser
    if origin and not principal.from_server and origin in principal.shop.settings.checkout_origins.split():
        answer.headers["Access-Control-Allow-Origin"] = origin
    return answer


def _preflight(shops: Shops) -> Response:
    """Answer a browser's question before the request.

    It carries no token, so any shop's origin is accepted: the answer to the request itself is shown to the caller's own shop.
    """
    answer = Response(status=204)
    if _allow_known_origin(answer, shops):
        answer.headers["Access-Control-Allow-Methods"] = "GET, POST"
        answer.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
        answer.headers["Access-Control-Max-Age"] = PREFLIGHT_S
    return answer


def _allow_known_origin(answer: Response, shops: Shops) -> bool:
    answer.headers["Vary"] = "Origin, Authorization"
    origin = request.headers.get("Origin", "")
    known = bool(origin) and any(origin in shop.settings.checkout_origins.split() for shop in shops.all())
    if known:
        answer.headers["Access-Control-Allow-Origin"] = origin
    return known
