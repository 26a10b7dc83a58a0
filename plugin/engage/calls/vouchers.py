"""Reward vouchers and points."""

from plugin.engage.calls.base import PAGE_SIZE, Calls
from plugin.engage.data import models, schemas


class VoucherCalls(Calls):
    """Operations on reward vouchers, point accounts and point transactions."""

    def list_available_reward_vouchers(self, contact_id: str) -> models.Page[models.RewardVoucher]:
        """Return the vouchers that a contact can use."""
        return self._all("list_available_reward_vouchers", {"contactId": contact_id}, schemas.RewardVoucherSchema)

    def list_reward_vouchers(self, contact_id: str) -> models.Page[models.RewardVoucher]:
        """Return all vouchers of a contact, used and expired ones too."""
        return self._all("list_reward_vouchers", {"contactId": contact_id}, schemas.RewardVoucherSchema)

    def redeem_reward_voucher(self, reward_voucher_id: str) -> None:
        """Redeem a voucher. Raises EngageNotFoundError, EngageConflictError (RewardVoucherAlreadyRedeemed, ...Expired)."""
        self._call("redeem_reward_voucher", path={"reward_voucher_id": reward_voucher_id})

    def reactivate_reward_voucher(self, reward_voucher_id: str) -> None:
        """Reactivate a redeemed voucher, which Engage allows three times. Raises EngageConflictError."""
        self._call("reactivate_reward_voucher", path={"reward_voucher_id": reward_voucher_id})

    def list_point_accounts(self, contact_id: str) -> models.Page[models.PointAccount]:
        """Return the point accounts of a contact."""
        return self._all("list_point_accounts", {"contactId": contact_id}, schemas.PointAccountSchema)

    def list_point_transactions(
        self, account_id: str, *, offset: int = 0, count: int = PAGE_SIZE
    ) -> models.Page[models.PointTransaction]:
        """Return one page of a point account's changes."""
        query = {"accountId": account_id, "offset": offset, "count": count}
        return self._page("list_point_transactions", query, schemas.PointTransactionSchema, offset)
