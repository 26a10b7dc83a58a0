"""Wake-ups for workers through RQ. A job carries a row id and nothing else; the database says what is due."""

import logging
import threading
import time
from collections.abc import Callable

from redis import Redis, RedisError
from rq import Queue
from rq.serializers import JSONSerializer

from plugin.errors import describe_unexpected

log = logging.getLogger(__name__)

QUEUE = "engage-wakeups"
NOTIFY_SLOTS = 8
SLOT_LIFE_S = 10
JOB_TIMEOUT_S = 600
REDIS_PAUSE_S = 1.0


class WorkerNotifier:
    """Notifies workers that something is due. Losing a wake-up loses nothing: the sweep finds the row.

    A flag per slot keeps thousands of webhooks from queueing thousands of jobs.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._queue = Queue(QUEUE, connection=redis, serializer=JSONSerializer)
        self._away_until = 0.0

    def wake(self, event_id: int) -> None:
        """Queue a wake-up unless one is waiting in the same slot. Never raises, never waits long."""
        if time.monotonic() < self._away_until:
            return
        try:
            if self._redis.set(_flag(event_id), 1, nx=True, ex=SLOT_LIFE_S):
                self._queue_wake_up(event_id)
        except RedisError as error:
            self._away_until = time.monotonic() + REDIS_PAUSE_S
            log.warning("Redis is away (%s): the sweep will find event=%d", type(error).__name__, event_id)

    def _queue_wake_up(self, event_id: int) -> None:
        """Raises RedisError."""
        self._queue.enqueue(
            "webhooks.processing.worker.drain",
            event_id,
            job_timeout=JOB_TIMEOUT_S,
            result_ttl=0,
            failure_ttl=3600,
            description="drain the inbox",
        )

    def clear_pending(self, event_id: int) -> None:
        """Let the next webhook of the slot queue a wake-up again."""
        try:
            self._redis.delete(_flag(event_id))
        except RedisError as error:  # the flag ends by itself
            log.warning("Redis is away (%s) while a wake-up begins", type(error).__name__)


class BackgroundNotifier:
    """Wakes workers from a thread of its own, so that no answer to a shop waits for Redis.

    One wake-up serves all that ask while the one before it is on its way: it comes after all their commits. Use one a
    process, made after the fork.
    """

    def __init__(self, wake: Callable[[int], None]) -> None:
        self._wake = wake
        self._event_id = 0
        self._asked = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self, event_id: int) -> None:
        """Have a wake-up queued soon. Never raises, never waits."""
        self._event_id = event_id
        if not self._asked.is_set():
            self._asked.set()
            if self._thread is None:
                self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="wake-ups", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()  # first: who asks from here on is served by the next one
            try:
                self._wake(self._event_id)
            except Exception as error:  # noqa: BLE001 - later wake-ups need this thread; the sweep finds the event
                log.error("Waking a worker met an %s: the sweep will find what is due", describe_unexpected(error))


def _flag(event_id: int) -> str:
    return f"engage:wake:{event_id % NOTIFY_SLOTS}"
