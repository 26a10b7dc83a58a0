"""What the web application needs in addition: tokens, promotions, the checkout, webhooks and My Pages."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from plugin.services.worker import WorkerServices

if (
    TYPE_CHECKING
):  # the modules are imported in the functions: a command starts fast, and a worker loads nothing of the web
    from mypages.http.dependencies import PageDependencies
    from plugin.auth.api_auth import ApiAuthenticator
    from plugin.promotions.bulk_assignment import BulkAssigner
    from plugin.promotions.checkout import Checkout
    from plugin.promotions.service import PromotionService
    from plugin.store.shops.api_tokens import ApiTokens
    from plugin.store.shops.handover_tokens import UsedTokens
    from webhooks.processing.notifier import BackgroundNotifier
    from webhooks.receiving.endpoint import WebhookReceiver


class Services(WorkerServices):
    """All services of one process."""

    @cached_property
    def used_tokens(self) -> UsedTokens:
        """The hand-over tokens that have been used."""
        from plugin.store.shops.handover_tokens import UsedTokens

        return UsedTokens(self.database)

    @cached_property
    def api_tokens(self) -> ApiTokens:
        """The API tokens of shops' own servers."""
        from plugin.store.shops.api_tokens import ApiTokens

        return ApiTokens(self.database, self.vault)

    @cached_property
    def api_authenticator(self) -> ApiAuthenticator:
        """Finds who calls /api."""
        from plugin.auth.api_auth import ApiAuthenticator
        from plugin.platforms.registry import PLATFORMS

        return ApiAuthenticator(self.stores.shops, PLATFORMS.__getitem__, self.api_tokens, self.used_tokens, self.clock)

    @cached_property
    def promotion_service(self) -> PromotionService:
        """Creates and finds promotions."""
        from plugin.promotions.service import PromotionService
        from plugin.store.orders.promotions import Promotions

        return PromotionService(Promotions(self.database), self.client_for, self.clock)

    @cached_property
    def bulk_assigner(self) -> BulkAssigner:
        """Assigns promotions to contacts."""
        from plugin.promotions.bulk_assignment import BulkAssigner
        from plugin.store.orders.promotions import Promotions

        return BulkAssigner(
            Promotions(self.database),
            self.stores.links,
            self.stores.sync_states,
            self.client_for,
            self.vault.digest_of,
            self.clock,
            self.pause,
        )

    @cached_property
    def background_notifier(self) -> BackgroundNotifier:
        """Wakes workers from a thread of its own, so that no request waits for Redis."""
        from webhooks.processing.notifier import BackgroundNotifier

        return BackgroundNotifier(self.notifier.wake)

    @cached_property
    def webhook_receiver(self) -> WebhookReceiver:
        """Verifies webhooks and stores them in the inbox."""
        from webhooks.receiving.endpoint import WebhookReceiver

        return WebhookReceiver(
            shops=self.stores.shops,
            inbox=self.stores.inbox,
            store=self.stores.inbox.receiving(),
            vault=self.vault,
            wake=self.background_notifier.wake,
            max_body_bytes=self.settings.max_body_bytes,
            count=self.metrics.received,
            clock=self.clock,
            app_secrets=self.app_secrets,
        )

    @cached_property
    def my_pages(self) -> PageDependencies:
        """The pages on which shoppers see their data."""
        from mypages.http.dependencies import PageDependencies
        from plugin.store.contacts.snapshot import ShopperSnapshots
        from plugin.store.inbox.edits import Edits

        return PageDependencies(
            shops=self.stores.shops,
            sync_states=self.stores.sync_states,
            shoppers=ShopperSnapshots(self.database),
            orders=self.stores.orders,
            edits=Edits(self.database),
            used_tokens=self.used_tokens,
            cached=self.cached,
            client_for=self.client_for,
            vault=self.vault,
            secure=self.settings.secure,
            clock=self.clock,
            wake=self.background_notifier.wake,
            public_url=self.settings.public_url,
        )

    @cached_property
    def checkout(self) -> Checkout:
        """Answers the checkouts of shops."""
        from plugin.promotions.checkout import Checkout

        stores = self.stores
        return Checkout(stores.links, stores.sync_states, stores.redemptions, self.cached, self.client_for, self.clock)

    def close(self) -> None:
        """Close what was opened."""
        # the cache too: a SQLite file that is open before a fork is no longer safe after it
        for name in ("transport", "database", "cached", "redis"):
            if name in self.__dict__:
                self.__dict__[name].close()
