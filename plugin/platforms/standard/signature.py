"""The Standard Webhooks signature: HMAC-SHA256 over `id.timestamp.body`, one or more signatures in one header.

The reference library reads the clock itself and raises untyped errors on malformed headers, so these few lines are
our own; the tests sign with that library.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

from plugin.errors import ConfigurationError, VerificationError
from plugin.platforms.base import WebhookRequest

PREFIX = "whsec_"
TOLERANCE_S = 300
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
MAX_SIGNATURES = 16


def check(request: WebhookRequest, secrets: Sequence[str], now: datetime) -> str:
    """Verify a webhook and return its id. Senders that follow Svix name the headers svix-*.

    Raises VerificationError when the proof is missing, malformed, stale (more than five minutes off) or wrong.
    """
    prefix = "svix-" if "svix-id" in request.headers and "webhook-id" not in request.headers else "webhook-"
    message_id = request.header(f"{prefix}id")
    timestamp = request.header(f"{prefix}timestamp")
    signatures = request.header(f"{prefix}signature")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise VerificationError(f"The header {prefix}timestamp is not a number of seconds since 1970.")
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_S:
        raise VerificationError(
            f"The header {prefix}timestamp is more than {TOLERANCE_S} s off: check the sender's clock, or send it again."
        )
    if not message_id.isascii() or not message_id.isprintable():
        raise VerificationError(f"The header {prefix}id is not an id.")
    signed = f"{message_id}.{timestamp}.".encode() + request.body
    wanted = [hmac.new(decode_secret(secret), signed, hashlib.sha256).digest() for secret in secrets]
    given = [_signature(part) for part in signatures.split()[:MAX_SIGNATURES]]
    fits = [hmac.compare_digest(found, want) for found in given if found for want in wanted]
    if not any(fits):
        raise VerificationError(
            f"No signature in {prefix}signature fits: sign id.timestamp.body with the shop's whsec_ secret and send v1,<base64>."
        )
    return message_id


def decode_secret(secret: str) -> bytes:
    """Return the key bytes of a whsec_ secret. Raises ConfigurationError when it has another form."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise ConfigurationError(
            [
                f"The webhook secret must be {PREFIX} followed by base64 of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} random bytes."
            ]
        )
    return key


def _signature(part: str) -> bytes | None:
    version, _, encoded = part.partition(",")
    if version != "v1":
        return None
    try:
        return base64.b64decode(encoded.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
