"""Receipts that lie in files: what else is about the same receipt waits until Engage has taken the file."""

from plugin.errors import AwaitingFileImport, WaitsForFileError
from webhooks.attempt.context import Context


def raise_if_receipt_in_file(context: Context, receipt_id: str) -> None:
    """Raise WaitsForFileError while a receipt lies in a file that was not taken yet."""
    file = context.stores.spooled_events.file_of(context.shop, receipt_id)
    if file is not None:
        raise WaitsForFileError(f"The receipt {receipt_id} lies in the file {file}, which Engage has not taken yet.")


def raise_if_still_spooled(context: Context, receipt_id: str) -> None:
    """Raise SpooledError while an event's own receipt lies in a file that was not taken yet."""
    file = context.stores.spooled_events.file_of(context.shop, receipt_id)
    if file is not None:
        raise AwaitingFileImport(f"In the file {file}.")
