"""The shopper's own change on My Pages: it is sent to the contact of a verified link, and to no other."""

from plugin.events import ProfileEdited
from webhooks.attempt.context import Context
from webhooks.attempt.outcomes import DELIVERED, Ignored, Outcome, Parked
from webhooks.consents.ledger import send_consents
from webhooks.contacts.attributes import newer_than_edits, patch_without_rejected_fields, remember_edited

#: The code of parked edits that Engage rejected, which My Pages show to the shopper.
REFUSED = "edit_refused"


def handle(context: Context, event: ProfileEdited) -> Outcome:
    """Send the change. What Engage rejects is left out, the rest is sent, and the event is parked so that a person learns of it.

    The shopper saw what Engage holds, so a value is sent even where it equals the shop's last one.
    """
    link = context.stores.links.find(context.shop, event.customer_id)
    if link is None or not link.verified:
        return Ignored("the shopper has no verified link to a contact any more")
    if event.consents:
        send_consents(context, link.contact_id, event.consents, event.occurred_at)
    context.lock_contact(link.contact_id)
    attributes = newer_than_edits(context, link.contact_id, dict(event.attributes), event.occurred_at)
    if not attributes:
        return DELIVERED
    sent = patch_without_rejected_fields(context, link.contact_id, attributes)
    remember_edited(context, link.contact_id, sent, event.occurred_at)
    rejected = sorted(attributes.keys() - sent.keys())
    if rejected:
        return Parked(
            f"Engage refused what the shopper wrote in {', '.join(rejected)}.", REFUSED, blocks_later_changes=False
        )
    return DELIVERED
