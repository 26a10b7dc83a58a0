"""Consents: the newest answer of the shopper counts, and at the same time the no (DESIGN, who is who)."""

from collections.abc import Iterable
from datetime import datetime

from plugin.engage.models import Consent, ContactWrite
from plugin.events import Channel, ConsentChange
from plugin.platforms.fields import believable
from webhooks.context import Context, Origin

PREFERENCES = {Channel.EMAIL: "acceptsEmail", Channel.SMS: "acceptsSms", Channel.POSTAL: "acceptsPostal"}


def send_consents(context: Context, contact_id: str, changes: Iterable[ConsentChange], at: datetime) -> bool:
    """Send answers that are newer than what is known, and add them to the ledger; False when there are none.

    at: the time of answers that have none of their own. A time ahead of the webhook is not believed, whichever shop says
    it: no later no could outdo such a yes.
    """
    if context.origin is not Origin.WEBHOOK:  # no sync and no history raises a consent
        changes = [change for change in changes if not change.value]
    received_at = context.claimed.received_at
    dated = [(believable(change.at or at, received_at), change) for change in changes]
    dated.sort(key=lambda one: (one[0], not one[1].value))
    if not dated:
        return False
    contacts, shop, event_id, now = context.stores.contacts, context.shop, context.claimed.id, context.now()
    known = contacts.last_consents(shop, contact_id)
    ledger: dict[str, tuple[bool, datetime, str | None]] = {}
    preferences: dict[str, bool] = {}
    consents: list[Consent] = []
    for when, change in dated:
        subject = change.consent_id if change.channel is Channel.OTHER else change.channel.value
        if subject is None:
            continue
        last = known.get(subject)
        if last is not None and (last[1] > when or (last[1] == when and last[0] <= change.value)):
            continue
        ledger[subject] = (change.value, when, change.source)
        known[subject] = (change.value, when)
        if change.channel in PREFERENCES:
            preferences[PREFERENCES[change.channel]] = change.value
        consent_id = context.shop.settings.consent_ids.get(
            subject, subject if change.channel is Channel.OTHER else None
        )
        if consent_id is not None:
            consents.append(Consent(consent_id, change.value, when, change.source or context.shop.settings.source))
    if not ledger:
        return False
    if preferences or consents:
        context.client.patch_contact(contact_id, ContactWrite({}, preferences, tuple(consents)))
    context.later(lambda session: contacts.write_consents(session, shop, contact_id, ledger, event_id, now))
    context.later(contacts.cached_forgotten(shop, contact_id, now))
    return True
