"""Group commit: webhooks that arrive together are stored in one transaction and share one wait for the disk.

The first thread that comes leads: it commits what is waiting, its own included, while later ones queue; then one of
those leads. Nobody is answered before the transaction with their row is durable, and nobody waits for company.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError, OperationalError

from plugin.store.inbox import Accepted, Inbox, NewEvent
from plugin.store.models import State

MOST = 64


@dataclass(slots=True)
class _Waiting:
    new: NewEvent
    ready: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    accepted: Accepted | None = None
    error: Exception | None = None


class GroupCommit:
    """Stores webhooks for the threads of one process. Use one a process, made after the fork.

    wake: told one id of each commit that has something to work on, after it; must not raise.
    """

    def __init__(self, inbox: Inbox, wake: Callable[[int], None] = lambda _event_id: None) -> None:
        self._inbox = inbox
        self._wake = wake
        self._lock = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._led = False

    def accept(self, new: NewEvent) -> Accepted:
        """Store one webhook, durable when this returns. Raises what the database raises; then nothing is stored."""
        mine = _Waiting(new)
        with self._lock:
            self._queue.append(mine)
            mine.leads, self._led = not self._led, True
        if not mine.leads:
            mine.ready.wait()
        if mine.leads:
            self._lead()
        if mine.error is not None:
            raise mine.error
        assert mine.accepted is not None
        return mine.accepted

    def _lead(self) -> None:
        batch: list[_Waiting] = []
        try:
            self._store(batch, self._take)
        finally:
            with self._lock:
                successor = self._queue[0] if self._queue else None
                self._led = successor is not None
                if successor is not None:
                    successor.leads = True
            for waiting in [*batch, *([successor] if successor else [])]:
                waiting.ready.set()
        for_workers = (w.accepted.event_id for w in batch if w.accepted is not None and _is_work(w.new, w.accepted))
        first = next(for_workers, None)
        if first is not None:
            self._wake(first)

    def _take(self) -> list[_Waiting]:
        with self._lock:
            return [self._queue.popleft() for _ in range(min(len(self._queue), MOST))]

    def _store(self, batch: list[_Waiting], take: Callable[[], list[_Waiting]]) -> None:
        """Store what `take` gives when it is our turn, and put it into batch, each with its result."""

        def events() -> list[NewEvent]:
            batch.extend(take())
            return [waiting.new for waiting in batch]

        try:
            results = self._inbox.accept_waiting(events)
        except Exception as error:  # noqa: BLE001 - each thread raises its own
            self._fail(batch or _add(batch, take()), error)
        else:
            for waiting, accepted in zip(batch, results, strict=True):
                waiting.accepted = accepted

    def _fail(self, batch: list[_Waiting], error: Exception) -> None:
        one_is_to_blame = isinstance(error, DBAPIError) and not isinstance(error, OperationalError)
        if len(batch) > 1 and one_is_to_blame:  # one row that the database refuses must not take others with it
            for waiting in batch:
                self._store([], lambda one=waiting: [one])  # type: ignore[misc]
        else:
            for waiting in batch:
                waiting.error = error


def _add(batch: list[_Waiting], more: list[_Waiting]) -> list[_Waiting]:
    """Add those that wait for a transaction that never began."""
    batch.extend(more)
    return batch


def _is_work(new: NewEvent, accepted: Accepted) -> bool:
    return new.state is State.PENDING and (accepted.taken_up or not accepted.duplicate)
