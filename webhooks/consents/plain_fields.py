"""Consents that a shop stores as a plain field of the customer, such as Saleor's metadata (setting `consent_fields`).

Such a field has no time of its own, and every profile change repeats it. So an opt-in counts as an answer of the shopper only
when they sign up with it, or when it differs from the last value of this customer's field: a repeated opt-in never undoes an
opt-out that came from elsewhere, and a sync or backfill raises no consent. An opt-out always counts. The field may have been
written by the shopper, who may have registered with another person's e-mail: an opt-in waits until the shop vouches for the
e-mail.
"""

from plugin.events import Channel, ConsentChange, Customer, CustomerCreated, CustomerUpdated
from plugin.platforms.registry import PLATFORMS
from plugin.store.contacts.sync_state import SyncedValue
from plugin.store.shops.settings import ShopSettings
from webhooks.attempt.context import Context, Origin
from webhooks.attempt.mapping import CHANNELS, TIMED, parse_answer
from webhooks.attempt.progress import ContactMatch
from webhooks.consents.ledger import send_consents


def has_opt_out(settings: ShopSettings, customer: Customer) -> bool:
    """Return whether a plain field of a customer holds an opt-out."""
    values = dict(customer.extra)
    return any(parse_answer(values.get(field)) is False for field in _plain_fields(settings))


def send_all_consents(context: Context, match: ContactMatch, event: CustomerCreated | CustomerUpdated) -> bool:
    """Send the answers of an event and those in its customer's plain fields; return False when there is nothing new."""
    answers, seen = _new_answers(context, match, event)
    sent = send_consents(context, match.contact_id, (*event.consents, *answers), event.occurred_at)
    _store_seen(context, match, seen)  # after the call: a failed attempt must find the answer new again
    return sent


def record_pending(context: Context, match: ContactMatch, event: CustomerCreated | CustomerUpdated) -> None:
    """Store the plain fields of a customer with an unverified link, so that they count once the link is verified."""
    _, seen = _new_answers(context, match, event)
    _store_seen(context, match, seen)


def _new_answers(
    context: Context, match: ContactMatch, event: CustomerCreated | CustomerUpdated
) -> tuple[list[ConsentChange], dict[str, SyncedValue]]:
    """Return the answers that are new, and the values to store of fields that changed, by the name of the stored value."""
    answers: list[ConsentChange] = []
    seen: dict[str, SyncedValue] = {}
    fields, customer, at = _plain_fields(context.shop.settings), event.customer, event.occurred_at
    if not fields or customer.customer_id is None:
        return answers, seen
    vouched = _is_vouched_for(context, match, customer)
    values, signup = dict(customer.extra), isinstance(event, CustomerCreated)
    stored = context.stores.sync_states.get(context.shop, match.contact_id).sent
    # the words in hashed values, here and below, are stored in databases: they must not change
    undated = context.digest([True, "undated"])
    for field, consent in fields.items():
        value = parse_answer(values.get(field))
        if value and context.origin is not Origin.WEBHOOK:
            continue  # what a sync reads is not an act of the shopper: the next webhook shows whether it is new
        # by customer: another account with the same contact must not make this customer's old answer look new
        name = f"consent {field} {context.digest(customer.customer_id)[:16]}"
        last = stored.get(name)
        # a signup that is delivered after its own later changes shows since when the opt-in holds
        dated = signup and value is True and vouched and last is not None and last.digest == undated
        waits, undatable = value is True and not vouched, value is True and last is None and not signup
        state = "waits" if waits else "undated" if undatable else "said"
        entry = SyncedValue(context.digest([value, state]), at)
        repeated = last is not None and (last.at > at or last.digest in {entry.digest, undated if value else ""})
        if repeated and not dated:
            continue
        seen[name] = entry if last is None else SyncedValue(entry.digest, max(last.at, at))
        if undatable and not waits:
            context.note("consent", f"{field} says yes, but not since when: it is sent once it changes.")
        elif value is not None and not waits and match.verified:
            channel = CHANNELS.get(consent, Channel.OTHER)
            consent_id = consent if channel is Channel.OTHER else None
            answers.append(ConsentChange(channel, value, at, field, consent_id))
    return answers, seen


def _is_vouched_for(context: Context, match: ContactMatch, customer: Customer) -> bool:
    """Return whether an opt-in of a customer may be sent to the contact of a link."""
    # where the platform verifies no e-mail, the contact that was created for this customer is the only evidence
    platform_verifies = PLATFORMS[context.shop.platform].verifies_email
    always = context.shop.settings.email_trust == "always"
    return match.verified and (customer.email_verified or always or not platform_verifies)


def _plain_fields(settings: ShopSettings) -> dict[str, str]:
    """Return the consent of each field that has no field of its time."""
    return {field: consent for field, consent in settings.consent_fields.items() if TIMED not in consent}


def _store_seen(context: Context, match: ContactMatch, seen: dict[str, SyncedValue]) -> None:
    """Store the values of fields with the next commit. They are stored beside the attributes that Engage has."""
    sync_states, shop, now = context.stores.sync_states, context.shop, context.now()
    if seen:
        context.on_commit(sync_states.sent_write(shop, match.contact_id, seen, now, bump_generation=False))
