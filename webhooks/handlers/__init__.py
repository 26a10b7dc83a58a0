"""What each kind of event does in Engage: one module per subject. A handler returns an `Outcome` or raises an error.

Rules that several handlers share are in `contacts`, `consents`, `orders` and `redemption`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from plugin import events
from webhooks.attempt.context import Context
from webhooks.attempt.outcomes import Outcome
from webhooks.handlers import consent, erasure, order_paid, profile_change, profile_edit, refund, signup

HANDLERS: Mapping[type[Any], Callable[[Context, Any], Outcome]] = MappingProxyType(
    {
        events.CustomerCreated: signup.handle,
        events.CustomerUpdated: profile_change.handle,
        events.ProfileEdited: profile_edit.handle,
        events.CustomerMerged: profile_change.handle_merge,
        events.ConsentChanged: consent.handle,
        events.OrderPaid: order_paid.handle,
        events.OrderRefunded: refund.handle,
        events.OrderCancelled: refund.handle_cancellation,
        events.CustomerDeleted: erasure.handle_deleted,
        events.CustomerErased: erasure.handle_erased,
        events.DataRequested: erasure.handle_data_request,
        events.ShopUninstalled: erasure.handle_uninstalled,
    }
)
