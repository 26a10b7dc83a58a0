"""Any shop that signs its webhooks as the Standard Webhooks specification says.

What all platforms share is in the modules beside this folder.
"""

import base64
import secrets
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from plugin.errors import PayloadError
from plugin.event_kinds import EventKind
from plugin.events import MappingResult
from plugin.platforms.base import (
    BasePlatform,
    Delivery,
    EventHints,
    InstallationService,
    ShopCredentials,
    WebhookRequest,
)
from plugin.platforms.contact_normalisers import clean_email, clean_text
from plugin.platforms.fields import as_object, parse_json, read_identifier, read_instant
from plugin.platforms.standard import signature
from plugin.platforms.standard.normalise import normalise

SECRET_BYTES = 32
#: The topic of a correctly signed body that is not a JSON object or names no type: stored and parked, not lost.
UNREADABLE = "unreadable"


class Standard(BasePlatform):
    """The Standard adapter. A webhook's topic is the type in its body."""

    slug = "standard"
    name = "Standard"
    topics: Mapping[str, EventKind] = MappingProxyType(
        {
            "customer.created": EventKind.SIGNUP,
            "customer.updated": EventKind.PROFILE_CHANGE,
            "customer.deleted": EventKind.ERASURE,
            "order.paid": EventKind.ORDER_PAID,
            "order.refunded": EventKind.REFUND,
            "order.cancelled": EventKind.CANCELLATION,
            "consent.changed": EventKind.CONSENT,
            UNREADABLE: EventKind.PROFILE_CHANGE,
        }
    )
    ignored_topics: frozenset[str] = frozenset({"ping", "test"})

    def new_secret(self) -> str:
        """Make a whsec_ secret."""
        return signature.PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()

    def check_secret(self, secret: str) -> None:
        """Raise ConfigurationError unless the secret is whsec_ followed by base64 of 24 to 64 bytes."""
        signature.decode_secret(secret)

    def install_routes(self, service: InstallationService) -> Any:
        """Return the page with a shop's secrets and examples."""
        from plugin.platforms.standard.install import routes

        return routes(service)

    def install_steps(self, service: InstallationService, shop: ShopCredentials) -> tuple[str, ...]:
        """Return where the shop's developer finds address, secrets and examples."""
        state = service.begin(shop.name, {})
        return (
            "Give the shop's developer this link; it shows the secrets once, within an hour: "
            f"{service.public_url}/install/standard/{state}",
            f"The developer sends the shop's events to {service.public_url}/webhooks/standard/{shop.name}, signed with the secret.",
            f"See the first one arrive: engage-plugin events list --shop {shop.name}",
        )

    def verify(self, request: WebhookRequest, shop: ShopCredentials, now: datetime) -> Delivery:
        """Check the signature and read the type. Raises VerificationError.

        A signed body without a readable type has the topic `unreadable`, so that it is stored and not lost.
        """
        message_id = signature.check(request, shop.webhook_secrets, now)
        try:
            topic = parse_json(request.body).get("type")
        except PayloadError:
            topic = None
        readable = isinstance(topic, str) and 0 < len(topic) <= 128 and topic.isprintable()
        return Delivery(topic=str(topic) if readable else UNREADABLE, delivery_id=message_id)

    def peek(self, _topic: str, body: bytes) -> EventHints:
        """Read customer, order and time; what cannot be read is None."""
        try:
            found = parse_json(body)
        except PayloadError:
            return EventHints()
        data = as_object(found.get("data"))
        order, refund = as_object(data.get("order")), as_object(data.get("refund"))
        customer = as_object(data.get("customer")) or as_object(order.get("customer"))
        return EventHints(
            customer_id=read_identifier(customer.get("id")),
            email=clean_email(customer.get("email")),
            phone=clean_text(customer.get("phone")),
            order_id=read_identifier(order.get("id")) or read_identifier(refund.get("order_id")),
            occurred_at=read_instant(order.get("paid_at") or refund.get("refunded_at") or found.get("timestamp")),
        )

    def normalise(self, delivery: Delivery, body: bytes, received_at: datetime) -> MappingResult:
        """Map a webhook. Raises PayloadError that names the field."""
        found = parse_json(body)
        if delivery.topic == UNREADABLE:
            raise PayloadError("is missing or not a text", "type")
        return normalise(delivery.topic, found, received_at)


STANDARD = Standard()
