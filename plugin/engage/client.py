"""The Engage client: one method an operation, in Engage's words. Bound to one shop's account.

Every method raises TransientError (ThrottledError when nothing was sent), UnauthorisedError, PermanentError,
EngageNotFoundError, EngageConflictError or ContractError; the docstrings name those that mean something special.
"""

from plugin.engage.calls.contacts import ContactCalls
from plugin.engage.calls.promotions import PromotionCalls
from plugin.engage.calls.tenant import TenantCalls
from plugin.engage.calls.transactions import TransactionCalls
from plugin.engage.calls.vouchers import VoucherCalls


class EngageClient(ContactCalls, TransactionCalls, PromotionCalls, VoucherCalls, TenantCalls):
    """Calls Engage for one shop.

    Copies made by `with_options` share everything else. transactions_path: which of the two candidate operations a
    tenant answers (facts 3); found out once and remembered by the caller through on_transactions_path.
    """
