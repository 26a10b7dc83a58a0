"""What a platform must supply. Each has a folder of its own, and a line in the registry.

A platform knows its shop's headers, signatures and bodies, and nothing of the inbox, of HTTP responses or of Engage.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from plugin.errors import VerificationError
from plugin.event_kinds import EventKind
from plugin.events import MappingResult
from plugin.platforms.shop_api import ShopApi


class ShopCredentials(Protocol):
    """What a platform may know of a registered shop, to verify its webhooks and to call it.

    shop_domain: what names the shop in its webhooks, its host in lower case. webhook_secrets: the present one and the former one.
    shopper_secret: signs hand-over tokens. credentials: the platform's own keys and tokens as its installation stored
    them (JSON, encrypted at rest); empty before that.
    """

    @property
    def name(self) -> str: ...
    @property
    def platform(self) -> str: ...
    @property
    def shop_domain(self) -> str | None: ...
    @property
    def webhook_secrets(self) -> tuple[str, ...]: ...
    @property
    def shopper_secret(self) -> str: ...
    @property
    def credentials(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A webhook as it came: raw bytes, and headers with lower-case names.

    A repeated header arrives as one value with a comma (WSGI joins them), and so fails its verification.
    """

    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str:
        """Return the value of a required header. Raises VerificationError when it is missing."""
        value = self.headers.get(name, "").strip()
        if not value:
            raise VerificationError(
                f"The header {name} is missing; this does not look like a webhook of this platform."
            )
        return value


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the headers say of a verified webhook.

    topic: in the shop's words. delivery_id: the sender's idempotency key, None where the platform has none (then
    the inbox hashes topic and body). shop_domain: what names the shop in app-wide installations.
    meta: the few header values that the mapping needs later, stored with the row (JSON, no personal data).
    """

    topic: str
    delivery_id: str | None = None
    shop_domain: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventHints:
    """What the receiver needs of a body, read tolerantly: everything may be None.

    customer_id, email or phone give the ordering key; order_id serves events that name only an order.
    occurred_at: aware UTC; None means the time of receipt.
    """

    customer_id: str | None = None
    email: str | None = None
    phone: str | None = None
    order_id: str | None = None
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ShopperProof:
    """A logged-in shopper whose identity the platform's own token proves. locale: a BCP 47 tag, or None.

    token_id, expires_at: given when the token must work only once; then it is remembered until expires_at.
    """

    customer_id: str
    locale: str | None = None
    token_id: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ProxiedShopper:
    """The shopper behind a request through a platform's proxy, after its signature was verified.

    customer_id: None when the shopper is not logged in. path_prefix: the proxy's path in the shop, for links.
    """

    customer_id: str | None
    path_prefix: str
    locale: str | None = None


class InstallationService(Protocol):
    """What a platform's installation pages need of the plugin."""

    @property
    def public_url(self) -> str: ...
    @property
    def manifest(self) -> Mapping[str, Any]: ...
    def now(self) -> datetime: ...
    def shops(self, platform: str) -> tuple[ShopCredentials, ...]:
        """Return the registered shops of a platform: only these may be installed."""

    def app_credential(self, name: str) -> str | None:
        """Return an app-wide credential of the environment (SHOPIFY_CLIENT_ID, SHOPIFY_CLIENT_SECRET), or None."""

    def begin(self, shop: str, data: Mapping[str, str]) -> str:
        """Start an installation of a registered shop and return its one-time state (unguessable, an hour valid)."""

    def finish(self, platform: str, state: str) -> tuple[ShopCredentials, Mapping[str, str]] | None:
        """Consume a state and return its shop and data; None when it is unknown, used, expired or another platform's."""

    def save_credentials(
        self, shop: str, credentials: Mapping[str, Any], *, webhook_secret: str | None = None
    ) -> ShopCredentials:
        """Store an installation's credentials, encrypted, and resume a stopped shop's deliveries."""


