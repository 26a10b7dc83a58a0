"""Consent: the shopper said yes or no."""

from plugin.errors import DependencyNotReady, EventIgnored
from plugin.events import ConsentChanged
from webhooks.attempt.context import Context
from webhooks.consents.ledger import send_consents, store_pending_opt_outs
from webhooks.contacts.identify import ensure_contact, known_link
from webhooks.handlers.signup import UNVERIFIED


def handle(context: Context, event: ConsentChanged) -> None:
    """Send the answer. It may come before its customer: then it waits for the signup, and at last makes the contact."""
    customer = event.customer
    if customer.customer_id is not None and known_link(context, customer) is None:
        waited = (context.now() - context.claimed.received_at).total_seconds()
        if waited < context.shop.settings.order_wait_s / 2:
            raise DependencyNotReady("The customer of this consent is not known yet; its signup may be under way.")
        if not any(change.value for change in event.consents):
            store_pending_opt_outs(context, customer.customer_id, event.consents, event.occurred_at)
            raise EventIgnored("a no of somebody who has no contact; it is kept for the one that may come")
    found = ensure_contact(context, customer, context.shop.settings.contact_type)
    if not found.verified:
        raise EventIgnored(UNVERIFIED)
    if not send_consents(context, found.contact_id, event.consents, event.occurred_at):
        context.note("unchanged", "A newer answer, or the same one, is known already.")
