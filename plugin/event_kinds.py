"""The kinds of events: which handler an event goes to, and which rules of order and blocking hold for it."""

from enum import StrEnum


class EventKind(StrEnum):
    """The kind that a topic is mapped to; each has its handler."""

    SIGNUP = "signup"
    PROFILE_CHANGE = "profile_change"
    PROFILE_EDIT = "profile_edit"
    CONSENT = "consent"
    MERGE = "merge"
    ORDER_PAID = "order_paid"
    REFUND = "refund"
    CANCELLATION = "cancellation"
    ERASURE = "erasure"
    DATA_REQUEST = "data_request"
    SHOP = "shop"
    IGNORED = "ignored"


#: Kinds that change a contact: a parked event of the same customer holds these back, by setting.
CONTACT_KINDS = frozenset(
    {EventKind.SIGNUP, EventKind.PROFILE_CHANGE, EventKind.PROFILE_EDIT, EventKind.CONSENT, EventKind.MERGE}
)

#: Kinds that describe the contact, so that later changes must not overtake them while they are parked.
#: A shopper's own edit is not among them: later changes of the shop do not build on it.
BLOCKING_KINDS = (CONTACT_KINDS - {EventKind.PROFILE_EDIT}) | {EventKind.ORDER_PAID}

#: Kinds that are processed even when a shop's deliveries are stopped: the law does not wait for a valid API key.
COMPLIANCE_KINDS = frozenset({EventKind.ERASURE, EventKind.DATA_REQUEST, EventKind.SHOP})
