"""One process's work on the files of one shop: its lease, and what it does not try again before a time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from plugin.errors import LeaseLostError
from plugin.store.files.files import FallbackFiles
from plugin.store.shops.shops import RegisteredShop
from webhooks.attempt.runtime import DeliveryRuntime


@dataclass(slots=True)
class ShopFileSession:
    """The right to work on a shop's files, and what that work needs.

    folder: where the files are on this machine. prolong: extends the lease in the database and returns False when another
    process holds it. prolonged_at: when it was last extended.
    """

    shop: RegisteredShop
    runtime: DeliveryRuntime
    files: FallbackFiles
    folder: Path
    prolong: Callable[[], bool]
    prolonged_at: datetime

    def renew_lease(self) -> None:
        """Extend the lease once a quarter of it has passed. Raises LeaseLostError when another process holds it."""
        now = self.runtime.clock()
        if now - self.prolonged_at < self.runtime.lease / 4:
            return
        if not self.prolong():
            raise LeaseLostError(f"Another process works on the files of shop {self.shop.name} now; this one stops.")
        self.prolonged_at = now


@dataclass(slots=True)
class WriteBackoff:
    """What is not tried before a time: single events by their id (`events`), and all writing of the shop (`until`)."""

    events: dict[int, datetime] = field(default_factory=dict)
    until: datetime | None = None


def withdrawn_name(name: str) -> str:
    """Return the local name of a file that was taken back out of the merchant's folder."""
    return f"{name}.withdrawn"
