"""Checks of the handlers: work on a receipt waits while that receipt is in a file that Engage has not picked up yet."""

from webhooks.attempt.context import Context
from webhooks.attempt.outcomes import Waiting


def file_with_receipt(context: Context, receipt_id: str) -> str | None:
    """Return the name of the file that a receipt is in and that was not picked up yet, or None."""
    return context.stores.spooled_events.file_of(context.shop, receipt_id)


def wait_for_file(context: Context, receipt_id: str) -> Waiting | None:
    """Return Waiting while a receipt is in a file that was not picked up yet."""
    file = file_with_receipt(context, receipt_id)
    if file is None:
        return None
    return Waiting(
        f"The receipt {receipt_id} is in the file {file}, which Engage has not picked up yet.", for_file=True
    )
