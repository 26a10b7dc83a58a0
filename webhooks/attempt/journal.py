"""What an attempt leaves behind: its timeline, writes that wait for the next commit, and how long its lease lasts."""

import logging
from datetime import datetime

from plugin.engage.http.transport import CallRecord
from plugin.errors import LeaseLostError, ThrottledError
from plugin.retry import BUSY_WAIT
from plugin.store.inbox.claiming import Claimed
from plugin.store.inbox.progress_writes import NewTimelineEntry, Write
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.inbox import State
from webhooks.attempt.runtime import DeliveryRuntime

log = logging.getLogger(__name__)


class Journal:
    """Collects what is stored with the attempt's next commit; the only object of an attempt that changes with its steps."""

    def __init__(self, runtime: DeliveryRuntime, claimed: Claimed, shop: RegisteredShop) -> None:
        self._runtime, self._claimed, self._shop = runtime, claimed, shop
        self._entries: list[NewTimelineEntry] = []
        self._writes: list[Write] = []
        self._locked_contacts: set[str] = set()
        self._leased_until = claimed.lease_expires_at

    def note(self, step: str, text: str) -> None:
        """Add a remark to the event's timeline, without personal data."""
        self._entries.append(NewTimelineEntry(at=self._runtime.clock(), operation=step, outcome=text))

    def observe(self, call: CallRecord) -> None:
        """Add a call to Engage to the event's timeline, and to the log."""
        log.info(
            "event=%d shop=%s step=%s status=%s duration_ms=%d",
            self._claimed.id,
            self._shop.name,
            call.operation,
            call.status,
            round(call.duration_s * 1000),
        )
        self._entries.append(
            NewTimelineEntry(
                at=call.at,
                operation=call.operation,
                outcome=call.outcome,
                sent=call.sent,
                status=call.status,
                duration_ms=round(call.duration_s * 1000),
            )
        )

    def on_commit(self, write: Write) -> None:
        """Store something with the attempt's next commit, at the latest with its end.

        For what follows from a call that may be repeated: after a crash before the commit both happen again.
        """
        self._writes.append(write)

    def save(self) -> None:
        """Commit progress, timeline and writes, and extend the lease.

        Raises LeaseLostError, so that a worker which slept past its lease does nothing more.
        """
        now = self._runtime.clock()
        self._runtime.stores.inbox.save_progress(self._claimed, self._entries, now, self._runtime.lease, self._writes)
        self._leased_until = now + self._runtime.lease
        self._entries.clear()
        self._writes.clear()
        self._locked_contacts.clear()  # released in the same commit

    def ensure_lease(self) -> None:
        """Raise LeaseLostError when the lease is over by the clock: another worker may have the event now."""
        if self._runtime.clock() >= self._leased_until:
            raise LeaseLostError(
                f"The lease of event {self._claimed.id} ended while this worker waited; it stops here."
            )

    def lock_contact(self, contact_id: str) -> bool:
        """Keep others from changing a contact until the next commit; False where this event holds the lock already.

        Several customers and guests, each with an order of events of their own, may be one contact: what was read
        before the lock may be outdated and must be read again. Raises ThrottledError while another event changes the
        contact, and LeaseLostError.
        """
        if contact_id in self._locked_contacts:
            return False
        self.ensure_lease()  # a worker that lost the event takes no lock that hinders the new one
        locks, name = self._runtime.stores.locks, f"change:{self._shop.tenant}:{contact_id}"
        token = locks.acquire(name, self._runtime.clock(), self._runtime.lease)
        if token is None:
            reason = "Another event changes this contact just now."
            raise ThrottledError(reason, operation="lease", retry_after=BUSY_WAIT, sent=False)
        self._locked_contacts.add(contact_id)
        self.on_commit(locks.release_write(name, token))
        return True

    def finish(self, state: State, reason: str | None, code: str | None, *, blocks_later_changes: bool) -> None:
        """Commit the end of the event. Raises LeaseLostError. blocks_later_changes: see `Parked`."""
        if reason is not None:
            self.note(state.value, reason)
        self._runtime.stores.inbox.finish(
            self._claimed,
            state,
            self._runtime.clock(),
            entries=self._entries,
            writes=self._writes,
            error=reason,
            error_code=code,
            blocks_later_changes=blocks_later_changes,
        )

    def retry_later(self, at: datetime, reason: str, code: str, *, counts: bool, non_blocking: bool) -> None:
        """Commit that the event is tried again. Raises LeaseLostError. counts: whether this attempt is used up."""
        if counts:
            self.note("retry", f"next try {at:%Y-%m-%d %H:%M:%S} UTC: {reason}")
        self._runtime.stores.inbox.retry_later(
            self._claimed,
            at,
            error=reason,
            error_code=code,
            entries=self._entries,
            writes=self._writes,
            counts=counts,
            non_blocking=non_blocking,
        )
