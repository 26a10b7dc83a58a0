"""Point accounts, their transactions and the point shop (docs/engage.md#points)."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from plugin.sandbox.state import SandboxState, StoredPointAccount
from plugin.sandbox.wire import Answer, ApiError, Call, Operation, guid, is_number, parse_time

_ACCOUNTS = "/api/v3/point-accounts"
_TRANSACTIONS = "/api/v3/point-transactions"


def list_point_accounts(call: Call) -> Answer:
    """List a contact's accounts; an unknown contact has none."""
    contact_id = call.guid("contactId", "InvalidContactId")
    accounts = [account for account in call.state.data.point_accounts.values() if account.contact_id == contact_id]
    rows = [wire(account, call.now) for account in accounts]
    if call.state.options.point_accounts_answer == "array":
        return Answer(data=rows)
    return Answer(data={**call.page(rows), "links": []})


def get_point_account(call: Call) -> Answer:
    """Get an account by its id."""
    account = call.state.data.point_accounts.get(call.path["id"])
    if account is None:
        raise ApiError(404, "PointAccountNotFound", "No point account has this id.")
    return Answer(data=wire(account, call.now))


def list_point_transactions(call: Call) -> Answer:
    """List an account's transactions, newest first: all, active or pending ones."""
    account = _account_of(call)
    kind = call.query.get("filter", "All")
    if kind not in {"All", "Active", "Pending"}:
        raise ApiError(400, "InvalidFilter", "filter must be All, Active or Pending.", "filter")
    transactions = [
        transaction
        for transaction in reversed(account.transactions if account else [])
        if kind == "All" or _is_pending(transaction, call.now) == (kind == "Pending")
    ]
    page = call.page(transactions)
    items = page.pop("items")
    name = "Items" if call.state.options.point_items_capital else "items"
    return Answer(data={name: items, **page, "links": []})


def _account_of(call: Call) -> StoredPointAccount | None:
    accounts = call.state.data.point_accounts
    if call.query.get("accountId"):
        account = accounts.get(call.query["accountId"])
        if account is None:
            raise ApiError(400, "InvalidAccountId", "No point account has this id.", "accountId")
        return account
    if "contactId" not in call.query or not call.query.get("definitionId", "").isascii():
        raise ApiError(400, "InvalidAccountId", "Give accountId, or contactId with definitionId.", "accountId")
    contact_id, definition_id = call.guid("contactId", "InvalidContactId"), call.query.get("definitionId", "")
    if not definition_id.isdigit() or len(definition_id) > 9:
        raise ApiError(400, "InvalidDefinitionId", "definitionId must be a whole number.", "definitionId")
    wanted = (contact_id, int(definition_id))
    return next((a for a in accounts.values() if (a.contact_id, a.definition_id) == wanted), None)


def add_point_transaction(call: Call) -> Answer:
    """Add points to an account or deduct them; a transactionId that exists changes nothing."""
    body = call.body()
    account = call.state.data.point_accounts.get(str(body.get("accountId")))
    if account is None or isinstance(body["accountId"], bool):
        raise ApiError(400, "InvalidAccountId", "No point account has this id.", "accountId")
    kind = body.get("transactionType", "Addition")
    if kind not in ("Addition", "Deduction"):
        raise ApiError(400, "InvalidTransactionType", "It must be Addition or Deduction.", "transactionType")
    if not is_number(body.get("amount")):
        raise ApiError(400, "InvalidAmount", "amount must be a number.", "amount")
    for name in ("transactionDate", "validFrom", "validTo"):
        if body.get(name) is not None and parse_time(body[name]) is None:
            raise ApiError(
                400, f"Invalid{name[:1].upper()}{name[1:]}", f"{name} must be ISO 8601 with an offset.", name
            )
    for name in ("description", "source"):
        if not isinstance(body.get(name), (str, type(None))):
            raise ApiError(400, f"Invalid{name.capitalize()}", f"{name} must be a text.", name)
    known_id = guid(body["transactionId"], "transactionId") if body.get("transactionId") is not None else None
    if known_id is not None and any(t["transactionId"] == known_id for t in account.transactions):
        return Answer(data={"transactionId": known_id})
    added = add_transaction(call.state, account, {**body, "transactionId": known_id, "transactionType": kind}, call.now)
    return Answer(data=added)


def add_transaction(
    state: SandboxState, account: StoredPointAccount, fields: dict[str, Any], now: datetime
) -> dict[str, Any]:
    """Store a transaction; a Deduction's amount is stored as negative. fields: as written, checked by the caller."""
    kind = fields.get("transactionType", "Addition")
    amount = Decimal(fields["amount"])
    transaction = {
        "id": next(state.data.point_ids),
        "transactionId": fields.get("transactionId"),
        "accountId": account.id,
        "description": fields.get("description"),
        "source": fields.get("source") or "API",
        "amount": -abs(amount) if kind == "Deduction" else amount,
        "type": kind,
        "transactionDate": fields.get("transactionDate") or now,
        "createdOn": now,
        "modifiedOn": None,
        "validFrom": fields.get("validFrom"),
        "validTo": fields.get("validTo"),
        "retailTransactionLineItemId": None,
    }
    account.transactions.append(transaction)
    return transaction


def _is_pending(transaction: dict[str, Any], now: datetime) -> bool:
    start = parse_time(transaction["validFrom"])
    return start is not None and start > now


def _is_over(transaction: dict[str, Any], now: datetime) -> bool:
    end = parse_time(transaction["validTo"])
    return end is not None and end <= now


def wire(account: StoredPointAccount, now: datetime) -> dict[str, Any]:
    """Return an account as Engage answers it: the balance of active points and that of pending ones."""
    live = [transaction for transaction in account.transactions if not _is_over(transaction, now)]
    pending = sum((t["amount"] for t in live if _is_pending(t, now)), Decimal())
    ends = [end for t in live if t["amount"] > 0 and (end := parse_time(t["validTo"]))]
    return {
        "id": account.id,
        "contactId": account.contact_id,
        "definitionId": account.definition_id,
        "balance": sum((t["amount"] for t in live), Decimal()) - pending,
        "pendingPoints": pending,
        "balanceExpires": min(ends) if ends else None,
        "links": [{"href": f"{_TRANSACTIONS}?accountId={account.id}", "method": "GET", "rel": "transactions"}],
    }


def list_point_shop_items(call: Call) -> Answer:
    """List the items that a contact can buy."""
    call.guid("contactId", "InvalidContactId")
    return Answer(data=call.state.data.point_shop_items)


OPERATIONS = (
    Operation("listPointAccounts", "GET", _ACCOUNTS, list_point_accounts),
    Operation("getPointAccount", "GET", f"{_ACCOUNTS}/{{id}}", get_point_account),
    Operation("listPointTransactions", "GET", _TRANSACTIONS, list_point_transactions),
    Operation("addPointTransaction", "POST", _TRANSACTIONS, add_point_transaction),
    Operation("listPointShopItems", "GET", "/api/v3/point-shop-items", list_point_shop_items),
)
