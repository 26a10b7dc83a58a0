"""A stand-in Saleor: its GraphQL API and JWKS over real HTTP, its signatures, and bodies made by a webhook's own query.

Queries run against `tests/saleor/schema.graphql`, so one that names an unknown field fails as it would at the shop.
"""

import base64
import copy
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from graphql import GraphQLSchema, build_schema, graphql_sync, parse, validate

SCHEMA_FILE = Path(__file__).parent.parent / "fixtures/saleor-schema/schema.graphql"
AT = datetime(2026, 3, 5, 9, 0, tzinfo=UTC)


@cache
def schema() -> GraphQLSchema:
    return build_schema(SCHEMA_FILE.read_text(encoding="utf-8"))


@cache
def schema_of_bodies() -> GraphQLSchema:
    """Return a schema in which a subscription's query can be run once, as a query."""
    text = SCHEMA_FILE.read_text(encoding="utf-8")
    return build_schema(text.replace("type Query {", "type Query { event: Event"))


def faults_of(query: str) -> list[str]:
    """Return what is wrong with a query, as the shop would say it."""
    return [error.message for error in validate(schema(), parse(query))]


@cache
def private_key(name: str) -> rsa.RSAPrivateKey:
    """Return the RSA key of a name; made once a test run, because making one is slow."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk(name: str) -> dict[str, Any]:
    nodes = jwt.algorithms.RSAAlgorithm.to_jwk(private_key(name).public_key(), as_dict=True)
    return {
        "kty": "RSA",
        "key_ops": ["verify"],
        "n": nodes["n"],
        "e": nodes["e"],
        "use": "sig",
        "kid": name,
        "alg": "RS256",
    }


def signed(body: bytes, key: str = "key-1", **header: Any) -> str:
    """Sign a body as Saleor does: a JWS whose middle part is empty."""
    return jwt.api_jws.encode(
        body,
        private_key(key),
        "RS256",
        headers={"kid": key, "b64": False, "crit": ["b64"], **header},
        is_payload_detached=True,
    )


@dataclass
class Shop:
    """The state of the stand-in."""

    url: str = ""
    token: str = "token-of-the-app"
    keys: list[str] = field(default_factory=lambda: ["key-1"])
    users: list[dict[str, Any]] = field(default_factory=list)
    orders: list[dict[str, Any]] = field(default_factory=list)
    app: dict[str, Any] = field(
        default_factory=lambda: {
            "id": "QXBwOjE=", "identifier": "engage-shop-plugin", "name": "Voyado Engage for shops", "isActive": True,
            "permissions": [{"code": "MANAGE_USERS", "name": ""}, {"code": "MANAGE_ORDERS", "name": ""}], "webhooks": [],
        }
    )  # fmt: skip
    asked: list[str] = field(default_factory=list)
    broken: int = 0
    api_broken: int = 0

    @property
    def api_url(self) -> str:
        return f"{self.url}/graphql/"

    @property
    def domain(self) -> str:
        return self.url.partition("//")[2]

    def headers(self, topic: str, body: bytes, key: str = "key-1") -> dict[str, str]:
        """Return the headers of a webhook."""
        signature = signed(body, key)
        plain = {"Saleor-Event": topic, "Saleor-Domain": self.domain, "Saleor-Signature": signature}
        return {
            **plain, **{f"X-{name}": value for name, value in plain.items()},
            "Saleor-Api-Url": self.api_url, "Content-Type": "application/json", "User-Agent": "Saleor/3.24",
        }  # fmt: skip

    def customer_token(self, now: datetime, key: str = "key-1", **claims: Any) -> str:
        """Return an access token of a logged-in customer."""
        whole = {
            "iat": int(now.timestamp()), "exp": int((now + timedelta(minutes=5)).timestamp()), "owner": "saleor",
            "iss": self.api_url, "token": "5aJaxRVEiV7D", "email": "ada@example.com", "type": "access",
            "user_id": "VXNlcjoxMDAx", "is_staff": False, **claims,
        }  # fmt: skip
        return jwt.encode(whole, private_key(key), "RS256", headers={"kid": key})

    def body_of(self, query: str, kind: str, subject: dict[str, Any], at: datetime) -> bytes:
        """Return the body of an event, made by the webhook's own subscription query."""
        event = {
            "__typename": kind, "issuedAt": at.isoformat(), "version": "3.24.0", "recipient": {"id": self.app["id"]}, **subject
        }  # fmt: skip
        return _answer(query, {"event": event}, "event")

    def make_webhooks(self, wanted: list[dict[str, Any]]) -> None:
        """Make the webhooks of a manifest, as the installation does."""
        self.app["webhooks"] = [
            {
                "id": webhook["name"], "name": webhook["name"], "targetUrl": webhook["targetUrl"], "isActive": webhook["isActive"],
                "subscriptionQuery": webhook["query"],
                "asyncEvents": [{"name": topic, "eventType": topic} for topic in webhook["asyncEvents"]],
            }
            for webhook in wanted
        ]  # fmt: skip

    # --- the API ---

    def resolve(self, authorised: bool) -> dict[str, Any]:
        return {
            "app": lambda _info, id=None: self.app if authorised else None,  # noqa: A006
            "shop": {"name": "Kiosk", "version": "3.24.0"},
            "customers": lambda _info, **asked: self._page(self.users if authorised else [], asked),
            "orders": lambda _info, **asked: self._page(self.orders if authorised else [], asked),
            "webhookCreate": lambda _info, input: self._webhook(None, input),  # noqa: A006
            "webhookUpdate": lambda _info, id, input: self._webhook(id, input),  # noqa: A006
        }

    def _webhook(self, webhook_id: str | None, wanted: dict[str, Any]) -> dict[str, Any]:
        if faults_of(wanted["query"]):
            return {"errors": [{"field": "query", "message": "not valid", "code": "INVALID"}], "webhook": None}
        webhook = next((w for w in self.app["webhooks"] if w["id"] == webhook_id), None)
        if webhook is None:
            webhook = {"id": secrets.token_hex(4)}
            self.app["webhooks"].append(webhook)
        webhook.update(
            name=wanted["name"], targetUrl=wanted["targetUrl"], isActive=wanted["isActive"],
            subscriptionQuery=wanted["query"],
            asyncEvents=[{"name": topic, "eventType": topic} for topic in wanted["asyncEvents"]],
        )  # fmt: skip
        return {"errors": [], "webhook": webhook}

    def _page(self, rows: list[dict[str, Any]], asked: dict[str, Any]) -> dict[str, Any]:
        """Page by (time of change, id), upper and lower bound taken in, as Saleor does."""
        bounds = (asked.get("where") or {}).get("updatedAt") or {}
        after = json.loads(base64.b64decode(asked["after"])) if asked.get("after") else ["", ""]
        sorted_rows = sorted(rows, key=lambda row: (row["updatedAt"], row["id"]))
        nodes = [
            row
            for row in sorted_rows
            if [row["updatedAt"], row["id"]] > after
            and row["updatedAt"] >= (bounds.get("gte") or "")
            and row["updatedAt"] <= (bounds.get("lte") or "~")
        ]
        page = nodes[: asked["first"]]
        edges = [
            {"node": row, "cursor": base64.b64encode(json.dumps([row["updatedAt"], row["id"]]).encode()).decode()}
            for row in page
        ]
        return {"edges": edges, "pageInfo": {"hasNextPage": len(nodes) > len(page)}}


