"""Who the shopper is: a signed token from the shop starts a short session, bound to shop and customer.

Platform facts 5: the algorithm is pinned, each token works once, and nothing in an address ever says who it is: the
`eclub` parameter of mail links (Engage facts 2.11) is not looked at, because such links are passed on.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt
from cryptography.fernet import Fernet, InvalidToken

from plugin.auth.shopper_token import AUDIENCE, JWT_LEEWAY_S, MAX_TOKEN_LENGTH, check_token, is_id
from plugin.errors import VerificationError
from plugin.platforms.base import Platform
from plugin.store.shops.handover_tokens import UsedTokens
from plugin.store.shops.shops import RegisteredShop
from plugin.store.shops.vault import Vault

SESSION_S = 30 * 60
#: A session is sealed anew at a visit when it is older than this, in seconds.
RENEW_AFTER_S = 60
MAX_LOCALE_LENGTH = 35
OPENED_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Shopper:
    """A shopper whose identity is proved. locale: a BCP 47 tag, or None."""

    shop: str
    customer_id: str
    locale: str | None = None


def read_token(shop: RegisteredShop, platform: Platform, token: str, used: UsedTokens, now: datetime) -> Shopper:
    """Verify a shopper's token, ours or the platform's own, and use it up.

    Raises VerificationError that says what is wrong with it, UnverifiableError when that cannot be told now.
    """
    if not 0 < len(token) <= MAX_TOKEN_LENGTH:
        raise VerificationError("The token is missing or too long.")
    if _is_meant_for_us(shop, token):
        return _read_ours(shop, token, used, now)
    proof = platform.verify_shopper_token(token, shop, now)
    if proof.token_id is not None:
        _use_up(shop, proof.token_id, proof.expires_at or now, used)
    return shopper_of(shop, proof.customer_id, proof.locale)


def shopper_of(shop: RegisteredShop, customer_id: str, locale: str | None) -> Shopper:
    """Return a proved shopper. Raises VerificationError when the id is none."""
    if not is_id(customer_id):
        raise VerificationError("The token's customer is no id.")
    return Shopper(shop.name, customer_id, locale if locale and len(locale) <= MAX_LOCALE_LENGTH else None)


def _is_meant_for_us(shop: RegisteredShop, token: str) -> bool:
    """Tell whose token this says it is; whether that is true is found out by whoever verifies it."""
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise VerificationError(f"The token is not valid ({type(error).__name__}).") from None
    return claims.get("iss") == shop.name or claims.get("aud") == AUDIENCE


def _read_ours(shop: RegisteredShop, token: str, used: UsedTokens, now: datetime) -> Shopper:
    found = check_token(shop, token, now)
    _use_up(shop, found.token_id, found.until, used)
    return shopper_of(shop, found.customer_id, found.locale)


def _use_up(shop: RegisteredShop, token_id: str, until: datetime, used: UsedTokens) -> None:
    digest = hashlib.sha256(token_id.encode()).hexdigest()  # as long as its column, whatever the shop uses as jti
    if not used.use(shop.id, digest, until):
        raise VerificationError("The token was used before; each works once.")


@dataclass(frozen=True, slots=True)
class Session:
    """A session that holds. sealed_at: seconds since 1970."""

    shopper: Shopper
    sealed_at: int

    def is_to_be_renewed(self, now: datetime) -> bool:
        """Tell whether this visit prolongs it."""
        return now.timestamp() - self.sealed_at > RENEW_AFTER_S


class Sessions:
    """Seals who the shopper is into a cookie's value, and opens it again."""

    def __init__(self, vault: Vault) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(vault.derive("shopper session")))
        self._opened: dict[str, Session] = {}

    def seal(self, shopper: Shopper, now: datetime) -> str:
        """Return the value of a session that begins now."""
        words = json.dumps([shopper.shop, shopper.customer_id, shopper.locale]).encode()
        return self._fernet.encrypt_at_time(words, int(now.timestamp())).decode()

    def open(self, value: str, shop: str, now: datetime) -> Session | None:
        """Return a session at this shop; None when it is over, forged or another shop's."""
        session = self._opened.get(value) or self._open(value)
        if session is None or session.shopper.shop != shop:
            return None
        return session if -JWT_LEEWAY_S <= now.timestamp() - session.sealed_at <= SESSION_S else None

    def _open(self, value: str) -> Session | None:
        """Open a value and keep it opened: that takes longer than the rest of a page that is shown again."""
        try:
            sealed = value.encode("ascii")
            shopper = Shopper(*json.loads(self._fernet.decrypt(sealed)))
            session = Session(shopper, self._fernet.extract_timestamp(sealed))
        except (InvalidToken, UnicodeEncodeError):
            return None
        if len(self._opened) >= OPENED_KEPT:
            self._opened.clear()
        self._opened[value] = session
        return session
