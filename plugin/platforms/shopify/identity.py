"""Who the shopper is: Shopify's app proxy and the session token of its customer account extensions.

See docs/platforms/shopify.md#app-proxy-and-session-tokens.
"""

import math
import re
from datetime import datetime
from typing import Any

import jwt

from plugin.errors import VerificationError
from plugin.platforms.base import ProxiedShopper, ShopCredentials, ShopperProof
from plugin.platforms.shopify.queries import check_proxied, read_query, shop_domain

LEEWAY_S = 10
MAX_TOKEN = 8192
_CUSTOMER = re.compile(r"gid://shopify/Customer/([0-9]{1,32})")
_NUMBER = re.compile(r"[0-9]{1,32}")
_LOCALE = re.compile(r"[A-Za-z0-9-]{2,35}")
_PREFIX = re.compile(r"/[A-Za-z0-9/_-]{1,200}")


def claimed_shop(query_string: str) -> str | None:
    """Return the shop that a proxied request names; trusted only after its signature was verified."""
    try:
        return shop_domain(read_query(query_string).get("shop", [""])[0])
    except VerificationError:
        return None


def proxied_shopper(query_string: str, shop: ShopCredentials, now: datetime) -> ProxiedShopper:
    """Check a request through the app proxy. An empty customer id means that the shopper is not logged in.

    Raises VerificationError. The body of such a request is not signed: forms need a proof of their own.
    """
    found = check_proxied(query_string, shop.webhook_secrets, now)
    if shop_domain(found.get("shop")) != shop.shop_domain or shop.shop_domain is None:
        raise VerificationError("The request comes through another shop's proxy.")
    customer_id, prefix = found.get("logged_in_customer_id", ""), found.get("path_prefix", "")
    if customer_id and not _NUMBER.fullmatch(customer_id):
        raise VerificationError("The customer id of the proxied request is not a number.")
    if not _PREFIX.fullmatch(prefix):
        raise VerificationError("The path prefix of the proxied request is missing or not a path.")
    locale = found.get("locale", "")
    return ProxiedShopper(customer_id or None, prefix.rstrip("/"), locale if _LOCALE.fullmatch(locale) else None)


def shopper_of_session_token(token: str, shop: ShopCredentials, now: datetime) -> ShopperProof:
    """Check a session token: HS256 with the app's secret, for this app and this shop. Raises VerificationError."""
    client_id = shop.credentials.get("client_id")
    if not isinstance(client_id, str) or not client_id:
        raise VerificationError(
            f"Session tokens are for the app that was installed; {shop.name} has no installation: open /install/shopify."
        )
    claims = _claims(token, shop, client_id)
    _check_times(claims, now)
    # "name.myshopify.com" here, "https://name.myshopify.com" in tokens of the admin
    destination = claims["dest"].removeprefix("https://") if isinstance(claims["dest"], str) else ""
    if shop.shop_domain is None or shop_domain(destination) != shop.shop_domain:
        raise VerificationError("The session token is another shop's.")
    subject = claims.get("sub")
    customer = _CUSTOMER.fullmatch(subject) if isinstance(subject, str) else None
    if customer is None:
        raise VerificationError(
            "The session token names no customer: the shopper is not logged in, or the app may not read protected customer data."
        )
    return ShopperProof(customer.group(1))


def _claims(token: str, shop: ShopCredentials, client_id: str) -> dict[str, Any]:
    """Return the claims when one of the secrets fits. The algorithm is pinned; times are checked by our own clock."""
    if not 0 < len(token) <= MAX_TOKEN:
        raise VerificationError("The token is missing or too long.")
    why = "no secret"
    for secret in shop.webhook_secrets:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                secret,
                algorithms=["HS256"],
                audience=client_id,
                options={
                    "require": ["exp", "nbf", "dest", "aud"], "verify_exp": False, "verify_nbf": False, "verify_iat": False,
                    "verify_sub": False, "strict_aud": True,
                },
            )  # fmt: skip
        except (jwt.PyJWTError, ValueError) as error:
            why = type(error).__name__
            continue
        return claims
    raise VerificationError(f"The session token is not valid ({why}).")


def _check_times(claims: dict[str, Any], now: datetime) -> None:
    expires, begins = claims["exp"], claims["nbf"]
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in (expires, begins)):
        raise VerificationError("The token's times are not numbers.")
    present = now.timestamp()
    if not (math.isfinite(expires) and math.isfinite(begins)):
        raise VerificationError("The token's times are not times.")
    if present > expires + LEEWAY_S or begins > present + LEEWAY_S:
        raise VerificationError("The token has expired, or its clock is wrong.")
