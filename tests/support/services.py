"""The product's composition root inside one test process: real stores and HTTP, a clock of the test, and no Redis."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from plugin.engage.http.call_guard import CallGuards
from plugin.engage.http.guard_rules import GuardRules
from plugin.services import Services
from plugin.settings import Settings
from plugin.store.database.engine import Database
from plugin.store.shops.vault import Vault

#: Nothing listens there: parts that need Redis go on without it.
NO_REDIS = "redis://127.0.0.1:1"
#: A rate that holds nothing up; a probe goes out at once.
FREE_RATE = GuardRules(rate=200, share=5.0, probe_s=0.001)


class InProcessServices(Services):
    """Services whose waits end at once and always take the same time."""

    def jitter(self) -> float:
        return 0.5

    def pause(self, _seconds: float) -> bool:
        return False


def in_process_services(
    database: Database,
    vault: Vault,
    clock: Callable[[], datetime],
    folder: Path,
    *,
    rules: GuardRules = FREE_RATE,
    public_url: str = "http://127.0.0.1:8000",
    **parts: Any,
) -> Services:
    """Return services over a given database.

    parts: attributes and methods of `Services` that a test supplies itself, such as `transfer_for` or `transport`.
    """
    settings = Settings(
        database_url=database.url.render_as_string(hide_password=False),
        redis_url=None,
        state_dir=folder,
        secret_key="a key of tests that is longer than thirty-two characters",
        public_url=public_url,
        lease_s=60.0,
    )
    services = InProcessServices(settings, NO_REDIS, clock)
    given = {"database": database, "vault": vault, "call_guards": CallGuards(None, rules), **parts}
    unknown = [name for name in given if not hasattr(Services, name)]
    if unknown:
        raise AttributeError(f"Services has no {', '.join(unknown)}")
    services.__dict__.update(given)
    return services
