"""After an outage: waiting profile changes are merged per contact and go through the bulk API (Engage facts 2.9).

Only changes of contacts that are known and vouched for; signups, consents and everything else go singly, and so does
each row that the bulk API refuses. A batch counts as done only when Engage's status says so.
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
    """A worker's turn with a shop's backlog. token: of the named lease that makes it the only one."""

    shop: RegisteredShop
    taken: ClaimedBatch
    token: str


@dataclass(frozen=True, slots=True)
class _Update:
    """A customer's new data, under Engage's attribute names."""

    customer_id: str
    attributes: Mapping[str, object]
    at: datetime


@dataclass(slots=True)
class _MergedContact:
    """One contact's changes: what is new of them, and what each customer told; their turns end with it."""

    contact: KnownContact
    values: dict[str, object] = field(default_factory=dict)
    told: dict[str, dict[str, SyncedValue]] = field(default_factory=dict)
    newest: dict[str, SyncedValue] = field(default_factory=dict)

    def add(self, key: str, update: _Update, digest: Digest) -> None:
        """Add what a customer's change brings that is not older than what is known. key: of the customer."""
        diff = diff_attributes({**self.contact.sent, **self.newest}, update.attributes, update.at, digest)
        self.values |= diff.changed
        values = synced_values({**diff.changed, **diff.confirmed}, update.at, digest)
        self.newest |= values
        self.told.setdefault(key, {}).update(values)


