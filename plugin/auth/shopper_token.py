"""The token by which a shop names its shopper: a JWT, HS256 with the shop's shopper_secret.

See docs/platforms/common.md#hand-over-token. The algorithm is pinned and each time is checked. Whether a token may be used
again is the caller's decision: for My Pages each works once, for the checkout repeatedly within its short life.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from types import MappingProxyType
from typing import Any

import jwt

from plugin.errors import VerificationError
from plugin.store.shops.shops import RegisteredShop

AUDIENCE = "engage-plugin"
MAX_LIFE_S = 120
HAND_OVER: Mapping[str, int] = MappingProxyType({AUDIENCE: MAX_LIFE_S})
JWT_LEEWAY_S = 30
MAX_TOKEN_LENGTH = 8192
MAX_ID_LENGTH = 128


@dataclass(frozen=True, slots=True)
class ShopperToken:
    """A verified token. token_id: its jti. until: when it is not accepted any more, aware UTC."""

    customer_id: str
    token_id: str
    until: datetime
    audience: str
    locale: str | None


def check_token(shop: RegisteredShop, token: str, now: datetime, lives: Mapping[str, int] = HAND_OVER) -> ShopperToken:
    """Verify a token of the shop. lives: audiences that are accepted, each with the longest life of its tokens in seconds.

    Raises VerificationError that says what is wrong with it.
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            shop.shopper_secret,
            algorithms=["HS256"],
            audience=list(lives),
            issuer=shop.name,
            options={"require": ["exp", "iat", "sub", "jti", "iss", "aud"], "verify_exp": False, "verify_iat": False},
        )
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise VerificationError(f"The token is not valid ({type(error).__name__}).") from None
    named = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    audience, max_life_s = min(((name, life) for name, life in lives.items() if name in named), key=itemgetter(1))
    issued, expires = claims["iat"], claims["exp"]
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in (issued, expires)):
        raise VerificationError("The token's times are not numbers.")
    present = now.timestamp()
    if not (0 < expires - issued <= max_life_s):
        raise VerificationError(f"The token lives longer than {max_life_s} s.")
    if present > expires + JWT_LEEWAY_S or issued > present + JWT_LEEWAY_S:
        raise VerificationError("The token has expired, or its clock is wrong.")
    for name in ("sub", "jti"):
        if not is_id(claims[name]):
            raise VerificationError(f"The token's {name} is not an id.")
    locale = claims.get("locale")
    return ShopperToken(
        customer_id=claims["sub"],
        token_id=claims["jti"],
        until=datetime.fromtimestamp(expires + 2 * JWT_LEEWAY_S, UTC),
        audience=audience,
        locale=locale if isinstance(locale, str) else None,
    )


def claimed_issuer(token: str) -> str | None:
    """Return which shop a token claims to come from; trusted only after `check_token`."""
    try:
        issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None
    return issuer if isinstance(issuer, str) else None


def is_id(value: Any) -> bool:
    """Return whether a value can be a customer's or a token's id."""
    return isinstance(value, str) and 0 < len(value) <= MAX_ID_LENGTH and value.isprintable()
