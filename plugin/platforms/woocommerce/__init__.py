"""WooCommerce: headers, topics and what they become (docs/platforms/woocommerce.md).

What all platforms share is in the modules beside this folder.
"""

from collections.abc import Callable, Collection, Mapping
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
from plugin.platforms.fields import parse_json
from plugin.platforms.shop_api import ShopApi
from plugin.platforms.woocommerce import customers, orders, refunds, signature
from plugin.platforms.woocommerce.schemas import read_gmt

EventMapper = Callable[[dict[str, Any], datetime, Mapping[str, str]], MappingResult]
FORM = "application/x-www-form-urlencoded"


def _plain(mapping: Callable[[dict[str, Any], datetime], MappingResult]) -> EventMapper:
    return lambda body, at, _meta: mapping(body, at)


#: Topics that we subscribe.
SUBSCRIBED: Mapping[str, tuple[EventKind, EventMapper]] = {
    "customer.created": (EventKind.SIGNUP, _plain(customers.customer_created)),
    "customer.updated": (EventKind.PROFILE_CHANGE, _plain(customers.customer_updated)),
    "customer.deleted": (EventKind.ERASURE, _plain(customers.customer_deleted)),
    "order.created": (EventKind.ORDER_PAID, orders.order_changed),
    "order.updated": (EventKind.ORDER_PAID, orders.order_changed),
}
#: Our own topics, which no shop sends: one refund, or the cancellation of an order, that was read from the shop.
REFUNDED = "order.refunded"
CANCELLED_TOPIC = "order.cancelled"
_TOPICS = {
    **SUBSCRIBED,
    REFUNDED: (EventKind.REFUND, orders.order_refunded),
    CANCELLED_TOPIC: (EventKind.CANCELLATION, orders.order_cancelled),
}


class WooCommerce(BasePlatform):
    """The WooCommerce adapter."""

    slug = "woocommerce"
    name = "WooCommerce"
    domain_example = "shop.example"
    verifies_email = False
    topics: Mapping[str, EventKind] = MappingProxyType({topic: kind for topic, (kind, _) in _TOPICS.items()})
    ignored_topics = frozenset(
        {
            "action.woocommerce_payment_complete",
            "order.deleted",
            "order.restored",
            *(f"{resource}.{event}" for resource in ("coupon", "product") for event in ("created", "deleted", "restored", "updated")),
        }
    )  # fmt: skip

    def new_secret(self) -> str:
        """Make a secret that WordPress does not change."""
        return signature.new_secret()

    def check_secret(self, secret: str) -> None:
        """Raise ConfigurationError for a secret that WordPress would change."""
        signature.check_secret(secret)

    def is_ping(self, request: WebhookRequest) -> bool:
        """Return whether the request is the unsigned form that WooCommerce posts when a webhook is made; it has none of the headers."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        unsigned = signature.HEADER not in request.headers and "x-wc-webhook-topic" not in request.headers
        return unsigned and kind == FORM and signature.PING.fullmatch(request.body.strip()) is not None

    def verify(self, request: WebhookRequest, shop: ShopCredentials, now: datetime) -> Delivery:  # noqa: ARG002
        """Check the HMAC of the raw body. Raises VerificationError.

        The delivery id is not used: two deliveries of one second share it. So is the source, which is not signed and
        changes with the language or address of a site; the secret, which is this shop's alone, says who sends.
        """
        signature.check_signature(request.body, request.header(signature.HEADER), shop.webhook_secrets)
        return Delivery(topic=request.header("x-wc-webhook-topic"))

    def peek(self, topic: str, body: bytes) -> EventHints:
        """Read customer, order and time; what cannot be read is None."""
        try:
            found = parse_json(body)
        except PayloadError:
            return EventHints()
        changed = read_gmt(found.get("date_modified_gmt")) or read_gmt(found.get("date_created_gmt"))
        billing = found.get("billing") if isinstance(found.get("billing"), dict) else {}
        assert isinstance(billing, dict)
        if topic.startswith("order."):
            customer_id = _text(found.get("customer_id"))
            return EventHints(
                customer_id=None if customer_id in orders.GUEST else customer_id,
                email=clean_email(billing.get("email")),
                phone=clean_text(billing.get("phone")),
                order_id=_text(found.get("id")),
                occurred_at=changed,
            )
        return EventHints(
            customer_id=_text(found.get("id")), email=clean_email(found.get("email")), occurred_at=changed
        )

    def normalise(self, delivery: Delivery, body: bytes, received_at: datetime) -> MappingResult:
        """Map a webhook. Raises PayloadError."""
        return _TOPICS[delivery.topic][1](parse_json(body), received_at, delivery.meta)

    def refunds_without_lines(self, delivery: Delivery, body: bytes) -> tuple[str, ...]:
        """Return the refunds that a paid order's body names without their lines."""
        if not delivery.topic.startswith("order."):
            return ()
        try:
            found = parse_json(body)
        except PayloadError:
            return ()
        return refunds.refunds_without_lines(found) if orders.is_paid(found) else ()

    def fetch_refunds(self, shop: ShopCredentials, order_id: str, wanted: Collection[str]) -> Mapping[str, str]:  # noqa: ARG002
        """Read an order's refunds from the shop; nothing where no keys are stored. Raises ShopApiError."""
        from plugin.platforms.woocommerce.api import api_for

        api = api_for(shop)
        # all refunds: what is left for the last depends on those before
        return {} if api is None else refunds.as_meta(api.refunds(order_id))

    def api(self, shop: ShopCredentials, save: Callable[[Mapping[str, Any]], None]) -> ShopApi | None:
        """Return the calls to a shop; None before its keys are stored."""
        from plugin.platforms.woocommerce.api import api_for

        return api_for(shop, save)

    def install_routes(self, service: InstallationService) -> Any:
        """Return the pages that a shop's authorisation returns to."""
        from plugin.platforms.woocommerce.install import blueprint

        return blueprint(service)

    def install_steps(self, service: InstallationService, shop: ShopCredentials) -> tuple[str, ...]:
        """Return the address at which the merchant approves, and what to do without it."""
        from plugin.platforms.woocommerce.install import steps

        return steps(service, shop)


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    text = str(value).strip()
    return text if text and text.isprintable() else None


WOOCOMMERCE = WooCommerce()
