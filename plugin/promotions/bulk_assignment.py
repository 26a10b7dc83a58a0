"""Assigning a promotion to people, one assignment a contact: a list may be stopped anywhere and goes on where it was.

Before each call the row is stored with the number of assignments that the contact had, so that a lost answer or a
crash is told from a call that never went out (facts 1.2). The list itself, with its personal data, is not stored.
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
#: A person or a program waits for an assignment, so the waits are shorter than those in the background (facts 1.2).
FIRST_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a list. rows: of each person, in order. counts: by state."""

    rows: tuple[StoredRow, ...]
    counts: Counter[str]

    @property
    def refused(self) -> list[StoredRow]:
        """The rows that a person must look at."""
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
        people: Sequence[Recipient],
        *,
        again: bool = False,
        progress: Callable[[int], object] = lambda _done: None,
    ) -> Report:
        """Assign to everybody on a list; rows that an earlier run of the same list ended are left as they are.

        again: also to contacts that have an open assignment. progress: told the number of rows that are done.
        Raises ConflictError when the promotion cannot be assigned at all, and EngageError when Engage stays away:
        the same list goes on where it stopped.
        """
        check_assignable(promotion)
        list_digest = self.digest([[p.kind, p.value] for p in people] + [again])
        run_id = self.promotions.begin(shop, promotion.id, list_digest, len(people), self.clock())
        before = self.promotions.rows_of(run_id)
        work = _Run(self, shop, promotion, run_id, again, dict(before))
        left = [p for p in people if p.position not in before or before[p.position].state not in DONE_STATES]
        done = len(people) - len(left)
        progress(done)
        with ThreadPoolExecutor(min(THREADS, max(len(left), 1)), thread_name_prefix="assign") as pool:
            waiting: set[Future[None]] = set()
            queue = iter(left)
            try:
                while True:
                    while len(waiting) < THREADS and (one := next(queue, None)) is not None:
                        waiting.add(pool.submit(work.row, one))
                    if not waiting:
                        break
                    finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in finished:
                        future.result()
                        done += 1
                    progress(done)
            finally:
                work.stopping.set()
        self.promotions.finish(run_id, self.clock())
        rows = self.promotions.rows_of(run_id)
        return Report(tuple(rows[p.position] for p in people), self.promotions.counts(run_id))

    def contact_of(self, shop: RegisteredShop, client: EngageClient, one: Recipient) -> str:
        """Return a person's contact. Raises ConflictError that says why there is none, EngageError."""
        if one.fault is not None:
            raise ConflictError(one.fault)
        if one.kind == CONTACT:
            return one.value
        if one.kind == EMAIL:
            try:
                return client.find_contact_id(email=one.value)
            except EngageNotFoundError:
                raise ConflictError("no contact in Engage has this e-mail") from None
            except EngageConflictError:
                raise ConflictError("several contacts in Engage have this e-mail: name one by its contactId") from None
        link = self.links.find(shop, one.value)
        if link is None:
            raise ConflictError("this customer of the shop has no contact here yet")
        if not link.verified:
            raise ConflictError(
                "nobody vouches that this customer is the contact with the same e-mail: name the contact by its contactId"
            )
        return link.contact_id


def check_assignable(promotion: Promotion) -> None:
    """Raise ConflictError when Engage says that nobody can have the promotion now."""
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
    known: dict[int, StoredRow]
    stopping: threading.Event = field(default_factory=threading.Event)
    _contacts: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._contacts = {row.contact_digest: row.position for row in self.known.values() if row.contact_digest}

    def row(self, one: Recipient) -> None:
        """Work one row off; what Engage refuses of it is its end. Raises ConflictError, EngageError to stop the list."""
        client = self.assigner.client_for(self.shop).with_options(priority=Priority.BACKFILL)
        for number in range(TRIES):
            if self.stopping.is_set():
                return
            try:
                self._try(client, one)
            except TransientError as error:
                if number == TRIES - 1:
                    raise
                asked = error.retry_after.total_seconds() if error.retry_after else 0.0
                wait_s = min(asked, 60.0) if isinstance(error, ThrottledError) else max(asked, FIRST_WAIT_S * 2**number)
                self.assigner.pause(wait_s)
            else:
                return

    def _try(self, client: EngageClient, one: Recipient) -> None:
        try:
            contact_id = self.assigner.contact_of(self.shop, client, one)
        except ConflictError as error:
            self._keep(StoredRow(one.position, RowState.REFUSED, reason=str(error)))
            return
        digest = self.assigner.digest(contact_id.lower())
        with self._lock:
            first = self._contacts.setdefault(digest, one.position)
        if first != one.position:
            self._keep(StoredRow(one.position, RowState.ALREADY, reason=f"the same contact as row {first}"))
            return
        row = self.known.get(one.position)
        try:
            mine = [
                a for a in client.list_promotion_assignments(contact_id).items if a.promotion_id == self.promotion.id
            ]
        except (EngageNotFoundError, TransientError, UnauthorisedError) as error:
            if not isinstance(error, EngageNotFoundError):
                raise
            self._keep(StoredRow(one.position, RowState.REFUSED, digest, reason="Engage has no such contact"))
            return
        open_one = next((a for a in mine if not a.redeemed), None)
        if row is not None and row.state is RowState.TRYING and row.had is not None and len(mine) > row.had:
            newest = open_one or mine[-1]
            self._keep(StoredRow(one.position, RowState.ASSIGNED, digest, newest.id, row.had))
        elif open_one is not None and not self.again:
            self._keep(
                StoredRow(
                    one.position, RowState.ALREADY, digest, open_one.id, reason="the contact has it already, unused"
                )
            )
        else:
            self._assign(client, contact_id, StoredRow(one.position, RowState.TRYING, digest, had=len(mine)), mine)

    def _assign(
        self, client: EngageClient, contact_id: str, row: StoredRow, before: Sequence[PromotionAssignment]
    ) -> None:
        self._keep(row)
        try:
            assignment_id = client.assign_promotion(contact_id, self.promotion.id)
        except EngageConflictError as error:
            if (error.code or "").lower().endswith(("notactive", "expired", "notfound")):
                raise ConflictError(
                    f"Engage does not assign this promotion to anybody now: {error} {ACTIVATE}"
                ) from error
            self._keep(replace(row, state=RowState.REFUSED, reason=str(error)))
            return
        except EngageNotFoundError as error:
            if (error.code or "").startswith("Promotion"):
                raise ConflictError(f"Engage does not know this promotion any more: {error}") from error
            self._keep(replace(row, state=RowState.REFUSED, reason=str(error)))
            return
        except (TransientError, UnauthorisedError):
            raise
        except EngageError as error:
            self._keep(replace(row, state=RowState.REFUSED, reason=str(error)))
            return
        if assignment_id is None or assignment_id == self.promotion.id:  # what the answer holds is not documented
            assignment_id = self._new_one(client, contact_id, before)
        self._keep(replace(row, state=RowState.ASSIGNED, assignment_id=assignment_id))
        self.assigner.sync_states.bump_generation(self.shop, contact_id, self.assigner.clock())  # it is shown at once

    def _new_one(self, client: EngageClient, contact_id: str, before: Sequence[PromotionAssignment]) -> str | None:
        known = {assignment.id for assignment in before}
        found = client.list_promotion_assignments(contact_id).items
        return next((a.id for a in found if a.promotion_id == self.promotion.id and a.id not in known), None)

    def _keep(self, row: StoredRow) -> None:
        self.known[row.position] = row
        self.assigner.promotions.write_row(self.run_id, row)
