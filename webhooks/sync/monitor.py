"""The watchdog: a shop's own webhook subscriptions are looked after, and what they missed is fetched.

WooCommerce switches a webhook off after failures and never sends again; no platform promises that every webhook comes
(platform facts 0). So subscriptions are checked and mended, and what changed at the shop since the last look goes through
the same inbox.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy.exc import SQLAlchemyError

from plugin.errors import ShopApiError, unexpected
from plugin.platforms.base import FoundResource, ShopApi, Subscription
from plugin.store.shops.shops import RegisteredShop
from plugin.store.sync.history import History
from webhooks.attempt.context import Origin, Stores
from webhooks.sync.ingest import ORDER_KINDS, Fate, Intake, is_known, order_id_of

log = logging.getLogger(__name__)

PAGE = 100
#: Shops' clocks and late writes: each look reaches this far back before the last one.
OVERLAP = timedelta(minutes=10)
#: What changed within this time is left to its webhook, which may still be on its way.
SETTLED = timedelta(minutes=2)
LEASE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a shop brought. repaired: what was done at the shop. found: missed resources by fate."""

    shop: str
    problems: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()
    missed: int = 0
    seen: int = 0
    error: str | None = None
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Watchdog:
    """Looks at shops. webhook_url: the address that a shop's webhooks should go to."""

    stores: Stores
    history: History
    intake: Intake
    api_of: Callable[[RegisteredShop], ShopApi | None]
    webhook_url: Callable[[RegisteredShop], str]
    clock: Callable[[], datetime]

    def look_at_all(self, interval: timedelta) -> list[Look]:
        """Look at every shop whose last look is longer ago than `interval`."""
        due = []
        for shop in self.stores.shops.all():
            checked_at = self.history.watched(shop).checked_at
            if shop.settings.watch and (checked_at is None or self.clock() - checked_at >= interval):
                due.append(shop)
        return [self._look_safely(shop) for shop in due]

    def _look_safely(self, shop: RegisteredShop) -> Look:
        """Look at a shop; an answer of its that nobody thought of is told, and holds up no other shop."""
        try:
            return self.look_at(shop)
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - one shop's odd answer must not end the watch over all
            return self._could_not_look(shop, f"{unexpected(error)}; this is a fault of the plugin")

    def _could_not_look(self, shop: RegisteredShop, why: str) -> Look:
        self.history.watch(shop, replace(self.history.watched(shop), checked_at=self.clock(), error=why))
        look = Look(shop.name, error=why)
        self._tell(look)
        return look

    def look_at(self, shop: RegisteredShop) -> Look:
        """Check and mend a shop's subscriptions, then fetch what was missed. One look at a shop at a time."""
        try:
            api = self.api_of(shop)
        except ShopApiError as error:  # an address that is none
            return self._could_not_look(shop, str(error))
        if api is None:
            return Look(shop.name, skipped="its platform has no API, or nothing is installed yet")
        name = f"watch:{shop.id}"
        token = self.stores.contacts.take_lease(name, self.clock(), LEASE)
        if token is None:
            return Look(shop.name, skipped="another process looks at it")
        try:
            return self._look(shop, api)
        finally:
            self.stores.contacts.give_lease_back(name, token)

    def _look(self, shop: RegisteredShop, api: ShopApi) -> Look:
        before = self.history.watched(shop)
        now = self.clock()
        look = Look(shop.name)
        seen = replace(before, checked_at=now, error=None)
        try:
            problems, repaired = self._subscriptions(shop, api)
            look = replace(look, problems=problems, repaired=repaired)
            seen = replace(seen, problems=problems)
            if shop.settings.poll_missed:
                until = now - SETTLED
                since = (before.polled_until or now) - OVERLAP
                number, missed = self._fetch_missed(shop, api, since, until)
                look = replace(look, seen=number, missed=missed)
                seen = replace(seen, polled_until=until)
        except ShopApiError as error:  # the next look begins where the last whole one ended
            look = replace(look, error=str(error))
            seen = replace(seen, error=str(error))
        self.history.watch(shop, seen)
        self._tell(look)
        return look

    def _subscriptions(self, shop: RegisteredShop, api: ShopApi) -> tuple[tuple[str, ...], tuple[str, ...]]:
        address = self.webhook_url(shop)
        problems = _problems(api.subscriptions(address))
        if not problems or not shop.settings.repair_webhooks:
            return problems, ()
        repaired = api.repair(address)
        return _problems(api.subscriptions(address)), repaired

    def _fetch_missed(self, shop: RegisteredShop, api: ShopApi, since: datetime, until: datetime) -> tuple[int, int]:
        """Return how many resources were seen and how many of them were new to the inbox."""
        seen = missed = 0
        for page in pages(api.customers(since, until), PAGE):
            seen += len(page)
            missed += self._take(shop, page)
        for page in pages(api.orders(since, until), PAGE):
            seen += len(page)
            missed += self._take(shop, self._unknown(shop, page))
        return seen, missed

    def _unknown(self, shop: RegisteredShop, page: Sequence[FoundResource]) -> list[FoundResource]:
        orders = [(resource, order_id_of(shop, resource)) for resource in page]
        known = self.history.known_orders(shop, sorted({order_id for _, order_id in orders if order_id}))
        return [
            resource
            for resource, order_id in orders
            if not is_known(resource, order_id, known.get(order_id) if order_id else None)
        ]

    def _take(self, shop: RegisteredShop, page: Sequence[FoundResource]) -> int:
        if not page:
            return 0
        fates = self.intake.take(shop, page, Origin.POLL, self.clock())
        # a customer that is read again changes nothing: only what an order's webhook tells says that one was missed
        return sum(
            fate is Fate.STORED and resource.kind in ORDER_KINDS for fate, resource in zip(fates, page, strict=True)
        )

    def _tell(self, look: Look) -> None:
        if look.error:
            log.warning("shop=%s the watchdog could not look: %s", look.shop, look.error)
        for line in look.repaired:
            log.warning("shop=%s webhook subscription mended: %s", look.shop, line)
        for line in look.problems:
            log.warning("shop=%s webhook subscription is wrong: %s", look.shop, line)
        if look.missed:
            log.warning(
                "shop=%s missed webhooks: %d orders, refunds or cancellations were fetched", look.shop, look.missed
            )


def pages(resources: Iterator[FoundResource], size: int) -> Iterator[list[FoundResource]]:
    """Cut a stream into lists of at most `size`."""
    while page := list(islice(resources, size)):
        yield page


def _problems(subscriptions: tuple[Subscription, ...]) -> tuple[str, ...]:
    return tuple(f"{one.topic}: {one.problem}" for one in subscriptions if one.problem)
