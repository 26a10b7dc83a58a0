"""The app's page in the Saleor Dashboard: a frame of another origin that gets a token by postMessage."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from browser.visitors import Site
from flask import Flask
from playwright.sync_api import Browser, expect
from support.saleor_shop import running_saleor

from plugin.installation.manifest import load_manifest
from plugin.installation.service import ShopInstallationService
from plugin.platforms.registry import PLATFORMS
from plugin.platforms.saleor import Saleor
from plugin.platforms.saleor.manifest import webhooks
from plugin.sandbox.web.server import SandboxServer
from plugin.store.shops.installations import PendingInstallations
from plugin.store.shops.shops import NewShop

PUBLIC = "https://plugin.example"
DASHBOARD = """<!doctype html><title>Dashboard</title><iframe id="app" src="{page}" width="900" height="900"></iframe>
<script>document.getElementById("app").onload = (event) =>
  event.target.contentWindow.postMessage({{type: "handshake", payload: {{token: "{token}", version: 1}}}}, "*");</script>"""


@contextmanager
def served(app: Flask) -> Iterator[str]:
    server = SandboxServer("127.0.0.1", 0, app)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server.url
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("broken", "says"), [(0, "Kiosk is connected."), (503, "Not connected"), (1, "1 of its events do not arrive")]
)
def test_staff_see_the_connection_in_the_dashboard(chromium: Browser, site: Site, broken: int, says: str) -> None:
    store = site.pages
    with running_saleor() as saleor:
        store.shops.add(
            NewShop(f"saleor-{broken}", "saleor", store.sandbox.url, "k", "s", {"store": "web"}, saleor.domain),
            store.clock(),
        )
        store.shops.save_credentials(
            f"saleor-{broken}", {"api_url": saleor.api_url, "token": saleor.token, "app_id": saleor.app["id"]}
        )
        saleor.make_webhooks(webhooks(PUBLIC))
        if broken == 1:
            saleor.app["webhooks"][1]["asyncEvents"].pop()
        pending = PendingInstallations(store.database, store.vault)
        plugin = Flask("plugin")
        plugin.register_blueprint(
            Saleor().install_routes(
                ShopInstallationService(PUBLIC, store.shops, pending, {}, store.clock, load_manifest(PLATFORMS).content)
            )
        )
        token = saleor.customer_token(datetime.now(UTC), type="thirdparty", is_staff=True, app=saleor.app["id"])
        dashboard = Flask("dashboard")
        with served(plugin) as url:
            page_url = f"{url}/install/saleor/?saleorApiUrl={saleor.api_url}"
            dashboard.add_url_rule("/", "index", lambda: DASHBOARD.format(page=page_url, token=token))
            with served(dashboard) as front:
                page = chromium.new_page()
                page.goto(page_url)
                expect(page.locator("#status")).to_have_text(
                    "Open this page in the Saleor Dashboard to see the connection."
                )
                saleor.api_broken = broken if broken > 1 else 0
                page.goto(front)
                frame = page.frame_locator("#app")
                expect(frame.locator("#status")).to_contain_text(says)
                if broken < 2:
                    expect(frame.locator("#webhooks tbody tr")).to_have_count(len(PLATFORMS["saleor"].topics))
                page.close()
