"""What a platform must supply for calls to its shops: webhook subscriptions, and customers and orders that changed."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from plugin.event_kinds import EventKind


@dataclass(frozen=True, slots=True)
class Subscription:
    """One webhook subscription as it should be or is at the shop. problem: what is wrong with it, empty when nothing."""

    topic: str
    address: str
    active: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PolledResource:
    """A customer, order, refund or cancellation read from the shop's API, in the form of its webhook.

    It goes through the same inbox and the same mapping. kind: what its topic becomes. resource_id: the shop's id of
    the customer, order (of its cancellation too) or refund. changed_at: when the shop changed it, aware UTC. cursor: where
    reading continues after it.
    platform: whose form the body has; None for the shop's own platform.
    """

    topic: str
    kind: EventKind
    resource_id: str
    body: bytes
    changed_at: datetime
    cursor: str
    meta: Mapping[str, str] = field(default_factory=dict)
    platform: str | None = None


def encode_body(resource: Mapping[str, Any]) -> bytes:
    """Return a resource as the JSON body of a webhook; decimals become texts."""
    return json.dumps(resource, default=str, ensure_ascii=False).encode("utf-8", "replace")


class ShopApi(Protocol):
    """Calls to one shop. Every method raises ShopApiError; ShopUnavailableError when trying again later can help."""

    def check(self) -> str:
        """Prove the credentials with a call and return the shop's own name."""

    def subscriptions(self, address: str) -> tuple[Subscription, ...]:
        """Return each needed webhook subscription with what is wrong with it. address: our webhook_url."""

    def repair(self, address: str) -> tuple[str, ...]:
        """Make, switch on or correct the subscriptions that are wrong; return a line for each change."""

    def customers(
        self, since: datetime | None, until: datetime | None, cursor: str | None = None
    ) -> Iterator[PolledResource]:
        """Yield customers changed in [since, until), oldest change first, page by page; cursor: continue after it."""

    def orders(
        self, since: datetime | None, until: datetime | None, cursor: str | None = None
    ) -> Iterator[PolledResource]:
        """Yield paid orders changed in [since, until), each followed by its refunds and its cancellation.

        Orders that were not paid are left out.
        """
