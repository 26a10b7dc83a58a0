"""Consents: the newest answer of the shopper counts, and of two at the same time the opt-out.

See docs/decisions/0012-the-newest-consent-wins.md.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from plugin.engage.data.models import Consent, ContactWrite
from plugin.events import Channel, ConsentChange
from plugin.platforms.fields import clamp_to_received_at
from plugin.platforms.internal_events import PREFERENCES
from plugin.store.inbox.keys import pending_contact_key
from webhooks.attempt.context import Context, Origin

PREFERENCE_OF_CHANNEL = {channel: name for name, channel in PREFERENCES.items()}


def send_consents(context: Context, contact_id: str, changes: Iterable[ConsentChange], at: datetime) -> bool:
    """Send answers that are newer than the ledger's, and add them to it; False when there are none.

    at: the time of answers that have none of their own. A time after the webhook's is cut to it: otherwise no later
    opt-out could override such an opt-in. Raises ThrottledError while another event changes the
    contact, and what the client raises.
    """
    if context.origin is not Origin.WEBHOOK:  # neither polls nor history raise a consent
        changes = [change for change in changes if not change.value]
    return _send(context, contact_id, _dated(context, changes, at))


def store_pending_opt_outs(context: Context, customer_id: str, changes: Iterable[ConsentChange], at: datetime) -> None:
    """Store the opt-outs of a customer without a contact: an older opt-in that is still under way may create one."""
    ledger, shop, event_id, now = context.stores.consents, context.shop, context.claimed.id, context.now()
    opt_outs = {
        subject: (False, when, change.source)
        for when, change in _dated(context, changes, at)
        if not change.value and (subject := _subject(change)) is not None
    }
    context.on_commit(
        lambda session: ledger.add(session, shop, pending_contact_key(customer_id), opt_outs, event_id, now)
    )


def apply_pending_opt_outs(context: Context, contact_id: str, customer_id: str) -> None:
    """Send the stored opt-outs of a customer to the contact that they have now."""
    ledger, shop, waiting = context.stores.consents, context.shop, pending_contact_key(customer_id)
    stored = ledger.latest(shop, waiting)
    if not stored:
        return
    channels = {channel.value: channel for channel in PREFERENCE_OF_CHANNEL}
    opt_outs = []
    for subject, (value, when) in stored.items():
        channel = channels.get(subject, Channel.OTHER)
        opt_outs.append(
            (when, ConsentChange(channel, value, when, None, subject if channel is Channel.OTHER else None))
        )
    _send(context, contact_id, opt_outs)
    context.on_commit(lambda session: ledger.delete(session, shop, waiting))


def move_pending_opt_outs(context: Context, customer_id: str, other_id: str) -> None:
    """Move the stored opt-outs of a merged customer to the other one."""
    ledger, shop = context.stores.consents, context.shop
    source, target = pending_contact_key(customer_id), pending_contact_key(other_id)
    context.on_commit(lambda session: ledger.move(session, shop, source, target))


def _dated(context: Context, changes: Iterable[ConsentChange], at: datetime) -> list[tuple[datetime, ConsentChange]]:
    """Return answers in the order they were given, at the same time an opt-in before an opt-out."""
    received_at = context.claimed.received_at
    dated = [(clamp_to_received_at(change.at or at, received_at), change) for change in changes]
    return sorted(dated, key=lambda answer: (answer[0], not answer[1].value))


def _subject(change: ConsentChange) -> str | None:
    return change.consent_id if change.channel is Channel.OTHER else change.channel.value


@dataclass(frozen=True, slots=True)
class _NewAnswers:
    """Answers that are newer than the ledger: as they are stored there, and as they are sent to Engage."""

    ledger: dict[str, tuple[bool, datetime, str | None]] = field(default_factory=dict)
    preferences: dict[str, bool] = field(default_factory=dict)
    consents: list[Consent] = field(default_factory=list)


def _send(context: Context, contact_id: str, dated: Sequence[tuple[datetime, ConsentChange]]) -> bool:
    new = _new_answers(context, contact_id, dated)
    if new.ledger and context.lock_contact(contact_id):
        new = _new_answers(context, contact_id, dated)
    if not new.ledger:
        return False
    if new.preferences or new.consents:
        context.client.patch_contact(contact_id, ContactWrite({}, new.preferences, tuple(new.consents)))
    ledger, shop, event_id, now = context.stores.consents, context.shop, context.claimed.id, context.now()
    context.on_commit(lambda session: ledger.add(session, shop, contact_id, new.ledger, event_id, now))
    context.on_commit(context.stores.sync_states.bump_generation_write(shop, contact_id, now))
    return True


def _new_answers(context: Context, contact_id: str, dated: Sequence[tuple[datetime, ConsentChange]]) -> _NewAnswers:
    new, settings = _NewAnswers(), context.shop.settings
    latest = context.stores.consents.latest(context.shop, contact_id) if dated else {}
    for when, change in dated:
        subject = _subject(change)
        if subject is None:
            continue
        last = latest.get(subject)
        if last is not None and (last[1] > when or (last[1] == when and last[0] <= change.value)):
            continue
        new.ledger[subject] = (change.value, when, change.source)
        latest[subject] = (change.value, when)
        if change.channel in PREFERENCE_OF_CHANNEL:
            new.preferences[PREFERENCE_OF_CHANNEL[change.channel]] = change.value
        consent_id = settings.consent_ids.get(subject, subject if change.channel is Channel.OTHER else None)
        if consent_id is not None:
            new.consents.append(Consent(consent_id, change.value, when, change.source or settings.source))
    return new
