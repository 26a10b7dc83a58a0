"""Which contact a customer is: the stored link, else a look-up in Engage, else a new contact.

See docs/decisions/0011-verified-links.md.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from plugin.engage.data.models import ContactWrite, CreatedContact
from plugin.errors import (
    EngageConflictError,
    EngageNotFoundError,
    ThrottledError,
    TransientError,
)
from plugin.event_kinds import CONTACT_KINDS, EventKind
from plugin.events import Customer
from plugin.retry import BUSY_WAIT
from plugin.store.contacts.links import Link
from plugin.store.shops.settings import ShopSettings
from plugin.store.shops.shops import RegisteredShop
from webhooks.attempt.context import Context
from webhooks.attempt.outcomes import Ignored, Outcome, Parked
from webhooks.attempt.progress import ContactMatch
from webhooks.consents.ledger import apply_pending_opt_outs
from webhooks.contacts.attributes import attributes_of, remember_attributes, send_without_rejected_fields

UNVERIFIED = "the shop does not vouch for the e-mail, and a contact with it exists: nothing is changed over such a link"
#: What may take an e-mail or phone from a contact.
CHANGE_THE_ADDRESS = CONTACT_KINDS | {EventKind.ERASURE}
#: What a contact that this plugin created holds only if it was sent. Engage may add a country and leave out other attributes.
PERSONAL = frozenset(
    {"email", "mobilePhone", "firstName", "lastName", "birthDay", "gender", "street", "careOf", "zipCode", "city"}
)


def known_link(context: Context, customer: Customer) -> Link | None:
    """Return the stored link of a customer, or None for a guest or an unknown customer."""
    if customer.customer_id is None:
        return None
    return context.stores.links.find(context.shop, customer.customer_id)


class _NoContactError(Exception):
    """Carries the outcome of an event whose customer has no contact and gets none out of the search for it."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__()


def ensure_contact(context: Context, customer: Customer, contact_type: str) -> ContactMatch | Outcome:
    """Return the customer's contact, looked up or created, and store the link; or the outcome where there is none.

    Ignored: the customer has no id, e-mail or phone. Parked: the key field is missing, or several contacts match. Raises
    ThrottledError while another worker creates the same contact, and TransientError while another customer's event of
    the same contact must come first.
    """
    if (match := context.progress.contact) is not None:
        return match
    link = known_link(context, customer)
    if link is not None and (link.verified or not is_identity_verified(context.shop, customer)[0]):
        return ContactMatch(link.contact_id, link.verified, created=False)
    if not (customer.customer_id or customer.email or customer.mobile_phone):
        return Ignored("the customer has no id, e-mail or phone")
    try:
        with _contact_creation_lock(context, customer):
            return _find_or_create(context, customer, contact_type)
    except _NoContactError as error:
        return error.outcome


def _find_or_create(context: Context, customer: Customer, contact_type: str) -> ContactMatch:
    contact_id = _look_up(context, customer)
    if contact_id is None:
        _require_key(context, customer)
        context.progress.create_intended = True
        context.save()
        try:
            contact_id, ours = _create(context, customer, contact_type)
        except EngageConflictError as error:  # another client was faster, or Engage has the key from elsewhere
            contact_id, ours = error.contact_id or _look_up(context, customer), False
            if contact_id is None:
                raise
        if ours:
            return _store_link(context, customer, ContactMatch(contact_id, verified=True, created=True), "created")
    elif context.progress.create_intended and customer.customer_id and _created_by_us(context, customer, contact_id):
        return _store_link(context, customer, ContactMatch(contact_id, verified=True, created=True), "created")
    _wait_for_others(context, customer, contact_id)
    verified, reason = is_identity_verified(context.shop, customer)
    return _store_link(context, customer, ContactMatch(contact_id, verified, created=False), reason)


def _wait_for_others(context: Context, customer: Customer, contact_id: str) -> None:
    """Raise TransientError while another customer with the same contact has earlier events: they may change its address.

    After that, a verified address is proof of being the same person.
    """
    others = set(context.stores.links.customers_of(context.shop, contact_id)) - {customer.customer_id}
    if not others:
        return
    if context.stores.inbox.has_earlier_unfinished(context.claimed, others, CHANGE_THE_ADDRESS):
        raise TransientError(
            "The contact that was found is another customer's, who has earlier changes that are not delivered yet.",
            code="another_goes_before",
            sent=False,
        )
    if customer.customer_id is not None:
        context.note("shared", "Another customer of the shop with this e-mail or phone is the same contact.")


def _look_up(context: Context, customer: Customer) -> str | None:
    """Search for the contact by e-mail, else by phone; first by customer id where that is the key attribute."""
    settings = context.shop.settings
    if settings.key_attribute == "externalId" and customer.customer_id:
        contact_id = _find(context, custom_key=customer.customer_id)
        if contact_id:
            return contact_id
    if customer.email:
        contact_id = _find(context, email=customer.email)
        if contact_id:
            return contact_id
    if customer.mobile_phone and (settings.key_attribute == "mobilePhone" or not customer.email):
        return _find(context, mobile_phone=customer.mobile_phone)
    return None


