"""The Engage client of one shop: a method for each operation, named in Engage's terms.

Every method raises TransientError (ThrottledError when nothing was sent), UnauthorisedError, PermanentError,
EngageNotFoundError, EngageConflictError or ContractError; the docstrings name those with a special meaning.
"""

from plugin.engage.calls.contacts import ContactCalls
from plugin.engage.calls.promotions import PromotionCalls
from plugin.engage.calls.tenant import TenantCalls
from plugin.engage.calls.transactions import TransactionCalls
from plugin.engage.calls.vouchers import VoucherCalls


class EngageClient(ContactCalls, TransactionCalls, PromotionCalls, VoucherCalls, TenantCalls):
    """Calls Engage for one shop.

    Copies made by `with_options` share everything else. transactions_path: which of the two candidate operations the
    tenant answers (docs/engage.md#purchase-history); detected once, and stored by the caller through
    on_transactions_path.
    """
