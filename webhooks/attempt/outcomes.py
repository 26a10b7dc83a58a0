"""How a handler ends, as a value. Errors, such as Engage being away or rejecting a request, are raised instead."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Delivered:
    """Engage has everything that the event means for it, which may be nothing new."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """The event is mapped correctly and has nothing for Engage."""

    reason: str


@dataclass(frozen=True, slots=True)
class Parked:
    """A person must decide. code: a short stable word, the same for the same kind of fault.

    blocks_later_changes: whether the customer's later contact changes wait for the person, where the shop's settings say so.
    """

    reason: str
    code: str
    blocks_later_changes: bool = True


@dataclass(frozen=True, slots=True)
class InFile:
    """All is done but the receipt, which is in a file that Engage has not picked up yet. The event ends `spooled`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that the event needs is not here yet (its order, its customer): try again later.

    for_file: the event waits for a file that Engage has not picked up, so it does not give up after `order_wait_s`.
    """

    reason: str
    retry_after: timedelta | None = None
    for_file: bool = False


Outcome = Delivered | Ignored | Parked | InFile | Waiting
DELIVERED = Delivered()
