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

from plugin.errors import ShopApiError, describe_unexpected
from plugin.platforms.shop_api import PolledResource, ShopApi, Subscription
from plugin.store.shops.shops import RegisteredShop
from webhooks.attempt.context import Origin, Stores
from webhooks.sync.ingest import ORDER_KINDS, IngestOutcome, ResourceIngestor, is_known, order_id_of

log = logging.getLogger(__name__)

PAGE = 100
#: Shops' clocks and late writes: each look reaches this far back before the last one.
OVERLAP = timedelta(minutes=10)
#: What changed within this time is left to its webhook, which may still be on its way.
WEBHOOK_GRACE = timedelta(minutes=2)
LEASE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one look at a shop brought. repaired: what was done at the shop. found: missed resources by fate."""

    shop: str
    problems: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()
    missed: int = 0
    seen: int = 0
    error: str | None = None
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionMonitor:
    """Looks at shops. webhook_url: the address that a shop's webhooks should go to."""

    stores: Stores
    ingestor: ResourceIngestor
    api_for: Callable[[RegisteredShop], ShopApi | None]
    webhook_url: Callable[[RegisteredShop], str]
    clock: Callable[[], datetime]

    def check_due_shops(self, interval: timedelta) -> list[CheckResult]:
        """Look at every shop whose last look is longer ago than `interval`."""
        due = []
        for shop in self.stores.shops.all():
            checked_at = self.stores.shop_monitors.get(shop).checked_at
            if shop.settings.watch and (checked_at is None or self.clock() - checked_at >= interval):
                due.append(shop)
        return [self._check_safely(shop) for shop in due]

    def _check_safely(self, shop: RegisteredShop) -> CheckResult:
        """Look at a shop; an answer of its that nobody thought of is told, and holds up no other shop."""
        try:
            return self.check_shop(shop)
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - one shop's odd answer must not end the watch over all
            return self._check_failed(shop, f"{describe_unexpected(error)}; this is a fault of the plugin")

    def _check_failed(self, shop: RegisteredShop, why: str) -> CheckResult:
        self.stores.shop_monitors.save(
            shop, replace(self.stores.shop_monitors.get(shop), checked_at=self.clock(), error=why)
        )
        look = CheckResult(shop.name, error=why)
        self._log_result(look)
        return look

    def check_shop(self, shop: RegisteredShop) -> CheckResult:
        """Check and mend a shop's subscriptions, then fetch what was missed. One look at a shop at a time."""
        try:
            api = self.api_for(shop)
        except ShopApiError as error:  # an address that is none
            return self._check_failed(shop, str(error))
        if api is None:
            return CheckResult(shop.name, skipped="its platform has no API, or nothing is installed yet")
        name = f"watch:{shop.id}"
        with self.stores.locks.hold(name, self.clock, LEASE) as token:
            if token is None:
                return CheckResult(shop.name, skipped="another process looks at it")
            return self._look(shop, api)

    def _look(self, shop: RegisteredShop, api: ShopApi) -> CheckResult:
        before = self.stores.shop_monitors.get(shop)
        now = self.clock()
        look = CheckResult(shop.name)
        seen = replace(before, checked_at=now, error=None)
        try:
            problems, repaired = self._subscriptions(shop, api)
            look = replace(look, problems=problems, repaired=repaired)
            seen = replace(seen, problems=problems)
            if shop.settings.poll_missed:
                until = now - WEBHOOK_GRACE
                since = (before.polled_until or now) - OVERLAP
                number, missed = self._fetch_missed(shop, api, since, until)
                look = replace(look, seen=number, missed=missed)
                seen = replace(seen, polled_until=until)
        except ShopApiError as error:  # the next look begins where the last whole one ended
            look = replace(look, error=str(error))
            seen = replace(seen, error=str(error))
        self.stores.shop_monitors.save(shop, seen)
        self._log_result(look)
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

    def _unknown(self, shop: RegisteredShop, page: Sequence[PolledResource]) -> list[PolledResource]:
        orders = [(resource, order_id_of(shop, resource)) for resource in page]
        known = self.stores.known_orders.find(shop, sorted({order_id for _, order_id in orders if order_id}))
        return [
            resource
            for resource, order_id in orders
            if not is_known(resource, order_id, known.get(order_id) if order_id else None)
        ]

    def _take(self, shop: RegisteredShop, page: Sequence[PolledResource]) -> int:
        if not page:
            return 0
        fates = self.ingestor.take(shop, page, Origin.POLL, self.clock())
        # a customer that is read again changes nothing: only what an order's webhook tells says that one was missed
        return sum(
            fate is IngestOutcome.STORED and resource.kind in ORDER_KINDS
            for fate, resource in zip(fates, page, strict=True)
        )

    def _log_result(self, look: CheckResult) -> None:
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


def pages(resources: Iterator[PolledResource], size: int) -> Iterator[list[PolledResource]]:
    """Cut a stream into lists of at most `size`."""
    while page := list(islice(resources, size)):
        yield page


def _problems(subscriptions: tuple[Subscription, ...]) -> tuple[str, ...]:
    return tuple(f"{one.topic}: {one.problem}" for one in subscriptions if one.problem)
