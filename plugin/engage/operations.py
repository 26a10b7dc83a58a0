"""Every operation of Engage that this plugin calls: path, priority, time-out and what may be repeated.

The paths come from the project's contract (`plugin/engage/contract/engage-v3.yaml`), which marks each operation as
documented or inferred. When a tenant's Swagger shows another path, this table is the one place to change.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType

READ_TIMEOUT_S = 30.0
#: Engage facts 1.2: a shorter time-out can leave a promotion redeemed in Engage without the shop knowing.
REDEEM_TIMEOUT_S = 65.0
CONNECT_TIMEOUT_S = 5.0


class Priority(IntEnum):
    """Who goes first when the rate budget is short; a lower number goes first."""

    SHOPPER = 0
    REDEMPTION = 1
    RECEIPT = 2
    CONTACT = 3
    BACKFILL = 4


class Repeat(StrEnum):
    """What to do when the answer to a call was lost (Engage facts 1.2). `plugin.engage.repeat` holds the checks."""

    SAFE = "repeat it: it reads, or says the same thing twice"
    DEDUPLICATED = "repeat it: Engage ignores a receipt whose uniqueReceiptId it knows"
    FIND_CONTACT = "find the contact id first: it may have been created"
    READ_ASSIGNMENT = "read the assignment first: it may have been redeemed"
    READ_VOUCHER = "read the voucher first: it may have changed"
    READ_ORDER = "get the order first: it may have been stored"
    READ_PROMOTION = "get the promotion by its externalId first: it may have been created"
    NEVER = "do not repeat it: a mail may have gone out, and nothing tells"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. operation_id is its name in the contract; read_timeout_s: seconds."""

    name: str
    operation_id: str
    method: str
    path: str
    priority: Priority
    repeat: Repeat = Repeat.SAFE
    read_timeout_s: float = READ_TIMEOUT_S


_CONTACTS = "/api/v3/contacts"
_ORDERS = "/api/v3/orders"
_ASSIGNMENTS = "/api/v3/promotion-assignments"
_PROMOTIONS = "/api/v3/promotions/multichannels"
_VOUCHERS = "/api/v3/reward-vouchers"

