"""After an outage: waiting profile changes are merged per contact and go through the bulk API (docs/engage.md#bulk).

Only changes of contacts over verified links; signups, consents and everything else are processed as single events, and so
is each row that the bulk API rejects. A batch counts as done only when Engage's status says so.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError

from plugin.engage.client import EngageClient
from plugin.engage.data.models import BatchStatus, ContactWrite
from plugin.engage.operations import Priority
from plugin.errors import (
    EngageError,
    LeaseLostError,
    TransientError,
    UnauthorisedError,
    describe_unexpected,
    error_code,
)
from plugin.store.inbox.bulk import BulkInbox, ClaimedBatch, SyncedFields
from plugin.store.inbox.bulk_statements import SEND_SINGLY
from plugin.store.shops.shops import RegisteredShop
from webhooks.attempt.runtime import DeliveryRuntime
from webhooks.bulk.batches import BATCH_TIMEOUT_S, MAX_BATCH_ROWS, refused_rows, wait_for_batch
from webhooks.bulk.merging import MergedContact, merge_changes, ordering_keys

log = logging.getLogger(__name__)

#: One call of a batch saves thousands of single ones, which would otherwise take every slot of the rate.
BATCH_PRIORITY = Priority.RECEIPT
BATCH_TIMEOUT = timedelta(seconds=BATCH_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class _BatchLease:
    """A shop's claimed batch. token: of the named lock that lets one worker at a time send a shop's batches."""

    shop: RegisteredShop
    batch: ClaimedBatch
    token: str


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
        except Exception as error:  # noqa: BLE001 - the other shops are still to be done
            log.error("shop=%s bulk met an %s", shop.name, describe_unexpected(error))
            return 0

    def _run(self, shop: RegisteredShop) -> int:
        # a field that may hold a consent is compared with what it said before, customer by customer
        threshold = 0 if shop.settings.consent_fields else shop.settings.bulk_from
        if not threshold or self.inbox.waiting(shop, self.runtime.clock(), threshold) < threshold:
            return 0
        with self.runtime.stores.locks.hold(_lock_name(shop), self.runtime.clock, BATCH_TIMEOUT) as token:
            if token is None:
                return 0
            try:
                batch = self.inbox.take(shop, self.runtime.clock(), self.runtime.lease, MAX_BATCH_ROWS)
            except IntegrityError:  # a worker claimed an event of these customers meanwhile; the next run continues
                return 0
            return self._send_or_release(_BatchLease(shop, batch, token)) if batch.changes else 0

    def _send_or_release(self, batch_lease: _BatchLease) -> int:
        keys = list(batch_lease.batch.changes)
        try:
            return self._send(batch_lease)
        except LeaseLostError as error:
            log.warning("shop=%s %s", batch_lease.shop.name, error)
        except UnauthorisedError as error:
            self.runtime.stores.shops.stop(batch_lease.shop.id, str(error))
            log.error("shop=%s deliveries stopped: %s", batch_lease.shop.name, error)
            self._release(batch_lease, keys, str(error), error_code(error))
        except (OperationalError, InterfaceError):  # the leases expire; the sweep finds the events
            raise
        except Exception as error:  # noqa: BLE001 - leases that end again and again would park what is not at fault
            what = describe_unexpected(error)
            log.error("shop=%s bulk met an %s: its changes are sent as single events", batch_lease.shop.name, what)
            self._release(batch_lease, keys, f"Bulk met an {what}; it is sent as a single event.", SEND_SINGLY)
        return 0

    def _release(
        self, batch_lease: _BatchLease, keys: Sequence[str], reason: str, code: str, at: datetime | None = None
    ) -> None:
        """Release changes without counting an attempt. at: when they are due, by default now."""
        due_at = self.runtime.clock() if at is None else at
        self.inbox.release(batch_lease.batch, keys, due_at, reason, code, counts=False)

    def _send(self, batch_lease: _BatchLease) -> int:
        shop, changes = batch_lease.shop, batch_lease.batch.changes
        in_bulk = merge_changes(shop, changes, self.inbox, self.runtime.digest)
        single = changes.keys() - set(ordering_keys(in_bulk))
        if single:
            reason = "It is not for the bulk API; it is sent as a single event."
            self._release(batch_lease, sorted(single), reason, SEND_SINGLY)
        unchanged = [entry for entry in in_bulk if not entry.values]
        ended = self._deliver(batch_lease, unchanged, "Engage knows all of this already.", shown=False)
        changed = [entry for entry in in_bulk if entry.values]
        groups_by_type: dict[str, list[MergedContact]] = {}
        for entry in changed:
            groups_by_type.setdefault(entry.contact.contact_type or shop.settings.contact_type, []).append(entry)
        groups = list(groups_by_type.items())
        for position, (contact_type, group) in enumerate(groups):
            left = ordering_keys(entry for _, later in groups[position:] for entry in later)
            if self.runtime.pause(0):
                self._release(batch_lease, left, "The process stopped.", "bulk")
                break
            ended += self._send_batch(batch_lease, contact_type, self._still_held(batch_lease, group, left), left)
        log.info("shop=%s bulk contacts=%d changes_ended=%d", shop.name, len(changed), ended)
        return ended

    def _send_batch(
        self, batch_lease: _BatchLease, contact_type: str, group: list[MergedContact], left: list[str]
    ) -> int:
        """Send one batch and return how many changes it ended. left: the keys of this batch and of those after it."""
        if not group:
            return 0
        client = self.runtime.client_for(batch_lease.shop).with_options(priority=BATCH_PRIORITY)
        rows = [(entry.contact.contact_id, ContactWrite(entry.values)) for entry in group]
        keys = ordering_keys(group)
        try:
            batch_id = client.bulk_patch_contacts(rows, contact_type=contact_type)
        except UnauthorisedError:
            raise
        except TransientError as error:
            at = self.runtime.clock() + (error.retry_after or timedelta(seconds=self.runtime.retry_base_s))
            self._release(batch_lease, keys, str(error), "bulk", at)
            return 0
        except EngageError as error:  # this tenant's bulk API does not take them
            self._release(batch_lease, keys, str(error), SEND_SINGLY)
            return 0
        status = self._await_batch(batch_lease, client, batch_id, keys, left)
        if status is None:
            return 0
        refused = refused_rows(status, [entry.contact.contact_id for entry in group])
        if refused:
            refused_keys = ordering_keys(entry for entry in group if entry.contact.contact_id in refused)
            reason = "The bulk API refused it; it is sent as a single event."
            self._release(batch_lease, refused_keys, reason, SEND_SINGLY)
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
            reason = f"Batch {batch_id} did not end in time; it is sent as a single event."
        except UnauthorisedError:
            raise
        except TransientError as error:
            self._release(batch_lease, keys, str(error), "bulk", self.runtime.clock() + self.runtime.lease)
            return None
        except EngageError as error:
            reason = f"The result of batch {batch_id} is not known: {error}"
        log.warning("shop=%s %s", batch_lease.shop.name, reason)
        self._release(batch_lease, keys, reason, SEND_SINGLY, self.runtime.clock() + BATCH_TIMEOUT)
        return None

    def _deliver(self, batch_lease: _BatchLease, done: list[MergedContact], outcome: str, *, shown: bool = True) -> int:
        """End the changes of contacts as delivered and return how many there were. shown: in their timelines."""
        synced = {
            key: SyncedFields(entry.contact.contact_id, sent) for entry in done for key, sent in entry.synced.items()
        }
        if not synced:
            return 0
        now = self.runtime.clock()
        return self.inbox.deliver(batch_lease.shop, batch_lease.batch, synced, now, outcome, shown=shown)

    def _still_held(self, batch_lease: _BatchLease, group: list[MergedContact], left: list[str]) -> list[MergedContact]:
        """Leave out contacts with a change that another worker took over: what is here may be outdated."""
        lost = self._renew_leases(batch_lease, left)
        outdated = ordering_keys(entry for entry in group if not lost.isdisjoint(entry.synced))
        if outdated:
            self._release(batch_lease, outdated, "Another worker took over a change of the same contact.", "bulk")
        return [entry for entry in group if lost.isdisjoint(entry.synced)]

    def _renew_leases(self, batch_lease: _BatchLease, left: list[str]) -> set[str]:
        """Extend the leases of what is left and return the keys whose lease was lost. Raises LeaseLostError for all."""
        now = self.runtime.clock()
        self.runtime.stores.locks.extend(_lock_name(batch_lease.shop), batch_lease.token, now, BATCH_TIMEOUT)
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

        def renew(seconds: float) -> None:
            nonlocal passed
            passed += seconds
            if passed > self.runtime.lease.total_seconds() / 4:
                self._renew_leases(batch_lease, left)
                passed = 0.0

        return renew


def _lock_name(shop: RegisteredShop) -> str:
    return f"bulk:{shop.id}"
