"""Saleor's webhook signature: a JWS with the raw body as its detached payload (RFC 7797); or the older hex HMAC.

The JWS is `header..signature`, RS256 over ASCII(header) + "." + raw body. A webhook with a `secretKey` is signed with lower-case
hex of HMAC-SHA256 instead, in the same header (docs/platforms/saleor.md#signature).
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import jwt
from jwt.api_jws import decode_complete

from plugin.errors import VerificationError
from plugin.platforms.base import ShopCredentials
from plugin.platforms.saleor.keys import ALGORITHM, KeyRing

HEADER = "saleor-signature"
MAX_LENGTH = 4096
MAX_KEY_ID = 256
_HEX = re.compile(r"^[0-9a-f]{64}$")


def check_signature(body: bytes, signature: str, shop: ShopCredentials, keys: KeyRing, now: datetime) -> None:
    """Check the proof of a webhook over its raw bytes. Raises VerificationError, UnverifiableError."""
    if _HEX.match(signature):
        _check_hmac(body, signature, shop.webhook_secrets)
        return
    key_id = _key_id_of_detached(signature)
    key = keys.key(shop, key_id, now)
    try:
        decode_complete(signature, key=key, algorithms=[ALGORITHM], detached_payload=body)
    except (jwt.PyJWTError, ValueError):
        raise VerificationError("The signature does not fit the body and the shop's key.") from None


def _check_hmac(body: bytes, signature: str, secrets: Sequence[str]) -> None:
    """Compare in constant time with each secret: after a change the former one signs for a while."""
    fits = [hmac.compare_digest(signature, hmac.new(s.encode(), body, hashlib.sha256).hexdigest()) for s in secrets]
    if not any(fits):
        raise VerificationError(
            "The signature does not fit the body: the webhook has a secretKey in Saleor that is not the shop's webhook secret "
            "here. Clear it there (then the shop's own key signs), or set webhook_secret."
        )


def _key_id_of_detached(signature: str) -> str:
    """Return the key id of a JWS with a detached payload. Raises VerificationError for everything else.

    A shopper's own token is signed with the same key and carries its payload inside: accepted here, it would be
    valid for any body. So the middle part must be empty, and the header must say that the payload is not encoded.
    """
    parts = signature.split(".")
    if len(signature) > MAX_LENGTH or len(parts) != 3 or parts[1] or not parts[0] or not parts[2]:
        raise VerificationError(f"The header {HEADER} is not a signature with a detached payload.")
    header = read_header(parts[0])
    if header.get("alg") != ALGORITHM or header.get("b64") is not False or header.get("crit") != ["b64"]:
        raise VerificationError(f"The header {HEADER} is not signed the way Saleor does (RS256, b64 false).")
    return key_id_in(header)


def read_header(part: str) -> dict[str, Any]:
    """Read the first part of a JWS. Raises VerificationError."""
    try:
        found = json.loads(base64.urlsafe_b64decode(part.encode("ascii") + b"=" * (-len(part) % 4)))
    except (ValueError, RecursionError, binascii.Error):
        found = None
    if not isinstance(found, dict):
        raise VerificationError("The first part of the signature is not a header.")
    return found


def key_id_in(header: dict[str, Any]) -> str:
    """Return the key id that a header names. Raises VerificationError."""
    key_id = header.get("kid")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID:
        raise VerificationError("The signature does not name its key.")
    return key_id
