"""Reward vouchers, points and the point shop."""

from typing import Any

import pytest
from sandbox.conftest import MakeEngage
from support.sandbox_client import UNKNOWN_ID, Engage, code


def change(engage: Engage, voucher_id: str, what: str) -> Any:
    return engage.post(f"reward-vouchers/{voucher_id}/{what}")


def test_vouchers_are_listed_by_kind(engage: Engage) -> None:
    contact_id = engage.contact()
    usable = engage.voucher(contact_id, voucherNumber="V-1", points=500)
    used = engage.voucher(contact_id, redeemed=True)
    expired = engage.voucher(contact_id, expiresOn="2026-03-01T00:00:00+01:00")
    paths = {"reward-vouchers": {usable, used, expired}, "reward-vouchers/available": {usable}}
    for path, expected in {**paths, "reward-vouchers/redeemed": {used}}.items():
        page = engage.get(path, contactId=contact_id).json()
        assert {item["id"] for item in page["items"]} == expected
        assert page["totalCount"] == len(expected)


def test_voucher_has_its_value_in_each_currency(engage: Engage) -> None:
    contact_id = engage.contact()
    local = [{"currency": "SEK", "amount": 50}, {"currency": "EUR", "amount": 4.5}]
    engage.voucher(contact_id, voucherNumber="V-1", points=500, localValues=local)
    item = engage.get("reward-vouchers/available", contactId=contact_id).json()["items"][0]
    assert (item["voucherNumber"], item["value"], item["points"]) == ("V-1", {"currency": "SEK", "amount": 50}, 500)
    assert item["localValues"] == local


def test_voucher_is_redeemed_once(engage: Engage) -> None:
    voucher_id = engage.voucher(engage.contact())
    assert change(engage, voucher_id, "redeem").status_code == 200
    assert code(change(engage, voucher_id, "redeem")) == (409, "RewardVoucherAlreadyRedeemed")
    assert [row["outcome"] for row in engage.view("redemptions")] == ["Redeemed", "RewardVoucherAlreadyRedeemed"]


def test_expired_voucher_is_neither_redeemed_nor_reactivated(engage: Engage) -> None:
    contact_id = engage.contact()
    fresh = engage.voucher(contact_id, expiresOn="2026-03-05T09:30:00+00:00")
    used = engage.voucher(contact_id, expiresOn="2026-03-05T09:30:00+00:00", redeemed=True)
    assert code(change(engage, fresh, "redeem")) == (409, "RewardVoucherExpired")
    assert code(change(engage, used, "reactivate")) == (409, "RewardVoucherExpired")


@pytest.mark.parametrize("what", ["redeem", "reactivate"])
def test_unknown_voucher_has_the_documented_codes(engage: Engage, what: str) -> None:
    assert code(change(engage, "7", what)) == (400, "InvalidRewardVoucherId")
    assert code(change(engage, UNKNOWN_ID, what)) == (404, "RewardVoucherNotFound")


def test_voucher_is_reactivated_at_most_three_times(engage: Engage) -> None:
    voucher_id = engage.voucher(engage.contact())
    assert code(change(engage, voucher_id, "reactivate")) == (409, "RewardVoucherAlreadyActivated")
    for _ in range(3):
        assert change(engage, voucher_id, "redeem").status_code == 200
        assert change(engage, voucher_id, "reactivate").status_code == 200
    change(engage, voucher_id, "redeem")
    assert code(change(engage, voucher_id, "reactivate")) == (409, "RewardVoucherReactivationLimitReached")


# --- points ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def contact_id(engage: Engage) -> str:
    return engage.contact()


@pytest.fixture
def account(engage: Engage, contact_id: str) -> str:
    transactions = [
        {"amount": 120, "validTo": "2027-01-01T00:00:00+01:00"},
        {"amount": 30, "validFrom": "2026-04-01T00:00:00+02:00"},
        {"amount": 20, "transactionType": "Deduction"},
        {"amount": 99, "validTo": "2026-03-01T00:00:00+01:00"},
    ]
    return engage.seed(points=[{"contactId": contact_id, "transactions": transactions}])["points"][0]


