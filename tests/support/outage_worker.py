"""The processes of the outage test: a host that forks a worker, kills it when told, and forks the next at once.

    python outage_worker.py CONFIG.json      # commands on standard input: kill, stop

The worker does what sweep and workers do, on a clock that the test moves; both share a small file in memory.
"""

import json
import mmap
import os
import signal
import struct
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plugin.engage.http.guard_rules import GuardRules
from plugin.engage_files.sftp import SftpAccess, SftpTransfer
from plugin.store.database.engine import Database
from plugin.store.shops.shops import RegisteredShop
from plugin.store.shops.vault import Vault
from support.services import in_process_services
from webhooks.fallback.runner import EngageAvailability, EngageStatus

_PLACES = {"now": 0, "away_since": 8, "server_away": 16, "turns": 24}
SIZE = 32


@dataclass
class Shared:
    """What test and worker share: the time, since when Engage is away (0: it is not), the server, and turns done."""

    memory: mmap.mmap

    @classmethod
    def at(cls, path: Path) -> "Shared":
        if not path.exists():
            path.write_bytes(bytes(SIZE))
        with path.open("r+b") as file:
            return cls(mmap.mmap(file.fileno(), SIZE))

    def get(self, name: str) -> float:
        return float(struct.unpack_from("d", self.memory, _PLACES[name])[0])

    def put(self, name: str, value: float) -> None:
        struct.pack_into("d", self.memory, _PLACES[name], value)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.get("now"), UTC)


def work(config: dict[str, Any], shared: Shared) -> None:
    """Work for ever."""

    def engage_status_for(_shop: RegisteredShop) -> EngageStatus:
        since = shared.get("away_since")
        return (
            EngageStatus(EngageAvailability.AWAY, datetime.fromtimestamp(since, UTC))
            if since
            else EngageStatus(EngageAvailability.ANSWERS)
        )

    def transfer_for(_shop: RegisteredShop) -> SftpTransfer:
        access = dict(config["server"])
        if shared.get("server_away"):
            access["port"] = 1
        return SftpTransfer(SftpAccess(**access))

    services = in_process_services(
        Database(config["database_url"]),
        Vault(config["secret_key"]),
        shared.now,
        Path(config["folder"]),
        rules=GuardRules(rate=200, share=50.0, probe_s=0.05),
        transfer_for=transfer_for,
        file_folder_for=lambda _shop: Path(config["folder"]),
        engage_status_for=engage_status_for,
        probe=lambda _shop: None,
    )
    fallback, processor, sweep = services.fallback, services.processor, services.sweep
    while True:
        fallback.run()
        sweep.run(shared.now())
        for _ in range(5 if shared.get("away_since") else 100):
            claimed = processor.claim(4)
            for one in claimed:
                processor.work(one)
            if not claimed:
                break
        shared.put("turns", shared.get("turns") + 1)
        time.sleep(0.002)


def main() -> None:
    """Keep one worker alive, and kill it when told."""
    config = json.loads(Path(sys.argv[1]).read_text())
    shared = Shared.at(Path(config["shared"]))
    worker = _fork(config, shared)
    for line in sys.stdin:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
        if line.strip() == "stop":
            return
        worker = _fork(config, shared)
        print("killed", flush=True)  # noqa: T201 - what the test waits for


def _fork(config: dict[str, Any], shared: Shared) -> int:
    worker = os.fork()
    if worker == 0:
        try:
            os.close(0)
            work(config, shared)
        finally:
            os._exit(1)
    return worker


if __name__ == "__main__":
    main()
