"""Profile change: only what is new is sent to the known contact. Merge: one customer takes the place of another."""

from plugin.event_kinds import CONTACT_KINDS, EventKind
from plugin.events import CustomerMerged, CustomerUpdated
from webhooks.attempt.context import Context
from webhooks.attempt.outcomes import DELIVERED, Ignored, Outcome, Waiting
from webhooks.attempt.progress import ContactMatch
from webhooks.consents.ledger import apply_pending_opt_outs, move_pending_opt_outs
from webhooks.consents.plain_fields import record_pending, send_all_consents
from webhooks.contacts.attributes import attributes_of, sync_changed_attributes
from webhooks.contacts.identify import UNVERIFIED, ensure_contact

#: What may create a customer's contact, or store an order under their name.
MAKE_CONTACTS = CONTACT_KINDS | {EventKind.ORDER_PAID}


def handle(context: Context, event: CustomerUpdated) -> Outcome:
    """Patch the changed fields. A customer without a contact gets one, as at signup."""
    match = ensure_contact(context, event.customer, context.shop.settings.contact_type)
    if not isinstance(match, ContactMatch):
        return match
    if not match.verified:
        record_pending(context, match, event)
        return Ignored(UNVERIFIED)
    changed = False
    if not match.created:
        attributes = attributes_of(context.shop, event.customer)
        changed = sync_changed_attributes(context, match.contact_id, attributes, event.occurred_at)
    consents_sent = send_all_consents(context, match, event)
    if not (changed or consents_sent or match.created):
        context.note("unchanged", "Engage knows all of this already.")
    return DELIVERED


def handle_merge(context: Context, event: CustomerMerged) -> Outcome:
    """Give the remaining customer the merged one's contact where it has none; two contacts stay two in Engage.

    What the merged customer did before comes first, since it may create their contact.
    """
    stores, shop = context.stores, context.shop
    if stores.inbox.has_earlier_unfinished(context.claimed, [event.merged_id], MAKE_CONTACTS):
        return Waiting("The merged customer has earlier events that are not delivered yet.")
    stores.orders.take_over(shop, event.kept_id, event.merged_id)
    merged, remaining = (stores.links.find(shop, customer_id) for customer_id in (event.merged_id, event.kept_id))
    link = remaining or merged
    if link is not None and link.verified:
        for customer_id in (event.merged_id, event.kept_id):
            apply_pending_opt_outs(context, link.contact_id, customer_id)
    else:
        move_pending_opt_outs(context, event.merged_id, event.kept_id)
    if merged is None:
        return Ignored("the merged customer has no contact")
    if remaining is None:
        stores.links.save(shop, event.kept_id, merged, context.now())
    elif remaining.contact_id != merged.contact_id:
        context.note(
            "two contacts",
            f"Engage holds contacts {remaining.contact_id} and {merged.contact_id} for this customer; "
            "merge them there manually.",
        )
    stores.links.delete(shop, event.merged_id)
    return DELIVERED
