"""Batches of the bulk API: waited for until their status says that they ended, and read row by row (docs/engage.md#bulk)."""

import logging
import time
from collections.abc import Callable, Sequence

from plugin.engage.client import EngageClient
from plugin.engage.data.models import BatchStatus
from plugin.errors import TransientError

log = logging.getLogger(__name__)

MAX_BATCH_ROWS = 4000
POLL_S = (0.1, 0.2, 0.5, 1.0, 2.0)
#: How long, in seconds, a batch may take before its rows are sent as single events.
BATCH_TIMEOUT_S = 600.0
#: A pause that Engage asks for is cut to this, in seconds: the leases of the batch must be prolonged in time.
LONGEST_PAUSE_S = 10.0


def wait_for_batch(
    client: EngageClient, batch_id: str, pause: Callable[[float], bool], meanwhile: Callable[[float], None]
) -> BatchStatus:
    """Wait for the end of a batch; a batch that does not end in time is returned as not finished.

    A status request that fails says nothing about the batch, which Engage has accepted: the next request asks again.

    pause: waits for a number of seconds, and returns whether this process is to stop. meanwhile: called with the seconds that passed.
    Raises TransientError when this process is to stop, what `meanwhile` raises, and what else the client raises.
    """
    waited = 0.0
    number = 0
    while waited <= BATCH_TIMEOUT_S:
        began = time.monotonic()
        seconds = POLL_S[min(number, len(POLL_S) - 1)]
        try:
            status = client.get_bulk_status(batch_id)
        except TransientError as error:
            log.info("batch=%s its status could not be read and is asked for again: %s", batch_id, error)
            if error.retry_after is not None:
                seconds = min(max(seconds, error.retry_after.total_seconds()), LONGEST_PAUSE_S)
        else:
            if status.finished:
                return status
        if pause(seconds):
            raise TransientError("This process stops; the changes are sent again.", operation="bulk")
        passed = max(time.monotonic() - began, seconds)
        number, waited = number + 1, waited + passed
        meanwhile(passed)
    return BatchStatus(finished=None)


def refused_rows(status: BatchStatus, keys: Sequence[str]) -> dict[str, str]:
    """Return the key of each refused row with Engage's reason; all of them where the status is not clear.

    keys: the rows' keys in the order they were sent: a status may name a row by its key or by its number.
    """
    all_refused = dict.fromkeys(keys, status.text or "the batch did not end")
    failed = (status.text or "").strip().lower() in {"failed", "completedwitherrors"}
    if not status.finished or (failed and not status.refused):
        return all_refused
    sent_keys = set(keys)
    refused = {}
    for row, reason in status.refused:
        if row in sent_keys:
            refused[row] = reason
        elif row.isdigit() and int(row) < len(keys):
            refused[keys[int(row)]] = reason
        else:
            return all_refused
    return refused
