"""Receipts and the purchase history that results (docs/engage.md#receipts).

A receipt is accepted at once and imported later; a fault of its contact appears in the integration log only.
"""

from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from plugin.sandbox.contacts import book
from plugin.sandbox.contacts.rules import folded
from plugin.sandbox.purchases.receipt_rules import MATCH_KEY_TYPES, check_receipt
from plugin.sandbox.state import SandboxState, StoredReceipt
from plugin.sandbox.wire import Answer, ApiError, Call, Operation, parse_json


def create_receipt(call: Call) -> Answer:
    """Accept a receipt for import. One whose uniqueReceiptId exists changes nothing."""
    state, body = call.state, call.body()
    created = check_receipt(body, check_sums=state.options.check_receipt_sums)
    earlier = state.data.receipts.get(body["uniqueReceiptId"])
    if earlier is not None:
        earlier.times_received += 1
        if earlier.body != call.raw_body and parse_json(earlier.body) != body:
            text = "uniqueReceiptId is known: a receipt with other contents was ignored"
            state.note(call.now, "receipt", earlier.unique_receipt_id, "ignored", text)
        return Answer(202)
    receipt = StoredReceipt(body["uniqueReceiptId"], call.raw_body, call.now, created)
    state.data.receipts[receipt.unique_receipt_id] = receipt
    state.do_after(
        call.now, state.options.import_delay_s, partial(import_receipt, state, receipt, body["storeExternalId"])
    )
    return Answer(202)


def import_receipt(state: SandboxState, receipt: StoredReceipt, store_external_id: str, now: datetime) -> None:
    body = parse_json(receipt.body)
    contact_ids = matched(state, body["contact"])
    if len(contact_ids) != 1:
        receipt.state = "failed"
        receipt.reason = "MultipleMatches" if contact_ids else "ContactNotFound"
        state.note(now, "receipt", receipt.unique_receipt_id, "failed", receipt.reason)
        return
    state.ensure_store(store_external_id, now)
    receipt.state = "imported"
    receipt.contact_id = contact_ids.pop()
    state.data.transactions[receipt.contact_id].append(receipt)
    for used in body.get("usedPromotions", []):
        _note_promotion(state, receipt, used["couponId"], now)


def matched(state: SandboxState, contact: dict[str, Any]) -> set[str]:
    kind = MATCH_KEY_TYPES[contact["matchKeyType"].lower()]
    if kind == "contactId":
        return {contact["matchKey"].lower()} & state.data.contacts.keys()
    contact_type = contact.get("contactType") or state.options.default_contact_type
    return book.matches(state, kind, folded(kind, contact["matchKey"]), contact_type)


def _note_promotion(state: SandboxState, receipt: StoredReceipt, coupon_id: str, now: datetime) -> None:
    """Log a named promotion that does not fit: naming it on a receipt redeems nothing."""
    assignment = state.data.assignments.get(coupon_id.lower())
    if assignment is None or assignment.contact_id != receipt.contact_id:
        why = "usedPromotions names an assignment that this contact has not"
    elif assignment.redeemed_on is None:
        why = "usedPromotions names an assignment that is not redeemed"
    else:
        return
    state.note(now, "receipt", receipt.unique_receipt_id, "ignored", why)


def get_transactions(call: Call) -> Answer:
    """Return the purchase history by contactId in the query, where the tenant has this path."""
    if not call.state.options.transactions_by_query:
        raise ApiError(404, "NotFound", "This tenant has no such path.")
    return _history(call)


def get_contact_transactions(call: Call) -> Answer:
    """Return the purchase history by contactId in the path, where the tenant has this path."""
    if not call.state.options.transactions_by_path:
        raise ApiError(404, "NotFound", "This tenant has no such path.")
    return _history(call)


def _history(call: Call) -> Answer:
    state = call.state
    contact = book.get(state, call.guid("contactId", "InvalidContactId"))
    receipts = sorted(
        state.data.transactions.get(contact.id, []), key=lambda receipt: receipt.created_date, reverse=True
    )
    page = call.page(receipts)
    page["items"] = [_transaction(state, receipt) for receipt in page["items"]]
    return Answer(data=page["items"] if state.options.transactions_answer == "array" else page)


def _transaction(state: SandboxState, receipt: StoredReceipt) -> dict[str, Any]:
    """Return a receipt as a line of the history; net means without tax."""
    body = parse_json(receipt.body)
    net = sum((_net(item) for item in body["items"]), Decimal())
    store = state.data.stores.get(body["storeExternalId"], {})
    return {
        "id": receipt.transaction_id,
        "transactionNumber": body["receiptNumber"],
        "externalId": receipt.unique_receipt_id,
        "createdDate": receipt.created_date.astimezone(UTC),
        "storeName": store.get("name"),
        "storeType": store.get("type"),
        "numberOfItems": sum(item["quantity"] for item in body["items"]),
        "netPriceSum": net * body.get("exchangeRateToGroupCurrency", 1),
        "localNetPriceSum": net,
        "localCurrency": body["currency"],
        "groupCurrency": state.options.group_currency,
        "lineItems": body["items"],
    }


def _net(item: dict[str, Any]) -> Decimal:
    net = Decimal(item["grossPaidPrice"]) - Decimal(item["taxAmount"])
    return -net if item["type"] == "RETURN" else net


OPERATIONS = (
    Operation("createReceipt", "POST", "/api/v3/receipts", create_receipt),
    Operation("getTransactions", "GET", "/api/v3/contacts/transactions", get_transactions),
    Operation("getContactTransactions", "GET", "/api/v3/contacts/{contactId}/transactions", get_contact_transactions),
)
