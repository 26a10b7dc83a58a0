"""A logged-in shopper of a Saleor storefront: the access token, verified with the shop's keys.

See docs/platforms/saleor.md#the-logged-in-shopper.
"""

from datetime import datetime
from typing import Any

import jwt

from plugin.errors import VerificationError
from plugin.platforms.base import ShopCredentials, ShopperProof
from plugin.platforms.saleor.addresses import api_url_of
from plugin.platforms.saleor.keys import ALGORITHM, KeyRing
from plugin.platforms.saleor.signature import key_id_in, read_header

LEEWAY_S = 30
#: An access token lives five minutes; a token that lives longer than a day is refused.
MAX_LIFE_S = 24 * 3600
MAX_LENGTH = 8192


def verified_claims(token: str, shop: ShopCredentials, keys: KeyRing, now: datetime) -> dict[str, Any]:
    """Return the claims of a token that this shop signed and that is valid now.

    The algorithm is pinned; `iss` must be the API address in our own table. Raises VerificationError, UnverifiableError.
    """
    if not 0 < len(token) <= MAX_LENGTH or token.count(".") != 2:
        raise VerificationError("The token is missing or not a JWT.")
    header = read_header(token.partition(".")[0])
    if header.get("alg") != ALGORITHM or "b64" in header or "crit" in header:
        raise VerificationError("The token is not signed the way Saleor signs tokens (RS256).")
    key = keys.key(shop, key_id_in(header), now)
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            options={
                "require": ["exp", "iat", "iss"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
                "verify_aud": False,
            },
        )
    except (jwt.PyJWTError, ValueError) as error:
        raise VerificationError(f"The token is not valid ({type(error).__name__}).") from None
    _check_times(claims, now)
    if claims["iss"] != api_url_of(shop):
        raise VerificationError("The token was issued by another shop.")
    return claims


def shopper_of(token: str, shop: ShopCredentials, keys: KeyRing, now: datetime) -> ShopperProof:
    """Return the shopper that an access token proves.

    Tokens of staff, of apps in the Dashboard (type thirdparty) and refresh tokens are refused. Raises
    VerificationError, UnverifiableError.
    """
    claims = verified_claims(token, shop, keys, now)
    if claims.get("type") != "access" or claims.get("owner") != "saleor":
        raise VerificationError("The token is not a shopper's access token (type access, owner saleor).")
    if claims.get("is_staff") is not False or "app" in claims or "permissions" in claims:
        raise VerificationError("The token belongs to staff or an app, not to a shopper.")
    customer_id = claims.get("user_id")
    if not isinstance(customer_id, str) or not 0 < len(customer_id) <= 128 or not customer_id.isprintable():
        raise VerificationError("The token's user_id is not an id.")
    return ShopperProof(customer_id)


def staff_of_app_page(token: str, shop: ShopCredentials, keys: KeyRing, now: datetime) -> None:
    """Check the token that the Dashboard gives to our app's page: staff of this shop, for this app.

    Raises VerificationError, UnverifiableError.
    """
    claims = verified_claims(token, shop, keys, now)
    if claims.get("type") != "thirdparty" or claims.get("is_staff") is not True:
        raise VerificationError("The token is not one that the Dashboard gives to an app.")
    if not shop.credentials.get("app_id") or claims.get("app") != shop.credentials["app_id"]:
        raise VerificationError("The token was made for another app.")


def _check_times(claims: dict[str, Any], now: datetime) -> None:
    issued, expires, not_before = claims["iat"], claims["exp"], claims.get("nbf", claims["iat"])
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in (issued, expires, not_before)):
        raise VerificationError("The token's times are not numbers.")
    present = now.timestamp()
    if not 0 < expires - issued <= MAX_LIFE_S:
        raise VerificationError("The token lives too long.")
    if present > expires + LEEWAY_S or max(issued, not_before) > present + LEEWAY_S:
        raise VerificationError("The token has expired, or its clock is wrong.")
