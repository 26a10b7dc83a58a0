"""A stand-in for a WooCommerce shop: its REST API over real HTTP, with the behaviour and errors of the real one.

As docs/platforms/woocommerce.md#rest-api describes it: Basic or query keys, plain permalinks, pages, exclusive time
filters, no filter for customers, refunds of an order, webhooks that never show their secret and are switched off after failures.
"""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

KEY, SECRET = "ck_" + "a" * 40, "cs_" + "b" * 40
FIELDS_OF_A_HOOK = ("name", "topic", "delivery_url", "status")


@dataclass
class WooShop:
    """The shop's data, and how it behaves. asked: (method, route, query without keys, how the keys were sent).

    refuses: how often a request such as "PUT /wc/v3/webhooks/1" is answered 503. meanwhile: runs before each answer.
    """

    customers: list[dict[str, Any]] = field(default_factory=list)
    orders: list[dict[str, Any]] = field(default_factory=list)
    refunds: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    webhooks: dict[int, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[int, str] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], str]] = field(default_factory=list)
    drops_authorization: bool = False
    plain_permalinks: bool = False
    moved_to: str = ""
    away: int = 0
    refuses: dict[str, int] = field(default_factory=dict)
    meanwhile: Callable[[str, dict[str, str]], None] | None = None
    rights: str = "read_write"
    knows_modified_after: bool = True
    cached: bool = False
    url: str = ""

    def add_hook(self, topic: str, delivery_url: str, status: str = "active") -> int:
        """Make a webhook by hand, as an administrator would."""
        number = max(self.webhooks, default=0) + 1
        self.webhooks[number] = {
            "id": number,
            "name": "x",
            "topic": topic,
            "delivery_url": delivery_url,
            "status": status,
        }
        self.secrets[number] = "by hand"
        return number

    def paths(self) -> list[str]:
        return [f"{method} {route}" for method, route, _, _ in self.asked]

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, dict[str, str]]:
        """Return status, body (bytes or JSON) and headers."""
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if self.cached:  # a cache in front of the shop that ignores the page number
            query.pop("page", None)
            query.pop("offset", None)
        if self.moved_to:
            return 301, b"", {"Location": self.moved_to + target}
        if self.away:
            self.away -= 1
            return 503, b"<h1>maintenance</h1>", {}
        if self.plain_permalinks:
            route = query.pop("rest_route", "")
            if parts.path != "/" or not route:
                return 404, b"<html>no such page</html>", {}
        elif parts.path.startswith("/wp-json"):
            route = parts.path.removeprefix("/wp-json")
        else:
            return 404, b"<html>no such page</html>", {}
        came = self._keys(query, headers)
        self.asked.append((method, route, query, came))
        if route == "/":
            return 200, {"name": "Butiken & Co"}, {}
        if not came:
            return 401, _error("woocommerce_rest_cannot_view", 401), {}
        if method != "GET" and self.rights == "read":
            return 401, _error("woocommerce_rest_cannot_create", 401), {}
        if self.refuses.get(f"{method} {route}"):
            self.refuses[f"{method} {route}"] -= 1
            return 503, b"busy", {}
        if self.meanwhile is not None:
            self.meanwhile(route, query)
        return self._resource(method, route.removeprefix("/wc/v3"), query, json.loads(body) if body else {})

    def _keys(self, query: dict[str, str], headers: dict[str, str]) -> str:
        pair = (query.pop("consumer_key", ""), query.pop("consumer_secret", ""))
        if pair == (KEY, SECRET):
            return "query"
        basic = "Basic " + base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
        return "basic" if headers.get("Authorization") == basic and not self.drops_authorization else ""

    def _resource(
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any]
    ) -> tuple[int, Any, dict[str, str]]:
        if path.startswith("/webhooks"):
            return self._hooks(method, path.removeprefix("/webhooks").strip("/"), query, body)
        if path == "/customers":
            return 200, self._customers(query), {}
        if path == "/orders":
            return 200, _page(self._orders(query), query), {}
        if path.startswith("/orders/") and path.endswith("/refunds"):
            number = int(path.split("/")[2])
            if not any(order["id"] == number for order in self.orders):
                return 404, _error("woocommerce_rest_shop_order_invalid_id", 404), {}
            return 200, _page(self.refunds.get(number, []), query), {}
        return 404, _error("rest_no_route", 404), {}

    def _customers(self, query: dict[str, str]) -> list[dict[str, Any]]:
        rows = [c for c in self.customers if query.get("role", "customer") in {"all", c.get("role")}]
        if "include" in query:
            wanted = {int(number) for number in query["include"].split(",")}
            rows = [row for row in rows if row["id"] in wanted]
        rows = _page(sorted(rows, key=lambda row: row["id"]), query)
        if "_fields" in query:
            rows = [{name: row[name] for name in query["_fields"].split(",") if name in row} for row in rows]
        return rows

    def _orders(self, query: dict[str, str]) -> list[dict[str, Any]]:
        assert query["dates_are_gmt"] == "true"
        assert (query["orderby"], query["order"]) == ("modified", "asc")
        rows = self.orders
        if self.knows_modified_after:
            rows = [row for row in rows if row["date_modified_gmt"] > query.get("modified_after", "")]
            rows = [row for row in rows if row["date_modified_gmt"] < query.get("modified_before", "9")]
        # the shop promises nothing for orders of one second
        return sorted(rows, key=lambda row: (row["date_modified_gmt"], -row["id"]))

    def _hooks(
        self, method: str, number: str, query: dict[str, str], body: dict[str, Any]
    ) -> tuple[int, Any, dict[str, str]]:
        if method == "GET" and not number:
            return 200, _page(list(self.webhooks.values()), query), {}
        if method == "POST" and not number:
            made = self.add_hook(body["topic"], body["delivery_url"], body.get("status", "active"))
            self.webhooks[made]["name"] = body["name"]
            self.secrets[made] = body.get("secret", "made by the shop")
            return 201, self.webhooks[made], {}
        if not number.isdigit() or int(number) not in self.webhooks:
            return 404, _error("woocommerce_rest_shop_webhook_invalid_id", 404), {}
        hook = self.webhooks[int(number)]
        if method == "PUT":
            hook |= {name: body[name] for name in FIELDS_OF_A_HOOK if name in body}
            self.secrets[int(number)] = body.get("secret", self.secrets[int(number)])
            return 200, hook, {}
        if method == "DELETE" and query.get("force") == "true":
            return 200, self.webhooks.pop(int(number)), {}
        return 501, _error("woocommerce_rest_trash_not_supported", 501), {}


def _error(code: str, status: int) -> dict[str, Any]:
    return {"code": code, "message": "Sorry.", "data": {"status": status}}


def _page(rows: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    size = int(query.get("per_page", "10"))
    assert size <= 100
    start = int(query.get("offset") or 0) or (int(query.get("page", "1")) - 1) * size
    return rows[start : start + size]


@contextmanager
def running_shop(shop: WooShop) -> Iterator[WooShop]:
    """Serve a shop on a port of this machine; its address is in `url`."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content, headers = shop.answer(self.command, self.path, dict(self.headers), body)
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shop.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield shop
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
