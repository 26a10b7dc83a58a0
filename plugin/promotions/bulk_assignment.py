"""Assigning a promotion to a list of recipients, one assignment per contact; a stopped list is resumed where it ended.

Before each call the row is stored with the number of assignments that the contact had, so that a call
whose answer was lost is distinguished from a call that was never sent (docs/engage.md#retries-and-time-outs).
The list itself, with its personal data, is not stored.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime

from plugin.engage.client import EngageClient
from plugin.engage.data.models import Promotion, PromotionAssignment
from plugin.engage.operations import Priority
from plugin.errors import (
    ConflictError,
    EngageConflictError,
    EngageError,
    EngageNotFoundError,
    ThrottledError,
    TransientError,
    UnauthorisedError,
)
from plugin.promotions.recipients import CONTACT, EMAIL, Recipient
from plugin.promotions.service import ACTIVATE
from plugin.store.contacts.links import ContactLinks
from plugin.store.contacts.sync_state import SyncStates
from plugin.store.orders.promotions import DONE_STATES, Promotions, RowState, StoredRow
from plugin.store.shops.shops import RegisteredShop

THREADS = 8
TRIES = 6
#: The caller waits for an assignment, so these waits are shorter than those in the background.
FIRST_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a list. rows: of each recipient, in order. counts: by state."""

    rows: tuple[StoredRow, ...]
    counts: Counter[str]

    @property
    def refused(self) -> list[StoredRow]:
        """The rows that need a person's attention."""
        return [row for row in self.rows if row.state is RowState.REFUSED]


@dataclass(frozen=True, slots=True)
class BulkAssigner:
    """Assigns promotions. digest: keyed hash of a text. pause: waits so many seconds between tries."""

    promotions: Promotions
    links: ContactLinks
    sync_states: SyncStates
    client_for: Callable[[RegisteredShop], EngageClient]
    digest: Callable[[object], str]
    clock: Callable[[], datetime]
    pause: Callable[[float], object]

    def run(
        self,
        shop: RegisteredShop,
        promotion: Promotion,
        recipients: Sequence[Recipient],
        *,
        again: bool = False,
        progress: Callable[[int], object] = lambda _done: None,
    ) -> Report:
        """Assign to every recipient of a list; rows that an earlier run of the same list finished are left as they are.

        again: also to contacts that have an open assignment. progress: called with the number of rows that are done.
        Raises ConflictError when the promotion cannot be assigned at all, and EngageError when Engage stays unavailable:
        a run of the same list then resumes where this one stopped.
        """
        check_assignable(promotion)
        list_digest = self.digest([[p.kind, p.value] for p in recipients] + [again])
        run_id = self.promotions.begin(shop, promotion.id, list_digest, len(recipients), self.clock())
        before = self.promotions.rows_of(run_id)
        run = _Run(self, shop, promotion, run_id, again, dict(before))
        left = [p for p in recipients if p.position not in before or before[p.position].state not in DONE_STATES]
        done = len(recipients) - len(left)
        progress(done)
        with ThreadPoolExecutor(min(THREADS, max(len(left), 1)), thread_name_prefix="assign") as pool:
            waiting: set[Future[None]] = set()
            queue = iter(left)
            try:
                while True:
                    while len(waiting) < THREADS and (recipient := next(queue, None)) is not None:
                        waiting.add(pool.submit(run.assign, recipient))
                    if not waiting:
                        break
                    finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in finished:
                        future.result()
                        done += 1
                    progress(done)
            finally:
                run.stopping.set()
        self.promotions.finish(run_id, self.clock())
        rows = self.promotions.rows_of(run_id)
        return Report(tuple(rows[p.position] for p in recipients), self.promotions.counts(run_id))

    def contact_of(self, shop: RegisteredShop, client: EngageClient, recipient: Recipient) -> str:
        """Return a recipient's contact. Raises ConflictError with the reason when there is none, EngageError."""
        if recipient.fault is not None:
            raise ConflictError(recipient.fault)
        if recipient.kind == CONTACT:
            return recipient.value
        if recipient.kind == EMAIL:
            try:
                return client.find_contact_id(email=recipient.value)
            except EngageNotFoundError:
                raise ConflictError("no contact in Engage has this e-mail") from None
            except EngageConflictError:
                raise ConflictError("several contacts in Engage have this e-mail: name one by its contactId") from None
        link = self.links.find(shop, recipient.value)
        if link is None:
            raise ConflictError("this customer of the shop has no contact here yet")
        if not link.verified:
            raise ConflictError(
                "it is not verified that this customer is the contact with the same e-mail: name the contact by its contactId"
            )
        return link.contact_id


def check_assignable(promotion: Promotion) -> None:
    """Raise ConflictError when the promotion cannot be assigned now."""
    if promotion.status == "Draft":
        raise ConflictError(f"The promotion {promotion.name!r} cannot be assigned yet. {ACTIVATE}")
    if promotion.status == "Ended":
        raise ConflictError(f"The promotion {promotion.name!r} has ended and cannot be assigned any more.")


