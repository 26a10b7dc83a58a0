"""Reward vouchers: redeemed as a whole and once, reactivated at most three times (docs/engage.md#reward-vouchers)."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from plugin.sandbox.contacts import book
from plugin.sandbox.state import StoredVoucher
from plugin.sandbox.wire import Answer, ApiError, Call, Handler, Operation

_PATH = "/api/v3/reward-vouchers"


def _is_any(_voucher: StoredVoucher, _now: datetime) -> bool:
    return True


def _is_available(voucher: StoredVoucher, now: datetime) -> bool:
    return voucher.redeemed_on is None and not _is_expired(voucher, now)


def _is_redeemed(voucher: StoredVoucher, _now: datetime) -> bool:
    return voucher.redeemed_on is not None


def _is_expired(voucher: StoredVoucher, now: datetime) -> bool:
    return voucher.expires_on is not None and voucher.expires_on <= now


def list_vouchers(wanted: Callable[[StoredVoucher, datetime], bool]) -> Handler:
    """Return the operation that lists a contact's vouchers of one kind, a page at a time."""

    def operation(call: Call) -> Answer:
        contact = book.get(call.state, call.guid("contactId", "InvalidContactId"))
        vouchers = call.state.data.vouchers.values()
        rows = [wire(v) for v in vouchers if v.contact_id == contact.id and wanted(v, call.now)]
        return Answer(data=call.page(rows))

    return operation


def redeem_reward_voucher(call: Call) -> Answer:
    """Redeem a voucher as a whole."""
    return _change(call, "Redeemed", _redeem)


def reactivate_reward_voucher(call: Call) -> Answer:
    """Reactivate a redeemed voucher."""
    return _change(call, "Reactivated", _reactivate)


def _change(call: Call, outcome: str, change: Callable[[Call, StoredVoucher], None]) -> Answer:
    voucher_id = call.guid("rewardVoucherId", "InvalidRewardVoucherId")
    voucher = call.state.data.vouchers.get(voucher_id)
    if voucher is None:
        _record(call, voucher_id, None, "RewardVoucherNotFound")
        raise ApiError(404, "RewardVoucherNotFound", "No reward voucher has this id.")
    try:
        change(call, voucher)
    except ApiError as refusal:
        _record(call, voucher_id, voucher.contact_id, refusal.code)
        raise
    _record(call, voucher_id, voucher.contact_id, outcome)
    return Answer()


def _record(call: Call, voucher_id: str, contact_id: str | None, outcome: str) -> None:
    call.state.data.redemptions.append(
        {
            "time": call.now,
            "kind": "voucher",
            "id": voucher_id,
            "contactId": contact_id,
            "channel": None,
            "outcome": outcome,
        }
    )


def _redeem(call: Call, voucher: StoredVoucher) -> None:
    if voucher.redeemed_on is not None:
        raise ApiError(409, "RewardVoucherAlreadyRedeemed", "The reward voucher is redeemed.")
    if _is_expired(voucher, call.now):
        raise ApiError(409, "RewardVoucherExpired", "The reward voucher has expired.")
    voucher.redeemed_on = call.now


def _reactivate(call: Call, voucher: StoredVoucher) -> None:
    limit = call.state.options.max_voucher_reactivations
    if voucher.redeemed_on is None:
        raise ApiError(409, "RewardVoucherAlreadyActivated", "The reward voucher is not redeemed.")
    if _is_expired(voucher, call.now):
        raise ApiError(409, "RewardVoucherExpired", "The reward voucher has expired.")
    if voucher.reactivations >= limit:
        raise ApiError(409, "RewardVoucherReactivationLimitReached", f"A voucher can be reactivated {limit} times.")
    voucher.reactivations += 1
    voucher.redeemed_on = None


def wire(voucher: StoredVoucher) -> dict[str, Any]:
    """Return a voucher as Engage answers it."""
    return {
        "id": voucher.id,
        "voucherNumber": voucher.voucher_number,
        "name": voucher.name,
        "redeemed": voucher.redeemed_on is not None,
        "redeemedOn": voucher.redeemed_on,
        "expiresOn": voucher.expires_on,
        "value": voucher.value,
        "localValues": voucher.local_values,
        "points": voucher.points,
    }


OPERATIONS = (
    Operation("listRewardVouchers", "GET", _PATH, list_vouchers(_is_any)),
    Operation("listAvailableRewardVouchers", "GET", f"{_PATH}/available", list_vouchers(_is_available)),
    Operation("listRedeemedRewardVouchers", "GET", f"{_PATH}/redeemed", list_vouchers(_is_redeemed)),
    Operation("redeemRewardVoucher", "POST", f"{_PATH}/{{rewardVoucherId}}/redeem", redeem_reward_voucher),
    Operation("reactivateRewardVoucher", "POST", f"{_PATH}/{{rewardVoucherId}}/reactivate", reactivate_reward_voucher),
)
