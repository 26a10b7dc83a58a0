"""Group commit: writes of threads that come together share one transaction and one wait for the disk.

The first thread that arrives is the leader: when the database lets it write, it stores all waiting writes, its own included.
Threads that arrive meanwhile queue, and one of them is the next leader. A thread continues only after the transaction
with its write is durable; it never waits for more threads to arrive.
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
class _PendingWrite(Generic[W, R]):
    """A write that waits for its transaction.

    gate: a lock that is held until the thread may continue; it costs a third of what a `threading.Event` does.
    leads: set by the leader before it opens the gate of the next leader.
    """

    write: W
    gate: threading.Lock = field(default_factory=_closed_gate)
    leads: bool = False
    result: R | None = None
    error: Exception | None = None


class GroupCommit(Generic[W, R]):
    """Stores what the threads of one process write. Use one a process, made after the fork.

    store: called with a function that returns the waiting writes, which it calls inside the transaction; returns for each
    write its result or its own error. blames_one: returns whether an error of the whole transaction is the fault of a single
    write; then each write is stored alone, so that it fails no other.
    """

    def __init__(
        self,
        store: Callable[[Callable[[], Sequence[W]]], Sequence[R | Exception]],
        blames_one: Callable[[Exception], bool],
    ) -> None:
        self._store = store
        self._blames_one = blames_one
        self._lock = threading.Lock()
        self._queue: deque[_PendingWrite[W, R]] = deque()
        self._led = False

    def run(self, write: W) -> R:
        """Store one write, durable when this returns. Raises what the store raises; then nothing of it is stored."""
        pending: _PendingWrite[W, R] = _PendingWrite(write)
        with self._lock:
            self._queue.append(pending)
            leads, self._led = not self._led, True
        if not leads:
            # always, even if this thread has just become the leader: its gate would be opened a second time otherwise
            pending.gate.acquire()
            leads = pending.leads
        if leads:
            self._lead(pending)
        if pending.error is not None:
            raise pending.error
        return pending.result  # type: ignore[return-value]  # set where no error is

    def _lead(self, own: _PendingWrite[W, R]) -> None:
        batch: list[_PendingWrite[W, R]] = []
        try:
            self._store_batch(batch, self._take)
        finally:
            with self._lock:
                if (
                    self._queue and self._queue[0] is own
                ):  # the leader failed before it took any write: it leads no more
                    self._queue.popleft()
                successor = self._queue[0] if self._queue else None
                self._led = successor is not None
                if successor is not None:
                    successor.leads = True
            for waiting in [*batch, *([successor] if successor else [])]:
                waiting.gate.release()

    def _take(self) -> list[_PendingWrite[W, R]]:
        with self._lock:
            return [self._queue.popleft() for _ in range(min(len(self._queue), MAX_GROUP))]

    def _store_batch(self, batch: list[_PendingWrite[W, R]], take: Callable[[], list[_PendingWrite[W, R]]]) -> None:
        """Store the writes that `take` returns inside the transaction; put them into batch, each with its result."""

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
                    self._store_batch([], lambda write=waiting: [write])  # type: ignore[misc]
            else:
                for waiting in batch:
                    waiting.error = error
            return
        for waiting, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                waiting.error = result
            else:
                waiting.result = result
