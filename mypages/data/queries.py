"""What Engage is asked for one shopper: a question each, all of them through the cache."""

from collections.abc import Callable
from dataclasses import dataclass

from mypages.views import purchases
from mypages.views.formatting import text
from plugin.engage.client import EngageClient
from plugin.engage.data.models import (
    Contact,
    Page,
    PointAccount,
    PointTransaction,
    PromotionAssignment,
    RewardVoucher,
    Transaction,
)

PAGE_SIZE = 20
MAX_ID = 100


@dataclass(frozen=True, slots=True)
class PointHistory:
    """Accounts, and a page of the first one's changes."""

    accounts: Page[PointAccount]
    changes: Page[PointTransaction] | None


@dataclass(frozen=True, slots=True)
class ContactQueries:
    """Questions of one contact. page: of purchases or of changes of points, 1 is the newest."""

    contact_id: str
    page: int

    def contact(self, client: EngageClient) -> Contact:
        """Ask for the contact itself."""
        return client.get_contact(self.contact_id)

    def history(self, client: EngageClient) -> Page[Transaction]:
        """Ask for the page of purchases that the address names."""
        return self.history_page(self.page)(client)

    def history_page(self, number: int) -> Callable[[EngageClient], Page[Transaction]]:
        """Read a page counted from the newest purchase, whichever way round Engage lists them (facts 3)."""

        def ask(client: EngageClient) -> Page[Transaction]:
            offset = (number - 1) * PAGE_SIZE
            first = client.list_transactions(self.contact_id, offset=offset, count=PAGE_SIZE)
            total, telling = first.total_count, first
            if total is None or total <= PAGE_SIZE:
                return first
            if len(first.items) < 2:  # one purchase does not tell the order; the first page does
                telling = client.list_transactions(self.contact_id, offset=0, count=PAGE_SIZE)
            if not purchases.is_ascending(telling):
                return first
            end = max(total - offset, 0)
            begin = max(end - PAGE_SIZE, 0)
            if begin == offset and end - begin == PAGE_SIZE:
                return first
            turned = client.list_transactions(self.contact_id, offset=begin, count=max(end - begin, 1))
            return Page(turned.items[: end - begin], total, offset)

        return ask

    def assignments(self, client: EngageClient) -> Page[PromotionAssignment]:
        """Ask for promotions."""
        return client.list_promotion_assignments(self.contact_id)

    def accounts(self, client: EngageClient) -> PointHistory:
        """Ask for balances alone."""
        return PointHistory(client.list_point_accounts(self.contact_id), None)

    def point_history(self, client: EngageClient) -> PointHistory:
        """Ask for balances, then for the changes of the first account: its id is not known before."""
        accounts = client.list_point_accounts(self.contact_id)
        account_id = accounts.items[0].id if accounts.items else ""
        if not account_id or text(account_id, MAX_ID) != account_id:
            return PointHistory(accounts, None)
        offset = (self.page - 1) * PAGE_SIZE
        return PointHistory(accounts, client.list_point_transactions(account_id, offset=offset, count=PAGE_SIZE))

    def available(self, client: EngageClient) -> Page[RewardVoucher]:
        """Ask for vouchers that can be used."""
        return client.list_available_reward_vouchers(self.contact_id)

    def every_voucher(self, client: EngageClient) -> Page[RewardVoucher]:
        """Ask for all vouchers."""
        return client.list_reward_vouchers(self.contact_id)
