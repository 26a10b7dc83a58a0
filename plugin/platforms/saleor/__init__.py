"""Saleor: headers, topics and what they become (docs/platforms/saleor.md).

What all platforms share is in the modules beside this folder.
"""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from plugin.errors import ConfigurationError, PayloadError
from plugin.event_kinds import EventKind
from plugin.events import MappingResult, ShopUninstalled
from plugin.platforms.base import (
    BasePlatform,
    Delivery,
    EventHints,
    InstallationService,
    ShopCredentials,
    ShopperProof,
    WebhookRequest,
)
from plugin.platforms.contact_normalisers import clean_email
from plugin.platforms.fields import clamp_to_received_at, load, parse_json, read_identifier, read_instant
from plugin.platforms.saleor import customers, identity, orders, refunds, schemas
from plugin.platforms.saleor.addresses import domain_of
from plugin.platforms.saleor.api import SaleorApi
from plugin.platforms.saleor.keys import KeyRing
from plugin.platforms.saleor.signature import HEADER, check_signature
from plugin.platforms.shop_api import ShopApi

EventMapper = Callable[[dict[str, Any], datetime], MappingResult]
#: What the body of a topic holds.
SUBJECTS = ("order", "user", "app")

_TOPICS: Mapping[str, tuple[EventKind, EventMapper]] = {
    "customer_created": (EventKind.SIGNUP, customers.customer_created),
    "customer_updated": (EventKind.PROFILE_CHANGE, customers.customer_updated),
    "customer_metadata_updated": (EventKind.PROFILE_CHANGE, customers.customer_updated),
    "account_confirmed": (EventKind.PROFILE_CHANGE, customers.customer_updated),
    "account_email_changed": (EventKind.PROFILE_CHANGE, customers.customer_updated),
    "customer_deleted": (EventKind.ERASURE, customers.customer_deleted),
    "account_deleted": (EventKind.ERASURE, customers.customer_deleted),
    "order_fully_paid": (EventKind.ORDER_PAID, orders.order_fully_paid),
    "order_confirmed": (EventKind.ORDER_PAID, orders.order_confirmed),
    "order_cancelled": (EventKind.CANCELLATION, orders.order_cancelled),
    "order_refunded": (EventKind.REFUND, refunds.order_refunded),
    "order_fully_refunded": (EventKind.REFUND, refunds.order_refunded),
}
APP_DELETED = "app_deleted"


