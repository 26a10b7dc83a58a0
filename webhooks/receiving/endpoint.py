"""The receiver: verify raw bytes, commit one inbox row, answer. Engage is never called here.

Answers (docs/platforms/common.md#answers): 401 bad proof, 404 unknown shop or platform, 411 without a length, 413
too large, 200 stored, duplicate, ping or not for us, 503 not stored or not verifiable now.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, jsonify, request
from sqlalchemy.exc import SQLAlchemyError

from plugin.errors import ConfigurationError, UnverifiableError, VerificationError
from plugin.event_kinds import COMPLIANCE_KINDS, EventKind
from plugin.platforms.base import Delivery, Platform, WebhookRequest
from plugin.platforms.registry import PLATFORMS
from plugin.store.database.group_commit import GroupCommit
from plugin.store.inbox.inbox import Accepted, Inbox, NewEvent
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import RegisteredShop
from plugin.store.shops.vault import Vault
from plugin.store.tables.inbox import State
from webhooks.receiving.new_event import new_event
from webhooks.receiving.rejections import RejectionLog

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UnregisteredShop:
    """A shop that is not registered here, as far as an app-wide webhook can be verified for it."""

    platform: str
    shop_domain: str
    webhook_secrets: tuple[str, ...]
    name: str = "unknown"
    shopper_secret: str = ""
    credentials: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class WebhookReceiver:
    """Receives the webhooks of all shops. Safe to share between threads.

    wake: called with the id of each stored event after its commit; must not raise. count: called with shop, topic and outcome.
    app_secrets: by platform, what signs the webhooks of all shops of an app, also of those that are not registered.
    """

    shops: Shops
    inbox: Inbox
    store: GroupCommit[NewEvent, Accepted]
    vault: Vault
    wake: Callable[[int], None]
    max_body_bytes: int
    count: Callable[[str, str, str], None]
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    app_secrets: Mapping[str, str] = field(default_factory=dict)
    _rejections: RejectionLog = field(init=False)

    def __post_init__(self) -> None:
        self._rejections = RejectionLog(self.count)

    def receive(self, platform_slug: str, shop_name: str | None) -> Response:
        """Answer the current request, a webhook for a platform's shop; shop_name: None at an app's address."""
        platform = PLATFORMS.get(platform_slug)
        if platform is None:
            return _reply(404, f"There is no platform {platform_slug!r} here.")
        length_error = self._length_error()
        if length_error is not None:
            return length_error
        shop = None
        try:
            shop = None if shop_name is None else self.shops.find(platform.slug, shop_name)
            if shop_name is not None and shop is None:
                self._rejections.note(None, platform.slug, "the shop of the address is not registered")
                return _reply(404, f"There is no {platform.name} shop {shop_name!r} here.")
            return self._verify_and_store(platform, shop, _webhook_request())
        except VerificationError as error:
            self._rejections.note(shop, platform.slug, str(error))
            return _reply(401, str(error))
        except UnverifiableError as error:
            return _reply(503, str(error))
        except (SQLAlchemyError, OSError) as error:
            log.error("A webhook could not be stored (%s); answered 503", type(error).__name__)
            return _reply(503, "The webhook could not be stored now; send it again.")
        except ConfigurationError as error:
            log.error("A webhook could not be verified: %s", error)
            return _reply(503, "The webhook cannot be verified now; send it again.")

    def _length_error(self) -> Response | None:
        """Refuse bodies without a length or over the limit before a byte is read.

        With chunked transfer the server would cut the body at its limit without saying so (werkzeug, gunicorn).
        """
        if "chunked" in request.headers.get("Transfer-Encoding", "").lower() or request.content_length is None:
            return _reply(411, "Send the webhook with a Content-Length, not chunked.")
        if request.content_length > self.max_body_bytes:
            return _reply(413, f"The body is larger than {self.max_body_bytes} bytes.")
        return None

    def _verify_and_store(self, platform: Platform, shop: RegisteredShop | None, webhook: WebhookRequest) -> Response:
        """Store a webhook in the inbox, and answer. shop: None where the webhook's own domain names it."""
        now = self.clock()
        if platform.is_ping(webhook):
            return _reply(200, "pong")
        if shop is None:
            domain = platform.claimed_domain(webhook)
            shop = self.shops.of_domain(platform.slug, domain) if domain else None
            if shop is None:
                return self._handle_unregistered_shop(platform, domain, webhook, now)
        shop, delivery = self._verify(platform, shop, webhook, now)
        _check_domain(shop, delivery)
        new = new_event(self.inbox, self.vault, shop, platform, delivery, webhook.body, now)
        accepted = self.store.run(new)
        self._after_commit(shop, new, accepted)
        if accepted.duplicate:
            return _reply(200, "taken up again" if accepted.requeued else "duplicate", accepted.event_id)
        return _reply(200, "not for us" if new.state is State.IGNORED else "stored", accepted.event_id)

    def _verify(
        self, platform: Platform, shop: RegisteredShop, webhook: WebhookRequest, now: datetime
    ) -> tuple[RegisteredShop, Delivery]:
        """Check the proof; before a refusal, read the shop's secrets again: they may just have been changed."""
        try:
            return shop, platform.verify(webhook, shop, now)
        except VerificationError:
            fresh = self.shops.find(platform.slug, shop.name, fresh=True)
            if fresh is None or (fresh.webhook_secrets, fresh.credentials) == (shop.webhook_secrets, shop.credentials):
                raise
            return fresh, platform.verify(webhook, fresh, now)

    def _handle_unregistered_shop(
        self, platform: Platform, domain: str | None, webhook: WebhookRequest, now: datetime
    ) -> Response:
        """Answer an app-wide webhook of a shop that is not registered here. Raises VerificationError.

        Requests that the law demands (erasure, data request) get 200: nothing of such a shop is stored here. Anything
        else gets 404, so that the platform sends it again while an operator registers the shop.
        """
        secret = self.app_secrets.get(platform.slug)
        if domain is None or secret is None:
            raise VerificationError("No installed shop fits the signature and domain of this webhook.")
        delivery = platform.verify(webhook, UnregisteredShop(platform.slug, domain, (secret,)), now)
        if platform.topics.get(delivery.topic) in COMPLIANCE_KINDS:
            self.count("(unregistered)", delivery.topic, "ignored")
            return _reply(200, "This shop is not registered here, so nothing of it is stored.")
        log.warning("platform=%s a webhook of a shop that is not registered was answered 404", platform.slug)
        return _reply(404, f"The {platform.name} shop of this webhook is not registered here.")

    def _after_commit(self, shop: RegisteredShop, new: NewEvent, accepted: Accepted) -> None:
        """Count and log a stored webhook, and wake a worker for it."""
        outcome = "duplicate" if accepted.duplicate else "ignored" if new.state is State.IGNORED else "stored"
        topic = new.topic if new.kind != EventKind.IGNORED else "other"
        self.count(shop.name, topic, outcome)
        log.info("event=%d shop=%s step=received topic=%s outcome=%s", accepted.event_id, shop.name, topic, outcome)
        if (outcome == "stored" or accepted.requeued) and new.state is State.PENDING:
            self.wake(accepted.event_id)


def blueprint(receiver: WebhookReceiver) -> Blueprint:
    """Return the blueprint of all webhook addresses."""
    routes = Blueprint("webhooks", __name__, url_prefix="/webhooks")

    @routes.post("/<platform>/<shop>")
    def shop_webhook(platform: str, shop: str) -> Response:
        return receiver.receive(platform, shop)

    @routes.post("/<platform>")
    def app_webhook(platform: str) -> Response:
        return receiver.receive(platform, None)

    return routes


def _check_domain(shop: RegisteredShop, delivery: Delivery) -> None:
    if shop.shop_domain and delivery.shop_domain and delivery.shop_domain.lower() != shop.shop_domain:
        raise VerificationError("The webhook comes from another shop than the one that this address is for.")


def _webhook_request() -> WebhookRequest:
    return WebhookRequest(
        headers={name.lower(): value for name, value in request.headers}, body=request.get_data(cache=False)
    )


def _reply(status: int, message: str, event_id: int | None = None) -> Response:
    answer = jsonify({"message": message} if event_id is None else {"message": message, "event_id": event_id})
    answer.status_code = status
    if status == 503:
        answer.headers["Retry-After"] = "5"
    return answer
