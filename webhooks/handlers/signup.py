"""Signup: find the contact, create it or upgrade its type, and store who it is."""

from plugin.errors import EventIgnored
from plugin.events import CustomerCreated
from webhooks.attempt.context import Context
from webhooks.consents.plain_fields import record_pending, send_all_consents
from webhooks.contacts.attributes import attributes_of, remember_attributes, sync_changed_attributes
from webhooks.contacts.identify import ensure_contact

UNVERIFIED = (
    "the shop does not vouch for the e-mail, and a contact with it exists: nobody's data is changed over such a link"
)


def handle(context: Context, event: CustomerCreated) -> None:
    """Create or upgrade the contact. Over an unverified link nothing is changed."""
    member = context.shop.settings.contact_type
    found = ensure_contact(context, event.customer, member)
    if not found.verified:
        record_pending(context, found, event)
        raise EventIgnored(UNVERIFIED)
    if not found.created:
        _upgrade(context, found.contact_id, event, member)
    send_all_consents(context, found, event)


def _upgrade(context: Context, contact_id: str, event: CustomerCreated, member: str) -> None:
    """Patch first, because the new type may require data; then change the type (facts 2.6)."""
    changed = sync_changed_attributes(
        context, contact_id, attributes_of(context.shop, event.customer), event.occurred_at
    )
    contact_type = context.stores.sync_states.get(context.shop, contact_id).contact_type
    if contact_type == member:
        if not changed:
            context.note("unchanged", "Engage knows all of this already.")
        return
    if context.client.get_contact(contact_id).contact_type != member:
        context.client.update_contact_type(contact_id, member)
    remember_attributes(context, contact_id, {}, event.occurred_at, contact_type=member)
