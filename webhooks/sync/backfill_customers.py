"""Historical customers through the bulk API: which may go there, and what happens to rejected rows (docs/engage.md#bulk)."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from plugin.engage.data.models import ContactWrite
from plugin.engage.operations import Priority
from plugin.errors import EngageError, PayloadError, TransientError, UnauthorisedError
from plugin.events import CustomerCreated, CustomerUpdated
from plugin.platforms.base import Delivery
from plugin.platforms.shop_api import PolledResource
from plugin.store.inbox.bulk import BulkInbox, KnownContact
from plugin.store.shops.shops import RegisteredShop
from plugin.store.sync.backfill_runs import RejectedRow
from webhooks.attempt.mapping import map_body
from webhooks.attempt.runtime import DeliveryRuntime
from webhooks.bulk.batches import refused_rows, wait_for_batch
from webhooks.consents.plain_fields import has_opt_out
from webhooks.contacts.attributes import attributes_of, diff_attributes, synced_values
from webhooks.sync.import_readers import Unreadable

log = logging.getLogger(__name__)

AWAY_PAUSE_S = 10.0

Row = PolledResource | Unreadable
CustomerEvent = CustomerCreated | CustomerUpdated


@dataclass(slots=True)
class Page:
    """What became of one page of historical rows. single_events: rows that go through the inbox instead of the bulk API."""

    counts: Counter[str] = field(default_factory=Counter)
    refusals: list[RejectedRow] = field(default_factory=list)
    single_events: list[PolledResource] = field(default_factory=list)

    def refuse(self, resource_id: str, code: str, reason: str) -> None:
        """Note that a row is not sent."""
        self.counts["refused"] += 1
        self.refusals.append(RejectedRow(resource_id, code, reason))


@dataclass(frozen=True, slots=True)
class _Change:
    """A customer that goes by bulk. key: of its row. attributes: what differs. contact_id: where the customer is linked."""

    resource: PolledResource
    key: str
    attributes: dict[str, object]
    at: datetime
    contact_id: str | None = None


@dataclass(frozen=True, slots=True)
class CustomersInBulk:
    """Sends pages of customers."""

    runtime: DeliveryRuntime
    bulk: BulkInbox

    def send(self, shop: RegisteredShop, rows: Sequence[Row]) -> Page | None:
        """Send a page of customers; None when this process is to stop first."""
        page = Page()
        changes = self.changes_for_bulk(shop, page, rows)
        by_key = {change.key: change for change in changes}  # of two rows with the same key the last counts
        page.counts["doubled"] += len(changes) - len(by_key)
        refused: dict[str, str] = {}
        if by_key:
            patch_refusals = self._send_bulk(shop, list(by_key.values()))
            if patch_refusals is None:
                return None
            refused = patch_refusals
        page.counts["in_bulk"] += len(by_key) - len(refused)
        self._store_sent(shop, [change for key, change in by_key.items() if key not in refused])
        new = [by_key[key] for key, why in refused.items() if "notfound" in why.replace(" ", "").lower()]
        if new and shop.settings.backfill_new == "bulk":
            not_created = self._send_bulk(shop, new, create=True)
            if not_created is None:
                return None
            page.counts["created_in_bulk"] += len(new) - len(not_created)
            created = {change.key for change in new} - set(not_created)
            refused = {key: why for key, why in refused.items() if key not in created}
        page.single_events += [by_key[key].resource for key in refused]
        return page

    def changes_for_bulk(self, shop: RegisteredShop, page: Page, rows: Sequence[Row]) -> list[_Change]:
        """Return the changes of a page that go through the bulk API; refuse, count or put aside the other rows in `page`."""
        customers = [pair for row in rows if (pair := self._customer_of(shop, page, row)) is not None]
        ids = sorted({event.customer.customer_id for _, event in customers if event.customer.customer_id})
        contacts = self.bulk.known_contacts(shop, ids)
        changes = []
        for resource, event in customers:
            contact = contacts.get(event.customer.customer_id or "")
            change = self._change_of(shop, resource, event, contact)
            if change is None:
                page.single_events.append(resource)
            elif not change.attributes:
                page.counts["unchanged"] += 1
            else:
                changes.append(change)
        return changes

    def _customer_of(self, shop: RegisteredShop, page: Page, row: Row) -> tuple[PolledResource, CustomerEvent] | None:
        if isinstance(row, Unreadable):
            page.refuse(row.resource_id, "unreadable", row.reason)
            return None
        try:
            mapped = map_body(
                shop, Delivery(row.topic, meta=row.meta), row.body, self.runtime.clock(), platform=row.platform
            )
        except PayloadError as error:
            page.refuse(row.resource_id, f"payload:{error.field or 'body'}", str(error))
            return None
        events = [event for event in mapped.events if isinstance(event, CustomerEvent)]
        if not events:
            page.refuse(row.resource_id, "not_for_us", mapped.ignored or "it is not a customer")
            return None
        return row, events[0]

    def _change_of(
        self, shop: RegisteredShop, resource: PolledResource, event: CustomerEvent, contact: KnownContact | None
    ) -> _Change | None:
        """Return the change of a customer that may go by bulk; None for a customer that goes through the inbox.

        A row changes the contact that has its key in Engage, so the shop must have verified the key
        (docs/decisions/0011-verified-links.md). An opt-out needs the ledger of consents, which only single events write.
        """
        settings, customer = shop.settings, event.customer
        if any(not consent.value for consent in event.consents) or has_opt_out(settings, customer):
            return None
        attributes = attributes_of(shop, customer)
        key = attributes.get(settings.key_attribute)
        trusted = {
            "email": customer.email_verified or settings.email_trust == "always",
            "mobilePhone": customer.phone_verified,
            "externalId": False,
        }[settings.key_attribute]
        if not isinstance(key, str) or not trusted:
            return None
        if contact is None:
            return _Change(resource, key, attributes, event.occurred_at)
        if contact.contact_type not in {None, settings.contact_type}:
            return None
        new = diff_attributes(contact.sent, attributes, event.occurred_at, self.runtime.digest).changed
        if settings.key_attribute in new and settings.key_attribute in contact.sent:
            return None  # a changed key is left to a single event
        return _Change(resource, key, new, event.occurred_at, contact.contact_id)

    def _store_sent(self, shop: RegisteredShop, done: Iterable[_Change]) -> None:
        """Store what Engage has now of linked contacts, and invalidate their cached pages."""
        sent = {
            change.contact_id: synced_values(change.attributes, change.at, self.runtime.digest)
            for change in done
            if change.contact_id is not None
        }
        if sent:
            self.bulk.remember_sent(shop, sent, self.runtime.clock())

    def _send_bulk(
        self, shop: RegisteredShop, changes: Sequence[_Change], *, create: bool = False
    ) -> dict[str, str] | None:
        """Send one batch and return the refused keys with their reasons; None when this process is to stop.

        While Engage is away the batch waits; a tenant that does not take batches gets the rows as single events.
        """
        client = self.runtime.client_for(shop).with_options(priority=Priority.BACKFILL)
        key, contact_type = shop.settings.key_attribute, shop.settings.contact_type
        while True:
            try:
                if create:
                    batch = client.bulk_create_contacts(
                        [ContactWrite(change.attributes) for change in changes], contact_type=contact_type
                    )
                else:
                    rows = [(change.key, ContactWrite(_without(change.attributes, key))) for change in changes]
                    batch = client.bulk_patch_contacts(rows, contact_type=contact_type, key=key)
                status = wait_for_batch(client, batch, self.runtime.pause, lambda _seconds: None)
            except TransientError as error:
                wait = error.retry_after.total_seconds() if error.retry_after else AWAY_PAUSE_S
                log.warning("shop=%s the backfill waits %g s: %s", shop.name, wait, error)
                if self.runtime.pause(wait):
                    return None
                continue
            except UnauthorisedError:
                raise
            except EngageError as error:
                log.warning(
                    "shop=%s a batch was refused as a whole, its rows are sent as single events: %s", shop.name, error
                )
                return {change.key: str(error) for change in changes}
            return refused_rows(status, [change.key for change in changes])


def _without(attributes: dict[str, object], key: str) -> dict[str, object]:
    """Leave the key out of a row's fields: it names the row's contact, and must not be repeated."""
    return {name: value for name, value in attributes.items() if name != key}