def _find(context: Context, **by: str) -> str | None:
    """Look a contact up; among several matches the type decides, members first."""
    try:
        return context.client.find_contact_id(**by)
    except EngageNotFoundError:
        return None
    except EngageConflictError:
        for contact_type in (context.shop.settings.contact_type, context.shop.settings.guest_contact_type):
            try:
                return context.client.find_contact_id(**by, contact_type=contact_type)
            except (EngageNotFoundError, EngageConflictError):
                continue
        reason = (
            "Several contacts in Engage match this customer, none by type: merge or correct them there, then retry."
        )
        raise _NoContactError(Parked(reason, "multiple_matches")) from None


def _require_key(context: Context, customer: Customer) -> None:
    key = context.shop.settings.key_attribute
    value = {"email": customer.email, "mobilePhone": customer.mobile_phone, "externalId": customer.customer_id}[key]
    if not value:
        dropped = f" (the shop's value of {', '.join(customer.dropped)} is not valid)" if customer.dropped else ""
        reason = (
            f"The customer has no {key}{dropped}, which is the key of a contact in Engage: complete it in the shop."
        )
        raise _NoContactError(Parked(reason, f"missing_key:{key}"))


def _create(context: Context, customer: Customer, contact_type: str) -> tuple[str, bool]:
    """Create the contact; return its id, and whether it is a new one, as requested.

    A tenant may answer with the id of a contact that had the key before, without saying so
    (docs/engage.md#creating-a-contact).
    """
    settings = context.shop.settings
    attributes = attributes_of(context.shop, customer)
    store = store_of(context, customer.address.country_code)

    def create(write: ContactWrite) -> CreatedContact:
        return context.client.create_contact(
            write, contact_type=contact_type, store_external_id=store, source=settings.source
        )

    created, sent = send_without_rejected_fields(context, ContactWrite(attributes), create)
    if created.contact is None and not _created_by_us(context, customer, created.contact_id, sent.attributes):
        return created.contact_id, False
    # rejected values too: sent again, Engage would reject them again
    at = context.claimed.occurred_at
    remember_attributes(context, created.contact_id, attributes, at, contact_type=contact_type)
    return created.contact_id, True


def _created_by_us(
    context: Context, customer: Customer, contact_id: str, sent: Mapping[str, object] | None = None
) -> bool:
    """Return whether a contact is the one that Engage was to create, although its answer does not say so.

    It then holds the customer id; where that is not sent, exactly what was sent and no other personal data. For a guest
    that is not a proof later on: anyone may order with another person's address. sent: None for all attributes.
    """
    try:
        held = context.client.get_contact(contact_id).attributes
    except EngageNotFoundError as error:
        raise TransientError("A contact that was just found is gone again.", operation="get_contact") from error
    expected = attributes_of(context.shop, customer) if sent is None else sent
    if "externalId" in expected:
        return str(held.get("externalId") or "") == customer.customer_id
    return all(str(held.get(name) or "") == str(expected.get(name) or "") for name in PERSONAL)


def is_identity_verified(shop: RegisteredShop, customer: Customer) -> tuple[bool, str]:
    """Return whether the shop verified what the contact was found by, and the reason that is stored with the link."""
    if customer.email and customer.email_verified:
        return True, "the shop vouches for the e-mail"
    if not customer.email and customer.mobile_phone and customer.phone_verified:
        return True, "the shop vouches for the phone"
    if shop.settings.email_trust == "always" and customer.email:
        return True, "the setting email_trust=always"
    return False, "the shop does not vouch for the e-mail or phone"


def _store_link(context: Context, customer: Customer, match: ContactMatch, reason: str) -> ContactMatch:
    """Store the link of a customer to a contact, and the match as a step of the event. reason: why it is verified or not."""
    customer_id = customer.customer_id
    if customer_id is not None:
        if match.verified:
            apply_pending_opt_outs(context, match.contact_id, customer_id)
        links, shop, now = context.stores.links, context.shop, context.now()
        link = Link(match.contact_id, match.verified, reason)
        context.on_commit(lambda session: links.write(session, shop, customer_id, link, now))
    context.progress.contact = match
    context.save()
    return match


def store_of(context: Context, *hints: str | None) -> str:
    """Return the store for a channel or country, the shop's own where no mapping fits."""
    return store_for(context.shop.settings, *hints)


def store_for(settings: ShopSettings, *hints: str | None) -> str:
    """Return the store for a channel or country by a shop's settings."""
    for hint in hints:
        if hint and hint in settings.country_stores:
            return settings.country_stores[hint]
    return settings.store


@contextmanager
def _contact_creation_lock(context: Context, customer: Customer) -> Iterator[None]:
    """Let one worker at a time search for and create the contact of an e-mail or phone. Raises ThrottledError."""
    who = customer.email or customer.mobile_phone or customer.customer_id or ""
    name = f"contact:{context.shop.tenant}:{context.stores.vault.digest(who)}"
    with context.stores.locks.hold(name, context.now, context.lease) as token:
        if token is None:
            reason = "Another worker is looking for this contact, or creates it."
            raise ThrottledError(reason, operation="lease", retry_after=BUSY_WAIT, sent=False)
        yield
