"""Group commit: webhooks that arrive together are stored in one transaction and share one wait for the disk.

The first thread that comes leads: it commits what is waiting, its own included, while later ones queue; then one of
those leads. Nobody is answered before the transaction with their row is durable, and nobody waits for company.
"""

import threading
from collections import deque
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError, OperationalError

from plugin.store.inbox import Accepted, Inbox, NewEvent

MOST = 64


@dataclass(slots=True)
class _Waiting:
    new: NewEvent
    ready: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    accepted: Accepted | None = None
    error: Exception | None = None


class GroupCommit:
    """Stores webhooks for the threads of one process. Use one a process, made after the fork."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
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
        with self._lock:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), MOST))]
        try:
            self._store(batch)
        finally:
            with self._lock:
                successor = self._queue[0] if self._queue else None
                self._led = successor is not None
                if successor is not None:
                    successor.leads = True
            for waiting in [*batch, *([successor] if successor else [])]:
                waiting.ready.set()

    def _store(self, batch: list[_Waiting]) -> None:
        try:
            for waiting, accepted in zip(batch, self._inbox.accept_many([w.new for w in batch]), strict=True):
                waiting.accepted = accepted
        except Exception as error:  # noqa: BLE001 - each thread raises its own
            one_is_to_blame = isinstance(error, DBAPIError) and not isinstance(error, OperationalError)
            if len(batch) > 1 and one_is_to_blame:  # one row that the database refuses must not take others with it
                for waiting in batch:
                    self._store([waiting])
            else:
                for waiting in batch:
                    waiting.error = error
