"""The name under which RQ finds the job. Queues of an older version hold it, so it stays here for one release."""

from webhooks.processing.worker import drain

__all__ = ["drain"]
