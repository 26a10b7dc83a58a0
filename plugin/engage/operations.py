"""Every operation of Engage that this plugin calls: method, path, priority and time-out.

The paths come from the project's contract (`plugin/engage/contract/engage-v3.yaml`), which marks each operation as
documented or inferred. When a tenant's Swagger shows another path, this table is the only place to change. What may be
repeated when the answer to a call was lost is decided where it is called; docs/engage.md#retries-and-time-outs has the rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

READ_TIMEOUT_S = 30.0
#: With a shorter time-out a promotion may be redeemed in Engage without the shop knowing
#: (docs/engage.md#retries-and-time-outs).
REDEEM_TIMEOUT_S = 65.0
CONNECT_TIMEOUT_S = 5.0


class Priority(IntEnum):
    """Which calls go first when the rate budget is short: those of a lower number."""

    SHOPPER = 0
    REDEMPTION = 1
    RECEIPT = 2
    CONTACT = 3
    BACKFILL = 4


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. operation_id: its name in the contract; path: may hold {names}; read_timeout_s: seconds."""

    name: str
    operation_id: str
    method: str
    path: str
    priority: Priority
    read_timeout_s: float = READ_TIMEOUT_S


_CONTACTS = "/api/v3/contacts"
_ASSIGNMENTS = "/api/v3/promotion-assignments"
_PROMOTIONS = "/api/v3/promotions/multichannels"
_VOUCHERS = "/api/v3/reward-vouchers"

_ALL = (
    Operation("find_contact_id", "findContactId", "GET", f"{_CONTACTS}/id", Priority.CONTACT),
    Operation("create_contact", "createContact", "POST", _CONTACTS, Priority.CONTACT),
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
    ),
    Operation("bulk_patch_contacts", "bulkUpdateContacts", "PATCH", f"{_CONTACTS}/bulk", Priority.BACKFILL),
    Operation("get_bulk_status", "getBulkStatus", "GET", f"{_CONTACTS}/bulk/status", Priority.BACKFILL),
    Operation("list_transactions", "getTransactions", "GET", f"{_CONTACTS}/transactions", Priority.SHOPPER),
    Operation(
        "list_contact_transactions",
        "getContactTransactions",
        "GET",
        f"{_CONTACTS}/{{contact_id}}/transactions",
        Priority.SHOPPER,
    ),
    Operation("create_receipt", "createReceipt", "POST", "/api/v3/receipts", Priority.RECEIPT),
    Operation("list_promotion_assignments", "listPromotionAssignments", "GET", _ASSIGNMENTS, Priority.SHOPPER),
    Operation("assign_promotion", "assignPromotion", "POST", _ASSIGNMENTS, Priority.BACKFILL),
    Operation(
        "redeem_promotion",
        "redeemPromotion",
        "POST",
        f"{_ASSIGNMENTS}/{{assignment_id}}/redeem",
        Priority.REDEMPTION,
        read_timeout_s=REDEEM_TIMEOUT_S,
    ),
    Operation(  # not documented: called only where a shop's setting names the path
        "reactivate_promotion",
        "reactivatePromotion",
        "POST",
        f"{_ASSIGNMENTS}/{{assignment_id}}/reactivate",
        Priority.REDEMPTION,
        read_timeout_s=REDEEM_TIMEOUT_S,
    ),
    Operation("create_promotion", "createPromotion", "POST", _PROMOTIONS, Priority.BACKFILL),
    Operation("find_promotion", "getPromotionByExternalId", "GET", _PROMOTIONS, Priority.BACKFILL),
    Operation("get_promotion", "getPromotion", "GET", f"{_PROMOTIONS}/{{id}}", Priority.BACKFILL),
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
        read_timeout_s=REDEEM_TIMEOUT_S,
    ),
    Operation(
        "reactivate_reward_voucher",
        "reactivateRewardVoucher",
        "POST",
        f"{_VOUCHERS}/{{reward_voucher_id}}/reactivate",
        Priority.REDEMPTION,
        read_timeout_s=REDEEM_TIMEOUT_S,
    ),
    Operation("list_point_accounts", "listPointAccounts", "GET", "/api/v3/point-accounts", Priority.SHOPPER),
    Operation(
        "list_point_transactions", "listPointTransactions", "GET", "/api/v3/point-transactions", Priority.SHOPPER
    ),
    Operation("list_stores", "listStores", "GET", "/api/v3/stores", Priority.CONTACT),
    Operation("list_consents", "listConsents", "GET", "/api/v3/consents", Priority.CONTACT),
)

OPERATIONS: Mapping[str, Operation] = MappingProxyType({operation.name: operation for operation in _ALL})
