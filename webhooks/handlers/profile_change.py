"""Profile change: only what is new goes to the contact that is known. Merge: one customer takes the other's place."""

from plugin.errors import DependencyNotReady, EventIgnored
from plugin.event_kinds import CONTACT_KINDS, EventKind
from plugin.events import CustomerMerged, CustomerUpdated
from webhooks.attempt.context import Context
from webhooks.consents.ledger import apply_pending_opt_outs, move_pending_opt_outs
from webhooks.consents.plain_fields import record_pending, send_all_consents
from webhooks.contacts.attributes import attributes_of, sync_changed_attributes
from webhooks.contacts.identify import ensure_contact
from webhooks.handlers.signup import UNVERIFIED

#: What may make a customer's contact, or store an order under their name.
MAKE_CONTACTS = CONTACT_KINDS | {EventKind.ORDER_PAID}


def handle(context: Context, event: CustomerUpdated) -> None:
    """Patch the changed fields. A customer without a contact gets one, as at signup."""
    found = ensure_contact(context, event.customer, context.shop.settings.contact_type)
    if not found.verified:
        record_pending(context, found, event)
        raise EventIgnored(UNVERIFIED)
    changed = False
    if not found.created:
        attributes = attributes_of(context.shop, event.customer)
        changed = sync_changed_attributes(context, found.contact_id, attributes, event.occurred_at)
    told = send_all_consents(context, found, event)
    if not (changed or told or found.created):
        context.note("unchanged", "Engage knows all of this already.")


def handle_merge(context: Context, event: CustomerMerged) -> None:
    """Give the kept customer the merged one's contact where it has none; two contacts stay two in Engage.

    What the merged customer did before comes first, since it may make their contact. Raises NotYetError meanwhile.
    """
    links = context.stores.links
    if context.stores.inbox.has_earlier_unfinished(context.claimed, [event.merged_id], MAKE_CONTACTS):
        raise DependencyNotReady("The merged customer has earlier events that are not delivered yet.")
    context.stores.orders.take_over(context.shop, event.kept_id, event.merged_id)
    merged, kept = (links.find(context.shop, customer_id) for customer_id in (event.merged_id, event.kept_id))
    theirs = kept or merged
    if theirs is not None and theirs.verified:
        for customer_id in (event.merged_id, event.kept_id):
            apply_pending_opt_outs(context, theirs.contact_id, customer_id)
    else:
        move_pending_opt_outs(context, event.merged_id, event.kept_id)
    if merged is None:
        raise EventIgnored("the merged customer has no contact")
    if kept is None:
        links.save(context.shop, event.kept_id, merged, context.now())
    elif kept.contact_id != merged.contact_id:
        context.note(
            "two contacts",
            f"Engage holds contacts {kept.contact_id} and {merged.contact_id} for this customer; merge them there by hand.",
        )
    links.delete(context.shop, event.merged_id)
