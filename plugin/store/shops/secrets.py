"""A shop's secrets as its row stores them: sealed by the vault."""

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from plugin.store.shops.vault import Vault

SHOPPER_SECRET_BYTES = 32


def seal_new_secrets(vault: Vault, engage_key: str, webhook_secret: str) -> dict[str, bytes]:
    """Return the columns with the secrets of a new shop; the one for My Pages is random."""
    return {
        "engage_key_encrypted": vault.seal(engage_key),
        "webhook_secrets_encrypted": seal_json(vault, [webhook_secret]),
        "shopper_secret_encrypted": vault.seal(secrets.token_urlsafe(SHOPPER_SECRET_BYTES)),
    }


def seal_json(vault: Vault, value: Mapping[str, Any] | Sequence[str]) -> bytes:
    """Seal an object or a list as JSON."""
    return vault.seal(json.dumps(dict(value) if isinstance(value, Mapping) else list(value)))


def open_json(vault: Vault, sealed: bytes | None) -> dict[str, Any]:
    """Return a sealed object; an empty one where nothing is stored. Raises ConfigurationError."""
    value: dict[str, Any] = {} if sealed is None else json.loads(vault.open(sealed))
    return value
