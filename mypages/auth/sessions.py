"""Sessions: a signed token from the shop starts a short session, bound to shop and customer.

The algorithm is pinned and each token works once, see docs/platforms/common.md#hand-over-token. Addresses never
identify a shopper: the `eclub` parameter of mail links (docs/engage.md#links-in-e-mails) is ignored, because people
pass such links on.
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

SESSION_LIFETIME_S = 30 * 60
#: A visit renews a session that is older than this, in seconds.
RENEW_AFTER_S = 60
MAX_LOCALE_LENGTH = 35
MAX_OPENED = 4096


@dataclass(frozen=True, slots=True)
class Shopper:
    """An authenticated shopper. locale: a BCP 47 tag, or None."""

    shop: str
    customer_id: str
    locale: str | None = None


def redeem_token(shop: RegisteredShop, platform: Platform, token: str, used: UsedTokens, now: datetime) -> Shopper:
    """Verify a shopper's token, ours or the platform's own, mark it as used and return its shopper.

    Raises VerificationError that says what is wrong with it, UnverifiableError when it cannot be verified now.
    """
    if not 0 < len(token) <= MAX_TOKEN_LENGTH:
        raise VerificationError("The token is missing or too long.")
    if _claims_to_be_ours(shop, token):
        return _redeem_ours(shop, token, used, now)
    proof = platform.verify_shopper_token(token, shop, now)
    if proof.token_id is not None:
        _mark_used(shop, proof.token_id, proof.expires_at or now, used)
    return make_shopper(shop, proof.customer_id, proof.locale)


def make_shopper(shop: RegisteredShop, customer_id: str, locale: str | None) -> Shopper:
    """Return an authenticated shopper. Raises VerificationError when the id is malformed."""
    if not is_id(customer_id):
        raise VerificationError("The token's customer is not a valid id.")
    return Shopper(shop.name, customer_id, locale if locale and len(locale) <= MAX_LOCALE_LENGTH else None)


def _claims_to_be_ours(shop: RegisteredShop, token: str) -> bool:
    """Return whether a token says that it is one of ours. The claims are not verified here."""
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise VerificationError(f"The token is not valid ({type(error).__name__}).") from None
    return claims.get("iss") == shop.name or claims.get("aud") == AUDIENCE


def _redeem_ours(shop: RegisteredShop, token: str, used: UsedTokens, now: datetime) -> Shopper:
    claims = check_token(shop, token, now)
    _mark_used(shop, claims.token_id, claims.until, used)
    return make_shopper(shop, claims.customer_id, claims.locale)


def _mark_used(shop: RegisteredShop, token_id: str, until: datetime, used: UsedTokens) -> None:
    digest = hashlib.sha256(token_id.encode()).hexdigest()  # as long as its column, whatever the shop uses as jti
    if not used.use(shop.id, digest, until):
        raise VerificationError("The token was used before; each works once.")


@dataclass(frozen=True, slots=True)
class Session:
    """A decrypted session. sealed_at: seconds since 1970."""

    shopper: Shopper
    sealed_at: int

    def needs_renewal(self, now: datetime) -> bool:
        """Return whether this visit prolongs it."""
        return now.timestamp() - self.sealed_at > RENEW_AFTER_S


class Sessions:
    """Encrypts the shopper into the value of a cookie, and decrypts it again."""

    def __init__(self, vault: Vault) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(vault.derive("shopper session")))
        self._opened: dict[str, Session] = {}

    def seal(self, shopper: Shopper, now: datetime) -> str:
        """Return the value of a session that begins now."""
        payload = json.dumps([shopper.shop, shopper.customer_id, shopper.locale]).encode()
        return self._fernet.encrypt_at_time(payload, int(now.timestamp())).decode()

    def open(self, value: str, shop: str, now: datetime) -> Session | None:
        """Return a session at this shop; None when it has expired, is forged or belongs to another shop."""
        session = self._opened.get(value) or self._decrypt(value)
        if session is None or session.shopper.shop != shop:
            return None
        return session if -JWT_LEEWAY_S <= now.timestamp() - session.sealed_at <= SESSION_LIFETIME_S else None

    def _decrypt(self, value: str) -> Session | None:
        """Decrypt a value and remember it: decrypting takes longer than the rest of a page from the cache."""
        try:
            sealed = value.encode("ascii")
            shopper = Shopper(*json.loads(self._fernet.decrypt(sealed)))
            session = Session(shopper, self._fernet.extract_timestamp(sealed))
        except (InvalidToken, UnicodeEncodeError):
            return None
        if len(self._opened) >= MAX_OPENED:
            self._opened.clear()
        self._opened[value] = session
        return session
