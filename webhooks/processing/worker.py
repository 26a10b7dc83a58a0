"""What RQ runs. A job carries a row id and nothing else; the database says what is due.

One wake-up may drain many rows: the id only says which pending flag to clear.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.exc import SQLAlchemyError

from plugin.errors import describe_unexpected
from plugin.store.inbox.claiming import Claimed
from webhooks.processing.notifier import WorkerNotifier
from webhooks.processing.processor import EventProcessor

log = logging.getLogger(__name__)
#: Seconds that one job works the inbox off, between a half and the whole of it: at its end the process waits for running
#: calls, and if all processes did so together, slots of Engage's rate would go unused.
WORK_FOR_S = 40.0
BACKLOG_TURN = 4
#: Seconds between searches for a batch when there was none, or another worker sends one.
BULK_PAUSE_S = 1.0


class InboxWorker:
    """Processes due events, several at a time, until none is left or the time is up.

    Batches go beside the single events, in a thread of their own that outlives the job: Engage may work on one for
    minutes, and meanwhile the next wake-up must find this process free. backlog: sends one batch in bulk and returns how
    many events it ended. stopping: set when this process is to stop.
    """

    def __init__(
        self,
        processor: EventProcessor,
        notifier: WorkerNotifier,
        threads: int,
        backlog: Callable[[], int],
        stopping: threading.Event,
    ) -> None:
        self._processor = processor
        self._backlog = backlog
        self._notifier = notifier
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="delivery")
        self._threads = threads
        self._claimed: deque[Claimed] = deque()
        self._claiming = threading.Lock()
        self._claims = 0
        self._running = 0
        self._bulk: threading.Thread | None = None
        self._change = threading.Condition()
        self._stopping = stopping

    def run(self, event_id: int) -> None:
        """Drain. When the time is up and events are left, another wake-up continues. Does not wait for a batch."""
        self._notifier.clear_pending(event_id)
        until = time.monotonic() + random.uniform(WORK_FOR_S / 2, WORK_FOR_S)  # noqa: S311 - spreads, guards nothing
        self._start_thread(until)
        self._start_bulk()
        with self._change:
            self._change.wait_for(lambda: self._running == 0)
        if not self._stopping.is_set() and self._more_is_due():
            self._notifier.wake(event_id)

    def _more_is_due(self) -> bool:
        try:
            return self._processor.more_is_due()
        except SQLAlchemyError as error:  # RQ would log the whole error; the sweep wakes a worker when it is back
            log.error("The database failed a worker (%s); the sweep continues with what is due", type(error).__name__)
            return False

    def stop(self) -> None:
        """Claim no further event; running ones are finished. Returns when a batch under way was released."""
        self._stopping.set()
        with self._change:
            bulk = self._bulk
        if bulk is not None:
            bulk.join()

    def _start_thread(self, until: float) -> None:
        """Start one more thread, up to the limit: each event that is found may mean that there are more."""
        with self._change:
            if self._running >= self._threads:
                return
            self._running += 1
        self._pool.submit(self._loop, until)

    def _loop(self, until: float) -> None:
        try:
            while (claimed := self._next(until)) is not None:
                self._start_thread(until)
                self._processor.work(claimed)
        except SQLAlchemyError as error:  # the lease of the running event expires; the sweep finds it
            log.error("The database failed a worker (%s); the sweep continues with what is due", type(error).__name__)
        except Exception as error:  # noqa: BLE001 - an error of a pool's thread would be lost
            log.error("A worker's thread met an %s; the sweep continues with what is due", describe_unexpected(error))
        finally:
            with self._change:
                self._running -= 1
                self._change.notify_all()

    def _start_bulk(self) -> None:
        with self._change:
            if self._bulk is None and not self._stopping.is_set():
                self._bulk = threading.Thread(target=self._drain_in_bulk, name="backlog")
                self._bulk.start()

    def _drain_in_bulk(self) -> None:
        """Send batches while there are any, or while single events run, during which more may gather."""
        continues = True
        while continues:
            ended = self._send_batch()
            with self._change:
                continues = not self._stopping.is_set() and (
                    ended > 0 or not self._change.wait_for(lambda: self._running == 0, timeout=BULK_PAUSE_S)
                )
                if not continues:
                    self._bulk = None

    def _send_batch(self) -> int:
        try:
            return self._backlog()
        except SQLAlchemyError as error:
            log.error("The database failed the backlog (%s); the sweep continues with it", type(error).__name__)
        except Exception as error:  # noqa: BLE001 - single events continue, and the next job tries again
            log.error("The backlog met an %s; the next run tries again", describe_unexpected(error))
        return 0

    def _next(self, until: float) -> Claimed | None:
        """Return the next event for a thread; one commit claims one for each thread. Claimed events are finished."""
        with self._claiming:
            if not self._claimed and not self._stopping.is_set() and time.monotonic() < until:
                self._claims += 1
                # now and then what waits longest goes first, so that a steady stream does not starve a backlog
                live_first = self._claims % BACKLOG_TURN != 0
                self._claimed.extend(self._processor.claim(self._threads, live_first=live_first))
            return self._claimed.popleft() if self._claimed else None


_drain: InboxWorker | None = None


def configure(drain_of_this_process: InboxWorker) -> None:
    """Give this worker process what its jobs need. Called once, before the worker starts."""
    global _drain  # noqa: PLW0603 - RQ calls a module's function; there is one worker a process
    _drain = drain_of_this_process


def drain(event_id: int) -> None:
    """Process what is due in the inbox. RQ calls this."""
    if _drain is None:
        raise RuntimeError("This worker was not configured: start it with `engage-plugin worker`.")
    _drain.run(event_id)
