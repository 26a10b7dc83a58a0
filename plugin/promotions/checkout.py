"""The checkout's two questions: what can this cart use, and is what it uses still good just before payment.

A checkout never waits long for Engage: the first answer comes within 300 ms, from the cache when Engage is slow and
empty with a reason when it is down; the second asks Engage again, past the cache, and says when it could not.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from plugin.engage.cache.cached import Cached, CachedEngage, CacheMissError, Owner
from plugin.engage.client import EngageClient
from plugin.engage.data.models import Page, PromotionAssignment, RedemptionChannel, RewardVoucher
from plugin.engage.operations import Priority
from plugin.engage.promotion_lookup import (
    UNKNOWN_CODE,
    UNKNOWN_VOUCHER,
    LookupFailure,
    explain_unknown_assignment,
    find_assignment,
    find_by_code,
    find_voucher,
)
from plugin.errors import EngageError, EngageNotFoundError, TransientError
from plugin.promotions.offers import Cart, promotion_offer, promotion_offers, voucher_offer, voucher_offers
from plugin.store.contacts.links import ContactLinks
from plugin.store.contacts.sync_state import SyncStates
from plugin.store.orders.redemptions import Redemptions, StoredRedemption
from plugin.store.shops.shops import RegisteredShop

#: How long a checkout page waits for its offers, in seconds.
OFFERS_BUDGET_S = 0.3
#: The part of it that is reserved for the plugin's own work after Engage's answer.
OWN_WORK_S = 0.05
#: How long the check before payment waits for Engage.
VALIDATE_BUDGET_S = 2.0
THREADS = 16
#: Reads that may run or wait at once; beyond that the answer comes from the cache.
MAX_READS = 64
PROMOTION, VOUCHER = "promotion", "voucher"

Reader = Callable[[EngageClient], Page[Any]]


@dataclass(frozen=True, slots=True)
class NamedItem:
    """What a cart names: an assignment or voucher by Engage's id, or by its code or number."""

    kind: str
    id: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class _ListResult:
    """A list and its origin. reason: why it is not Engage's present answer; None when it is, or fresh enough."""

    items: tuple[Any, ...] = ()
    fetched_at: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Checkout:
    """Answers a shop's checkout. offers_budget_s, validate_budget_s: how long it may take, see the constants."""

    links: ContactLinks
    sync_states: SyncStates
    redemptions: Redemptions
    cached: CachedEngage
    client_for: Callable[[RegisteredShop], EngageClient]
    clock: Callable[[], datetime]
    offers_budget_s: float = OFFERS_BUDGET_S
    validate_budget_s: float = VALIDATE_BUDGET_S
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="checkout"))
    room: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(MAX_READS))

    def offers(self, shop: RegisteredShop, customer_id: str, cart: Cart, *, started: float) -> dict[str, Any]:
        """Return what applies to a cart. started: when the request arrived (monotonic)."""
        owner, reason = self._owner(shop, customer_id)
        if owner is None:
            return self._offers_json(cart, _ListResult(reason=reason), _ListResult(reason=reason), shop)
        lists = self._read(shop, owner, cart, until=started + self.offers_budget_s - OWN_WORK_S)
        return self._offers_json(cart, lists[PROMOTION], lists[VOUCHER], shop)

    def validate(
        self, shop: RegisteredShop, customer_id: str, cart: Cart, named: Sequence[NamedItem]
    ) -> dict[str, Any]:
        """Return for each promotion and voucher of a cart whether it can be used now.

        checked: whether Engage answered just now; otherwise the cache and the plugin's own orders decide.
        """
        owner, reason = self._owner(shop, customer_id)
        if owner is None:
            lists = dict.fromkeys((PROMOTION, VOUCHER), _ListResult(reason=reason))
        else:
            lists = self._read(shop, owner, cart, until=monotonic() + self.validate_budget_s, fresh=True)
        checks = [_Check(self, shop, cart, lists[item.kind], item).result() for item in named]
        if owner is not None and any(check["reason"] in ("redeemed", "expired") for check in checks):
            self.sync_states.bump_generation(
                shop, owner.contact_id, self.clock()
            )  # the list that offered it is out of date
        reasons = [lists[item.kind].reason for item in named if lists[item.kind].reason]
        return {
            "valid": all(check["valid"] for check in checks),
            "checked": not reasons,
            "reason": reasons[0] if reasons else None,
            "promotions": [check for check, item in zip(checks, named, strict=True) if item.kind == PROMOTION],
            "vouchers": [check for check, item in zip(checks, named, strict=True) if item.kind == VOUCHER],
        }

    def _owner(self, shop: RegisteredShop, customer_id: str) -> tuple[Owner | None, str | None]:
        """Return the owner of the lists; None with a reason for an unverified link (docs/decisions/0011-verified-links.md)."""
        link = self.links.find(shop, customer_id)
        if link is None:
            return None, "no_contact"
        if not link.verified:
            return None, "unverified"
        generation = self.sync_states.generation(shop, link.contact_id)
        return Owner(shop.name, shop.tenant, link.contact_id, generation), None

    def _read(
        self, shop: RegisteredShop, owner: Owner, cart: Cart, *, until: float, fresh: bool = False
    ) -> dict[str, _ListResult]:
        """Return both lists, read in parallel. fresh: past the cache, and past calls that are under way."""
        client, channel = self.client_for(shop), RedemptionChannel(cart.channel)
        asks: Mapping[str, Reader] = {
            PROMOTION: lambda c: c.list_promotion_assignments(owner.contact_id, channel=channel),
            VOUCHER: lambda c: c.list_reward_vouchers(owner.contact_id),
        }
        futures = {kind: self._submit(client, owner, ask, fresh=fresh) for kind, ask in asks.items()}
        return {kind: self._result(client, owner, asks[kind], future, until) for kind, future in futures.items()}

    def _submit(
        self, client: EngageClient, owner: Owner, ask: Reader, *, fresh: bool
    ) -> "Future[Cached[Page[Any]]] | None":
        if not self.room.acquire(blocking=False):
            return None
        if fresh:
            direct = client.with_options(priority=Priority.SHOPPER, read_timeout_s=self.validate_budget_s)
            future = self.pool.submit(_read_uncached, direct, ask)
        else:
            future = self.pool.submit(self.cached.read, client, owner, ask)
        future.add_done_callback(lambda _future: self.room.release())
        return future

    def _result(
        self,
        client: EngageClient,
        owner: Owner,
        ask: Reader,
        future: "Future[Cached[Page[Any]]] | None",
        until: float,
    ) -> _ListResult:
        if future is None:
            return self._from_cache(client, owner, ask, "busy")
        try:
            found = future.result(max(until - monotonic(), 0))
        except FutureTimeoutError:
            future.cancel()  # a read that has begun continues, and fills the cache for the next question
            return self._from_cache(client, owner, ask, "engage_slow")
        except TransientError:
            return self._from_cache(client, owner, ask, "engage_down")
        except EngageNotFoundError:
            return _ListResult(reason="no_contact")
        except EngageError:
            return _ListResult(reason="engage_refuses")
        return _ListResult(found.value.items, found.fetched_at, "engage_down" if found.stale else None)

    def _from_cache(self, client: EngageClient, owner: Owner, ask: Reader, reason: str) -> _ListResult:
        """Return the list as the cache has it from the last 24 hours, or nothing."""
        try:
            found = self.cached.read(client, owner, ask, cache_only=True, allow_stale=True)
        except (CacheMissError, EngageError):
            return _ListResult(reason=reason)
        return _ListResult(found.value.items, found.fetched_at, reason)

    def _offers_json(
        self, cart: Cart, promotions: _ListResult, vouchers: _ListResult, shop: RegisteredShop
    ) -> dict[str, Any]:
        now = self.clock()
        reasons = [found.reason for found in (promotions, vouchers) if found.reason]
        fetched = [found.fetched_at for found in (promotions, vouchers) if found.fetched_at]
        return {
            "currency": cart.currency,
            "channel": cart.channel,
            "promotions": promotion_offers(promotions.items, cart, now, self.held(shop, PROMOTION, promotions.items)),
            "vouchers": voucher_offers(vouchers.items, cart, now, self.held(shop, VOUCHER, vouchers.items)),
            "reason": reasons[0] if reasons else None,
            "fetched_at": min(fetched).isoformat() if fetched else None,
        }

    def held(
        self, shop: RegisteredShop, kind: str, items: Sequence[PromotionAssignment | RewardVoucher]
    ) -> dict[str, StoredRedemption]:
        """Return those that an order stored here is using: Engage may not know yet."""
        return self.redemptions.held(shop, kind, [item.id for item in items if not item.redeemed])


