"""Bodies signed with base64 of HMAC-SHA256 in one header, as Shopify and WooCommerce do."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from plugin.errors import VerificationError

DIGEST_BYTES = 32


def check_body(header: str, body: bytes, signature: str, secrets: Sequence[str], advice: str) -> None:
    """Compare a header's signature of the raw body in constant time with each secret, present and former.

    advice: what to check when none fits. Raises VerificationError.
    """
    try:
        given = base64.b64decode(signature.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        given = b""
    if len(given) != DIGEST_BYTES:
        raise VerificationError(f"The header {header} is not the base64 of a SHA-256 digest.")
    fits = [hmac.compare_digest(given, hmac.new(s.encode(), body, hashlib.sha256).digest()) for s in secrets]
    if not any(fits):
        raise VerificationError(f"The signature does not fit the body: {advice}")
