"""A whole plugin in one process, with a clock of its own: real database, real HTTP to the sandbox Engage."""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from standardwebhooks.webhooks import Webhook
from support.helpers import Clock
from support.services import in_process_services

from plugin.engage.client import EngageClient
from plugin.engage.data.models import ContactWrite
from plugin.engage.http.transport import Transport
from plugin.sandbox.state import utc_now
from plugin.sandbox.testing import HEADERS, RunningSandbox, running_sandbox
from plugin.store.database.engine import Database
from plugin.store.inbox.admin import EventFilter, EventRow
from plugin.store.shops.shops import NewShop, RegisteredShop
from plugin.store.shops.vault import Vault
from webhooks.receiving.endpoint import blueprint

SHOPIFY_SECRET = "shpss_a_client_secret"
LEASE = timedelta(seconds=60)


class PluginHarness:
    """The plugin between a shop and the sandbox. `work` does what workers and sweep do, on this rig's clock."""

    def __init__(self, database: Database, vault: Vault, clock: Clock, sandbox: RunningSandbox, folder: Path) -> None:
        self.clock, self.sandbox, self.database = clock, sandbox, database
        self.services = in_process_services(database, vault, clock, folder)
        self.stores, self.desk, self.sweep = self.services.stores, self.services.event_admin, self.services.sweep
        self.call_guards, self.processor = self.services.call_guards, self.services.processor
        app = Flask("rig")
        app.register_blueprint(blueprint(self.services.webhook_receiver))
        self.web = app.test_client()
        self.shopify = self._shop("kiosk", "shopify", SHOPIFY_SECRET)
        self.standard = self._shop("web-se", "standard", "whsec_" + base64.b64encode(b"s" * 32).decode())
        # both sides agree on the day, because when a promotion was redeemed tells whose work it was; Engage's own
        # delays and limits go on in real time
        began = time.monotonic()
        sandbox.state.clock = lambda: clock() + timedelta(seconds=time.monotonic() - began)
        self._post("/sandbox/seed", {"stores": [{"externalId": "web-se", "name": "Web"}]})

    @property
    def transport(self) -> Transport:
        return self.services.transport

    @transport.setter
    def transport(self, transport: Transport) -> None:
        self.services.transport.close()
        self.services.__dict__["transport"] = transport

    def client_for(self, shop: RegisteredShop) -> EngageClient:
        return self.services.client_for(shop)

    # --- the shop ---

    def send_shopify(self, topic: str, body: dict[str, Any], *, delivery: str | None = None) -> int:
        raw = json.dumps(body).encode()
        digest = hmac.new(SHOPIFY_SECRET.encode(), raw, hashlib.sha256).digest()
        headers = {
            "X-Shopify-Topic": topic,
            "X-Shopify-Hmac-Sha256": base64.b64encode(digest).decode(),
            "X-Shopify-Shop-Domain": "kiosk.myshopify.com",
            "X-Shopify-Webhook-Id": delivery or secrets.token_hex(8),
            "X-Shopify-Triggered-At": self.clock().isoformat(),
        }
        return self._stored(self.web.post("/webhooks/shopify/kiosk", data=raw, headers=headers))

    def send(self, kind: str, *, delivery: str | None = None, **data: Any) -> int:
        """Send an event of the Standard platform, stamped with this rig's time."""
        raw = json.dumps({"type": kind, "timestamp": self.clock().isoformat(), "data": data})
        message_id = delivery or secrets.token_hex(8)
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(self.clock().timestamp())),
            "webhook-signature": Webhook(self.standard.webhook_secrets[0]).sign(message_id, self.clock(), raw),
        }
        return self._stored(self.web.post("/webhooks/standard/web-se", data=raw, headers=headers))

    # --- workers ---

    def work(self, *, most: int = 200) -> list[str]:
        """Try what is due until nothing is; return the outcomes."""
        outcomes = []
        for _ in range(most):
            claimed = self.processor.claim()
            if not claimed:
                return outcomes
            outcomes += [self.processor.work(one) for one in claimed]
        raise AssertionError(f"still busy after {most} tries: {outcomes[-5:]}")

    def work_for(self, seconds: float, step: float = 10.0) -> list[str]:
        """Let time pass in steps, working and sweeping at each."""
        outcomes = self.work()
        passed = 0.0
        while passed < seconds:
            self.clock.forward(step)
            passed += step
            self.sweep.run(self.clock())
            outcomes += self.work()
        return outcomes

    def event(self, event_id: int) -> EventRow:
        return self.desk.show(event_id)[0]

    def steps(self, event_id: int) -> list[str]:
        return [entry.operation for entry in self.desk.show(event_id)[1]]

    def parked(self) -> list[EventRow]:
        return self.desk.find(EventFilter(state="parked"))

    # --- Engage ---

    def contacts(self) -> dict[str, dict[str, Any]]:
        """Return the sandbox's contacts by e-mail."""
        return {c["attributes"].get("email", c["id"]): c for c in self._get("/sandbox/contacts")}

    def receipts(self) -> dict[str, dict[str, Any]]:
        """Return the sandbox's receipts by uniqueReceiptId, each as it came and with times_received."""
        return {row["uniqueReceiptId"]: row for row in self._get("/sandbox/receipts")}

    def delete_contact(self, contact_id: str) -> None:
        path = f"{self.sandbox.url}/api/v3/contacts/{contact_id}"
        requests.delete(path, headers=HEADERS, timeout=5).raise_for_status()

    def redemptions(self) -> list[dict[str, Any]]:
        return list(self._get("/sandbox/redemptions"))

    def calls(self) -> list[str]:
        """Return the operations called since the last `forget_calls`."""
        return [row["operationId"] for row in self._get("/sandbox/calls")]

    def seed(self, **entries: Any) -> dict[str, list[str]]:
        made: dict[str, list[str]] = self._post("/sandbox/seed", entries)
        return made

    def fault(self, **faults: Any) -> None:
        self._post("/sandbox/faults", faults)

    def no_faults(self) -> None:
        requests.delete(f"{self.sandbox.url}/sandbox/faults", timeout=5).raise_for_status()

    def options(self, **options: Any) -> None:
        self._post("/sandbox/options", options)

    def close(self) -> None:
        for name in ("transport", "cached"):
            if name in self.services.__dict__:
                self.services.__dict__[name].close()

    def _shop(self, name: str, platform: str, secret: str) -> RegisteredShop:
        domain = f"{name}.myshopify.com" if platform == "shopify" else None
        new = NewShop(name, platform, self.sandbox.url, f"key-{name}", secret, {"store": "web-se"}, domain)
        return self.stores.shops.add(new, self.clock())

    def _stored(self, answer: Any) -> int:
        assert answer.status_code == 200, answer.text
        return int(answer.json["event_id"])

    def _get(self, path: str) -> Any:
        answer = requests.get(self.sandbox.url + path, timeout=5)
        answer.raise_for_status()
        return answer.json()

    def _post(self, path: str, body: Any) -> Any:
        answer = requests.post(self.sandbox.url + path, json=body, timeout=5)
        assert answer.ok, answer.text
        return answer.json()


@pytest.fixture
def before_patch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Return what lets something happen once between the reading of what is known and the next patch."""

    def let(happen: Callable[[], object]) -> None:
        real, waiting = EngageClient.patch_contact, [happen]

        def late(client: EngageClient, contact_id: str, write: ContactWrite) -> None:
            if waiting:
                waiting.pop()()
            real(client, contact_id, write)

        monkeypatch.setattr(EngageClient, "patch_contact", late)

    return let


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: RunningSandbox) -> RunningSandbox:
    requests.post(f"{shared_sandbox.url}/sandbox/reset", json={}, timeout=5).raise_for_status()
    return shared_sandbox


@pytest.fixture
def rig(
    database: Database, vault: Vault, clock: Clock, sandbox: RunningSandbox, tmp_path: Path
) -> Iterator[PluginHarness]:
    made = PluginHarness(database, vault, clock, sandbox, tmp_path)
    yield made
    made.close()
    sandbox.state.clock = utc_now