def _answer(query: str, root: dict[str, Any], name: str) -> bytes:
    """Run a subscription's query once over one event, as the shop does when it makes a body."""
    result = graphql_sync(schema_of_bodies(), query.replace("subscription ", "query ", 1), root)
    assert result.data is not None, result.errors
    assert not result.errors, result.errors
    return json.dumps(result.data[name]).encode()


class _Handler(BaseHTTPRequestHandler):
    shop: Shop

    def do_GET(self) -> None:
        self.shop.asked.append(self.path)
        if self.path != "/.well-known/jwks.json":
            return self._send(404, {})
        return self._send(self.shop.broken or 200, {"keys": [jwk(name) for name in self.shop.keys]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.shop.asked.append(asked["query"].split()[1])
        if self.shop.broken or self.shop.api_broken:
            return self._send(self.shop.broken or self.shop.api_broken, {})
        authorised = self.headers.get("Authorization") == f"Bearer {self.shop.token}"
        result = graphql_sync(
            schema(), asked["query"], self.shop.resolve(authorised), variable_values=asked.get("variables")
        )
        answer: dict[str, Any] = {"data": result.data}
        if result.errors:
            answer["errors"] = [{"message": error.message} for error in result.errors]
        return self._send(400 if result.data is None else 200, answer)

    def _send(self, status: int, answer: Any) -> None:
        raw = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def running_saleor() -> Iterator[Shop]:
    """Run a stand-in shop on a free port of this machine."""
    shop = Shop()
    handler = type("Handler", (_Handler,), {"shop": shop})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    shop.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield shop
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# --- invented data, complete as the shop stores it ---


def money(amount: float, currency: str = "SEK") -> dict[str, Any]:
    return {"amount": amount, "currency": currency}


def taxed(gross: float, net: float, currency: str = "SEK") -> dict[str, Any]:
    return {
        "currency": currency, "gross": money(gross, currency), "net": money(net, currency),
        "tax": money(round(gross - net, 3), currency),
    }  # fmt: skip


def address(**changes: Any) -> dict[str, Any]:
    return {
        "id": "QWRkcmVzczox", "firstName": "Ada", "lastName": "Berg", "companyName": "", "streetAddress1": "Storgatan 1",
        "streetAddress2": "", "city": "STOCKHOLM", "postalCode": "11122", "country": {"code": "SE", "country": "Sweden"},
        "phone": "+46701234567", **changes,
    }  # fmt: skip


def user(**changes: Any) -> dict[str, Any]:
    return {
        "id": "VXNlcjoxMDAx", "email": "ada@example.com", "firstName": "Ada", "lastName": "Berg", "isActive": True,
        "isConfirmed": True, "isStaff": False, "languageCode": "SV_SE", "dateJoined": AT.isoformat(),
        "updatedAt": AT.isoformat(), "lastLogin": None, "externalReference": None, "metadata": [],
        "addresses": [address()], "defaultBillingAddress": address(), "defaultShippingAddress": None, **changes,
    }  # fmt: skip


def line(number: int, gross: float, net: float, quantity: int = 1, **changes: Any) -> dict[str, Any]:
    unit = taxed(round(gross / quantity, 2), round(net / quantity, 2))
    return {
        "id": f"T3JkZXJMaW5lOj{number}", "productName": f"Thing {number}", "variantName": "S", "productSku": f"S-{number}",
        "productVariantId": f"UHJvZHVjdFZhcmlhbnQ6{number}", "quantity": quantity, "taxRate": 0.25, "isGift": False,
        "unitPrice": unit, "undiscountedUnitPrice": unit, "unitDiscount": money(0.0), "unitDiscountReason": None,
        "totalPrice": taxed(gross, net), "voucherCode": None,
        "variant": {"id": "v", "product": {"productType": {"kind": "NORMAL"}}}, **changes,
    }  # fmt: skip


def order(**changes: Any) -> dict[str, Any]:
    """Return a paid order: 2 x 100.00 and 1 x 51.00 of goods, 49.00 of shipping, 25 % tax included: 300.00 SEK."""
    whole: dict[str, Any] = {
        "id": "T3JkZXI6OTAwMQ==", "number": "9001", "externalReference": None, "created": AT.isoformat(),
        "updatedAt": AT.isoformat(), "status": "UNFULFILLED", "origin": "CHECKOUT", "languageCodeEnum": "SV_SE",
        "userEmail": "ada@example.com", "user": user(), "channel": {"id": "c", "slug": "web-se", "currencyCode": "SEK"},
        "metadata": [], "isPaid": True, "paymentStatus": "FULLY_CHARGED", "chargeStatus": "FULL", "displayGrossPrices": True,
        "voucherCode": None, "total": taxed(300.0, 240.0), "undiscountedTotal": taxed(300.0, 240.0),
        "subtotal": taxed(251.0, 200.8), "shippingPrice": taxed(49.0, 39.2), "shippingTaxRate": 0.25,
        "shippingMethodName": "Parcel", "totalCharged": money(300.0), "totalRefunded": money(0.0), "discounts": [],
        "giftCards": [], "billingAddress": address(), "shippingAddress": address(),
        "lines": [line(1, 200.0, 160.0, 2), line(2, 51.0, 40.8)],
        "transactions": [transaction(300.0)], "payments": [], "grantedRefunds": [], "fulfillments": [], **changes,
    }  # fmt: skip
    return copy.deepcopy(whole)


def happened(event_id: str, kind: str, amount: float, minutes: int = 0) -> dict[str, Any]:
    return {
        "id": event_id, "type": kind, "createdAt": (AT + timedelta(minutes=minutes)).isoformat(), "pspReference": "PSP",
        "amount": money(amount),
    }  # fmt: skip


def transaction(charged: float, *refunds: tuple[str, float]) -> dict[str, Any]:
    """Return a card payment; refunds: (event id, amount), oldest first."""
    back = [happened(event_id, "REFUND_SUCCESS", amount, 10 + i) for i, (event_id, amount) in enumerate(refunds)]
    refunded = sum(amount for _, amount in refunds)
    return {
        "id": "VHJhbnNhY3Rpb25JdGVtOjE=", "name": "Card", "createdAt": AT.isoformat(),
        "chargedAmount": money(round(charged - refunded, 2)), "refundedAmount": money(refunded),
        "events": [happened("E-charge", "CHARGE_SUCCESS", charged), *back],
    }  # fmt: skip


def refunded_order(*refunds: tuple[str, float], **changes: Any) -> dict[str, Any]:
    """Return the order with refunds, as a payment app leaves it that takes them off the charged amount."""
    back = round(sum(amount for _, amount in refunds), 2)
    return order(
        transactions=[transaction(300.0, *refunds)],
        totalCharged=money(round(300.0 - back, 2)),
        totalRefunded=money(back),
        chargeStatus="PARTIAL" if back < 300 else "NONE",
        isPaid=False,
        **changes,
    )
