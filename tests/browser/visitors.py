"""My Pages behind a real web server, a shop's login page on another origin, and visitors with a browser."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from axe_playwright_python.sync_playwright import Axe
from flask import Flask, render_template_string, request
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response
from support.mypages_harness import Pages

from plugin.sandbox.web.server import SandboxServer
from plugin.store.shops.shops import RegisteredShop

#: How long to wait for the browser, in milliseconds; a busy machine is slow.
TIMEOUT_MS = 20_000
OUTPUT = Path(__file__).parents[2] / "ci-output"
ENGAGE_HEADERS = {"apikey": "k", "User-Agent": "Test/1.0", "Content-Type": "application/json"}
_FRONT = """<!doctype html><html lang="en"><title>Shop</title><main><h1>Shop</h1>
<form method="post" action="{{ action }}"><input type="hidden" name="token" value="{{ token }}"><button>My Pages</button></form>
</main></html>"""
#: A theme whose styles clash with ours.
_THEME = """<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>Shop</title>
<style>body { margin: 0; background: #fff8f0; color: #3b1f2b; font: 18px/1.8 Georgia, serif; } p { margin: 2em; } a { color: #a00; }
ul { padding-left: 3em; list-style: square; } h1, h2, h3 { text-transform: uppercase; margin: 1em; } button { border-radius: 0; }
main { max-width: 60rem; margin: auto; padding: 1rem; } input { width: 50%; }</style>
<header><a href="/" style="font-size: 30px">Shop</a></header><main>{{ inside | safe }}</main></html>"""
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


class Site:
    """My Pages over real HTTP. url: the address of My Pages; front: that of the shop which shoppers come from."""

    def __init__(self, pages: Pages, port: int) -> None:
        self.pages = pages
        self._port = port
        self.url = self.front = ""
        self.inside: dict[str, str] = {}
        self._number = 0
        pages.seed(stores=[{"externalId": "web", "name": "Nordlys online"}])

    @contextmanager
    def serving(self) -> Iterator["Site"]:
        """Serve until the block ends."""
        web, shop = (
            SandboxServer("127.0.0.1", self._port, self.pages.app),
            SandboxServer("127.0.0.1", 0, self._shop_front()),
        )
        self.url, self.front = web.url, shop.url
        for server in (web, shop):
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield self
        finally:
            for server in (web, shop):
                server.stop()

    def shop(self, **settings: str) -> RegisteredShop:
        """Register a new shop."""
        self._number += 1
        own = {"login_url": f"{self.front}/login", "page_title": "Nordlys & Co", **settings}
        return self.pages.add_shop(f"shop-{self._number}", **own)

    def member(self, shop: RegisteredShop, customer_id: str = "1", **attributes: Any) -> str:
        """Return the contact id of a shopper with data in every part."""
        defaults = {
            "firstName": "Ada", "lastName": "Lind", "mobilePhone": "+46701234567", "street": "Nygatan 7", "zipCode": "111 22",
            "city": "Stockholm", "countryCode": "GB", "preferences": {"acceptsEmail": True, "acceptsSms": False},
        }  # fmt: skip
        contact_id = self.pages.contact(shop, customer_id, **{**defaults, **attributes})
        self.pages.promotion(contact_id)
        self.pages.promotion(
            contact_id,
            presentation={"heading": "A treat for your birthday", "description": "On anything you like."},
            redemptionChannels=[{"type": "ECOM", "valueType": "PERCENT", "value": "15"}],
        )
        self.pages.seed(
            vouchers=[
                {"contactId": contact_id, "name": "Reward", "value": {"amount": 100, "currency": "SEK"}, "points": 500,
                 "expiresOn": "2099-01-31T00:00:00+01:00"},
                {"contactId": contact_id, "name": "Old reward", "value": {"amount": 50, "currency": "SEK"}, "redeemed": True},
            ],
            points=[
                {"contactId": contact_id, "transactions": [
                    {"amount": 1740, "description": "Purchase 1001"}, {"amount": 500, "transactionType": "Deduction"},
                ]}
            ],
        )  # fmt: skip
        return contact_id

    def receipts(
        self,
        shop: RegisteredShop,
        contact_id: str,
        count: int,
        *,
        name: str = "Cap Stormvind",
        numbering: str = "No-{}.",
    ) -> None:
        """Send purchases to the sandbox, a day apart, numbered from 1; the last is the newest."""
        first = date(2026, 1, 1)
        for number in range(1, count + 1):
            receipt = {
                "contact": {"matchKey": contact_id, "matchKeyType": "contactId"}, "uniqueReceiptId": f"{shop.name}-R{number}",
                "receiptNumber": numbering.format(number), "createdDate": f"{first + timedelta(days=number):%Y-%m-%d}T10:00:00+01:00",
                "storeExternalId": "web", "currency": "SEK", "totalGrossPrice": 199,
                "paymentMethods": [{"type": "card", "value": 199}],
                "items": [{"type": "PURCHASE", "sku": "A", "quantity": 1, "grossPaidPrice": 199, "taxAmount": 39.8,
                           "taxPercent": 25, "articleNumber": "A", "articleName": name}],
            }  # fmt: skip
            address = f"{self.pages.sandbox.url}/api/v3/receipts"
            requests.post(address, json=receipt, headers=ENGAGE_HEADERS, timeout=5).raise_for_status()

    def recover(self) -> None:
        """End all faults and reset the clock."""
        self.pages.no_faults()
        self.pages.clock.ahead = timedelta()

    def _shop_front(self) -> Flask:
        front = Flask("front")

        @front.get("/login")
        def login() -> str:
            name, customer = request.args.get("shop", ""), request.args.get("customer", "1")
            shop = next((shop for shop in self.pages.shops.all() if shop.name == name), None)
            if shop is None:
                return "<!doctype html><html lang=en><title>Shop</title><main><h1>Log in</h1></main></html>"
            claims = {"locale": request.args["locale"]} if "locale" in request.args else {}
            token = self.pages.token(shop, customer, **claims)
            return render_template_string(_FRONT, action=f"{self.url}/mypages/{name}/session", token=token)

        @front.get("/theme/<name>")
        def theme(name: str) -> str:
            return render_template_string(_THEME, inside=self.inside[name])

        @front.get("/logo.svg")
        def logo() -> tuple[str, dict[str, str]]:
            picture = (
                '<svg xmlns="http://www.w3.org/2000/svg" width="120" height="36"><rect width="99" height="30"/></svg>'
            )
            return picture, {"Content-Type": "image/svg+xml"}

        return front


@dataclass(frozen=True, slots=True)
class Look:
    """The settings of a visitor's browser."""

    width: int = 1280
    dark: bool = False
    scripts: bool = True
    locale: str = "en-GB"


class Visitor:
    """A browser window and its requests. faults: errors of scripts and of the Content-Security-Policy."""

    def __init__(self, browser: Browser, site: Site, look: Look) -> None:
        self.site = site
        self.context = browser.new_context(
            viewport={"width": look.width, "height": 900},
            color_scheme="dark" if look.dark else "light",
            java_script_enabled=look.scripts,
            locale=look.locale,
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(TIMEOUT_MS)
        self.faults: list[str] = []
        self.requested: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.faults.append(dialog.message), dialog.dismiss()))
        self.page.on("request", self._on_request)
        self.page.on("response", self._on_response)

    def log_in(self, shop: RegisteredShop, customer_id: str = "1", locale: str = "") -> Page:
        """Log in from the shop's own page, as a shopper does."""
        parameter = f"&locale={locale}" if locale else ""
        self.page.goto(f"{self.site.front}/login?shop={shop.name}&customer={customer_id}{parameter}")
        self.page.get_by_role("button", name="My Pages").click()
        self.page.wait_for_url(f"**/mypages/{shop.name}/")
        return self.page

    def open(self, shop: RegisteredShop, path: str = "") -> Response:
        """Open a page by its address."""
        self.requested.clear()
        answer = self.page.goto(f"{self.site.url}/mypages/{shop.name}/{path}")
        assert answer is not None
        return answer

    def overflow(self) -> int:
        """Return how many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def weight(self) -> int:
        """Return the bytes of the page that `open` opened and of all that it loads, plus 400 for the headers of each."""
        others = set(self.requested) - {self.page.url}
        assert len(others) >= 2, others  # stylesheet and script at least
        sizes = [len(requests.get(address, timeout=5).content) for address in others]
        return len(self.page.content().encode()) + sum(sizes) + 400 * (1 + len(sizes))

    def foreign_requests(self) -> list[str]:
        """Return the requests to other hosts than My Pages."""
        own = urlsplit(self.site.url).netloc
        return [address for address in self.requested if urlsplit(address).netloc != own]

    def accessibility_violations(self) -> list[str]:
        """Return what axe-core reports for the current page."""
        options = {
            "resultTypes": ["violations"],
            "runOnly": {"type": "tag", "values": WCAG},
            "preload": False,  # it would fetch stylesheets by script, which other origins do not allow
        }
        report = Axe().run(self.page, options=options)
        return [
            f"{violation['id']}: {violation['help']} at {[node['target'] for node in violation['nodes']][:3]} "
            f"{violation['nodes'][0].get('failureSummary', '')}"
            for violation in report.response["violations"]
        ]

    def screenshot(self, name: str) -> None:
        """Save a screenshot in CI, or with `SCREENSHOTS=1`."""
        if os.environ.get("CI") or os.environ.get("SCREENSHOTS"):
            OUTPUT.mkdir(exist_ok=True)
            self.page.screenshot(path=str(OUTPUT / f"{name}.png"), full_page=True)

    def close(self) -> None:
        """Close the window. Fails if there were faults, also those that no test checked."""
        self.context.close()
        assert not self.faults, self.faults

    def _on_console(self, message: ConsoleMessage) -> None:
        # the status of the page itself is logged too; failed requests of a page are recorded in _on_response
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.faults.append(message.text)

    def _on_response(self, response: Response) -> None:
        if response.status >= 500 or (response.status >= 400 and not response.request.is_navigation_request()):
            self.faults.append(f"{response.status} {response.url}")

    def _on_request(self, request: Request) -> None:
        self.requested.append(request.url)
