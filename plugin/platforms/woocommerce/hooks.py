"""The shop's webhooks for us: made, repaired and removed through its REST API (docs/platforms/woocommerce.md#webhooks).

Each has one topic. The shop never shows a secret again, so the secret that each webhook was given is remembered as a
digest: after a rotation, and after a repair that broke off half-way, webhooks that sign with another secret are detected.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from plugin.errors import ShopApiError
from plugin.platforms.shop_api import Subscription
from plugin.platforms.woocommerce.rest import Rest

PER_PAGE = 100
MAX_PAGES = 50
ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class FoundHook:
    """A webhook as it is at the shop."""

    id: str
    topic: str
    address: str
    status: str


@dataclass(frozen=True, slots=True)
class Hooks:
    """The webhooks of one shop. hook_ids: topic -> id of our webhooks. digests: id -> digest of the secret that we gave it.

    remember: stores hook_ids and digests.
    """

    rest: Rest
    shop: str
    secret: str
    topics: tuple[str, ...]
    hook_ids: Mapping[str, str]
    digests: Mapping[str, str]
    remember: Callable[[Mapping[str, str], Mapping[str, str]], None]

    def check(self, address: str) -> tuple[Subscription, ...]:
        """Return each topic's webhook with what is wrong with it. Raises ShopApiError."""
        there = self._ours(address)
        return tuple(self._assess(topic, there.get(topic), address) for topic in self.topics)

    def repair(self, address: str) -> tuple[str, ...]:
        """Make, correct and switch on what is wrong; return a line for each. Raises ShopApiError."""
        there = self._ours(address)
        hook_ids = {topic: hook.id for topic, hook in there.items()}
        digests = {hook.id: self.digests[hook.id] for hook in there.values() if hook.id in self.digests}
        done = []
        try:
            for topic in self.topics:
                hook = there.get(topic)
                problem = self._assess(topic, hook, address).problem
                if not problem:
                    continue
                wanted = {"status": ACTIVE, "delivery_url": address, "secret": self.secret}
                if hook is None:
                    made = self.rest.call(
                        "POST", "/webhooks", body={"name": self._name(topic), "topic": topic, **wanted}
                    )
                    hook_ids[topic] = _found(made).id
                    done.append(f"{topic}: made")
                else:
                    digests.pop(hook.id, None)  # a call without an answer may or may not have changed the secret
                    self.rest.call("PUT", f"/webhooks/{hook.id}", body=wanted)
                    done.append(f"{topic}: {problem}; repaired")
                digests[hook_ids[topic]] = secret_digest(self.secret)
        finally:
            # what was done is known even when the next call fails: nothing is made twice, and the rest is repaired later
            self.remember(hook_ids, digests)
        return tuple(done)

    def remove(self) -> tuple[str, ...]:
        """Delete the webhooks that we made; return a line for each. Raises ShopApiError."""
        done = []
        for topic, hook_id in self.hook_ids.items():
            answer = self.rest.send("DELETE", f"/webhooks/{hook_id}", {"force": "true"})
            if answer.status not in {200, 404, 410}:
                raise ShopApiError(
                    f"WooCommerce answered {answer.status} when the webhook {hook_id} was to be deleted.",
                    status=answer.status,
                )
            done.append(f"{topic}: webhook {hook_id} {'removed' if answer.status == 200 else 'was gone already'}")
        self.remember({}, {})
        return tuple(done)

    def _name(self, topic: str) -> str:
        return f"Engage {self.shop}: {topic}"

    def _ours(self, address: str) -> dict[str, FoundHook]:
        """Return our webhook of each topic: by the id that was stored, else by its address. Others' are left alone."""
        every = self._all()
        by_id = {hook.id: hook for hook in every}
        ours: dict[str, FoundHook] = {}
        for hook in every:
            if hook.topic in self.topics and hook.address.rstrip("/") == address.rstrip("/"):
                best = ours.get(hook.topic)
                if best is None or (best.status != ACTIVE and hook.status == ACTIVE):
                    ours[hook.topic] = hook
        for topic, hook_id in self.hook_ids.items():
            known = by_id.get(hook_id)
            if known is not None and known.topic == topic and topic in self.topics:
                ours[topic] = known
        return ours

    def _all(self) -> list[FoundHook]:
        found: list[FoundHook] = []
        for page in range(1, MAX_PAGES + 1):
            rows = self.rest.call(
                "GET", "/webhooks", {"per_page": str(PER_PAGE), "page": str(page), "orderby": "id", "order": "asc"}
            )
            if not isinstance(rows, list):
                raise ShopApiError("WooCommerce answered the list of webhooks with something else.")
            found += [_found(row) for row in rows]
            if len(rows) < PER_PAGE:
                return found
        return found

    def _assess(self, topic: str, hook: FoundHook | None, address: str) -> Subscription:
        if hook is None:
            return Subscription(topic, address, active=False, problem="missing")
        problem = ""
        if hook.address.rstrip("/") != address.rstrip("/"):
            problem = "delivers to another address"
        elif hook.status != ACTIVE:
            # after some failures in a row the shop switches it off silently
            problem = f"switched off ({hook.status})"
        elif self.digests.get(hook.id) != secret_digest(self.secret):
            problem = "may sign with another secret"
        return Subscription(topic, hook.address, hook.status == ACTIVE, problem)


def secret_digest(secret: str) -> str:
    """Return what distinguishes secrets without revealing them."""
    return hashlib.sha256(b"woocommerce webhook secret\0" + secret.encode()).hexdigest()[:32]


def _found(row: Any) -> FoundHook:
    if not isinstance(row, dict) or isinstance(row.get("id"), bool) or not isinstance(row.get("id"), (int, str)):
        raise ShopApiError("WooCommerce answered with a webhook that has no id.")
    return FoundHook(
        str(row["id"]), str(row.get("topic", "")), str(row.get("delivery_url", "")), str(row.get("status", ""))
    )