class Saleor(BasePlatform):
    """The Saleor adapter."""

    slug = "saleor"
    name = "Saleor"
    domain_example = "ACME.saleor.cloud"
    topics: Mapping[str, EventKind] = MappingProxyType(
        {**{topic: kind for topic, (kind, _) in _TOPICS.items()}, APP_DELETED: EventKind.SHOP}
    )
    ignored_topics = frozenset(
        {
            "account_change_email_requested",
            "account_confirmation_requested",
            "account_delete_requested",
            "account_set_password_requested",
            "address_created",
            "address_deleted",
            "address_updated",
            "app_installed",
            "app_status_changed",
            "app_updated",
            "draft_order_created",
            "draft_order_deleted",
            "draft_order_updated",
            "fulfillment_approved",
            "fulfillment_canceled",
            "fulfillment_created",
            "notify_user",
            "order_bulk_created",
            "order_created",
            "order_expired",
            "order_fulfilled",
            "order_metadata_updated",
            "order_paid",  # every charge, a part of the price too: order_fully_paid is used
            "order_updated",
        }
    )

    def __init__(self, keys: KeyRing | None = None) -> None:
        self._keys = keys or KeyRing()

    def new_secret(self) -> str:
        """Make a secret for webhooks with a secretKey, which are few; all others are signed with the shop's own key."""
        return secrets.token_hex(32)

    def check_secret(self, secret: str) -> None:
        """Raise ConfigurationError for a secret that cannot be a webhook's secretKey."""
        if not secret.strip():
            raise ConfigurationError(["The webhook secret is empty; leave it out, or give the webhook's secretKey."])

    def claimed_domain(self, request: WebhookRequest) -> str | None:
        """Return host[:port] of the API address in the headers, else the domain header."""
        api_url = _header(request, "saleor-api-url")
        if api_url:
            return domain_of(api_url)
        return _header(request, "saleor-domain").lower() or None

    def verify(self, request: WebhookRequest, shop: ShopCredentials, now: datetime) -> Delivery:
        """Check the signature of the raw body; the headers count only after that.

        There is no delivery id: retries have the same bytes, so the inbox's hash of topic and body recognises them.
        Raises VerificationError, UnverifiableError.
        """
        signature = _header(request, HEADER) or request.header(HEADER)
        check_signature(request.body, signature, shop, self._keys, now)
        topic = (_header(request, "saleor-event") or request.header("saleor-event")).lower()
        own = {name: shop.credentials.get(name) for name in ("app_id", "former_app_id")}
        return Delivery(
            topic=topic,
            shop_domain=self.claimed_domain(request),
            meta={name: str(app_id)[:64] for name, app_id in own.items() if app_id},
        )

    def peek(self, topic: str, body: bytes) -> EventHints:  # noqa: ARG002
        """Read customer, order and time; what cannot be read is None."""
        try:
            found = event_in(parse_json(body))
        except PayloadError:
            return EventHints()
        order = found.get("order")
        issued_at = read_instant(found.get("issuedAt"))
        if isinstance(order, dict):
            user = order.get("user") if isinstance(order.get("user"), dict) else {}
            assert isinstance(user, dict)
            return EventHints(
                customer_id=read_identifier(user.get("id")),
                email=clean_email(user.get("email")) or clean_email(order.get("userEmail")),
                order_id=read_identifier(order.get("id")),
                occurred_at=issued_at,
            )
        user = found.get("user")
        if isinstance(user, dict):
            return EventHints(
                customer_id=read_identifier(user.get("id")),
                email=clean_email(user.get("email")),
                occurred_at=read_instant(user.get("updatedAt")) or issued_at,
            )
        return EventHints(occurred_at=issued_at)

    def normalise(self, delivery: Delivery, body: bytes, received_at: datetime) -> MappingResult:
        """Map a webhook. Raises PayloadError that names the field."""
        found = event_in(parse_json(body))
        self._check_kind(found, delivery)
        if not _is_for_us(found, delivery):
            return MappingResult(ignored="meant for another app of this shop")
        at = clamp_to_received_at(read_instant(found.get("issuedAt")), received_at)
        if delivery.topic == APP_DELETED:
            event = load(schemas.AppEventSchema(), found)
            own = delivery.meta.get("app_id") or (event.get("recipient") or {}).get("id")
            if event["app"]["id"] != own:
                return MappingResult(ignored="another app was deleted")
            return MappingResult((ShopUninstalled(at),))
        return _TOPICS[delivery.topic][1](found, at)

    def _check_kind(self, found: dict[str, Any], delivery: Delivery) -> None:
        """Raise PayloadError for a body that is not of the header's topic, where that topic erases: the header is not signed."""
        kind = found.get("__typename")
        expected = "".join(word.capitalize() for word in delivery.topic.split("_"))
        if self.topics[delivery.topic] in {EventKind.ERASURE, EventKind.SHOP} and kind not in (None, expected):
            raise PayloadError(f"is not {expected}, which the header says", "__typename")

    def verify_shopper_token(self, token: str, shop: ShopCredentials, now: datetime) -> ShopperProof:
        """Check a shopper's access token. Raises VerificationError, UnverifiableError."""
        return identity.shopper_of(token, shop, self._keys, now)

    def check_app_page_token(self, token: str, shop: ShopCredentials, now: datetime) -> None:
        """Check the token that the Dashboard gives to our page. Raises VerificationError, UnverifiableError."""
        identity.staff_of_app_page(token, shop, self._keys, now)

    def api(self, shop: ShopCredentials, _save: Callable[[Mapping[str, Any]], None]) -> ShopApi | None:
        """Return the calls to a shop; None before the installation brought a token. Tokens of apps do not expire."""
        return SaleorApi(shop) if shop.credentials.get("token") else None

    def install_routes(self, service: InstallationService) -> Any:
        """Return the blueprint below /install/saleor."""
        from plugin.platforms.saleor.install import blueprint

        return blueprint(service, self)

    def install_steps(self, service: InstallationService, shop: ShopCredentials) -> tuple[str, ...]:
        """Return how staff installs the app."""
        if not shop.shop_domain:
            return (
                "This shop has no domain, and the installation is for registered ones only: add it again with --shop-domain, "
                "which is host[:port] of its API address (for https://acme.saleor.cloud/graphql/: acme.saleor.cloud).",
            )
        again = " It is installed; installing again gives a new token." if shop.credentials.get("token") else ""
        return (
            f"In the Saleor Dashboard of {shop.shop_domain} (staff with MANAGE_APPS) open Extensions, install from a manifest, "
            f"and give the address {service.public_url}/manifest.json{again}",
            "Grant MANAGE_USERS and MANAGE_ORDERS. Saleor then posts the app's token here, and it is proved by a call.",
            f"See that it works: engage-plugin doctor {shop.name}",
        )


def _is_for_us(found: dict[str, Any], delivery: Delivery) -> bool:
    """Return whether a body names our app, under its id or the former one, or no recipient (older queries).

    The shop signs the bodies of all its apps with one key, so a body for another app could be forwarded to us. What was under
    way while the app was installed again, which gives it a new id, still names the former id.
    """
    recipient, own = found.get("recipient"), delivery.meta.get("app_id")
    if own is None or not isinstance(recipient, dict):
        return True
    return recipient.get("id") in (None, own, delivery.meta.get("former_app_id"))


def event_in(body: dict[str, Any]) -> dict[str, Any]:
    """Return the event of a body: at top level, or wrapped as {"data": {"orderFullyPaid": {...}}} (docs/platforms/saleor.md#body)."""
    data = body.get("data")
    if isinstance(data, dict) and not any(isinstance(body.get(name), dict) for name in SUBJECTS):
        inner = [value for value in (data, *data.values()) if isinstance(value, dict)]
        for event in inner:
            if any(isinstance(event.get(name), dict) for name in SUBJECTS):
                return event
    return body


def _header(request: WebhookRequest, name: str) -> str:
    """Return a header with or without X- before its name, which Saleor 4.0 drops; empty when it is missing."""
    return (request.headers.get(name) or request.headers.get(f"x-{name}") or "").strip()


SALEOR = Saleor()
