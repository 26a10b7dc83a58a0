"""Shopify: headers, topics and what they become (docs/platforms/shopify.md).

What all platforms share is in the modules beside this folder.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
    ProxiedShopper,
    ShopCredentials,
    ShopperProof,
    WebhookRequest,
)
from plugin.platforms.contact_normalisers import clean_email, clean_text, e164
from plugin.platforms.fields import clamp_to_received_at, parse_json, read_identifier, read_instant
from plugin.platforms.shop_api import ShopApi
from plugin.platforms.shopify import app_toml, customers, identity, orders, refunds
from plugin.platforms.shopify.signature import HEADER, check_signature

EventMapper = Callable[[dict[str, Any], datetime], MappingResult]


def _uninstalled(_body: dict[str, Any], at: datetime) -> MappingResult:
    return MappingResult((ShopUninstalled(at),))


def _shop_redact(_body: dict[str, Any], at: datetime) -> MappingResult:
    return MappingResult((ShopUninstalled(at, erase=True),))


_TOPICS: Mapping[str, tuple[EventKind, EventMapper]] = {
    "customers/create": (EventKind.SIGNUP, customers.customer_created),
    "customers/update": (EventKind.PROFILE_CHANGE, customers.customer_updated),
    "customers/delete": (EventKind.ERASURE, customers.customer_deleted),
    "customers/merge": (EventKind.MERGE, customers.customer_merged),
    "customers_email_marketing_consent/update": (EventKind.CONSENT, customers.email_consent),
    "customers_marketing_consent/update": (EventKind.CONSENT, customers.sms_consent),
    "orders/paid": (EventKind.ORDER_PAID, orders.order_paid),
    "orders/cancelled": (EventKind.CANCELLATION, orders.order_cancelled),
    "refunds/create": (EventKind.REFUND, refunds.refund_created),
    "customers/redact": (EventKind.ERASURE, customers.redact),
    "customers/data_request": (EventKind.DATA_REQUEST, customers.data_request),
    "app/uninstalled": (EventKind.SHOP, _uninstalled),
    "shop/redact": (EventKind.SHOP, _shop_redact),
}


@dataclass(frozen=True, slots=True)
class AppOptions:
    """What holds for the app as a whole, whichever shops it serves. The composition root sets it from the environment.

    api_version: quarterly, such as 2026-07; Shopify serves a version for a year at least. by_shop: whether the plugin
    subscribes each shop's webhooks itself; else shopify.app.toml does for all.
    """

    api_version: str = "2026-07"
    by_shop: bool = False


class Shopify(BasePlatform):
    """The Shopify adapter."""

    slug = "shopify"
    name = "Shopify"
    domain_example = "YOUR-SHOP.myshopify.com"
    options = AppOptions()
    topics: Mapping[str, EventKind] = MappingProxyType({topic: kind for topic, (kind, _) in _TOPICS.items()})
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
        """Make a secret for a trial shop; a real shop uses the app's client secret."""
        return secrets.token_hex(32)

    def check_secret(self, secret: str) -> None:
        """Raise ConfigurationError for a secret that cannot be an app's client secret."""
        if not secret.strip():
            raise ConfigurationError(["The webhook secret is empty; give the Shopify app's client secret."])

    def claimed_domain(self, request: WebhookRequest) -> str | None:
        """Return the shop's myshopify.com domain as the header says it."""
        return request.headers.get("x-shopify-shop-domain", "").strip().lower() or None

    def verify(self, request: WebhookRequest, shop: ShopCredentials, now: datetime) -> Delivery:  # noqa: ARG002
        """Check the HMAC of the raw body; the headers count only after that. Raises VerificationError."""
        check_signature(request.body, request.header(HEADER), shop.webhook_secrets)
        meta = {
            "triggered_at": request.headers.get("x-shopify-triggered-at", ""),
            "api_version": request.headers.get("x-shopify-api-version", ""),
            "test": request.headers.get("x-shopify-test", ""),
        }
        return Delivery(
            topic=request.header("x-shopify-topic"),
            # not the event id, which several topics of the same change share
            delivery_id=request.headers.get("x-shopify-webhook-id", "").strip() or None,
            shop_domain=request.header("x-shopify-shop-domain").lower(),
            meta={name: value[:64] for name, value in meta.items() if value},
        )

    def peek(self, topic: str, body: bytes) -> EventHints:
        """Read customer, order and time; what cannot be read is None."""
        try:
            found = parse_json(body)
        except PayloadError:
            return EventHints()
        resource = topic.partition("/")[0]
        if resource == "orders":
            return _peek_order(found)
        if resource == "refunds":
            order_id = read_identifier(found.get("order_id"))
            return EventHints(
                order_id=order_id, occurred_at=read_instant(found.get("processed_at") or found.get("created_at"))
            )
        return _peek_customer(topic, found)

    def normalise(self, delivery: Delivery, body: bytes, received_at: datetime) -> MappingResult:
        """Map a webhook. The order's time of payment is when the webhook was triggered. Raises PayloadError."""
        if delivery.meta.get("test", "").lower() == "true":
            return MappingResult(ignored="a test delivery")
        at = clamp_to_received_at(read_instant(delivery.meta.get("triggered_at")), received_at)
        return _TOPICS[delivery.topic][1](parse_json(body), at)

    def verify_shopper_token(self, token: str, shop: ShopCredentials, now: datetime) -> ShopperProof:
        """Check a session token of a customer account extension. Raises VerificationError."""
        return identity.shopper_of_session_token(token, shop, now)

    def claimed_proxy_domain(self, query_string: str) -> str | None:
        """Return the shop that a request through the app proxy names."""
        return identity.claimed_shop(query_string)

    def verify_proxy_request(self, query_string: str, shop: ShopCredentials, now: datetime) -> ProxiedShopper:
        """Check a request through the app proxy. Raises VerificationError."""
        return identity.proxied_shopper(query_string, shop, now)

    def api(self, shop: ShopCredentials, save: Callable[[Mapping[str, Any]], None]) -> ShopApi | None:
        """Return the Admin API of an installed shop."""
        from plugin.platforms.shopify.api import ShopifyApi

        if not shop.credentials.get("access_token") or shop.shop_domain is None:
            return None
        return ShopifyApi(
            shop,
            save,
            topics=[topic for topic in self.topics if topic not in app_toml.COMPLIANCE],
            api_version=self.options.api_version,
            by_shop=self.options.by_shop,
        )

    def install_routes(self, service: InstallationService) -> Any:
        """Return the pages below /install/shopify."""
        from plugin.platforms.shopify.install import blueprint

        return blueprint(self, service)

    def install_steps(self, service: InstallationService, shop: ShopCredentials) -> tuple[str, ...]:
        """Return how the app is made and installed in a shop."""
        public = service.public_url
        if shop.shop_domain is None:
            return (
                f"{shop.name} has no domain: engage-plugin shops set {shop.name} shop_domain=YOUR-SHOP.myshopify.com",
            )
        steps = []
        if not (service.app_credential("SHOPIFY_CLIENT_ID") and service.app_credential("SHOPIFY_CLIENT_SECRET")):
            steps.append(
                "In Shopify's Dev Dashboard create an app, put its client ID and secret into SHOPIFY_CLIENT_ID and "
                "SHOPIFY_CLIENT_SECRET of the plugin's environment, and restart the plugin."
            )
        return (
            *steps,
            f"Fetch the app's configuration: curl -o shopify.app.toml {public}{app_toml.START}/shopify.app.toml",
            "In that folder run `shopify app deploy` (Shopify CLI): addresses, scopes, webhooks and app proxy are then set.",
            "In the Dev Dashboard ask for access to protected customer data: name, address, phone and e-mail.",
            f"Open {public}{app_toml.START}?shop={shop.shop_domain} as the shop's owner and agree.",
            f"Check: engage-plugin doctor {shop.name}",
        )

    def app_configuration(self, service: InstallationService, client_id: str) -> str:
        """Return shopify.app.toml as it must be for this plugin."""
        return app_toml.render(
            service.manifest,
            self.topics,
            public_url=service.public_url,
            client_id=client_id,
            api_version=self.options.api_version,
            shop_webhooks=self.options.by_shop,
        )

    def address(self, service: InstallationService, shop: ShopCredentials) -> str:
        """Return the webhook address of a shop."""
        return f"{service.public_url}{app_toml.WEBHOOKS}/{shop.name}"