def test_account_has_balance_and_pending_points(engage: Engage, contact_id: str, account: str) -> None:
    found = engage.get("point-accounts", contactId=contact_id).json()["items"]
    assert [(item["id"], item["balance"], item["pendingPoints"]) for item in found] == [(account, 100, 30)]
    assert found[0]["balanceExpires"] == "2026-12-31T23:00:00+00:00"
    assert engage.get(f"point-accounts/{account}").json() == found[0]
    assert code(engage.get("point-accounts/none")) == (404, "PointAccountNotFound")


def test_accounts_can_be_a_bare_array(make_engage: MakeEngage) -> None:
    engage = make_engage(point_accounts_answer="array")
    contact_id = engage.contact()
    engage.seed(points=[{"contactId": contact_id}])
    assert [item["balance"] for item in engage.get("point-accounts", contactId=contact_id).json()] == [0]


@pytest.mark.parametrize(("capital", "name"), [(True, "Items"), (False, "items")])
def test_transactions_are_spelled_items_with_a_capital_by_switch(
    make_engage: MakeEngage, capital: bool, name: str
) -> None:
    engage = make_engage(point_items_capital=capital)
    account = engage.seed(points=[{"contactId": engage.contact(), "transactions": [{"amount": 5}]}])["points"][0]
    page = engage.get("point-transactions", accountId=account).json()
    assert ("Items" in page, "items" in page) == (capital, not capital)
    assert [item["amount"] for item in page[name]] == [5]


def test_transactions_are_found_by_account_or_contact_and_filtered(
    engage: Engage, contact_id: str, account: str
) -> None:
    def amounts(**query: Any) -> list[int]:
        return [item["amount"] for item in engage.get("point-transactions", **query).json()["Items"]]

    assert amounts(accountId=account) == [99, -20, 30, 120]
    assert amounts(contactId=contact_id, definitionId=1, filter="Pending") == [30]
    assert amounts(contactId=contact_id, definitionId=1, filter="Active", count=1) == [99]
    assert amounts(contactId=contact_id, definitionId=2) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"accountId": "none"}, "InvalidAccountId"),
        ({}, "InvalidAccountId"),
        ({"contactId": UNKNOWN_ID, "definitionId": "one"}, "InvalidDefinitionId"),
        ({"contactId": "7", "definitionId": "1"}, "InvalidContactId"),
    ],
)
def test_transactions_of_nothing_are_refused(engage: Engage, query: dict[str, str], expected: str) -> None:
    assert code(engage.get("point-transactions", **query)) == (400, expected)


def test_points_are_added_and_deducted_once_for_each_transaction_id(engage: Engage, account: str) -> None:
    added = {"accountId": account, "amount": 50, "transactionId": UNKNOWN_ID}
    for _ in range(2):
        assert engage.post("point-transactions", added).status_code == 200
    taken = {"accountId": account, "amount": 10, "transactionType": "Deduction"}
    assert engage.post("point-transactions", taken).json()["amount"] == -10
    assert engage.get(f"point-accounts/{account}").json()["balance"] == 140


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"accountId": "none"}, "InvalidAccountId"),
        ({"amount": "10"}, "InvalidAmount"),
        ({"transactionType": "Expiry"}, "InvalidTransactionType"),
        ({"transactionId": "7"}, "InvalidTransactionId"),
        ({"validTo": "tomorrow"}, "InvalidValidTo"),
        ({"source": 7}, "InvalidSource"),
    ],
)
def test_points_that_do_not_fit_are_refused(
    engage: Engage, account: str, change: dict[str, Any], expected: str
) -> None:
    assert code(engage.post("point-transactions", {"accountId": account, "amount": 1, **change})) == (400, expected)


def test_point_shop_lists_its_items(engage: Engage, contact_id: str) -> None:
    item = {"id": UNKNOWN_ID, "name": "Cap", "cost": 100, "pointDefinitionId": 1}
    engage.seed(pointShopItems=[item])
    assert engage.get("point-shop-items", contactId=contact_id).json() == [item]
    assert code(engage.get("point-shop-items", contactId="")) == (400, "InvalidContactId")
