"""Which waiting changes the bulk API may take, merged per contact. Nothing is sent or stored here."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from plugin.errors import PayloadError, describe_unexpected
from plugin.events import CustomerUpdated
from plugin.platforms.base import Delivery
from plugin.store.contacts.sync_state import SyncedValue
from plugin.store.inbox.bulk import BulkInbox, Change, KnownContact
from plugin.store.shops.shops import RegisteredShop
from webhooks.attempt.mapping import map_body
from webhooks.contacts.attributes import Digest, attributes_of, diff_attributes, synced_values

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CustomerUpdate:
    """A customer's new data, under Engage's attribute names."""

    customer_id: str
    attributes: Mapping[str, object]
    at: datetime


@dataclass(slots=True)
class MergedContact:
    """One contact's changes. values: what differs. synced: by ordering key, what is stored once Engage has it."""

    contact: KnownContact
    values: dict[str, object] = field(default_factory=dict)
    synced: dict[str, dict[str, SyncedValue]] = field(default_factory=dict)
    newest: dict[str, SyncedValue] = field(default_factory=dict)

    def add(self, ordering_key: str, update: CustomerUpdate, digest: Digest) -> None:
        """Add those attributes of a customer's change that are not older than the ones sent or added before."""
        diff = diff_attributes({**self.contact.sent, **self.newest}, update.attributes, update.at, digest)
        self.values |= diff.changed
        values = synced_values({**diff.changed, **diff.confirmed}, update.at, digest)
        self.newest |= values
        self.synced.setdefault(ordering_key, {}).update(values)


def merge_changes(
    shop: RegisteredShop, changes: Mapping[str, Sequence[Change]], inbox: BulkInbox, digest: Digest
) -> list[MergedContact]:
    """Merge changes per contact; those that may not go through the bulk API are left out.

    changes: by ordering key. An entry without values means that Engage has everything already.
    """
    updates_by_key = _readable_updates(shop, changes)
    contacts = inbox.known_contacts(shop, sorted({updates[0].customer_id for updates in updates_by_key.values()}))
    merged: dict[str, MergedContact] = {}
    for ordering_key, updates in updates_by_key.items():
        if (contact := contacts.get(updates[0].customer_id)) is not None:
            entry = merged.setdefault(contact.contact_id, MergedContact(contact))
            for update in updates:
                entry.add(ordering_key, update, digest)
    # with a changed key attribute the contact may be another one now, which the handlers of single events find out
    identifying = {"email", shop.settings.key_attribute}
    # and a contact that several customers share is changed by one event at a time
    shared = inbox.shared_contacts(shop, sorted(merged))
    return [
        entry
        for contact_id, entry in merged.items()
        if identifying.isdisjoint(entry.values) and contact_id not in shared
    ]


def ordering_keys(merged: Iterable[MergedContact]) -> list[str]:
    """Return the ordering keys of all changes that were merged into some contacts."""
    return [ordering_key for entry in merged for ordering_key in entry.synced]


def _readable_updates(shop: RegisteredShop, changes: Mapping[str, Sequence[Change]]) -> dict[str, list[CustomerUpdate]]:
    """Return the updates by ordering key, without the keys that have a change which is not for the bulk API."""
    readable = {}
    for ordering_key, changes_of_key in changes.items():
        updates = [update for change in changes_of_key if (update := _update_of(shop, change)) is not None]
        if len(updates) == len(changes_of_key):
            readable[ordering_key] = updates
    return readable


def _update_of(shop: RegisteredShop, change: Change) -> CustomerUpdate | None:
    """Map a change; return None for a change with more than a customer's new data, or that cannot be mapped."""
    try:
        event = _customer_updated(shop, change)
        if event is None or event.customer.customer_id is None:
            return None
        attributes = attributes_of(shop, event.customer)
    except PayloadError:
        return None
    except Exception as error:  # noqa: BLE001 - a fault of ours with one event must not stop the batch
        log.error("event=%d shop=%s %s", change.id, shop.name, describe_unexpected(error))
        return None
    return CustomerUpdate(event.customer.customer_id, attributes, event.occurred_at)


def _customer_updated(shop: RegisteredShop, change: Change) -> CustomerUpdated | None:
    """Return the event of a change that is only a customer's new data, or None. Raises PayloadError."""
    delivery = Delivery(topic=change.topic, meta=change.meta)
    events = map_body(shop, delivery, change.body, change.received_at, platform=change.platform).events
    if len(events) != 1 or not isinstance(events[0], CustomerUpdated) or events[0].consents:
        return None
    return events[0]
