"""Shopify's webhook proof: base64 of HMAC-SHA256 over the raw body (docs/platforms/shopify.md#signature)."""

from collections.abc import Sequence

from plugin.platforms.signed_bodies import check_body

HEADER = "x-shopify-hmac-sha256"
ADVICE = (
    "check that the shop's webhook secret is the app's client secret, and that the webhook was made by the app and not by "
    "hand under Settings > Notifications."
)


def check_signature(body: bytes, signature: str, secrets: Sequence[str]) -> None:
    """Compare in constant time with each secret: after a rotation the old one signs for up to an hour.

    Raises VerificationError.
    """
    check_body(HEADER, body, signature, secrets, ADVICE)
