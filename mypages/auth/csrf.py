"""CSRF tokens: they show that a form came from one of our pages, without cookies.

Behind a platform's proxy cookies do not reach us, see docs/platforms/shopify.md#app-proxy-and-session-tokens.

A token is signed for one shop and one customer, with the time of signing. It does not authenticate the sender, which
the session or the proxy's signature does. It proves that the page was made for this shopper, by us and recently.
"""

import hashlib
import secrets
from datetime import datetime

from itsdangerous import BadSignature, TimestampSigner

from plugin.store.shops.vault import Vault

LIFETIME_S = 60 * 60
MAX_CLOCK_SKEW_S = 60
MAX_LENGTH = 200


class CsrfTokens:
    """Makes and checks form tokens."""

    def __init__(self, vault: Vault) -> None:
        self._key = vault.derive("my pages forms")

    def make(self, shop: str, customer_id: str, now: datetime) -> str:
        """Return a token for a page that is made now. Each token is different."""
        return _Signer(self._key, shop, customer_id, now).sign(secrets.token_hex(8)).decode()

    def is_valid(self, token: str, shop: str, customer_id: str, now: datetime) -> bool:
        """Return whether a token was made for this shopper at this shop, within the last hour."""
        if len(token) > MAX_LENGTH:
            return False
        try:
            signer = _Signer(self._key, shop, customer_id, now)
            _, signed_at = signer.unsign(token.encode("utf-8", "replace"), return_timestamp=True)
        except BadSignature:
            return False
        return -MAX_CLOCK_SKEW_S <= now.timestamp() - signed_at.timestamp() <= LIFETIME_S


class _Signer(TimestampSigner):
    """A signer for one shopper whose timestamps are those of our clock."""

    def __init__(self, key: bytes, shop: str, customer_id: str, now: datetime) -> None:
        shopper = f"{shop}\0{customer_id}".encode("utf-8", "replace")
        super().__init__(key, salt=shopper, key_derivation="hmac", digest_method=hashlib.sha256)
        self._now = now

    def get_timestamp(self) -> int:
        """Return the time of signing, in seconds since 1970."""
        return int(self._now.timestamp())
