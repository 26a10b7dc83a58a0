"""The monitor: checks and repairs a shop's webhook subscriptions, and fetches what they missed.

WooCommerce disables a webhook after failures and never sends again; no platform promises that every webhook arrives
(docs/platforms/common.md#delivery). So what changed at the shop since the last check goes through the same inbox.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from plugin.errors import ShopApiError, describe_unexpected
from plugin.platforms.shop_api import PolledResource, ShopApi, Subscription
from plugin.store.shops.shops import RegisteredShop
from webhooks.attempt.context import Origin
from webhooks.attempt.runtime import DeliveryRuntime
from webhooks.sync.ingest import ORDER_KINDS, IngestOutcome, ResourceIngestor, pages

log = logging.getLogger(__name__)

PAGE = 100
#: Each check reaches this far back before the last one, because of shops' clocks and late writes.
OVERLAP = timedelta(minutes=10)
#: What changed within this time is left to its webhook, which may still arrive.
WEBHOOK_GRACE = timedelta(minutes=2)
LEASE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check of a shop.

    problems: of its subscriptions, as they are now. repaired: what was changed at the shop. seen: fetched resources;
    missed: those of them that no webhook had reported. error: why the check is incomplete. skipped: why there was none.
    """

    shop: str
    problems: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()
    missed: int = 0
    seen: int = 0
    error: str | None = None
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionMonitor:
    """Checks shops. webhook_url: the address that a shop's webhooks should be sent to."""

    runtime: DeliveryRuntime
    ingestor: ResourceIngestor
    api_for: Callable[[RegisteredShop], ShopApi | None]
    webhook_url: Callable[[RegisteredShop], str]

    def check_due_shops(self, interval: timedelta) -> list[CheckResult]:
        """Check every shop whose last check is longer ago than `interval`."""
        due = []
        for shop in self.runtime.stores.shops.all():
            checked_at = self.runtime.stores.shop_monitors.get(shop).checked_at
            if shop.settings.watch and (checked_at is None or self.runtime.clock() - checked_at >= interval):
                due.append(shop)
        return [self._check_safely(shop) for shop in due]

    def _check_safely(self, shop: RegisteredShop) -> CheckResult:
        """Check a shop; an unexpected error is recorded, so that it does not hold up other shops."""
        try:
            return self.check_shop(shop)
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - one shop's odd answer must not end the check of all
            return self._check_failed(shop, f"{describe_unexpected(error)}; this is a fault of the plugin")

    def _check_failed(self, shop: RegisteredShop, why: str) -> CheckResult:
        self.runtime.stores.shop_monitors.save(
            shop, replace(self.runtime.stores.shop_monitors.get(shop), checked_at=self.runtime.clock(), error=why)
        )
        result = CheckResult(shop.name, error=why)
        _log_result(result)
        return result

    def check_shop(self, shop: RegisteredShop) -> CheckResult:
        """Check and repair a shop's subscriptions, then fetch what was missed. One process at a time checks a shop."""
        try:
            api = self.api_for(shop)
        except ShopApiError as error:  # its address is malformed
            return self._check_failed(shop, str(error))
        if api is None:
            return CheckResult(shop.name, skipped="its platform has no API, or nothing is installed yet")
        name = f"watch:{shop.id}"
        with self.runtime.stores.locks.hold(name, self.runtime.clock, LEASE) as token:
            if token is None:
                return CheckResult(shop.name, skipped="another process checks it")
            return self._check(shop, api)

    def _check(self, shop: RegisteredShop, api: ShopApi) -> CheckResult:
        before = self.runtime.stores.shop_monitors.get(shop)
        now = self.runtime.clock()
        result = CheckResult(shop.name)
        state = replace(before, checked_at=now, error=None)
        try:
            problems, repaired = self._check_subscriptions(shop, api)
            result = replace(result, problems=problems, repaired=repaired)
            state = replace(state, problems=problems)
            if shop.settings.poll_missed:
                until = now - WEBHOOK_GRACE
                since = (before.polled_until or now) - OVERLAP
                seen, missed = self._fetch_missed(shop, api, since, until)
                result = replace(result, seen=seen, missed=missed)
                state = replace(state, polled_until=until)
        except ShopApiError as error:  # the next check begins where the last complete one ended
            result = replace(result, error=str(error))
            state = replace(state, error=str(error))
        self.runtime.stores.shop_monitors.save(shop, state)
        _log_result(result)
        return result

    def _check_subscriptions(self, shop: RegisteredShop, api: ShopApi) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the problems that remain, and what was repaired."""
        address = self.webhook_url(shop)
        problems = _problems(api.subscriptions(address))
        if not problems or not shop.settings.repair_webhooks:
            return problems, ()
        repaired = api.repair(address)
        return _problems(api.subscriptions(address)), repaired

    def _fetch_missed(self, shop: RegisteredShop, api: ShopApi, since: datetime, until: datetime) -> tuple[int, int]:
        """Return how many resources were fetched, and how many of them no webhook had reported."""
        seen = missed = 0
        for page in pages(api.customers(since, until), PAGE):
            seen += len(page)
            missed += self._ingest(shop, page)
        for page in pages(api.orders(since, until), PAGE):
            seen += len(page)
            missed += self._ingest(shop, self.ingestor.without_known(shop, page))
        return seen, missed

    def _ingest(self, shop: RegisteredShop, page: Sequence[PolledResource]) -> int:
        """Put resources into the inbox; return how many orders, refunds and cancellations were new.

        Customers are not counted: one that is read again need not have changed, so it does not show a missed webhook.
        """
        if not page:
            return 0
        outcomes = self.ingestor.ingest(shop, page, Origin.POLL, self.runtime.clock())
        return sum(
            outcome is IngestOutcome.STORED and resource.kind in ORDER_KINDS
            for outcome, resource in zip(outcomes, page, strict=True)
        )


def _log_result(result: CheckResult) -> None:
    if result.error:
        log.warning("shop=%s its subscriptions and changes could not be checked: %s", result.shop, result.error)
    for line in result.repaired:
        log.warning("shop=%s webhook subscription repaired: %s", result.shop, line)
    for line in result.problems:
        log.warning("shop=%s webhook subscription is wrong: %s", result.shop, line)
    if result.missed:
        log.warning(
            "shop=%s missed=%d orders, refunds or cancellations without a webhook were fetched",
            result.shop,
            result.missed,
        )


def _problems(subscriptions: Sequence[Subscription]) -> tuple[str, ...]:
    return tuple(
        f"{subscription.topic}: {subscription.problem}" for subscription in subscriptions if subscription.problem
    )