def _peek_order(found: dict[str, Any]) -> EventHints:
    customer = found.get("customer") if isinstance(found.get("customer"), dict) else {}
    assert isinstance(customer, dict)
    return EventHints(
        customer_id=_id(customer),
        email=clean_email(customer.get("email"))
        or clean_email(found.get("email"))
        or clean_email(found.get("contact_email")),
        # as the privacy topics name it, so that a guest's events are found again
        phone=e164(found.get("phone")) or clean_text(found.get("phone")),
        order_id=read_identifier(found.get("id")),
        occurred_at=read_instant(found.get("cancelled_at") or found.get("processed_at") or found.get("updated_at")),
    )


def _peek_customer(topic: str, found: dict[str, Any]) -> EventHints:
    """Read whom a customer's topic is about, from where its mapping reads it: an id elsewhere in the body is another customer's."""
    if topic in {"customers/redact", "customers/data_request"}:
        inner = found.get("customer")
        inner = inner if isinstance(inner, dict) else {}
        phone = e164(inner.get("phone"))
        return EventHints(customer_id=_id(inner), email=clean_email(inner.get("email")), phone=phone)
    if topic == "customers/merge":
        return EventHints(customer_id=_id({"admin_graphql_api_id": found.get("admin_graphql_api_customer_kept_id")}))
    if topic == "customers_email_marketing_consent/update":
        consent = found.get("email_marketing_consent")
        return EventHints(customer_id=read_identifier(found.get("customer_id")), occurred_at=_consent_time(consent))
    if topic == "customers_marketing_consent/update":
        return EventHints(
            customer_id=read_identifier(found.get("id")), occurred_at=_consent_time(found.get("sms_marketing_consent"))
        )
    return EventHints(
        customer_id=_id(found), email=clean_email(found.get("email")), occurred_at=read_instant(found.get("updated_at"))
    )


def _consent_time(consent: Any) -> datetime | None:
    return read_instant(consent.get("consent_updated_at")) if isinstance(consent, dict) else None


def _id(found: dict[str, Any]) -> str | None:
    gid = found.get("admin_graphql_api_id")
    return customers.gid_or_id(
        {"admin_graphql_api_id": gid if isinstance(gid, str) else None, "id": read_identifier(found.get("id"))}
    )


SHOPIFY = Shopify()
