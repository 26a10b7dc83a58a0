"""Shopify's webhook proof: base64 of HMAC-SHA256 over the raw body (platform facts 1.3)."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from plugin.errors import VerificationError

HEADER = "x-shopify-hmac-sha256"
DIGEST_BYTES = 32


def check_signature(body: bytes, signature: str, secrets: Sequence[str]) -> None:
    """Compare in constant time with each secret: after a rotation the old one signs for up to an hour.

    Raises VerificationError.
    """
    try:
        given = base64.b64decode(signature.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        given = b""
    if len(given) != DIGEST_BYTES:
        raise VerificationError(f"The header {HEADER} is no base64 of a SHA-256 digest.")
    fits = [hmac.compare_digest(given, hmac.new(s.encode(), body, hashlib.sha256).digest()) for s in secrets]
    if not any(fits):
        raise VerificationError(
            "The signature does not fit the body: check that the shop's webhook secret is the app's client secret, and that "
            "the webhook was made by the app and not by hand under Settings > Notifications."
        )
