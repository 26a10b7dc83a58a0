"""Signup: find the contact, create it or upgrade its type, and store who it is."""

from plugin.events import CustomerCreated
from webhooks.attempt.context import Context
from webhooks.attempt.outcomes import DELIVERED, Ignored, Outcome
from webhooks.attempt.progress import ContactMatch
from webhooks.consents.plain_fields import record_pending, send_all_consents
from webhooks.contacts.attributes import attributes_of, remember_attributes, sync_changed_attributes
from webhooks.contacts.identify import UNVERIFIED, ensure_contact


def handle(context: Context, event: CustomerCreated) -> Outcome:
    """Create or upgrade the contact. Over an unverified link nothing is changed."""
    member = context.shop.settings.contact_type
    match = ensure_contact(context, event.customer, member)
    if not isinstance(match, ContactMatch):
        return match
    if not match.verified:
        record_pending(context, match, event)
        return Ignored(UNVERIFIED)
    if not match.created:
        _upgrade(context, match.contact_id, event, member)
    send_all_consents(context, match, event)
    return DELIVERED


def _upgrade(context: Context, contact_id: str, event: CustomerCreated, member: str) -> None:
    """Patch first, because the new type may require data; then change the type."""
    attributes = attributes_of(context.shop, event.customer)
    changed = sync_changed_attributes(context, contact_id, attributes, event.occurred_at)
    if context.stores.sync_states.get(context.shop, contact_id).contact_type == member:
        if not changed:
            context.note("unchanged", "Engage knows all of this already.")
        return
    if context.client.get_contact(contact_id).contact_type != member:
        context.client.update_contact_type(contact_id, member)
    remember_attributes(context, contact_id, {}, event.occurred_at, contact_type=member)
