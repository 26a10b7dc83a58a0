"""An outage for tests: Engage away or back on a test's own clock, a server for files that is a folder, and its importer."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from plugin.engage_files.folder import FolderTransfer
from plugin.engage_files.transfer import Heartbeat, RemoteListing
from plugin.errors import TransferError
from plugin.sandbox.purchases.file_import import take_files
from plugin.sandbox.state import SandboxState
from plugin.store.files.files import StoredFile
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.files import FileState
from support.services import in_process_services
from webhooks.fallback.runner import EngageAvailability, EngageStatus, FallbackRunner

RECEIPTS_FOLDER = "integration/transactionImport"
FALLBACK_AFTER = timedelta(seconds=1800)


@dataclass
class FileServer:
    """A server that files are sent to, with what may go wrong there. away: no connection; refuse: rename refused."""

    base: Path
    away: bool = False
    refuse_rename: bool = False
    answer_lost: bool = False
    sent: int = 0

    def __enter__(self) -> Self:
        self._folder = FolderTransfer(self.base)
        self._reach()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def put(self, local: Path, folder: str, temporary: str, heartbeat: Heartbeat) -> None:
        self._reach()
        self._folder.put(local, folder, temporary, heartbeat)

    def publish(self, folder: str, temporary: str, name: str) -> None:
        self._reach()
        if self.refuse_rename:
            raise TransferError("rename refused")
        self._folder.publish(folder, temporary, name)
        self.sent += 1
        if self.answer_lost:
            self.away = True
            raise TransferError("cut")

    def find(self, folder: str, name: str, temporary: str | None) -> RemoteListing:
        self._reach()
        return self._folder.find(folder, name, temporary)

    def discard(self, folder: str, temporary: str) -> None:
        self._reach()
        self._folder.discard(folder, temporary)

    def names(self, folder: str = RECEIPTS_FOLDER) -> list[str]:
        """Return the names of the files in a folder."""
        there = self.base / folder
        return sorted(path.name for path in there.iterdir()) if there.exists() else []

    def take(self, state: SandboxState, now: datetime, folder: str = RECEIPTS_FOLDER) -> dict[str, int]:
        """Import what lies there, as Engage's job does."""
        there = self.base / folder
        if not there.exists():
            return {}
        with state.lock:
            return take_files(state, there, now)

    def _reach(self) -> None:
        if self.away:
            raise TransferError("the server cannot be reached")


@dataclass
class Outages:
    """Whether Engage is away, on a test's clock."""

    clock: Any
    since: datetime | None = None
    unknown: bool = False
    probes: int = 0

    def begin(self) -> None:
        self.since = self.clock()

    def end(self) -> None:
        self.since = None

    def of(self, _shop: RegisteredShop) -> EngageStatus:
        if self.unknown:
            return EngageStatus(EngageAvailability.UNKNOWN)
        return (
            EngageStatus(EngageAvailability.ANSWERS)
            if self.since is None
            else EngageStatus(EngageAvailability.AWAY, self.since)
        )

    def probe(self, _shop: RegisteredShop) -> None:
        self.probes += 1


@dataclass
class Files:
    """The fallback of a rig, with its server and its outages."""

    fallback: FallbackRunner
    server: FileServer
    outages: Outages
    shop: RegisteredShop
    folder: Path
    names: list[str] = field(default_factory=list)

    def files(self, *states: FileState) -> list[StoredFile]:
        return self.fallback.files.live(self.shop, *(states or tuple(FileState)))

    def contents(self) -> str:
        """Return what all files that lie here hold."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.xml")))


def files_of(rig: Any, shop: RegisteredShop, base: Path, **settings: str) -> Files:
    """Give a rig a fallback for one of its shops."""
    server, outages = FileServer(base / "server"), Outages(rig.clock)
    shop = rig.stores.shops.change(shop.name, {"fallback": "yes", "fallback_user": "u", **settings})
    folder = base / "files" / shop.name
    services = in_process_services(
        rig.database,
        rig.stores.vault,
        rig.clock,
        base,
        stores=rig.stores,
        transfer_for=lambda _shop: server,
        file_folder_for=lambda shop: base / "files" / shop.name,
        engage_status_for=outages.of,
        probe=outages.probe,
    )
    return Files(services.fallback, server, outages, shop, folder)
