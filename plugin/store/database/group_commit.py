"""Group commit: writes of threads that come together share one transaction and one wait for the disk.

The first thread that comes leads: when it is its turn to write, it takes what is waiting, its own included, while
later ones queue; then one of those leads. Nobody goes on before the transaction with their write is durable, and
nobody waits for company.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

W = TypeVar("W")
R = TypeVar("R")
MAX_GROUP = 64


def _closed_gate() -> threading.Lock:
    gate = threading.Lock()
    gate.acquire()
    return gate


@dataclass(slots=True)
class _Waiting(Generic[W, R]):
    """gate: a lock that is held until the thread may go on; it costs a third of what an Event does.

    leads: set before the gate opens, by whoever led before.
    """

    write: W
    gate: threading.Lock = field(default_factory=_closed_gate)
    leads: bool = False
    result: R | None = None
    error: Exception | None = None


class GroupCommit(Generic[W, R]):
    """Stores what the threads of one process write. Use one a process, made after the fork.

    store: is given a function that hands out the waiting writes, to be called inside the transaction, and returns each
    one's result or the error that is its own. blames_one: tells of an error of the whole transaction whether one of the
    writes is to blame; then each is stored alone, so that it takes no other with it.
    """

    def __init__(
        self,
        store: Callable[[Callable[[], Sequence[W]]], Sequence[R | Exception]],
        blames_one: Callable[[Exception], bool],
    ) -> None:
        self._store = store
        self._blames_one = blames_one
        self._lock = threading.Lock()
        self._queue: deque[_Waiting[W, R]] = deque()
        self._led = False

    def run(self, write: W) -> R:
        """Store one write, durable when this returns. Raises what the store raises; then nothing of it is stored."""
        mine: _Waiting[W, R] = _Waiting(write)
        with self._lock:
            self._queue.append(mine)
            leads, self._led = not self._led, True
        if not leads:
            mine.gate.acquire()  # always, even if its turn has just come: a gate that nobody passes is opened twice
            leads = mine.leads
        if leads:
            self._lead(mine)
        if mine.error is not None:
            raise mine.error
        return mine.result  # type: ignore[return-value]  # set where no error is

    def _lead(self, mine: _Waiting[W, R]) -> None:
        batch: list[_Waiting[W, R]] = []
        try:
            self._store_batch(batch, self._take)
        finally:
            with self._lock:
                if self._queue and self._queue[0] is mine:  # this thread ends before it took anything: it leads no more
                    self._queue.popleft()
                successor = self._queue[0] if self._queue else None
                self._led = successor is not None
                if successor is not None:
                    successor.leads = True
            for waiting in [*batch, *([successor] if successor else [])]:
                waiting.gate.release()

    def _take(self) -> list[_Waiting[W, R]]:
        with self._lock:
            return [self._queue.popleft() for _ in range(min(len(self._queue), MAX_GROUP))]

    def _store_batch(self, batch: list[_Waiting[W, R]], take: Callable[[], list[_Waiting[W, R]]]) -> None:
        """Store what `take` gives when it is our turn, and put it into batch, each with its result."""

        def writes() -> list[W]:
            batch.extend(take())
            return [waiting.write for waiting in batch]

        try:
            results = self._store(writes)
        except Exception as error:  # noqa: BLE001 - each thread raises its own
            if not batch:  # the transaction never began
                batch.extend(take())
            if len(batch) > 1 and self._blames_one(error):
                for waiting in batch:
                    self._store_batch([], lambda one=waiting: [one])  # type: ignore[misc]
            else:
                for waiting in batch:
                    waiting.error = error
            return
        for waiting, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                waiting.error = result
            else:
                waiting.result = result
