"""Installation: the merchant approves in the shop, the shop posts keys to us, we prove them.

See docs/platforms/woocommerce.md#installation.

The callback is not signed and names no shop. What holds it together: only shops that an operator registered can be
installed; the state that the shop echoes was made for one of them and works once; and the keys count only after a call to
that shop's own address, never to an address that the callback names.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from flask import Blueprint, Response, render_template_string, request

from plugin.errors import ShopApiError, ShopUnavailableError
from plugin.platforms.base import InstallationService, ShopCredentials
from plugin.platforms.woocommerce.api import api_for, prove
from plugin.platforms.woocommerce.rest import base_of, check_keys

SLUG = "woocommerce"
URL_PREFIX = f"/install/{SLUG}"
APP_NAME = "Voyado Engage plugin"
MAX_CALLBACK_BYTES = 8192
#: What WooCommerce calls the rights that webhooks need.
RIGHTS = "read_write"
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ heading }}</title>
<body style="font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem">
<h1>{{ heading }}</h1>
{% for line in lines %}<p>{{ line }}</p>
{% endfor %}</body></html>
"""


def blueprint(service: InstallationService) -> Blueprint:
    """Return the two addresses that an authorisation returns to: the shop's server, and the merchant's browser."""
    routes = Blueprint("install_woocommerce", __name__, url_prefix=URL_PREFIX)

    @routes.post("/callback")
    def callback() -> Response:
        return _callback(service)

    @routes.get("/return/<state>")
    def merchant_returned(state: str) -> Response:
        return _merchant_returned(service, state)

    return routes


def steps(service: InstallationService, shop: ShopCredentials) -> tuple[str, ...]:
    """Return what the merchant does next. Raises ShopApiError when the shop's address is not valid."""
    base = base_of(shop)
    manually = (
        f"Manually: make keys with read and write rights under WooCommerce > Settings > Advanced > REST API, then "
        f"`engage-plugin woocommerce keys {shop.name}` asks for them, proves them and makes the webhooks."
    )
    if urlsplit(service.public_url).scheme != "https":
        return (
            f"WooCommerce sends keys to https addresses alone, and PUBLIC_URL is {service.public_url}: set PUBLIC_URL to "
            "the https address of this plugin and run this command again, or continue manually.",
            manually,
        )
    back = service.begin(shop.name, {"step": "return"})
    query = urlencode(
        {
            "app_name": APP_NAME,
            "scope": RIGHTS,
            "user_id": service.begin(shop.name, {"step": "callback"}),
            "return_url": f"{service.public_url}{URL_PREFIX}/return/{back}",
            "callback_url": f"{service.public_url}{URL_PREFIX}/callback",
        }
    )
    return (
        f"Within an hour, open this address as a user who manages the shop, and approve: {base}/wc-auth/v1/authorize?{query}",
        "The page that follows says whether the keys work and the webhooks are made.",
        "For My Pages and consent at checkout, install the companion plugin: see docs/woocommerce.md.",
        manually,
    )


def _callback(service: InstallationService) -> Response:
    """Store the keys. WooCommerce expects exactly 200; after anything else it deletes them and informs the merchant."""
    length = request.content_length
    if length is None or length > MAX_CALLBACK_BYTES:
        return _say(413, "An authorisation is a short JSON object with its length.")
    try:
        found = json.loads(request.get_data(cache=False))
    except (ValueError, RecursionError):
        found = None
    names = ("user_id", "consumer_key", "consumer_secret", "key_permissions")
    given = [found.get(name) for name in names] if isinstance(found, dict) else []
    texts = [value for value in given if isinstance(value, str) and len(value) <= 512]
    if len(texts) != len(names):
        return _say(400, "This is not an authorisation of WooCommerce: user_id, keys and rights are missing.")
    state, key, secret, rights = texts
    faults = check_keys(key, secret)
    if rights != RIGHTS:
        faults.append(f"The keys must have the rights {RIGHTS}.")
    if faults:
        return _say(400, " ".join(faults))
    begun = service.finish(SLUG, state)
    if begun is None or begun[1].get("step") != "callback":
        return _say(
            403,
            "This installation was not begun here, has expired or was finished: run `engage-plugin shops install` again.",
        )
    shop = begun[0]
    try:
        credentials = prove(shop, key, secret)
    except ShopUnavailableError as error:
        return _say(503, f"The shop could not be asked whether these keys are its own: {error}")
    except ShopApiError as error:
        return _say(403, f"The shop does not take these keys: {error}")
    service.save_credentials(shop.name, credentials)
    return _say(200, "The keys work and are stored.")


def _merchant_returned(service: InstallationService, state: str) -> Response:
    """Show the merchant the result, and make the webhooks: unlike in the callback, the shop is not waiting for an answer."""
    begun = service.finish(SLUG, state)
    if begun is None or begun[1].get("step") != "return":
        return _page(410, "This page works once", "`engage-plugin doctor` shows the state of the shop.")
    shop = next((entry for entry in service.shops(SLUG) if entry.name == begun[0].name), begun[0])
    if request.args.get("success") != "1":
        return _page(200, "Not approved", "Nothing was stored. `engage-plugin shops install` gives a new address.")

    def save(credentials: Mapping[str, Any]) -> None:
        service.save_credentials(shop.name, credentials)

    try:
        api = api_for(shop, save)
        if api is None:
            return _page(
                502,
                "The shop sent no keys",
                "Its server could not reach this plugin, or its keys did not work: see the shop's log.",
            )
        done = api.repair(f"{service.public_url}/webhooks/{SLUG}/{shop.name}")
    except ShopApiError as error:
        return _page(
            502,
            "The keys work, the webhooks are not made yet",
            str(error),
            "They are made when the plugin next checks the shop.",
        )
    return _page(200, "Installed", *(done or ("Every webhook was there already.",)))


def _say(status: int, message: str) -> Response:
    return Response(json.dumps({"message": message}), status, mimetype="application/json")


def _page(status: int, heading: str, *lines: str) -> Response:
    answer = Response(render_template_string(PAGE, heading=heading, lines=lines), status, mimetype="text/html")
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["X-Frame-Options"] = "DENY"
    answer.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer
