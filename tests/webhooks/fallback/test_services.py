"""The fallback as the sweep process runs it: built from settings, with the circuit breaker that all processes share."""

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.bodies import customer, order
from support.helpers import service_url

from plugin.app import Services
from plugin.platforms.base import Delivery
from plugin.platforms.registry import PLATFORMS
from plugin.runtime.loops import run_fallback, run_fallback_once
from plugin.sandbox.testing import RunningSandbox
from plugin.settings import load_settings
from plugin.store.contacts.links import Link
from plugin.store.shops.shops import NewShop
from plugin.store.tables.files import FileState
from webhooks.receiving.new_event import new_event


@pytest.fixture
def services(tmp_path: Path, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> Any:
    redis_url = service_url("TEST_REDIS_URL")
    for name, value in {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'plugin.sqlite'}",
        "REDIS_URL": redis_url,
        "STATE_DIR": str(tmp_path),
        "FALLBACK_AFTER_S": "0.001",
        "RETRY_BASE_S": "0.001",
    }.items():
        monkeypatch.setenv(name, value)
    made = Services(load_settings(), redis_url)
    made.database.migrate()
    settings = {"store": "web-se", "fallback": "yes", "fallback_transfer": "folder"}
    key = f"key-{tmp_path.name}"  # its breaker is this test's alone
    new = NewShop("web-se", "standard", sandbox.url, key, "whsec_" + "A" * 32, settings)
    shop = made.stores.shops.add(new, made.clock())
    made.stores.links.save(shop, "1001", Link("2b1f0000-0000-4000-8000-000000000001", True, "t"), made.clock())
    yield made
    made.close()


def paid(services: Services, order_id: str) -> int:
    """Put a paid order of the known customer into the inbox."""
    shop, now = services.stores.shops.get("web-se"), services.clock()
    data = {"type": "order.paid", "timestamp": now.isoformat(), "data": {"order": order(order_id, customer=customer())}}
    delivery = Delivery("order.paid", delivery_id=order_id)
    body = json.dumps(data).encode()
    inbox = services.stores.inbox
    return inbox.accept(new_event(inbox, services.vault, shop, PLATFORMS["standard"], delivery, body, now)).event_id


@pytest.mark.redis
def test_an_open_breaker_writes_files_and_a_closed_one_recalls_them(services: Services) -> None:
    shop = services.stores.shops.get("web-se")
    event, guard = paid(services, "1"), services.call_guards.for_key(shop.engage_key)
    outbox = services.file_folder_for(shop) / "outbox" / "integration" / "transactionImport"
    run_fallback_once(services)
    assert not outbox.exists()
    for _ in range(5):
        guard.failed()
    shared = services.engage_status_for(shop)
    assert shared.since is not None
    assert datetime.now(UTC) - shared.since < timedelta(minutes=1)
    probe, services.fallback.probe = services.fallback.probe, lambda _shop: None  # it would close the breaker at once
    run_fallback_once(services)
    assert [path.suffix for path in outbox.iterdir()] == [".xml"]
    assert services.event_admin.show(event)[0].state == "spooled"
    probe(shop)
    assert services.engage_status_for(shop).since is None
    stop = threading.Event()
    stop.set()
    run_fallback(services, stop)
    assert list(outbox.iterdir()) == []
    assert services.event_admin.show(event)[0].state == "pending"


@pytest.mark.redis
def test_a_file_moved_by_the_merchant_counts_as_picked_up(services: Services) -> None:
    shop = services.stores.shops.get("web-se")
    first, guard = paid(services, "1"), services.call_guards.for_key(shop.engage_key)
    outbox = services.file_folder_for(shop) / "outbox" / "integration" / "transactionImport"
    for _ in range(5):
        guard.failed()
    with services.fallback.lease_shop(shop) as work:
        assert work is not None
        assert services.fallback.write(work) == 1
        with services.fallback.lease_shop(shop) as second:
            assert second is None  # one process at a time
    services.fallback.probe = lambda _shop: None
    run_fallback_once(services)
    (moved,) = outbox.iterdir()
    moved.unlink()
    guard.succeeded()
    run_fallback_once(services)
    assert [file.state for file in services.fallback.files.newest(shop, 9)] == [FileState.PICKED_UP]
    known = services.stores.orders.get(shop, "1")
    assert known is not None
    assert known.receipt_sent_at is not None
    row = services.event_admin.show(first)[0]  # what the order says of its contact is the API's
    assert (row.state, row.progress["receipt"]) == ("pending", "web-se-1")
