"""The shopper's own change on My Pages: it goes to the contact of a verified link, and to no other."""

from plugin.errors import EventIgnored, ParkedError
from plugin.events import ProfileEdited
from webhooks.attempt.context import Context
from webhooks.consents.ledger import send_consents
from webhooks.contacts.attributes import newer_than_edits, patch_leaving_out_refused, remember_edited

#: What a shopper is told of an edit that stands parked under this code: the value was refused.
REFUSED = "edit_refused"


def handle(context: Context, event: ProfileEdited) -> None:
    """Send the change. What Engage refuses is left out, the rest goes, and the event is parked to say so.

    The shopper saw what Engage holds, so a value is sent even where it is what the shop last told.
    """
    link = context.stores.links.find(context.shop, event.customer_id)
    if link is None or not link.verified:
        raise EventIgnored("the shopper has no verified link to a contact any more")
    if event.consents:
        send_consents(context, link.contact_id, event.consents, event.occurred_at)
    context.lock_contact(link.contact_id)
    attributes = newer_than_edits(context, link.contact_id, dict(event.attributes), event.occurred_at)
    if not attributes:
        return
    sent = patch_leaving_out_refused(context, link.contact_id, attributes)
    remember_edited(context, link.contact_id, sent, event.occurred_at)
    refused = sorted(attributes.keys() - sent.keys())
    if refused:
        raise ParkedError(
            f"Engage refused what the shopper wrote in {', '.join(refused)}.", REFUSED, blocks_later_changes=False
        )
