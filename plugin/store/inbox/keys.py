"""Keys of the inbox: bounded as their columns are."""

import hashlib
from collections.abc import Callable

MAX_KEY_LENGTH = 128


def bounded(text: str) -> str:
    """Return a text that fits its column: itself, or its hash when it is too long."""
    return text if len(text) <= MAX_KEY_LENGTH else hashlib.sha256(text.encode()).hexdigest()


def customer_key(customer_id: str) -> str:
    """Return the ordering key of a customer: their events go one after the other."""
    return f"customer:{bounded(customer_id)}"


def guest_key(email_or_phone: str, digest: Callable[[str], str]) -> str:
    """Return the ordering key of a person without a customer id, which does not reveal who it is. digest: keyed hash."""
    return f"guest:{digest(email_or_phone.strip().lower())}"


def pending_contact_key(customer_id: str) -> str:
    """Return the key under which a customer's answers to consents are stored while they have no contact."""
    return hashlib.sha256(customer_key(customer_id).encode()).hexdigest()
