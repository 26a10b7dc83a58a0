"""Consents that a shop stores as a plain field of the customer, such as Saleor's metadata (setting `consent_fields`).

Such a field has no time of its own, and every profile change repeats it. So a yes is an answer of the shopper only when they
sign up with it, or when it differs from what this customer's field said last: a repeated yes never undoes a no that came
from elsewhere, and a sync or backfill raises nothing. A no is always taken. The shopper may have written the field
themselves, and so may somebody who registered with another person's e-mail: a yes waits until the shop vouches for it.
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
    """Return whether a field of a customer holds an opt-out."""
    said = dict(customer.extra)
    return any(parse_answer(said.get(field)) is False for field in _undated(settings))


def send_all_consents(context: Context, found: ContactMatch, event: CustomerCreated | CustomerUpdated) -> bool:
    """Send the answers of an event and those in its customer's fields; False when there is nothing new."""
    answers, seen = _new_answers(context, found, event)
    sent = send_consents(context, found.contact_id, (*event.consents, *answers), event.occurred_at)
    _remember(context, found, seen)  # after the call: a failed attempt must find the answer new again
    return sent


def record_pending(context: Context, found: ContactMatch, event: CustomerCreated | CustomerUpdated) -> None:
    """Remember what the fields of a customer say over an unverified link, so that it counts once the link is verified."""
    _, seen = _new_answers(context, found, event)
    _remember(context, found, seen)


def _new_answers(
    context: Context, found: ContactMatch, event: CustomerCreated | CustomerUpdated
) -> tuple[list[ConsentChange], dict[str, SyncedValue]]:
    """Return the answers that are new, and what each field said where that is new."""
    answers: list[ConsentChange] = []
    seen: dict[str, SyncedValue] = {}
    fields, customer, at = _undated(context.shop.settings), event.customer, event.occurred_at
    if not fields or customer.customer_id is None:
        return answers, seen
    settings, never = context.shop.settings, not PLATFORMS[context.shop.platform].verifies_email
    # where the platform verifies nothing, the contact that was created for this customer is the only evidence
    vouched = found.verified and (customer.email_verified or settings.email_trust == "always" or never)
    said, signup = dict(customer.extra), isinstance(event, CustomerCreated)
    known = context.stores.sync_states.get(context.shop, found.contact_id).sent
    undated = context.digest([True, "undated"])
    for field, consent in fields.items():
        value = parse_answer(said.get(field))
        if value and context.origin is not Origin.WEBHOOK:
            continue  # what a sync reads is not an act of the shopper: the next webhook shows whether it is new
        # by customer: another account with the same contact must not make this customer's old answer look new
        name = f"consent {field} {context.digest(customer.customer_id)[:16]}"
        last = known.get(name)
        # a signup that comes after its own later changes says since when the yes holds
        dated = signup and value is True and vouched and last is not None and last.digest == undated
        waits, undatable = value is True and not vouched, value is True and last is None and not signup
        state = "waits" if waits else "undated" if undatable else "said"
        entry = SyncedValue(context.digest([value, state]), at)
        old_news = last is not None and (last.at > at or last.digest in {entry.digest, undated if value else ""})
        if old_news and not dated:
            continue
        seen[name] = entry if last is None else SyncedValue(entry.digest, max(last.at, at))
        if undatable and not waits:
            context.note("consent", f"{field} says yes, but not since when: it is taken once it changes.")
        elif value is not None and not waits and found.verified:
            channel = CHANNELS.get(consent, Channel.OTHER)
            consent_id = consent if channel is Channel.OTHER else None
            answers.append(ConsentChange(channel, value, at, field, consent_id))
    return answers, seen


def _undated(settings: ShopSettings) -> dict[str, str]:
    return {field: consent for field, consent in settings.consent_fields.items() if TIMED not in consent}


def _remember(context: Context, found: ContactMatch, seen: dict[str, SyncedValue]) -> None:
    sync_states, shop, now = context.stores.sync_states, context.shop, context.now()
    if seen:
        context.on_commit(sync_states.sent_write(shop, found.contact_id, seen, now, bump_generation=False))
