"""The queries that My Pages sends to Engage for one contact. All of them run through the cache."""

from collections.abc import Callable
from dataclasses import dataclass

from mypages.data.sanitise import safe_text
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
    """Point accounts, and a page of the changes of the first account."""

    accounts: Page[PointAccount]
    changes: Page[PointTransaction] | None


@dataclass(frozen=True, slots=True)
class ContactQueries:
    """Queries about one contact. page: of purchases or of point changes; 1 is the newest."""

    contact_id: str
    page: int

    def contact(self, client: EngageClient) -> Contact:
        """Fetch the contact itself."""
        return client.get_contact(self.contact_id)

    def history(self, client: EngageClient) -> Page[Transaction]:
        """Fetch the page of purchases that the address names."""
        return self.history_page(self.page)(client)

    def history_page(self, number: int) -> Callable[[EngageClient], Page[Transaction]]:
        """Return a query for a page counted from the newest purchase, whichever order Engage lists them in."""

        def query(client: EngageClient) -> Page[Transaction]:
            offset = (number - 1) * PAGE_SIZE
            page = client.list_transactions(self.contact_id, offset=offset, count=PAGE_SIZE)
            total, sample = page.total_count, page
            if total is None or total <= PAGE_SIZE:
                return page
            if len(page.items) < 2:  # a single purchase does not show the order; the first page does
                sample = client.list_transactions(self.contact_id, offset=0, count=PAGE_SIZE)
            if not is_ascending(sample):
                return page
            end = max(total - offset, 0)
            begin = max(end - PAGE_SIZE, 0)
            if begin == offset and end - begin == PAGE_SIZE:
                return page
            mirrored = client.list_transactions(self.contact_id, offset=begin, count=max(end - begin, 1))
            return Page(mirrored.items[: end - begin], total, offset)

        return query

    def assignments(self, client: EngageClient) -> Page[PromotionAssignment]:
        """Fetch promotion assignments."""
        return client.list_promotion_assignments(self.contact_id)

    def accounts(self, client: EngageClient) -> PointHistory:
        """Fetch point balances without changes."""
        return PointHistory(client.list_point_accounts(self.contact_id), None)

    def point_history(self, client: EngageClient) -> PointHistory:
        """Fetch balances, then the changes of the first account, whose id is in the first answer."""
        accounts = client.list_point_accounts(self.contact_id)
        account_id = accounts.items[0].id if accounts.items else ""
        if not account_id or safe_text(account_id, MAX_ID) != account_id:
            return PointHistory(accounts, None)
        offset = (self.page - 1) * PAGE_SIZE
        return PointHistory(accounts, client.list_point_transactions(account_id, offset=offset, count=PAGE_SIZE))

    def available_vouchers(self, client: EngageClient) -> Page[RewardVoucher]:
        """Fetch reward vouchers that can be used."""
        return client.list_available_reward_vouchers(self.contact_id)

    def all_vouchers(self, client: EngageClient) -> Page[RewardVoucher]:
        """Fetch all reward vouchers."""
        return client.list_reward_vouchers(self.contact_id)


def is_ascending(page: Page[Transaction]) -> bool:
    """Return whether Engage lists the oldest purchase first, which it does not document.

    See docs/engage.md#purchase-history.
    """
    dates = [transaction.created_date for transaction in page.items if transaction.created_date]
    return len(dates) > 1 and dates[0] < dates[-1]
