"""The tenant's data, in memory, with the work that is due later.

Hold `SandboxState.lock` to use it. Nothing survives a restart.
"""

import heapq
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import uuid4

from plugin.sandbox.faults import Faults
from plugin.sandbox.options import SandboxOptions

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the present time, aware."""
    return datetime.now(UTC)


def new_id() -> str:
    """Return a fresh GUID."""
    return str(uuid4())


@dataclass(slots=True)
class StoredContact:
    """A contact. consents: by definition id, each as on the wire; only those that were set."""

    id: str
    contact_type: str
    created_on: datetime
    modified_on: datetime
    attributes: dict[str, Any] = field(default_factory=dict)
    preferences: dict[str, bool] = field(default_factory=dict)
    consents: dict[str, dict[str, Any]] = field(default_factory=dict)
    source: str | None = None
    store_external_id: str | None = None
    approved: bool = True


@dataclass(slots=True)
class StoredReceipt:
    """A receipt as it was first received. state: queued, imported or failed; times_received counts repeats too."""

    unique_receipt_id: str
    body: bytes
    received_on: datetime
    created_date: datetime
    state: str = "queued"
    contact_id: str | None = None
    reason: str | None = None
    times_received: int = 1
    transaction_id: str = field(default_factory=new_id)


@dataclass(slots=True)
class StoredPromotion:
    """A promotion template. wire: the fields as written; status is one of the contract's."""

    id: str
    status: str
    wire: dict[str, Any]


@dataclass(slots=True)
class StoredAssignment:
    """A promotion assigned to a contact. expires_on: None for never."""

    id: str
    contact_id: str
    promotion_id: str
    external_id: str | None = None
    expires_on: datetime | None = None
    redeemed_on: datetime | None = None
    redeemed_channel: str | None = None


@dataclass(slots=True)
class StoredVoucher:
    """A reward voucher. value and local_values: amounts in major units as on the wire."""

    id: str
    contact_id: str
    voucher_number: str
    name: str
    value: dict[str, Any]
    local_values: list[dict[str, Any]]
    points: Decimal
    expires_on: datetime | None = None
    redeemed_on: datetime | None = None
    reactivations: int = 0


@dataclass(slots=True)
class StoredPointAccount:
    """A point account: contact and definition."""

    id: str
    contact_id: str
    definition_id: int
    transactions: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class TenantData:
    """Everything that `reset` deletes."""

    contacts: dict[str, StoredContact] = field(default_factory=dict)
    #: (attribute, folded value) -> contact ids.
    contact_index: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    member_numbers: "count[int]" = field(default_factory=lambda: count(100_001))
    changes: list[tuple[datetime, str, str]] = field(default_factory=list)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    receipts: dict[str, StoredReceipt] = field(default_factory=dict)
    transactions: dict[str, list[StoredReceipt]] = field(default_factory=lambda: defaultdict(list))
    stores: dict[str, dict[str, Any]] = field(default_factory=dict)
    promotions: dict[str, StoredPromotion] = field(default_factory=dict)
    assignments: dict[str, StoredAssignment] = field(default_factory=dict)
    assignments_of: dict[str, list[StoredAssignment]] = field(default_factory=lambda: defaultdict(list))
    vouchers: dict[str, StoredVoucher] = field(default_factory=dict)
    point_accounts: dict[str, StoredPointAccount] = field(default_factory=dict)
    point_ids: "count[int]" = field(default_factory=lambda: count(1))
    point_shop_items: list[dict[str, Any]] = field(default_factory=list)
    consent_definitions: dict[str, dict[str, Any]] = field(default_factory=dict)
    redemptions: list[dict[str, Any]] = field(default_factory=list)
    integration_log: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=10_000))


class SandboxState:
    """The tenant: options, data, faults and the log of calls. Hold `lock` while you read or write it."""

    def __init__(self, options: SandboxOptions | None = None, clock: Clock = utc_now) -> None:
        self._first_options = options or SandboxOptions()
        self.clock = clock
        self.lock = threading.RLock()
        self.faults = Faults()
        self.reset()

    def reset(self) -> None:
        """Delete data, waiting work, calls and faults; restore the options of the start."""
        with self.lock:
            self.options = self._first_options
            self.data = TenantData()
            self.calls: deque[dict[str, Any]] = deque(maxlen=self.options.keep_calls)
            self.call_counts: Counter[tuple[str, str]] = Counter()
            self.last_sequence = 0
            self.windows: dict[str, tuple[float, int]] = {}
            self.faults.clear()
            self._due: list[tuple[datetime, int, Callable[[datetime], None]]] = []
            self._due_order = count()

    def do_after(self, now: datetime, delay_s: float, work: Callable[[datetime], None]) -> None:
        """Do work now, or in a later call once delay_s seconds are over; the work gets the time at which it is due."""
        if delay_s <= 0:
            work(now)
        else:
            due = now + timedelta(seconds=delay_s)
            heapq.heappush(self._due, (due, next(self._due_order), work))

    def settle(self, now: datetime) -> None:
        """Do all work that is due."""
        while self._due and self._due[0][0] <= now:
            due, _, work = heapq.heappop(self._due)
            work(due)

    def note(self, now: datetime, kind: str, subject: str, outcome: str, reason: str) -> None:
        """Write a line of the integration log. outcome: failed or ignored. No personal data in subject or reason."""
        self.data.integration_log.append(
            {"time": now, "kind": kind, "subject": subject, "outcome": outcome, "reason": reason}
        )

    def ensure_store(self, external_id: str, now: datetime) -> None:
        """Create a store that is named for the first time, as Engage does, and log it."""
        if external_id not in self.data.stores:
            self.data.stores[external_id] = new_store(external_id, external_id, created_by_receipt=True)
            self.note(now, "store", external_id, "ignored", "unknown storeExternalId: a store was created")

    def change(self, now: datetime, kind: str, contact_id: str) -> None:
        """Write a line of the changes feed. kind: Created, Updated or Deleted."""
        self.data.changes.append((now, kind, contact_id))


def new_store(external_id: str, name: str, *, created_by_receipt: bool = False) -> dict[str, Any]:
    """Return a store as on the wire. One that Engage created by itself has no type and no time zone."""
    return {
        "externalId": external_id,
        "name": name,
        "type": None if created_by_receipt else "ECOMM",
        "timeZone": None if created_by_receipt else "Europe/Stockholm",
        "countryCode": None,
        "locale": None,
        "active": True,
    }
