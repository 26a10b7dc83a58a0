"""Receipts that lie in files: what else is about the same receipt waits until Engage has taken the file."""

from plugin.errors import SpooledError, WaitsForFileError
from webhooks.attempt.context import Context


def wait_for_file(context: Context, receipt_id: str) -> None:
    """Raise WaitsForFileError while a receipt lies in a file that was not taken yet."""
    file = context.stores.fallback_inbox.file_of(context.shop, receipt_id)
    if file is not None:
        raise WaitsForFileError(f"The receipt {receipt_id} lies in the file {file}, which Engage has not taken yet.")


def stay_spooled(context: Context, receipt_id: str) -> None:
    """Raise SpooledError while an event's own receipt lies in a file that was not taken yet."""
    file = context.stores.fallback_inbox.file_of(context.shop, receipt_id)
    if file is not None:
        raise SpooledError(f"In the file {file}.")
