"""My Pages with a real database and real HTTP to the sandbox."""

import json
import re
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jwt
import requests
from flask import Flask
from flask.testing import FlaskClient

from mypages.data.page_cache import PageCache
from mypages.http.routes import blueprint
from plugin.engage.cache.cached import CachedEngage
from plugin.engage.cache.response_cache import ResponseCache
from plugin.engage.cache.single_flight import SingleFlight
from plugin.engage.client import EngageClient
from plugin.engage.http.guard_rules import GuardRules
from plugin.platforms.base import Delivery
from plugin.sandbox.testing import RunningSandbox
from plugin.store.contacts.links import Link
from plugin.store.database.engine import Database
from plugin.store.orders.orders import StoredOrder
from plugin.store.shops.shops import NewShop, RegisteredShop
from plugin.store.shops.vault import Vault
from support.services import in_process_services
from webhooks.processing.processor import EventProcessor
from webhooks.receiving.new_event import new_event


@cache
def _migrated() -> bytes:
    """Return an empty database file with all tables: migrating takes longer than most tests."""
    with TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/empty.sqlite")
        database.migrate()
        database.close()
        return (Path(folder) / "empty.sqlite").read_bytes()


class Clock:
    """The real time, which tests may advance. Cached answers have the real time too."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Pages:
    """My Pages with its shops and shoppers, and the sandbox behind it."""

    def __init__(
        self,
        folder: Path,
        sandbox: RunningSandbox,
        *,
        secure: bool = False,
        response_cache: ResponseCache | None = None,
        public_url: str = "http://127.0.0.1:8000",
    ) -> None:
        self.sandbox, self.clock = sandbox, Clock()
        (folder / "plugin.sqlite").write_bytes(_migrated())
        self.database = Database(f"sqlite:///{folder / 'plugin.sqlite'}")
        self.vault = Vault("a key of tests that is longer than thirty-two characters")
        self.services = in_process_services(
            self.database,
            self.vault,
            self.clock,
            folder,
            rules=GuardRules(rate=200, share=50.0, probe_s=0.001, open_after=1000),
            public_url="https://plugin.example" if secure else public_url,
        )
        stores = self.services.stores
        self.shops, self.orders = stores.shops, stores.orders
        self.links, self.sync_states, self.consents = stores.links, stores.sync_states, stores.consents
        self.call_guards = self.services.call_guards
        self.cache_file = folder / "my-pages-cache.sqlite"
        self.response_cache = response_cache or ResponseCache.in_file(
            self.cache_file, self.vault.derive("my pages cache")
        )
        self.cached = CachedEngage(self.call_guards, self.response_cache, SingleFlight())
        self.page_cache, self.woken = PageCache(), list[int]()
        self.services.__dict__["cached"] = self.cached
        pages = replace(self.services.my_pages, wake=self.woken.append, page_cache=self.page_cache)
        app = Flask("pages")
        app.register_blueprint(blueprint(pages))
        self.app = app

    def client_for(self, shop: RegisteredShop) -> EngageClient:
        return self.services.client_for(shop)

    def add_shop(
        self, name: str, *, platform: str = "standard", shop_domain: str | None = None, **settings: str
    ) -> RegisteredShop:
        wanted = {"store": "web", **settings}
        new = NewShop(name, platform, self.sandbox.url, f"key-{name}", "whsec_" + "A" * 40, wanted, shop_domain)
        return self.shops.add(new, self.clock())

    def browser(self) -> FlaskClient:
        return self.app.test_client()

    def token(self, shop: RegisteredShop, customer_id: str = "1", **claims: Any) -> str:
        now = int(self.clock().timestamp())
        payload = {
            "iss": shop.name, "aud": "engage-plugin", "sub": customer_id, "iat": now, "exp": now + 120,
            "jti": secrets.token_hex(8), **claims,
        }  # fmt: skip
        payload = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(payload, shop.shopper_secret, algorithm="HS256")

    def logged_in(self, shop: RegisteredShop, customer_id: str = "1") -> FlaskClient:
        browser = self.browser()
        answer = browser.post(f"/mypages/{shop.name}/session", data={"token": self.token(shop, customer_id)})
        assert answer.status_code == 303, answer.text
        return browser

    def contact(self, shop: RegisteredShop, customer_id: str = "1", *, verified: bool = True, **attributes: Any) -> str:
        entry = {"contactType": "Member", "email": f"{customer_id}-{shop.name}@example.com", **attributes}
        (contact_id,) = self.seed(contacts=[entry])["contacts"]
        self.links.save(shop, customer_id, Link(contact_id, verified, "test"), self.clock())
        return contact_id

    def promotion(self, contact_id: str, assignment: dict[str, Any] | None = None, **changes: Any) -> None:
        template = {
            "name": "Spring", "validity": {"startDate": "2026-01-01", "endDate": "2099-12-31"},
            "presentation": {"heading": "20 % off caps"},
            "redemptionChannels": [{"type": "ECOM", "valueType": "EXTERNALOFFER", "value": "SPRING20"}], **changes,
        }  # fmt: skip
        (promotion_id,) = self.seed(promotions=[template])["promotions"]
        self.seed(assignments=[{"contactId": contact_id, "promotionId": promotion_id, **(assignment or {})}])

    def order(
        self,
        shop: RegisteredShop,
        order_id: str,
        customer_id: str = "1",
        total: str = "299.00",
        lines: list[dict[str, str]] | None = None,
    ) -> None:
        details = {"lines": lines or []}
        order = StoredOrder(
            order_id, f"N{order_id}", customer_id, None, "SEK", Decimal(total), self.clock(), "web", None, details
        )
        self.orders.remember(shop, order, 1)

    # --- what tests read and control

    def json(self, browser: FlaskClient, path: str, **options: Any) -> Any:
        """Return a page as JSON."""
        answer = browser.get(path, headers={"Accept": "application/json"}, **options)
        assert answer.status_code == 200, answer.text
        return answer.json

    def csrf(self, browser: FlaskClient, shop: RegisteredShop) -> str:
        """Return the CSRF token of the profile form."""
        match = re.search(r'name="csrf" value="([^"]+)"', browser.get(f"/mypages/{shop.name}/profile").text)
        assert match is not None
        return match.group(1)

    def edit(self, browser: FlaskClient, shop: RegisteredShop, **fields: Any) -> Any:
        """Post the form of the profile page."""
        form = {"csrf": self.csrf(browser, shop), **fields}
        return browser.post(f"/mypages/{shop.name}/profile", data=form)

    def age_the_cache(self, minutes: int) -> None:
        """Make everything that is cached older, in the cache itself, and drop cached pages."""
        responses = self.response_cache.cache.responses
        for key in list(responses.keys()):
            entry: Any = responses[key]
            entry.created_at = entry.created_at - timedelta(minutes=minutes)
            responses[key] = entry
        self.drop_cached_pages()

    def drop_cached_pages(self) -> None:
        """Drop the cached pages, as if they had expired."""
        self.page_cache._pages.clear()

    def event(self, platform: Any, shop: RegisteredShop, kind: str, **data: Any) -> int:
        """Put an event of the shop into the inbox, as its webhook would."""
        body = json.dumps({"type": kind, "timestamp": self.clock().isoformat(), "data": data}).encode()
        stores, delivery = self.processor.runtime.stores, Delivery(kind, secrets.token_hex(8))
        new = new_event(stores.inbox, self.vault, shop, platform, delivery, body, self.clock())
        return stores.inbox.accept(new).event_id

    def work(self) -> list[str]:
        """Process events like a worker until none is due; return the outcomes."""
        outcomes: list[str] = []
        while claimed := self.processor.claim():
            outcomes += [self.processor.work(event) for event in claimed]
        return outcomes

    @property
    def processor(self) -> EventProcessor:
        return self.services.processor

    def engage(self, contact_id: str) -> dict[str, Any]:
        """Return a contact as the sandbox has it."""
        contacts = requests.get(f"{self.sandbox.url}/sandbox/contacts", timeout=5).json()
        return next(contact for contact in contacts if contact["id"] == contact_id)

    def no_faults(self) -> None:
        requests.delete(f"{self.sandbox.url}/sandbox/faults", timeout=5).raise_for_status()

    def options(self, **options: Any) -> None:
        self._post("/sandbox/options", options)

    def receipt(self, contact_id: str, number: int, day: str, **changes: Any) -> None:
        """Send a receipt to the sandbox."""
        self.post_to_engage("/api/v3/receipts", {
            "contact": {"matchKey": contact_id, "matchKeyType": "contactId"}, "uniqueReceiptId": f"R{number}",
            "receiptNumber": f"No-{number}.", "createdDate": f"{day}T10:00:00+01:00", "storeExternalId": "web",
            "currency": "SEK", "totalGrossPrice": 10, "paymentMethods": [{"type": "card", "value": 10}],
            "items": [{"type": "PURCHASE", "sku": "A", "quantity": 1, "grossPaidPrice": 10, "taxAmount": 2, "taxPercent": 25,
                       "articleNumber": "A", "articleName": "Cap"}], **changes,
        })  # fmt: skip

    def post_to_engage(self, path: str, body: Any, method: str = "POST") -> None:
        headers = {"apikey": "k", "User-Agent": "Test/1.0", "Content-Type": "application/json"}
        answer = requests.request(method, self.sandbox.url + path, json=body, headers=headers, timeout=5)
        assert answer.ok, answer.text

    def seed(self, **entries: Any) -> dict[str, list[str]]:
        return dict(self._post("/sandbox/seed", entries))

    def fault(self, **faults: Any) -> None:
        self._post("/sandbox/faults", faults)

    def calls(self) -> list[str]:
        return [row["operationId"] for row in requests.get(f"{self.sandbox.url}/sandbox/calls", timeout=5).json()]

    def close(self) -> None:
        self.cached.close()
        self.services.transport.close()
        self.database.close()

    def _post(self, path: str, body: Any) -> Any:
        answer = requests.post(self.sandbox.url + path, json=body, timeout=5)
        assert answer.ok, answer.text
        return answer.json()
