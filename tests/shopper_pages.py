"""My Pages over a real database and real HTTP to the sandbox."""

import secrets
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jwt
import requests
from flask import Flask
from flask.testing import FlaskClient

from mypages.pages import MyPages, blueprint
from plugin.engage.cached import CachedEngage, CachedTransport
from plugin.engage.client import EngageClient
from plugin.engage.gate import GateRules, Gates
from plugin.engage.transport import EngageAccount, Transport
from plugin.sandbox.testing import RunningSandbox
from plugin.store.contacts import Contacts, Link
from plugin.store.db import Database
from plugin.store.orders import Orders, StoredOrder
from plugin.store.shops import NewShop, RegisteredShop, Shops
from plugin.store.tokens import UsedTokens
from plugin.store.vault import Vault


class Clock:
    """The real time, which tests may move: cached answers carry the real time too."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Pages:
    """Shops, shoppers and a browser."""

    def __init__(self, folder: Path, sandbox: RunningSandbox, *, secure: bool = False) -> None:
        self.sandbox, self.clock = sandbox, Clock()
        self.database = Database(f"sqlite:///{folder / 'plugin.sqlite'}")
        self.database.migrate()
        vault = Vault("a key of tests that is longer than thirty-two characters")
        self.shops, self.contacts, self.orders = (
            Shops(self.database, vault),
            Contacts(self.database),
            Orders(self.database),
        )
        self.gates = Gates(None, GateRules(rate=200, share=5.0, probe_s=0.001, open_after=1000))
        self.cache_file = folder / "cache.sqlite"
        self.transport = CachedTransport(self.gates, self.cache_file, vault.derive("my pages cache"))
        self.cached = CachedEngage(self.transport)
        self.plain = Transport(self.gates)
        app = Flask("pages")
        app.register_blueprint(
            blueprint(
                MyPages(
                    shops=self.shops,
                    contacts=self.contacts,
                    orders=self.orders,
                    used_tokens=UsedTokens(self.database),
                    cached=self.cached,
                    client_of=self.client_of,
                    vault=vault,
                    secure=secure,
                    clock=self.clock,
                )
            )
        )
        self.app = app

    def client_of(self, shop: RegisteredShop) -> EngageClient:
        return EngageClient(EngageAccount(shop.engage_url, shop.engage_key, shop.name, shop.platform), self.plain)

    def add_shop(self, name: str, **settings: str) -> RegisteredShop:
        new = NewShop(
            name, "standard", self.sandbox.url, f"key-{name}", "whsec_" + "A" * 40, {"store": "web", **settings}
        )
        return self.shops.add(new, self.clock())

    def browser(self) -> FlaskClient:
        return self.app.test_client()

    def token(self, shop: RegisteredShop, customer_id: str = "1", **claims: Any) -> str:
        now = int(self.clock().timestamp())
        whole = {
            "iss": shop.name, "aud": "engage-plugin", "sub": customer_id, "iat": now, "exp": now + 120,
            "jti": secrets.token_hex(8), **claims,
        }  # fmt: skip
        whole = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(whole, shop.shopper_secret, algorithm="HS256")

    def logged_in(self, shop: RegisteredShop, customer_id: str = "1") -> FlaskClient:
        browser = self.browser()
        answer = browser.post(f"/mypages/{shop.name}/session", data={"token": self.token(shop, customer_id)})
        assert answer.status_code == 303, answer.text
        return browser

    def contact(self, shop: RegisteredShop, customer_id: str = "1", *, verified: bool = True, **attributes: Any) -> str:
        entry = {"contactType": "Member", "email": f"{customer_id}-{shop.name}@example.com", **attributes}
        (contact_id,) = self.seed(contacts=[entry])["contacts"]
        self.contacts.remember_link(shop, customer_id, Link(contact_id, verified, "test"), self.clock())
        return contact_id

    def promotion(self, contact_id: str, **changes: Any) -> None:
        template = {
            "name": "Spring", "validity": {"startDate": "2026-01-01", "endDate": "2099-12-31"},
            "presentation": {"heading": "20 % off caps"},
            "redemptionChannels": [{"type": "ECOM", "valueType": "EXTERNALOFFER", "value": "SPRING20"}], **changes,
        }  # fmt: skip
        (promotion_id,) = self.seed(promotions=[template])["promotions"]
        self.seed(assignments=[{"contactId": contact_id, "promotionId": promotion_id}])

    def order(self, shop: RegisteredShop, order_id: str, customer_id: str = "1", total: str = "299.00") -> None:
        order = StoredOrder(
            order_id, f"N{order_id}", customer_id, None, "SEK", Decimal(total), self.clock(), "web", None, {"lines": []}
        )
        self.orders.remember(shop, order, 1)

    def seed(self, **entries: Any) -> dict[str, list[str]]:
        return dict(self._post("/sandbox/seed", entries))

    def fault(self, **faults: Any) -> None:
        self._post("/sandbox/faults", faults)

    def calls(self) -> list[str]:
        return [row["operationId"] for row in requests.get(f"{self.sandbox.url}/sandbox/calls", timeout=5).json()]

    def close(self) -> None:
        self.transport.close()
        self.plain.close()
        self.database.close()

    def _post(self, path: str, body: Any) -> Any:
        answer = requests.post(self.sandbox.url + path, json=body, timeout=5)
        assert answer.ok, answer.text
        return answer.json()
