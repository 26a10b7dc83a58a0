"""Checks of the handlers: work on a receipt waits while that receipt is in a file that Engage has not picked up yet."""

from plugin.errors import AwaitingFileImport, WaitsForFileError
from webhooks.attempt.context import Context


def raise_if_receipt_in_file(context: Context, receipt_id: str) -> None:
    """Raise WaitsForFileError while a receipt is in a file that was not picked up yet."""
    file = context.stores.spooled_events.file_of(context.shop, receipt_id)
    if file is not None:
        raise WaitsForFileError(f"The receipt {receipt_id} is in the file {file}, which Engage has not picked up yet.")


def raise_if_still_spooled(context: Context, receipt_id: str) -> None:
    """Raise AwaitingFileImport while an event's own receipt is in a file that was not picked up yet."""
    file = context.stores.spooled_events.file_of(context.shop, receipt_id)
    if file is not None:
        raise AwaitingFileImport(f"In the file {file}.")
