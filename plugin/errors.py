"""The error tree. The class carries the decision; the text says what happened, to what, and what to do.

`ConfigurationError` is outside the errors of events on purpose: code that handles a failing event must not
swallow a faulty set-up.
"""

import traceback
from collections.abc import Sequence
from datetime import timedelta


def describe_unexpected(error: Exception) -> str:
    """Describe an unplanned error by its class and place; its own text may contain personal data."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"unexpected {type(error).__name__}{place}"


#: Names of errors in stored codes, where the class has another name: rows and filters of before keep their meaning.
_STORED_NAMES = {"Throttled": "HeldBack"}


def error_code(error: Exception) -> str:
    """Return a short stable word for an error, the same for the same kind of fault."""
    code = getattr(error, "code", None)
    if code:
        return str(code)[:128]
    field_name = getattr(error, "field", None)
    status = getattr(error, "status", None)
    operation = getattr(error, "operation", None)
    name = type(error).__name__.removesuffix("Error")
    parts = [_STORED_NAMES.get(name, name), operation, str(status) if status else None, field_name]
    return ":".join(part for part in parts if part)[:128]


class PluginError(Exception):
    """Base of every error that this plugin raises on purpose."""


class ConfigurationError(PluginError):
    """The set-up is wrong. Holds every fault found, not only the first."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("The configuration has faults:\n" + "\n".join(f"- {fault}" for fault in self.faults))


class NotFoundHereError(PluginError):
    """Something that an operator or a request named does not exist in this plugin (a shop, an event)."""


class ConflictError(PluginError):
    """The request does not fit the present state (a name that is taken, an event that is finished)."""


# --- receiving -------------------------------------------------------------------------------------------------


class VerificationError(PluginError):
    """A webhook's or shopper's signature is missing, malformed, stale or wrong. Answered with 401."""


class UnverifiableError(PluginError):
    """The signature cannot be checked now (a key cannot be fetched). Answered with 503, so that the shop tries again."""


class PayloadError(PluginError):
    """A correctly signed body cannot be mapped. The event is parked with this text, which names the field."""

    def __init__(self, message: str, field: str | None = None) -> None:
        self.field = field
        super().__init__(f"{field}: {message}" if field else message)


class ShopApiError(PluginError):
    """A call to the shop's own API did not do what was asked. status: HTTP status, None without an answer."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class ShopUnavailableError(ShopApiError):
    """The shop was unavailable, busy or slow: the same call may work later. retry_after: as the shop asked for, if it did."""

    def __init__(self, message: str, *, status: int | None = None, retry_after: timedelta | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message, status=status)


# --- processing ------------------------------------------------------------------------------------------------


class LeaseLostError(PluginError):
    """Another worker took the event over while this one was away. This worker stops and writes nothing."""


# --- Engage ----------------------------------------------------------------------------------------------------


class EngageError(PluginError):
    """A call to Engage did not do what was asked.

    operation: our name of the operation; status: HTTP status, None without an answer; code: Engage's symbolic
    code where it gave one; field: the field that the answer names. The text never contains personal data.
    """

    def __init__(
        self,
        message: str,
        *,
        operation: str = "",
        status: int | None = None,
        code: str | None = None,
        field: str | None = None,
    ) -> None:
        self.operation = operation
        self.status = status
        self.code = code
        self.field = field
        super().__init__(message)


class TransientError(EngageError):
    """Engage was away, busy or slow (429, 5xx, no answer): try again later.

    retry_after: what Engage asked for; None where it did not say.
    sent: False when the request certainly never reached Engage.
    """

    def __init__(
        self,
        message: str,
        *,
        operation: str = "",
        status: int | None = None,
        code: str | None = None,
        retry_after: timedelta | None = None,
        sent: bool = True,
    ) -> None:
        self.retry_after = retry_after
        self.sent = sent
        super().__init__(message, operation=operation, status=status, code=code)


class ThrottledError(TransientError):
    """The request was not sent: the breaker is open or the rate budget is used up. Costs the event no attempt."""


class PermanentError(EngageError):
    """Engage refused the request as it is (400, 422): repeating it cannot help."""


class EngageNotFoundError(EngageError):
    """What the call names does not exist in Engage (404)."""


class EngageConflictError(EngageError):
    """Engage's state does not allow the call (409). contact_id: the id that the answer names, if any."""

    def __init__(
        self,
        message: str,
        *,
        operation: str = "",
        code: str | None = None,
        contact_id: str | None = None,
    ) -> None:
        self.contact_id = contact_id
        super().__init__(message, operation=operation, status=409, code=code)


class UnauthorisedError(EngageError):
    """Engage does not accept the key (401, 403). Deliveries of the shop stop until an operator fixes it."""


class ContractError(EngageError):
    """Engage answered in an unknown shape; the text names the missing field."""


# --- files: when Engage stays away -----------------------------------------------------------------------------


class FileFaultError(PluginError):
    """A file cannot be written as its schema, its limits or the shop's style sheet want it.

    row: which of its rows is at fault, counted from 0; None where it is not a row.
    """

    def __init__(self, message: str, row: int | None = None) -> None:
        self.row = row
        super().__init__(message)


class TransferError(PluginError):
    """A file did not reach the SFTP server: no connection, a refusal, an interruption. Tried again by the retry rules."""
