"""The Standard platform's page and examples: shown once, and each example really delivers an event."""

import base64
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from plugin.installation.service import ShopInstallationService
from plugin.platforms.standard import STANDARD
from plugin.platforms.standard.install import EXAMPLES, example
from plugin.store.database.engine import Database
from plugin.store.inbox.admin import EventAdmin, EventFilter
from plugin.store.inbox.inbox import Inbox
from plugin.store.shops.installations import PendingInstallations
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import NewShop, RegisteredShop
from plugin.store.shops.vault import Vault
from webhooks.receiving.endpoint import WebhookReceiver, blueprint

COMMANDS = {
    "Python": [sys.executable],
    "JavaScript (Node.js)": ["node"],
    "PHP": ["php"],
    "Shell": ["sh"],
}


def now() -> datetime:
    return datetime.now(UTC)


class Receiving:
    """A plugin that receives, over real HTTP."""

    def __init__(self, tmp_path: Path) -> None:
        vault = Vault("a key of tests that is longer than thirty-two characters")
        self.database = Database(f"sqlite:///{tmp_path / 'plugin.sqlite'}")
        self.database.migrate()
        self.shops = Shops(self.database, vault)
        secret = "whsec_" + base64.b64encode(b"s+/" * 11).decode()
        new = NewShop("web-se", "standard", "http://127.0.0.1:9", "K", secret, {"store": "web-se"})
        self.shop: RegisteredShop = self.shops.add(new, now())
        inbox = Inbox(self.database)
        door = WebhookReceiver(
            self.shops, inbox, inbox.receiving(), vault, lambda _id: None, 100_000, lambda *_: None, now
        )
        app = Flask("receiving")
        app.register_blueprint(blueprint(door))
        self.server = make_server("127.0.0.1", 0, app)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.installation = ShopInstallationService(
            self.url, self.shops, PendingInstallations(self.database, vault), {}, now
        )
        app.register_blueprint(STANDARD.install_routes(self.installation))
        self.web: FlaskClient = app.test_client()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def link(self) -> str:
        steps = " ".join(STANDARD.install_steps(self.installation, self.shop))
        match = re.search(r"/install/standard/[\w-]+", steps)
        assert match is not None
        return match.group()


@pytest.fixture
def receiving(tmp_path: Path) -> Iterator[Receiving]:
    made = Receiving(tmp_path)
    yield made
    made.server.shutdown()
    made.database.close()


@pytest.mark.parametrize("language", list(EXAMPLES))
def test_each_example_delivers_an_event(receiving: Receiving, language: str, tmp_path: Path) -> None:
    command = COMMANDS[language]
    if shutil.which(command[0]) is None or (
        language == "Shell" and not (shutil.which("curl") and shutil.which("openssl"))
    ):
        pytest.skip(f"{command[0]} is not installed")
    path = tmp_path / EXAMPLES[language].removesuffix(".txt")
    code = example(language, f"{receiving.url}/webhooks/standard/web-se", receiving.shop.webhook_secrets[0])
    path.write_text(code, encoding="utf-8")
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert '"stored"' in done.stdout
    events = EventAdmin(receiving.database).find(EventFilter())
    assert [(event.topic, event.ordering_key) for event in events] == [("customer.created", "customer:1001")]


@pytest.mark.parametrize("language", list(EXAMPLES))
def test_the_page_in_the_documentation_shows_the_same_example(language: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "standard.md").read_text(encoding="utf-8")
    assert example(language, "WEBHOOK_URL", "WEBHOOK_SECRET") in page


def test_secrets_are_shown_once_and_not_to_a_link_preview(receiving: Receiving) -> None:
    link, secret = receiving.link(), receiving.shop.webhook_secrets[0]
    assert secret not in receiving.web.get(link).text
    shown = receiving.web.post(link)
    assert shown.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in shown.headers["Content-Security-Policy"]
    assert shown.text.count(secret) == 1 + len(EXAMPLES)
    assert receiving.shop.shopper_secret in shown.text
    again = receiving.web.post(link)
    assert (again.status_code, secret in again.text) == (404, False)


@pytest.mark.parametrize("state", ["x", "x" * 5000, "%00", "<script>"])
def test_a_guessed_link_shows_nothing(receiving: Receiving, state: str) -> None:
    answer = receiving.web.post(f"/install/standard/{state}")
    assert answer.status_code == 404
    assert "<script>" not in answer.text
