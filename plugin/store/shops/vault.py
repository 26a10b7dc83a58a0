"""Secrets at rest: sealed with a key derived from SECRET_KEY, and keyed hashes of values we compare but do not store."""

import base64
import hashlib
import hmac
import json
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from plugin.errors import ConfigurationError

#: Secrets that one process keeps opened, as it keeps its SECRET_KEY: opening takes longer than the rest of a webhook.
OPENED_KEPT = 1024


class Vault:
    """Seals and opens secrets. One SECRET_KEY gives separate keys for separate purposes (HKDF, RFC 5869)."""

    def __init__(self, secret_key: str) -> None:
        self._secret = secret_key.encode()
        self._fernet = Fernet(base64.urlsafe_b64encode(self.derive("secrets at rest")))
        self._hash_key = self.derive("keyed hashes")
        self._opened = lru_cache(maxsize=OPENED_KEPT)(self._open)

    def derive(self, purpose: str) -> bytes:
        """Return 32 bytes for one purpose."""
        return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose.encode()).derive(self._secret)

    def seal(self, text: str) -> bytes:
        """Encrypt a secret for the database."""
        return self._fernet.encrypt(text.encode())

    def open(self, sealed: bytes) -> str:
        """Decrypt a secret, or recall it. Raises ConfigurationError when SECRET_KEY is not the one that sealed it."""
        return self._opened(sealed)

    def opens(self, sealed: bytes) -> bool:
        """Return whether SECRET_KEY is the one that sealed a secret."""
        try:
            self.open(sealed)
        except ConfigurationError:
            return False
        return True

    def _open(self, sealed: bytes) -> str:
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken as error:
            raise ConfigurationError(
                ["A stored secret cannot be opened: SECRET_KEY is not the one it was stored with. Bring that key back."]
            ) from error

    def digest_of(self, value: object) -> str:
        """Return the keyed hash of anything that JSON can say, for comparing with what was sent before."""
        return self.digest(json.dumps(value, sort_keys=True, default=str))

    def digest(self, value: str) -> str:
        """Return a keyed hash (hex, 32 characters): equal values give equal hashes, the value cannot be guessed from it."""
        return hmac.new(self._hash_key, value.encode(), hashlib.sha256).hexdigest()[:32]