@dataclass(frozen=True, slots=True)
class BulkProfileSync:
    """Drains waiting profile changes by the thousand."""

    runtime: DeliveryRuntime
    inbox: BulkInbox

    def run(self) -> int:
        """Send one batch of each shop that has enough waiting; return how many changes ended.

        Raises OperationalError and InterfaceError while the database is away; any other fault costs its shop this batch_lease.
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
        with self._alone(shop) as token:
            if token is None:
                return 0
            try:
                taken = self.inbox.take(shop, self.runtime.clock(), self.runtime.lease, MAX_BATCH_ROWS)
            except IntegrityError:  # a worker took an event of one of them meanwhile; the next round goes on
                return 0
            return self._send_or_release(_BatchLease(shop, taken, token)) if taken.changes else 0

    def _send_or_release(self, batch_lease: _BatchLease) -> int:
        try:
            return self._send(batch_lease)
        except LeaseLostError as error:
            log.warning("shop=%s %s", batch_lease.shop.name, error)
        except UnauthorisedError as error:
            self.runtime.stores.shops.stop(batch_lease.shop.id, str(error))
            log.error("shop=%s deliveries stopped: %s", batch_lease.shop.name, error)
            keys, code = list(batch_lease.taken.changes), error_code(error)
            self.inbox.release(batch_lease.taken, keys, self.runtime.clock(), str(error), code, counts=False)
        except (OperationalError, InterfaceError):  # the leases end by themselves; the sweep takes the events up
            raise
        except Exception as error:  # noqa: BLE001 - leases that end again and again would park what is not at fault
            what = describe_unexpected(error)
            log.error("shop=%s bulk met an %s: its changes go one by one", batch_lease.shop.name, what)
            reason = f"Bulk met an {what}; it is sent by itself."
            self.inbox.release(
                batch_lease.taken,
                list(batch_lease.taken.changes),
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
        for one in merged:
            by_type.setdefault(one.contact.contact_type or shop.settings.contact_type, []).append(one)
        groups = list(by_type.items())
        for position, (contact_type, group) in enumerate(groups):
            left = _keys(one for _, later in groups[position:] for one in later)
            if self.runtime.pause(0):
                self.inbox.release(
                    batch_lease.taken, left, self.runtime.clock(), "The process stopped.", "bulk", counts=False
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
        rows = [(one.contact.contact_id, ContactWrite(one.values)) for one in group]
        keys = _keys(group)
        try:
            batch_id = client.bulk_patch_contacts(rows, contact_type=contact_type)
        except UnauthorisedError:
            raise
        except TransientError as error:
            at = self.runtime.clock() + (error.retry_after or timedelta(seconds=self.runtime.retry_base_s))
            self.inbox.release(batch_lease.taken, keys, at, str(error), "bulk", counts=False)
            return 0
        except EngageError as error:  # this tenant's bulk API does not take them
            self.inbox.release(batch_lease.taken, keys, self.runtime.clock(), str(error), SEND_SINGLY, counts=False)
            return 0
        status = self._end_of(batch_lease, client, batch_id, keys, left)
        if status is None:
            return 0
        refused = refused_rows(status, [one.contact.contact_id for one in group])
        if refused:
            back = _keys(one for one in group if one.contact.contact_id in refused)
            reason = "The bulk API refused it; it is sent by itself."
            self.inbox.release(batch_lease.taken, back, self.runtime.clock(), reason, SEND_SINGLY, counts=False)
        done = [one for one in group if one.contact.contact_id not in refused]
        return self._deliver(batch_lease, done, f"in bulk, batch {batch_id}")

    def _end_of(
        self, batch_lease: _BatchLease, client: EngageClient, batch_id: str, keys: list[str], left: list[str]
    ) -> BatchStatus | None:
        """Wait for the end of a batch; None for one of whose end nothing is known, whose changes are given back.

        Engage has taken it, cannot be told to drop it, and may still do it after newer changes of the same contacts. So
        those customers wait, their later events behind them: as long again as a batch may take, or after a stop of this
        process as long as if it had been killed. A batch that lands in that time is followed by everything newer; one
        that lands even later can overwrite a newer change, until the next one of that field.
        """
        try:
            status = wait_for_batch(client, batch_id, self.runtime.pause, self._prolonging(batch_lease, left))
            if status.finished:
                return status
            reason = f"Batch {batch_id} did not end in time; it is sent by itself."
        except UnauthorisedError:
            raise
        except TransientError as error:
            self.inbox.release(
                batch_lease.taken, keys, self.runtime.clock() + self.runtime.lease, str(error), "bulk", counts=False
            )
            return None
        except EngageError as error:
            reason = f"How batch {batch_id} went cannot be known: {error}"
        log.warning("shop=%s %s", batch_lease.shop.name, reason)
        at = self.runtime.clock() + timedelta(seconds=BATCH_TIMEOUT_S)
        self.inbox.release(batch_lease.taken, keys, at, reason, SEND_SINGLY, counts=False)
        return None

    def _deliver(
        self, batch_lease: _BatchLease, done: list[_MergedContact], outcome: str, *, shown: bool = True
    ) -> int:
        told = {key: SyncedFields(one.contact.contact_id, sent) for one in done for key, sent in one.told.items()}
        return (
            self.inbox.deliver(batch_lease.shop, batch_lease.taken, told, self.runtime.clock(), outcome, shown=shown)
            if told
            else 0
        )

    def _still_held(
        self, batch_lease: _BatchLease, group: list[_MergedContact], left: list[str]
    ) -> list[_MergedContact]:
        """Leave out contacts of whom a change was taken over: what is here may be older than what they were told since."""
        lost = self._prolong(batch_lease, left)
        back = _keys(one for one in group if not lost.isdisjoint(one.told))
        if back:
            reason = "Another worker took over a change of the same contact."
            self.inbox.release(batch_lease.taken, back, self.runtime.clock(), reason, "bulk", counts=False)
        return [one for one in group if lost.isdisjoint(one.told)]

    def _prolong(self, batch_lease: _BatchLease, left: list[str]) -> set[str]:
        """Prolong the leases of what is left, and return the keys whose lease was lost. Raises LeaseLostError for all."""
        now = self.runtime.clock()
        self.runtime.stores.locks.extend(
            _name(batch_lease.shop), batch_lease.token, now, timedelta(seconds=BATCH_TIMEOUT_S)
        )
        lost = self.inbox.prolong(batch_lease.taken, left, now, self.runtime.lease)
        if len(lost) == len(left):
            raise LeaseLostError("Other workers took over all changes of a batch; nobody waits for it here.")
        if lost:
            log.warning(
                "shop=%s bulk lost the leases of %d of %d customers", batch_lease.shop.name, len(lost), len(left)
            )
        return lost

    def _prolonging(self, batch_lease: _BatchLease, left: list[str]) -> Callable[[float], None]:
        """Return what is told of the seconds that pass while a batch takes long, and prolongs leases."""
        passed = 0.0

        def prolong(seconds: float) -> None:
            nonlocal passed
            passed += seconds
            if passed > self.runtime.lease.total_seconds() / 4:
                self._prolong(batch_lease, left)
                passed = 0.0

        return prolong

    def _merge(self, batch_lease: _BatchLease) -> tuple[list[_MergedContact], list[_MergedContact]]:
        """Merge changes per contact; returns those with something new and those without. The rest goes singly."""
        customers: dict[str, list[_Update]] = {}
        for key, changes in batch_lease.taken.changes.items():
            updates = [update for update in (self._update_of(batch_lease.shop, change) for change in changes) if update]
            if len(updates) == len(changes):
                customers[key] = updates
        ids = {updates[0].customer_id for updates in customers.values()}
        known = self.inbox.known_contacts(batch_lease.shop, sorted(ids))
        merged: dict[str, _MergedContact] = {}
        for key, updates in customers.items():
            if (contact := known.get(updates[0].customer_id)) is not None:
                one = merged.setdefault(contact.contact_id, _MergedContact(contact))
                for update in updates:
                    one.add(key, update, self.runtime.digest)
        # the contact of a changed key may be another one now: the handler of single events looks
        keys = {"email", batch_lease.shop.settings.key_attribute}
        # and a contact that several customers are is changed by one event at a time, whoever of them it is of
        shared = self.inbox.shared_contacts(batch_lease.shop, sorted(merged))
        in_bulk = [one for name, one in merged.items() if keys.isdisjoint(one.values) and name not in shared]
        singly = batch_lease.taken.changes.keys() - set(_keys(in_bulk))
        if singly:
            reason = "It is none for the bulk API; it is sent by itself."
            self.inbox.release(
                batch_lease.taken, sorted(singly), self.runtime.clock(), reason, SEND_SINGLY, counts=False
            )
        return [one for one in in_bulk if one.values], [one for one in in_bulk if not one.values]

    def _update_of(self, shop: RegisteredShop, change: Change) -> _Update | None:
        """Map a change; None for one that is more, or something else, than a customer's new data, or cannot be mapped."""
        try:
            event = _customer_updated(shop, change)
            if event is None or event.customer.customer_id is None:
                return None
            attributes = attributes_of(shop, event.customer)
        except PayloadError:
            return None
        except Exception as error:  # noqa: BLE001 - a fault of ours costs this event alone: by itself it is tried, then parked
            log.error("event=%d shop=%s %s", change.id, shop.name, describe_unexpected(error))
            return None
        return _Update(event.customer.customer_id, attributes, event.occurred_at)

    @contextmanager
    def _alone(self, shop: RegisteredShop) -> Iterator[str | None]:
        """Let one worker of all machines send a shop's batches: gives the token of its lease, or None."""
        with self.runtime.stores.locks.hold(
            _name(shop), self.runtime.clock, timedelta(seconds=BATCH_TIMEOUT_S)
        ) as token:
            yield token


def _name(shop: RegisteredShop) -> str:
    return f"bulk:{shop.id}"


def _keys(merged: Iterable[_MergedContact]) -> list[str]:
    return [key for one in merged for key in one.told]


def _customer_updated(shop: RegisteredShop, change: Change) -> CustomerUpdated | None:
    """Raises PayloadError, and whatever a fault of the mapping raises."""
    delivery = Delivery(topic=change.topic, meta=change.meta)
    events = map_body(shop, delivery, change.body, change.received_at, platform=change.platform).events
    if len(events) != 1 or not isinstance(events[0], CustomerUpdated) or events[0].consents:
        return None
    return events[0]