def _read_uncached(client: EngageClient, ask: Reader) -> Cached[Page[Any]]:
    now = datetime.now(UTC)
    return Cached(ask(client), now, now)


@dataclass(frozen=True, slots=True)
class _Check:
    """The check of a promotion or voucher that a cart names."""

    checkout: Checkout
    shop: RegisteredShop
    cart: Cart
    found: _ListResult
    named: NamedItem

    def result(self) -> dict[str, Any]:
        """Return whether it can be used, and why not."""
        item, why = self._item()
        offer = None
        if item is not None:
            offer = promotion_offer(item, self.cart) if self.named.kind == PROMOTION else voucher_offer(item, self.cart)
            why = self._why_not(item, offer)
        asked = {"id": self.named.id, "code": self.named.code}
        verdict = {"valid": why is None, "reason": why.code if why else None, "message": why.text if why else None}
        return {"asked": {name: value for name, value in asked.items() if value}, **verdict, "offer": offer}

    def _item(self) -> tuple[Any, LookupFailure | None]:
        items, named, now = self.found.items, self.named, self.checkout.clock()
        if not items and self.found.reason:
            return None, LookupFailure(
                self.found.reason, "It cannot be looked up now, so it is not offered; the checkout continues."
            )
        if named.kind == VOUCHER:
            item = find_voucher(named.id, named.code, items)
            return item, LookupFailure(UNKNOWN_VOUCHER, "The shopper has no such reward voucher.")
        if named.id:
            return find_assignment(named.id, items), explain_unknown_assignment(named.id, items)
        by_code = find_by_code(named.code or "", items, now, channel=self.cart.channel)
        return by_code, LookupFailure(
            UNKNOWN_CODE, "The shopper has no promotion with this code; it may be the shop's own discount."
        )

    def _why_not(
        self, item: PromotionAssignment | RewardVoucher, offer: Mapping[str, Any] | None
    ) -> LookupFailure | None:
        held = self.checkout.redemptions.held(self.shop, self.named.kind, [item.id]).get(item.id)
        own = held is not None and (held.shop_id, held.order_id) == (self.shop.id, self.cart.order_id)
        if held is not None and not own:
            return LookupFailure("used_by_another_order", "Another order uses it already.")
        if item.redeemed and not own:
            return LookupFailure("redeemed", "It has been used already.")
        if item.expires_on is not None and item.expires_on <= self.checkout.clock():
            return LookupFailure("expired", "It has expired.")
        if offer is None:
            return LookupFailure("not_for_this_cart", "It does not apply to this cart's currency and channel.")
        return None