class Platform(Protocol):
    """The adapter of one shop platform.

    slug: folder, URL segment and registry key. topics: supported topics, each with the kind that it becomes.
    ignored_topics: topics that the shop may send and that have nothing for Engage. verifies_email: whether the shop verifies
    that an e-mail is the customer's own. domain_example: what a shop's domain looks like, by which the plugin finds and
    calls it; empty where none is needed.
    """

    slug: str
    name: str
    topics: Mapping[str, EventKind]
    ignored_topics: frozenset[str]
    verifies_email: bool
    domain_example: str

    def new_secret(self) -> str:
        """Make a webhook secret in the form that the platform signs with."""

    def check_secret(self, secret: str) -> None:
        """Raise ConfigurationError when an operator's webhook secret does not have the platform's form."""

    def is_ping(self, request: WebhookRequest) -> bool:
        """Return whether a request is an unsigned test call of the platform, which is answered 200 and not stored."""

    def claimed_domain(self, request: WebhookRequest) -> str | None:
        """Return the shop_domain that an app-wide webhook claims to come from; trusted only after `verify`."""

    def verify(self, request: WebhookRequest, shop: ShopCredentials, now: datetime) -> Delivery:
        """Check the signature over the raw bytes with the shop's secrets or keys and read the headers.

        Raises VerificationError (401) or UnverifiableError (503).
        """

    def peek(self, topic: str, body: bytes) -> EventHints:
        """Read ordering and time from a body without raising: what cannot be read is None."""

    def normalise(self, delivery: Delivery, body: bytes, received_at: datetime) -> MappingResult:
        """Map a stored webhook. Raises PayloadError that names the field."""

    def refunds_without_lines(self, delivery: Delivery, body: bytes) -> tuple[str, ...]:
        """Return the ids of refunds that a body names without their lines, without raising; mostly none.

        New ones are read with `fetch_refunds` before the mapping, which makes no calls itself.
        """

    def fetch_refunds(self, shop: ShopCredentials, order_id: str, wanted: Collection[str]) -> Mapping[str, str]:
        """Read refunds of an order from the shop; the result is stored with the event and is in `Delivery.meta`.

        Empty where nothing is installed to read with. Raises ShopApiError, ShopUnavailableError.
        """

    def verify_shopper_token(self, token: str, shop: ShopCredentials, now: datetime) -> ShopperProof:
        """Check the platform's own token of a logged-in shopper. Raises VerificationError, UnverifiableError."""

    def claimed_proxy_domain(self, query_string: str) -> str | None:
        """Return the shop_domain that a proxied request says it comes from, None where the platform has no proxy."""

    def verify_proxy_request(self, query_string: str, shop: ShopCredentials, now: datetime) -> ProxiedShopper:
        """Check the signature of a request through the platform's proxy. Raises VerificationError."""

    def api(self, shop: ShopCredentials, save: Callable[[Mapping[str, Any]], None]) -> ShopApi | None:
        """Return the calls to a shop; None where the platform has none or nothing is installed yet.

        save: stores changed credentials (a refreshed token).
        """

    def install_routes(self, service: InstallationService) -> Any:
        """Return the Flask blueprint of the platform's installation (below /install/<slug>), or None."""

    def install_steps(self, service: InstallationService, shop: ShopCredentials) -> tuple[str, ...]:
        """Return what the merchant's developer does next to install the plugin, a line each, with addresses to open."""


class BasePlatform:
    """Defaults for a platform without a token, proxy, API or installation of its own: inherit and override."""

    name = "this platform"
    verifies_email = True
    domain_example = ""

    def is_ping(self, _request: WebhookRequest) -> bool:
        """Every webhook of this platform is signed."""
        return False

    def claimed_domain(self, _request: WebhookRequest) -> str | None:
        """No app-wide webhooks."""
        return None

    def refunds_without_lines(self, _delivery: Delivery, _body: bytes) -> tuple[str, ...]:
        """Every refund comes with its lines."""
        return ()

    def fetch_refunds(self, _shop: ShopCredentials, _order_id: str, _wanted: Collection[str]) -> Mapping[str, str]:
        """Nothing is read at delivery."""
        return {}

    def verify_shopper_token(self, _token: str, _shop: ShopCredentials, _now: datetime) -> ShopperProof:
        """Only the hand-over token that every platform has (docs/platforms/common.md#hand-over-token)."""
        raise VerificationError(
            f"{self.name} has no shopper token of its own; hand the shopper over with a signed JWT."
        )

    def claimed_proxy_domain(self, _query_string: str) -> str | None:
        """No proxy."""
        return None

    def verify_proxy_request(self, _query_string: str, _shop: ShopCredentials, _now: datetime) -> ProxiedShopper:
        """No proxy."""
        raise VerificationError(f"{self.name} has no proxy for My Pages.")

    def api(self, _shop: ShopCredentials, _save: Callable[[Mapping[str, Any]], None]) -> ShopApi | None:
        """No calls to the shop."""
        return None

    def install_routes(self, _service: InstallationService) -> Any:
        """No installation pages."""
        return None

    def install_steps(self, _service: InstallationService, _shop: ShopCredentials) -> tuple[str, ...]:
        """Nothing but the webhook address and secret."""
        return ()
