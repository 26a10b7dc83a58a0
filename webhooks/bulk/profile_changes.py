"""After an outage: waiting profile changes are merged per contact and go through the bulk API (docs/engage.md#bulk).

Only changes of contacts over verified links; signups, consents and everything else are processed as single events, and so
is each row that the bulk API rejects. A batch counts as done only when Engage's status says so.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError

from plugin.engage.client import EngageClient
from plugin.engage.data.models import BatchStatus, ContactWrite
from plugin.engage.operations import Priority
from plugin.errors import (
    EngageError,
    LeaseLostError,
    PayloadError,
    TransientError,
    UnauthorisedError,
    describe_unexpected,
    error_code,
)
from plugin.events import CustomerUpdated
from plugin.platforms.base import Delivery
from plugin.store.contacts.sync_state import SyncedValue
from plugin.store.inbox.bulk import BulkInbox, Change, ClaimedBatch, KnownContact, SyncedFields
from plugin.store.inbox.bulk_statements import SEND_SINGLY
from plugin.store.shops.shops import RegisteredShop
from webhooks.attempt.mapping import map_body
from webhooks.attempt.runtime import DeliveryRuntime
from webhooks.bulk.batches import BATCH_TIMEOUT_S, MAX_BATCH_ROWS, refused_rows, wait_for_batch
from webhooks.contacts.attributes import Digest, attributes_of, diff_attributes, synced_values

log = logging.getLogger(__name__)

#: One call of a batch saves thousands of single ones, which would otherwise take every slot of the rate.
BATCH_PRIORITY = Priority.RECEIPT


@dataclass(frozen=True, slots=True)
class _BatchLease:
    """A shop's claimed batch. token: of the named lock that lets one worker at a time send a shop's batches."""

    shop: RegisteredShop
    batch: ClaimedBatch
    token: str


@dataclass(frozen=True, slots=True)
class _Update:
    """A customer's new data, under Engage's attribute names."""

    customer_id: str
    attributes: Mapping[str, object]
    at: datetime


@dataclass(slots=True)
class _MergedContact:
    """One contact's changes. values: what differs. synced: by ordering key, what is stored once Engage has it."""

    contact: KnownContact
    values: dict[str, object] = field(default_factory=dict)
    synced: dict[str, dict[str, SyncedValue]] = field(default_factory=dict)
    newest: dict[str, SyncedValue] = field(default_factory=dict)

    def add(self, key: str, update: _Update, digest: Digest) -> None:
        """Add what a customer's change brings that is not older than what is known. key: of the customer."""
        diff = diff_attributes({**self.contact.sent, **self.newest}, update.attributes, update.at, digest)
        self.values |= diff.changed
        values = synced_values({**diff.changed, **diff.confirmed}, update.at, digest)
        self.newest |= values
        self.synced.setdefault(key, {}).update(values)