@dataclass(slots=True)
class _Run:
    """The rows of one list. Safe to use from several threads."""

    assigner: BulkAssigner
    shop: RegisteredShop
    promotion: Promotion
    run_id: int
    again: bool
    stored: dict[int, StoredRow]
    stopping: threading.Event = field(default_factory=threading.Event)
    _contacts: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._contacts = {row.contact_digest: row.position for row in self.stored.values() if row.contact_digest}

    def assign(self, recipient: Recipient) -> None:
        """Process a row; a refusal of Engage finishes it. Raises ConflictError, EngageError to stop the list."""
        client = self.assigner.client_for(self.shop).with_options(priority=Priority.BACKFILL)
        for number in range(TRIES):
            if self.stopping.is_set():
                return
            try:
                self._try(client, recipient)
            except TransientError as error:
                if number == TRIES - 1:
                    raise
                asked = error.retry_after.total_seconds() if error.retry_after else 0.0
                wait_s = min(asked, 60.0) if isinstance(error, ThrottledError) else max(asked, FIRST_WAIT_S * 2**number)
                self.assigner.pause(wait_s)
            else:
                return

    def _try(self, client: EngageClient, recipient: Recipient) -> None:
        try:
            contact_id = self.assigner.contact_of(self.shop, client, recipient)
        except ConflictError as error:
            self._store(StoredRow(recipient.position, RowState.REFUSED, reason=str(error)))
            return
        digest = self.assigner.digest(contact_id.lower())
        with self._lock:
            first = self._contacts.setdefault(digest, recipient.position)
        if first != recipient.position:
            self._store(StoredRow(recipient.position, RowState.ALREADY, reason=f"the same contact as row {first}"))
            return
        row = self.stored.get(recipient.position)
        try:
            assignments = [
                a for a in client.list_promotion_assignments(contact_id).items if a.promotion_id == self.promotion.id
            ]
        except (EngageNotFoundError, TransientError, UnauthorisedError) as error:
            if not isinstance(error, EngageNotFoundError):
                raise
            self._store(StoredRow(recipient.position, RowState.REFUSED, digest, reason="Engage has no such contact"))
            return
        unused = next((a for a in assignments if not a.redeemed), None)
        if row is not None and row.state is RowState.TRYING and row.had is not None and len(assignments) > row.had:
            newest = unused or assignments[-1]
            self._store(StoredRow(recipient.position, RowState.ASSIGNED, digest, newest.id, row.had))
        elif unused is not None and not self.again:
            self._store(
                StoredRow(
                    recipient.position, RowState.ALREADY, digest, unused.id, reason="the contact has it already, unused"
                )
            )
        else:
            self._assign(
                client,
                contact_id,
                StoredRow(recipient.position, RowState.TRYING, digest, had=len(assignments)),
                assignments,
            )

    def _assign(
        self, client: EngageClient, contact_id: str, row: StoredRow, before: Sequence[PromotionAssignment]
    ) -> None:
        self._store(row)
        try:
            assignment_id = client.assign_promotion(contact_id, self.promotion.id)
        except EngageConflictError as error:
            if (error.code or "").lower().endswith(("notactive", "expired", "notfound")):
                raise ConflictError(f"Engage does not assign this promotion now: {error} {ACTIVATE}") from error
            self._store(replace(row, state=RowState.REFUSED, reason=str(error)))
            return
        except EngageNotFoundError as error:
            if (error.code or "").startswith("Promotion"):
                raise ConflictError(f"Engage does not know this promotion any more: {error}") from error
            self._store(replace(row, state=RowState.REFUSED, reason=str(error)))
            return
        except (TransientError, UnauthorisedError):
            raise
        except EngageError as error:
            self._store(replace(row, state=RowState.REFUSED, reason=str(error)))
            return
        if assignment_id is None or assignment_id == self.promotion.id:  # what the answer holds is not documented
            assignment_id = self._new_assignment_id(client, contact_id, before)
        self._store(replace(row, state=RowState.ASSIGNED, assignment_id=assignment_id))
        self.assigner.sync_states.bump_generation(
            self.shop, contact_id, self.assigner.clock()
        )  # so that My Pages shows it at once

    def _new_assignment_id(
        self, client: EngageClient, contact_id: str, before: Sequence[PromotionAssignment]
    ) -> str | None:
        earlier = {assignment.id for assignment in before}
        found = client.list_promotion_assignments(contact_id).items
        return next((a.id for a in found if a.promotion_id == self.promotion.id and a.id not in earlier), None)

    def _store(self, row: StoredRow) -> None:
        self.stored[row.position] = row
        self.assigner.promotions.write_row(self.run_id, row)
