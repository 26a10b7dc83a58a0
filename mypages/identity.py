"""Who the shopper is: a signed token from the shop starts a short session, bound to shop and customer.

Platform facts 5: the algorithm is pinned, each token works once, and nothing in an address ever says who it is.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography.fernet import Fernet, InvalidToken

from plugin.errors import VerificationError
from plugin.store.shops import RegisteredShop
from plugin.store.tokens import UsedTokens
from plugin.store.vault import Vault

AUDIENCE = "engage-plugin"
MAX_LIFE_S = 120
LEEWAY_S = 30
SESSION_S = 30 * 60
MAX_TOKEN_LENGTH = 8192


@dataclass(frozen=True, slots=True)
class Shopper:
    """A shopper whose identity is proved. locale: a BCP 47 tag, or None."""

    shop: str
    customer_id: str
    locale: str | None = None


def read_token(shop: RegisteredShop, token: str, used: UsedTokens, now: datetime) -> Shopper:
    """Verify a hand-over token and use it up. Raises VerificationError that says what is wrong with it."""
    if not 0 < len(token) <= MAX_TOKEN_LENGTH:
        raise VerificationError("The token is missing or too long.")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            shop.shopper_secret,
            algorithms=["HS256"],
            audience=AUDIENCE,
            issuer=shop.name,
            options={"require": ["exp", "iat", "sub", "jti", "iss", "aud"], "verify_exp": False, "verify_iat": False},
        )
    except (jwt.PyJWTError, ValueError) as error:
        raise VerificationError(f"The token is not valid ({type(error).__name__}).") from None
    issued, expires = claims["iat"], claims["exp"]
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in (issued, expires)):
        raise VerificationError("The token's times are no numbers.")
    present = now.timestamp()
    if not (0 < expires - issued <= MAX_LIFE_S):
        raise VerificationError(f"The token lives longer than {MAX_LIFE_S} s.")
    if present > expires + LEEWAY_S or issued > present + LEEWAY_S:
        raise VerificationError("The token has expired, or its clock is wrong.")
    customer_id, token_id = claims["sub"], claims["jti"]
    for name, value in (("sub", customer_id), ("jti", token_id)):
        if not isinstance(value, str) or not 0 < len(value) <= 128 or not value.isprintable():
            raise VerificationError(f"The token's {name} is no id.")
    until = datetime.fromtimestamp(expires + 2 * LEEWAY_S, UTC)
    digest = hashlib.sha256(token_id.encode()).hexdigest()  # as long as its column, whatever the shop uses as jti
    if not used.use(shop.id, digest, until):
        raise VerificationError("The token was used before; each works once.")
    locale = claims.get("locale")
    return Shopper(shop.name, customer_id, locale if isinstance(locale, str) and len(locale) <= 35 else None)


class Sessions:
    """Seals who the shopper is into a cookie's value, and opens it again."""

    def __init__(self, vault: Vault) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(vault.derive("shopper session")))

    def seal(self, shopper: Shopper, now: datetime) -> str:
        """Return the value of a session that begins now."""
        words = json.dumps([shopper.shop, shopper.customer_id, shopper.locale]).encode()
        return self._fernet.encrypt_at_time(words, int(now.timestamp())).decode()

    def open(self, value: str, shop: str, now: datetime) -> Shopper | None:
        """Return the shopper of a session at this shop; None when it is over, forged or another shop's."""
        try:
            words = self._fernet.decrypt_at_time(value.encode(), SESSION_S, int(now.timestamp()))
        except (InvalidToken, UnicodeEncodeError):
            return None
        shopper = Shopper(*json.loads(words))
        return shopper if shopper.shop == shop else None