@dataclass(frozen=True, slots=True)
class BulkProfileSync:
    """Drains waiting profile changes by the thousand."""

    runtime: DeliveryRuntime
    inbox: BulkInbox

    def run(self) -> int:
        """Send one batch of each shop that has enough waiting; return how many changes ended.

        Raises OperationalError and InterfaceError while the database is away; any other fault skips its shop this time.
        """
        return sum(self._try(shop) for shop in self.runtime.stores.shops.all() if shop.stopped_reason is None)

    def _try(self, shop: RegisteredShop) -> int:
        try:
            return self._run(shop)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:  # noqa: BLE001 - the shops after it go on
            log.error("shop=%s bulk met an %s", shop.name, describe_unexpected(error))
            return 0

    def _run(self, shop: RegisteredShop) -> int:
        # a field that may hold a consent is compared with what it said before, customer by customer
        worth = 0 if shop.settings.consent_fields else shop.settings.bulk_from
        if not worth or self.inbox.waiting(shop, self.runtime.clock(), worth) < worth:
            return 0
        with self._batch_lock(shop) as token:
            if token is None:
                return 0
            try:
                batch = self.inbox.take(shop, self.runtime.clock(), self.runtime.lease, MAX_BATCH_ROWS)
            except IntegrityError:  # a worker took an event of one of them meanwhile; the next run continues
                return 0
            return self._send_or_release(_BatchLease(shop, batch, token)) if batch.changes else 0

    def _send_or_release(self, batch_lease: _BatchLease) -> int:
        try:
            return self._send(batch_lease)
        except LeaseLostError as error:
            log.warning("shop=%s %s", batch_lease.shop.name, error)
        except UnauthorisedError as error:
            self.runtime.stores.shops.stop(batch_lease.shop.id, str(error))
            log.error("shop=%s deliveries stopped: %s", batch_lease.shop.name, error)
            keys, code = list(batch_lease.batch.changes), error_code(error)
            self.inbox.release(batch_lease.batch, keys, self.runtime.clock(), str(error), code, counts=False)
        except (OperationalError, InterfaceError):  # the leases expire; the sweep finds the events
            raise
        except Exception as error:  # noqa: BLE001 - leases that end again and again would park what is not at fault
            what = describe_unexpected(error)
            log.error("shop=%s bulk met an %s: its changes are sent as single events", batch_lease.shop.name, what)
            reason = f"Bulk met an {what}; it is sent by itself."
            self.inbox.release(
                batch_lease.batch,
                list(batch_lease.batch.changes),
                self.runtime.clock(),
                reason,
                SEND_SINGLY,
                counts=False,
            )
        return 0

    def _send(self, batch_lease: _BatchLease) -> int:
        shop = batch_lease.shop
        merged, nothing_new = self._merge(batch_lease)
        ended = self._deliver(batch_lease, nothing_new, "Engage knows all of this already.", shown=False)
        by_type: dict[str, list[_MergedContact]] = {}
        for entry in merged:
            by_type.setdefault(entry.contact.contact_type or shop.settings.contact_type, []).append(entry)
        groups = list(by_type.items())
        for position, (contact_type, group) in enumerate(groups):
            left = _keys(entry for _, later in groups[position:] for entry in later)
            if self.runtime.pause(0):
                self.inbox.release(
                    batch_lease.batch, left, self.runtime.clock(), "The process stopped.", "bulk", counts=False
                )
                break
            ended += self._send_batch(batch_lease, contact_type, self._still_held(batch_lease, group, left), left)
        log.info("shop=%s bulk contacts=%d changes_ended=%d", shop.name, len(merged), ended)
        return ended

    def _send_batch(
        self, batch_lease: _BatchLease, contact_type: str, group: list[_MergedContact], left: list[str]
    ) -> int:
        if not group:
            return 0
        client = self.runtime.client_for(batch_lease.shop).with_options(priority=BATCH_PRIORITY)
        rows = [(entry.contact.contact_id, ContactWrite(entry.values)) for entry in group]
        keys = _keys(group)
        try:
            batch_id = client.bulk_patch_contacts(rows, contact_type=contact_type)
        except UnauthorisedError:
            raise
        except TransientError as error:
            at = self.runtime.clock() + (error.retry_after or timedelta(seconds=self.runtime.retry_base_s))
            self.inbox.release(batch_lease.batch, keys, at, str(error), "bulk", counts=False)
            return 0
        except EngageError as error:  # this tenant's bulk API does not take them
            self.inbox.release(batch_lease.batch, keys, self.runtime.clock(), str(error), SEND_SINGLY, counts=False)
            return 0
        status = self._await_batch(batch_lease, client, batch_id, keys, left)
        if status is None:
            return 0
        refused = refused_rows(status, [entry.contact.contact_id for entry in group])
        if refused:
            back = _keys(entry for entry in group if entry.contact.contact_id in refused)
            reason = "The bulk API refused it; it is sent by itself."
            self.inbox.release(batch_lease.batch, back, self.runtime.clock(), reason, SEND_SINGLY, counts=False)
        done = [entry for entry in group if entry.contact.contact_id not in refused]
        return self._deliver(batch_lease, done, f"in bulk, batch {batch_id}")

    def _await_batch(
        self, batch_lease: _BatchLease, client: EngageClient, batch_id: str, keys: list[str], left: list[str]
    ) -> BatchStatus | None:
        """Wait for the end of a batch; None when its end is not known, and its changes were released.

        Engage has accepted it, cannot cancel it, and may still apply it after newer changes of the same contacts. So
        those customers' events wait as long again as a batch may take, or, when this process stops, as long as if it had
        been killed. A batch that is applied in that time is followed by everything newer; one that is applied later can
        overwrite a newer change, until the next change of that field.
        """
        try:
            status = wait_for_batch(client, batch_id, self.runtime.pause, self._lease_renewer(batch_lease, left))
            if status.finished:
                return status
            reason = f"Batch {batch_id} did not end in time; it is sent by itself."
        except UnauthorisedError:
            raise
        except TransientError as error:
            self.inbox.release(
                batch_lease.batch, keys, self.runtime.clock() + self.runtime.lease, str(error), "bulk", counts=False
            )
            return None
        except EngageError as error:
            reason = f"The result of batch {batch_id} is not known: {error}"
        log.warning("shop=%s %s", batch_lease.shop.name, reason)
        at = self.runtime.clock() + timedelta(seconds=BATCH_TIMEOUT_S)
        self.inbox.release(batch_lease.batch, keys, at, reason, SEND_SINGLY, counts=False)
        return None

    def _deliver(
        self, batch_lease: _BatchLease, done: list[_MergedContact], outcome: str, *, shown: bool = True
    ) -> int:
        synced = {
            key: SyncedFields(entry.contact.contact_id, sent) for entry in done for key, sent in entry.synced.items()
        }
        return (
            self.inbox.deliver(batch_lease.shop, batch_lease.batch, synced, self.runtime.clock(), outcome, shown=shown)
            if synced
            else 0
        )

    def _still_held(
        self, batch_lease: _BatchLease, group: list[_MergedContact], left: list[str]
    ) -> list[_MergedContact]:
        """Leave out contacts with a change that another worker took over: what is here may be outdated."""
        lost = self._renew_leases(batch_lease, left)
        back = _keys(entry for entry in group if not lost.isdisjoint(entry.synced))
        if back:
            reason = "Another worker took over a change of the same contact."
            self.inbox.release(batch_lease.batch, back, self.runtime.clock(), reason, "bulk", counts=False)
        return [entry for entry in group if lost.isdisjoint(entry.synced)]

    def _renew_leases(self, batch_lease: _BatchLease, left: list[str]) -> set[str]:
        """Extend the leases of what is left and return the keys whose lease was lost. Raises LeaseLostError for all."""
        now = self.runtime.clock()
        self.runtime.stores.locks.extend(
            _name(batch_lease.shop), batch_lease.token, now, timedelta(seconds=BATCH_TIMEOUT_S)
        )
        lost = self.inbox.prolong(batch_lease.batch, left, now, self.runtime.lease)
        if len(lost) == len(left):
            raise LeaseLostError("Other workers took over all changes of a batch; this worker stops waiting for it.")
        if lost:
            log.warning(
                "shop=%s bulk lost the leases of %d of %d customers", batch_lease.shop.name, len(lost), len(left)
            )
        return lost

    def _lease_renewer(self, batch_lease: _BatchLease, left: list[str]) -> Callable[[float], None]:
        """Return a callback for the seconds that pass while a batch takes long: it extends the leases."""
        passed = 0.0

        def prolong(seconds: float) -> None:
            nonlocal passed
            passed += seconds
            if passed > self.runtime.lease.total_seconds() / 4:
                self._renew_leases(batch_lease, left)
                passed = 0.0

        return prolong

    def _merge(self, batch_lease: _BatchLease) -> tuple[list[_MergedContact], list[_MergedContact]]:
        """Merge changes per contact; return those with something new and those without. The rest become single events."""
        customers: dict[str, list[_Update]] = {}
        for key, changes in batch_lease.batch.changes.items():
            updates = [update for update in (self._update_of(batch_lease.shop, change) for change in changes) if update]
            if len(updates) == len(changes):
                customers[key] = updates
        ids = {updates[0].customer_id for updates in customers.values()}
        known = self.inbox.known_contacts(batch_lease.shop, sorted(ids))
        merged: dict[str, _MergedContact] = {}
        for key, updates in customers.items():
            if (contact := known.get(updates[0].customer_id)) is not None:
                entry = merged.setdefault(contact.contact_id, _MergedContact(contact))
                for update in updates:
                    entry.add(key, update, self.runtime.digest)
        # with a changed key the contact may be another one now, which the handlers of single events find out
        keys = {"email", batch_lease.shop.settings.key_attribute}
        # and a contact that several customers share is changed by one event at a time
        shared = self.inbox.shared_contacts(batch_lease.shop, sorted(merged))
        in_bulk = [entry for name, entry in merged.items() if keys.isdisjoint(entry.values) and name not in shared]
        single = batch_lease.batch.changes.keys() - set(_keys(in_bulk))
        if single:
            reason = "It is not for the bulk API; it is sent by itself."
            self.inbox.release(
                batch_lease.batch, sorted(single), self.runtime.clock(), reason, SEND_SINGLY, counts=False
            )
        return [entry for entry in in_bulk if entry.values], [entry for entry in in_bulk if not entry.values]

    def _update_of(self, shop: RegisteredShop, change: Change) -> _Update | None:
        """Map a change; None for one that is more, or something else, than a customer's new data, or cannot be mapped."""
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
        return _Update(event.customer.customer_id, attributes, event.occurred_at)

    @contextmanager
    def _batch_lock(self, shop: RegisteredShop) -> Iterator[str | None]:
        """Let one worker of all machines send a shop's batches; yield the token of its lock, or None."""
        with self.runtime.stores.locks.hold(
            _name(shop), self.runtime.clock, timedelta(seconds=BATCH_TIMEOUT_S)
        ) as token:
            yield token


def _name(shop: RegisteredShop) -> str:
    return f"bulk:{shop.id}"


def _keys(merged: Iterable[_MergedContact]) -> list[str]:
    return [key for entry in merged for key in entry.synced]


def _customer_updated(shop: RegisteredShop, change: Change) -> CustomerUpdated | None:
    """Return the event of a change that is nothing but a customer's new data, or None. Raises PayloadError."""
    delivery = Delivery(topic=change.topic, meta=change.meta)
    events = map_body(shop, delivery, change.body, change.received_at, platform=change.platform).events
    if len(events) != 1 or not isinstance(events[0], CustomerUpdated) or events[0].consents:
        return None
    return events[0]
