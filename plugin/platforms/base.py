"""What a platform must supply. One folder a platform; the registry names each in one line.

A platform knows its shop's headers, signatures and bodies, and nothing of inbox, HTTP answers or Engage.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from plugin.errors import PayloadError, VerificationError
from plugin.events import Kind, Mapped


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A webhook as it came: raw bytes, and headers with lower-case names.

    A header that came twice arrives as one value with a comma (WSGI joins them), and so fails its verification.
    """

    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str:
        """Return the value of a header that is needed. Raises VerificationError when it is missing."""
        value = self.headers.get(name, "").strip()
        if not value:
            raise VerificationError(
                f"The header {name} is missing; this does not look like a webhook of this platform."
            )
        return value


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the headers say of a verified webhook.

    topic: the shop's word. delivery_id: the sender's idempotency key, None where the platform has none (then
    the inbox hashes topic and body). shop_domain: what names the shop in app-wide installations.
    meta: the few header values that the mapping needs later, kept with the row (JSON, no personal data).
    """

    topic: str
    delivery_id: str | None = None
    shop_domain: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peek:
    """What the door needs of a body, read tolerantly: everything may be None.

    customer_id, email or phone give the ordering key; order_id serves events that name only an order.
    occurred_at: aware UTC; None means the time of receipt.
    """

    customer_id: str | None = None
    email: str | None = None
    phone: str | None = None
    order_id: str | None = None
    occurred_at: datetime | None = None


class Platform(Protocol):
    """The adapter of one shop platform.

    slug: folder, URL segment and registry key. topics: supported topics, each with the kind that it becomes.
    ignored_topics: topics that the shop may send and that have nothing for Engage.
    """

    slug: str
    name: str
    topics: Mapping[str, Kind]
    ignored_topics: frozenset[str]

    def new_secret(self) -> str:
        """Make a webhook secret in the form that the platform's own signing wants."""

    def check_secret(self, secret: str) -> None:
        """Raise ConfigurationError when an operator's webhook secret has not the platform's form."""

    def is_ping(self, request: WebhookRequest) -> bool:
        """Tell an unsigned test call of the platform, which is answered 200 and kept nowhere."""

    def verify(self, request: WebhookRequest, secrets: tuple[str, ...], now: datetime) -> Delivery:
        """Check the signature over the raw bytes against each secret and read the headers.

        Raises VerificationError (401) or UnverifiableError (503).
        """

    def peek(self, topic: str, body: bytes) -> Peek:
        """Read ordering and time from a body without raising: what cannot be read is None."""

    def normalise(self, delivery: Delivery, body: bytes, received_at: datetime) -> Mapped:
        """Map a stored webhook. Raises PayloadError that names the field."""


def parse_json(body: bytes) -> dict[str, Any]:
    """Parse a body as a JSON object, numbers as Decimal. Raises PayloadError.

    Numbers with a fraction become Decimal, never float (library trap 3.3.6); NaN and Infinity are refused.
    """

    def refuse(name: str) -> Decimal:
        raise PayloadError(f"the body holds {name}, which is not a number in JSON")

    try:
        value = json.loads(body.decode("utf-8"), parse_float=Decimal, parse_constant=refuse)
    except UnicodeDecodeError as error:
        raise PayloadError("the body is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise PayloadError("the body is not JSON") from error
    if not isinstance(value, dict):
        raise PayloadError("the body is not a JSON object")
    return value
