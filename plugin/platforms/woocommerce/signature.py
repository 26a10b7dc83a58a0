"""WooCommerce's webhook proof: base64 of HMAC-SHA256 over the raw body, and the form that its secret may have.

See docs/platforms/woocommerce.md#signature.
"""

import re
import secrets as random_secrets
import string
from collections.abc import Sequence

from plugin.errors import ConfigurationError
from plugin.platforms.signed_bodies import check_body

HEADER = "x-wc-webhook-signature"
ADVICE = (
    "the secret of the webhook under WooCommerce > Settings > Advanced > Webhooks must be this shop's webhook secret."
)
SECRET_LENGTH = 48
#: WordPress decodes entities in the secret before it signs, so these change what it signs with.
DECODED = frozenset("&<>\"'")
#: What WooCommerce posts when a webhook is made: a form with the webhook's id, without any of its headers.
PING = re.compile(rb"webhook_id=\d{1,20}")


def check_signature(body: bytes, signature: str, secrets: Sequence[str]) -> None:
    """Compare in constant time with the present and the former secret. Raises VerificationError."""
    check_body(HEADER, body, signature, secrets, ADVICE)


def new_secret() -> str:
    """Make a secret of letters and digits."""
    return "".join(random_secrets.choice(string.ascii_letters + string.digits) for _ in range(SECRET_LENGTH))


def check_secret(secret: str) -> None:
    """Raise ConfigurationError for a secret that WordPress would change before it signs with it."""
    if not secret.strip() or secret != secret.strip() or not secret.isprintable() or DECODED & set(secret):
        raise ConfigurationError(
            [
                "The webhook secret must not be empty, begin or end with a space, or hold any of & < > \" ': WordPress "
                "changes those before it signs. Letters and digits are safe."
            ]
        )
