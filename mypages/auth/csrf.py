"""Tokens that show that a form came from our own page: they work without cookies (platform facts 1.8).

A token is a keyed hash of shop, customer and time, and stands in the form. It proves nothing of who posts; that the
session or the proxy's signature does. It proves that the page was made for this shopper, here and lately.
"""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime

from plugin.store.shops.vault import Vault

LIFE_S = 60 * 60
_CLOCK_S = 60
MAX_LENGTH = 200


class CsrfTokens:
    """Makes and checks form tokens."""

    def __init__(self, vault: Vault) -> None:
        self._key = vault.derive("my pages forms")

    def make(self, shop: str, customer_id: str, now: datetime) -> str:
        """Return a token for a page that is made now."""
        when = f"{int(now.timestamp()):x}.{secrets.token_hex(8)}"
        return f"{when}.{self._sign(shop, customer_id, when)}"

    def is_valid(self, token: str, shop: str, customer_id: str, now: datetime) -> bool:
        """Tell whether a token was made for this shopper at this shop, within the last hour."""
        when, _, signature = token[:MAX_LENGTH].rpartition(".")
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._sign(shop, customer_id, when).encode()):
            return False
        made = int(when.partition(".")[0], 16)
        return -_CLOCK_S <= now.timestamp() - made <= LIFE_S

    def _sign(self, shop: str, customer_id: str, when: str) -> str:
        words = "\0".join((shop, customer_id, when)).encode("utf-8", "replace")
        return base64.urlsafe_b64encode(hmac.new(self._key, words, hashlib.sha256).digest()).decode().rstrip("=")