_ALL = (
    Operation("find_contact_id", "findContactId", "GET", f"{_CONTACTS}/id", Priority.CONTACT),
    Operation("create_contact", "createContact", "POST", _CONTACTS, Priority.CONTACT, Repeat.FIND_CONTACT),
    Operation("get_contact", "getContact", "GET", f"{_CONTACTS}/{{contact_id}}", Priority.CONTACT),
    Operation("patch_contact", "updateContact", "PATCH", f"{_CONTACTS}/{{contact_id}}", Priority.CONTACT),
    Operation("delete_contact", "deleteContact", "DELETE", f"{_CONTACTS}/{{contact_id}}", Priority.CONTACT),
    Operation(
        "update_contact_type",
        "updateContactType",
        "POST",
        f"{_CONTACTS}/{{contact_id}}/updateContactType",
        Priority.CONTACT,
    ),
    Operation(
        "bulk_create_contacts",
        "bulkCreateContacts",
        "POST",
        f"{_CONTACTS}/bulk",
        Priority.BACKFILL,
        Repeat.FIND_CONTACT,
    ),
    Operation("bulk_patch_contacts", "bulkUpdateContacts", "PATCH", f"{_CONTACTS}/bulk", Priority.BACKFILL),
    Operation("get_bulk_status", "getBulkStatus", "GET", f"{_CONTACTS}/bulk/status", Priority.BACKFILL),
    Operation("list_changed_contacts", "getChangedContacts", "GET", f"{_CONTACTS}/changes", Priority.BACKFILL),
    Operation("list_transactions", "getTransactions", "GET", f"{_CONTACTS}/transactions", Priority.SHOPPER),
    Operation(
        "list_contact_transactions",
        "getContactTransactions",
        "GET",
        f"{_CONTACTS}/{{contact_id}}/transactions",
        Priority.SHOPPER,
    ),
    Operation("create_receipt", "createReceipt", "POST", "/api/v3/receipts", Priority.RECEIPT, Repeat.DEDUPLICATED),
    Operation("list_orders", "listOrders", "GET", _ORDERS, Priority.CONTACT),
    Operation("create_order", "createOrder", "POST", _ORDERS, Priority.RECEIPT, Repeat.READ_ORDER),
    Operation("get_order", "getOrder", "GET", f"{_ORDERS}/{{order_id}}", Priority.RECEIPT),
    Operation("replace_order", "replaceOrder", "PUT", f"{_ORDERS}/{{order_id}}", Priority.RECEIPT),
    Operation("delete_order", "deleteOrder", "DELETE", f"{_ORDERS}/{{order_id}}", Priority.RECEIPT),
    Operation("get_order_job", "getOrderJob", "GET", f"{_ORDERS}/jobs/{{job_id}}", Priority.RECEIPT),
    Operation(
        "trigger_order_action",
        "triggerOrderAction",
        "POST",
        f"{_ORDERS}/{{order_id}}/action",
        Priority.RECEIPT,
        Repeat.NEVER,
    ),
    Operation(
        "change_order_status",
        "changeOrderStatus",
        "POST",
        f"{_ORDERS}/{{order_id}}/change-status",
        Priority.RECEIPT,
    ),
    Operation(
        "change_order_delivery",
        "changeOrderDelivery",
        "POST",
        f"{_ORDERS}/{{order_id}}/change-delivery",
        Priority.RECEIPT,
    ),
    Operation("list_promotion_assignments", "listPromotionAssignments", "GET", _ASSIGNMENTS, Priority.SHOPPER),
    Operation("assign_promotion", "assignPromotion", "POST", _ASSIGNMENTS, Priority.BACKFILL, Repeat.READ_ASSIGNMENT),
    Operation(
        "redeem_promotion",
        "redeemPromotion",
        "POST",
        f"{_ASSIGNMENTS}/{{assignment_id}}/redeem",
        Priority.REDEMPTION,
        Repeat.READ_ASSIGNMENT,
        REDEEM_TIMEOUT_S,
    ),
    Operation(  # inferred: no page documents it; a shop's setting names the path before it is called (facts 6.3)
        "reactivate_promotion",
        "reactivatePromotion",
        "POST",
        f"{_ASSIGNMENTS}/{{assignment_id}}/reactivate",
        Priority.REDEMPTION,
        Repeat.READ_ASSIGNMENT,
        REDEEM_TIMEOUT_S,
    ),
    Operation("create_promotion", "createPromotion", "POST", _PROMOTIONS, Priority.BACKFILL, Repeat.READ_PROMOTION),
    Operation("find_promotion", "getPromotionByExternalId", "GET", _PROMOTIONS, Priority.BACKFILL),
    Operation("get_promotion", "getPromotion", "GET", f"{_PROMOTIONS}/{{id}}", Priority.BACKFILL),
    Operation("update_promotion", "updatePromotion", "PUT", f"{_PROMOTIONS}/{{id}}", Priority.BACKFILL),
    Operation("delete_promotion", "deletePromotion", "DELETE", f"{_PROMOTIONS}/{{id}}", Priority.BACKFILL),
    Operation("list_reward_vouchers", "listRewardVouchers", "GET", _VOUCHERS, Priority.SHOPPER),
    Operation(
        "list_available_reward_vouchers",
        "listAvailableRewardVouchers",
        "GET",
        f"{_VOUCHERS}/available",
        Priority.SHOPPER,
    ),
    Operation(
        "redeem_reward_voucher",
        "redeemRewardVoucher",
        "POST",
        f"{_VOUCHERS}/{{reward_voucher_id}}/redeem",
        Priority.REDEMPTION,
        Repeat.READ_VOUCHER,
        REDEEM_TIMEOUT_S,
    ),
    Operation(
        "reactivate_reward_voucher",
        "reactivateRewardVoucher",
        "POST",
        f"{_VOUCHERS}/{{reward_voucher_id}}/reactivate",
        Priority.REDEMPTION,
        Repeat.READ_VOUCHER,
        REDEEM_TIMEOUT_S,
    ),
    Operation("list_point_accounts", "listPointAccounts", "GET", "/api/v3/point-accounts", Priority.SHOPPER),
    Operation(
        "list_point_transactions", "listPointTransactions", "GET", "/api/v3/point-transactions", Priority.SHOPPER
    ),
    Operation("list_stores", "listStores", "GET", "/api/v3/stores", Priority.CONTACT),
    Operation("list_consents", "listConsents", "GET", "/api/v3/consents", Priority.CONTACT),
)

OPERATIONS: Mapping[str, Operation] = MappingProxyType({operation.name: operation for operation in _ALL})
