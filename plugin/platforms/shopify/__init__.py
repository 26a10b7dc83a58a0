"""Shopify: headers, topics and what they become (platform facts 1)."""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from plugin.errors import ConfigurationError, PayloadError
from plugin.events import Kind, Mapped, ShopUninstalled
from plugin.platforms.base import Delivery, Peek, PlainPlatform, ShopAccess, WebhookRequest, parse_json
from plugin.platforms.fields import believable, read_instant
from plugin.platforms.people import clean_email, clean_text
from plugin.platforms.shopify import customers, orders, refunds
from plugin.platforms.shopify.signature import HEADER, check_signature

Mapping_ = Callable[[dict[str, Any], datetime], Mapped]


def _uninstalled(_body: dict[str, Any], at: datetime) -> Mapped:
    return Mapped((ShopUninstalled(at),))


def _shop_redact(_body: dict[str, Any], at: datetime) -> Mapped:
    return Mapped((ShopUninstalled(at, erase=True),))


_TOPICS: Mapping[str, tuple[Kind, Mapping_]] = {
    "customers/create": (Kind.SIGNUP, customers.customer_created),
    "customers/update": (Kind.PROFILE_CHANGE, customers.customer_updated),
    "customers/delete": (Kind.ERASURE, customers.customer_deleted),
    "customers/merge": (Kind.MERGE, customers.customer_merged),
    "customers_email_marketing_consent/update": (Kind.CONSENT, customers.email_consent),
    "customers_marketing_consent/update": (Kind.CONSENT, customers.sms_consent),
    "orders/paid": (Kind.ORDER_PAID, orders.order_paid),
    "orders/cancelled": (Kind.CANCELLATION, orders.order_cancelled),
    "refunds/create": (Kind.REFUND, refunds.refund_created),
    "customers/redact": (Kind.ERASURE, customers.redact),
    "customers/data_request": (Kind.DATA_REQUEST, customers.data_request),
    "app/uninstalled": (Kind.SHOP, _uninstalled),
    "shop/redact": (Kind.SHOP, _shop_redact),
}


class Shopify(PlainPlatform):
    """The Shopify adapter."""

    slug = "shopify"
    name = "Shopify"
    topics: Mapping[str, Kind] = MappingProxyType({topic: kind for topic, (kind, _) in _TOPICS.items()})
    ignored_topics = frozenset(
        {
            "app/scopes_update",
            "customer.tags_added",
            "customer.tags_removed",
            "customers/disable",
            "customers/enable",
            "customers/purchasing_summary",
            "order_transactions/create",
            "orders/create",
            "orders/delete",
            "orders/edited",
            "orders/fulfilled",
            "orders/partially_fulfilled",
            "orders/updated",
        }
    )

    def new_secret(self) -> str:
        """Make a secret for a shop that is tried out; a real one uses the app's client secret."""
        return secrets.token_hex(32)

    def check_secret(self, secret: str) -> None:
        """Refuse a secret that cannot be an app's client secret."""
        if not secret.strip():
            raise ConfigurationError(["The webhook secret is empty; give the Shopify app's client secret."])

    def claimed_domain(self, request: WebhookRequest) -> str | None:
        """Return the shop's myshopify.com domain as the header says it."""
        return request.headers.get("x-shopify-shop-domain", "").strip().lower() or None

    def verify(self, request: WebhookRequest, shop: ShopAccess, now: datetime) -> Delivery:  # noqa: ARG002
        """Check the HMAC of the raw body; the headers count only after that. Raises VerificationError."""
        check_signature(request.body, request.header(HEADER), shop.webhook_secrets)
        meta = {
            "triggered_at": request.headers.get("x-shopify-triggered-at", ""),
            "api_version": request.headers.get("x-shopify-api-version", ""),
            "test": request.headers.get("x-shopify-test", ""),
        }
        return Delivery(
            topic=request.header("x-shopify-topic"),
            # not the event id, which several topics of one act of the merchant share
            delivery_id=request.headers.get("x-shopify-webhook-id", "").strip() or None,
            shop_domain=request.header("x-shopify-shop-domain").lower(),
            meta={name: value[:64] for name, value in meta.items() if value},
        )

    def peek(self, topic: str, body: bytes) -> Peek:
        """Read customer, order and time; what cannot be read is None."""
        try:
            found = parse_json(body)
        except PayloadError:
            return Peek()
        resource = topic.partition("/")[0]
        if resource == "orders":
            return _peek_order(found)
        if resource == "refunds":
            order_id = _text(found.get("order_id"))
            return Peek(
                order_id=order_id, occurred_at=read_instant(found.get("processed_at") or found.get("created_at"))
            )
        return _peek_customer(found)

    def normalise(self, delivery: Delivery, body: bytes, received_at: datetime) -> Mapped:
        """Map a webhook. The order's time of payment is when the webhook was triggered. Raises PayloadError."""
        if delivery.meta.get("test", "").lower() == "true" and _TOPICS[delivery.topic][0] is not Kind.ORDER_PAID:
            return Mapped(ignored="a test delivery")
        at = believable(read_instant(delivery.meta.get("triggered_at")), received_at)
        return _TOPICS[delivery.topic][1](parse_json(body), at)


def _peek_order(found: dict[str, Any]) -> Peek:
    customer = found.get("customer") if isinstance(found.get("customer"), dict) else {}
    assert isinstance(customer, dict)
    return Peek(
        customer_id=_id(customer),
        email=clean_email(customer.get("email"))
        or clean_email(found.get("email"))
        or clean_email(found.get("contact_email")),
        phone=clean_text(found.get("phone")),
        order_id=_text(found.get("id")),
        occurred_at=read_instant(found.get("cancelled_at") or found.get("processed_at") or found.get("updated_at")),
    )


def _peek_customer(found: dict[str, Any]) -> Peek:
    inner = found.get("customer")
    if isinstance(inner, dict):  # the privacy topics
        return Peek(customer_id=_id(inner), email=clean_email(inner.get("email")))
    kept = _id({"admin_graphql_api_id": found.get("admin_graphql_api_customer_kept_id")})
    consent = found.get("email_marketing_consent") or found.get("sms_marketing_consent")
    consent_at = consent.get("consent_updated_at") if isinstance(consent, dict) else None
    return Peek(
        customer_id=kept or _text(found.get("customer_id")) or _id(found),
        email=clean_email(found.get("email")),
        occurred_at=read_instant(found.get("updated_at") or consent_at),
    )


def _id(found: dict[str, Any]) -> str | None:
    gid = found.get("admin_graphql_api_id")
    return customers.gid_or_id(
        {"admin_graphql_api_id": gid if isinstance(gid, str) else None, "id": _text(found.get("id"))}
    )


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    text = str(value).strip()
    return text if text and text.isprintable() else None


SHOPIFY = Shopify()
