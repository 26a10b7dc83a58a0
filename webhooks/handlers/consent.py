"""Consent: the shopper opted in or out."""

from plugin.events import ConsentChanged
from webhooks.attempt.context import Context
from webhooks.attempt.outcomes import DELIVERED, Ignored, Outcome, Waiting
from webhooks.attempt.progress import ContactMatch
from webhooks.consents.ledger import send_consents, store_pending_opt_outs
from webhooks.contacts.identify import UNVERIFIED, ensure_contact, known_link


def handle(context: Context, event: ConsentChanged) -> Outcome:
    """Send the answer. It may come before its customer: then it waits for the signup, and in the end creates the contact."""
    customer = event.customer
    if customer.customer_id is not None and known_link(context, customer) is None:
        if context.waited().total_seconds() < context.shop.settings.order_wait_s / 2:
            return Waiting("The customer of this consent is not known yet; its signup may be under way.")
        if not any(change.value for change in event.consents):
            store_pending_opt_outs(context, customer.customer_id, event.consents, event.occurred_at)
            return Ignored("an opt-out of a customer without a contact; it is stored for the contact that may come")
    match = ensure_contact(context, customer, context.shop.settings.contact_type)
    if not isinstance(match, ContactMatch):
        return match
    if not match.verified:
        return Ignored(UNVERIFIED)
    if not send_consents(context, match.contact_id, event.consents, event.occurred_at):
        context.note("unchanged", "A newer answer, or the same one, is known already.")
    return DELIVERED
