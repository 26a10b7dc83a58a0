"""A stand-in of one Shopify shop's Admin API: real HTTP on 127.0.0.1, with its errors and its paging."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

CLIENT_ID, CLIENT_SECRET = "client-of-tests", "shpss_0123456789abcdef0123456789abcdef"
DOMAIN = "kiosk.myshopify.com"
CODE = "code-of-tests"


class ShopifyShop:
    """What the shop knows, and what it was asked. Tests change it while it runs."""

    def __init__(self) -> None:
        self.tokens = {"shpat_first"}
        self.scopes = "read_customers,read_orders,write_app_proxy"
        self.expiring = True
        self.refresh_token = "shprt_1"
        self.webhooks: list[dict[str, Any]] = []
        self.customers: list[dict[str, Any]] = []
        self.orders: list[dict[str, Any]] = []
        self.page = 250
        self.sorted = True
        self.fail: list[tuple[int, dict[str, str]]] = []
        self.asked: list[tuple[str, str, dict[str, list[str]], Any]] = []
        self.exchanged: list[dict[str, Any]] = []
        self.url = ""
        self._pages: dict[str, list[dict[str, Any]]] = {}

    def answer(
        self, method: str, path: str, query: dict[str, list[str]], headers: Any, body: Any
    ) -> tuple[int, Any, dict[str, str]]:
        self.asked.append((method, path, query, body))
        if self.fail:
            status, extra = self.fail.pop(0)
            return status, {"errors": "as the test wants"}, extra
        if path == "/admin/oauth/access_token":
            return self._token(body)
        if headers.get("X-Shopify-Access-Token") not in self.tokens:
            return 401, {"errors": "[API] Invalid API key or access token"}, {}
        if path == "/admin/oauth/access_scopes.json":
            return 200, {"access_scopes": [{"handle": scope} for scope in self.scopes.split(",")]}, {}
        version, _, resource = path.removeprefix("/admin/api/").partition("/")
        if len(version) != 7:
            return 404, {"errors": "Not Found"}, {}
        if resource == "shop.json":
            return 200, {"shop": {"name": "Kiosk", "myshopify_domain": DOMAIN}}, {}
        if resource.startswith("webhooks"):
            return self._webhook(method, resource, body)
        if resource in {"customers.json", "orders.json"}:
            return self._list(resource.removesuffix(".json"), query)
        return 404, {"errors": "Not Found"}, {}

    def _token(self, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        self.exchanged.append(body)
        if (body.get("client_id"), body.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return 401, {"error": "invalid_client"}, {}
        if body.get("grant_type") == "refresh_token":
            if body.get("refresh_token") != self.refresh_token:
                return 400, {"error": "invalid_grant"}, {}
        elif body.get("code") != CODE:
            return 400, {"error": "invalid_request"}, {}
        number = len(self.exchanged)
        token = f"shpat_{number}"
        self.tokens = {token}
        answer: dict[str, Any] = {"access_token": token, "scope": self.scopes}
        if self.expiring:
            self.refresh_token = f"shprt_{number + 1}"
            answer |= {"expires_in": 3600, "refresh_token": self.refresh_token, "refresh_token_expires_in": 7776000}
        return 200, answer, {}

    def _webhook(self, method: str, resource: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        if method == "GET":
            return 200, {"webhooks": self.webhooks}, {}
        if method == "POST":
            made = {"id": len(self.webhooks) + 1, **body["webhook"]}
            self.webhooks.append(made)
            return 201, {"webhook": made}, {}
        number = int(resource.removeprefix("webhooks/").removesuffix(".json"))
        (webhook,) = [w for w in self.webhooks if w["id"] == number]
        if method == "PUT":
            webhook.update(body["webhook"])
            return 200, {"webhook": webhook}, {}
        self.webhooks.remove(webhook)
        return 200, {}, {}

    def _list(self, what: str, query: dict[str, list[str]]) -> tuple[int, Any, dict[str, str]]:
        """Answer a page. As at Shopify, a page_info stands for all of the first query and allows only limit beside it."""
        token = query.get("page_info", [""])[0]
        if token:
            if set(query) - {"page_info", "limit"}:
                return 400, {"errors": "page_info allows limit alone"}, {}
            rows = self._pages[token]
        else:
            rows = [row for row in getattr(self, what) if self._within(row, query)]
            if query.get("order") == ["updated_at asc"] and self.sorted:
                rows.sort(key=lambda row: datetime.fromisoformat(row["updated_at"]))
        here, rest = rows[: self.page], rows[self.page :]
        link = {}
        if rest:
            following = f"page-{len(self._pages)}"
            self._pages[following] = rest
            # the address is another host's on purpose: a token must not follow it
            back = '<https://other.example/x?page_info=back>; rel="previous"'
            on = f'<https://other.example/admin/{what}.json?limit=2&page_info={following}>; rel="next"'
            link = {"Link": f"{back}, {on}"}
        return 200, {what: here}, link

    @staticmethod
    def _within(row: dict[str, Any], query: dict[str, list[str]]) -> bool:
        at = datetime.fromisoformat(row["updated_at"])
        low, high = query.get("updated_at_min"), query.get("updated_at_max")
        return (not low or at >= datetime.fromisoformat(low[0])) and (not high or at <= datetime.fromisoformat(high[0]))


@contextmanager
def running_shop() -> Iterator[ShopifyShop]:
    """Run the stand-in on a free port."""
    shop = ShopifyShop()

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, answer, extra = shop.answer(self.command, parts.path, parse_qs(parts.query), self.headers, body)
            raw = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(raw)), **extra}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PUT = do_DELETE = _do  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shop.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield shop
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
