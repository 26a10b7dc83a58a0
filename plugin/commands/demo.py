"""engage-plugin demo: everything on one machine, with webhooks arriving before your eyes."""

import json
import os
import shutil
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from plugin.app import Services
from plugin.commands.common import make_services, report_errors
from plugin.demo import bodies
from plugin.demo.people import PROMOTIONS, STORE
from plugin.demo.shop import ShopAccess, Signed, serve_shop_front, sign_shopify, sign_standard
from plugin.errors import PluginError
from plugin.platforms.registry import PLATFORMS
from plugin.runtime.preflight import exclusive_state_dir
from plugin.runtime.supervisor import Supervisor, own_command
from plugin.store.shops.shops import NewShop

START_TIMEOUT_S = 60.0
ARRIVE_TIMEOUT_S = 60.0
ENGAGE_KEY = "00000000-0000-4000-8000-00000000demo"
FINISHED = {"delivered", "ignored", "parked", "discarded"}


class DemoFailedError(PluginError):
    """Something of the demonstration did not arrive."""


@dataclass(slots=True)
class _Step:
    what: str
    event_id: int | None = None
    state: str = "waiting"
    engage: str = ""


@dataclass(slots=True)
class _Demo:
    """Where everything is, and how far it is."""

    services: Services
    plugin_url: str
    sandbox_url: str
    steps: list[_Step] = field(default_factory=list)
    started_at: float = field(default_factory=time.monotonic)
    first_delivered_s: float | None = None

    def table(self) -> Table:
        """Draw the events, their states, and what Engage got."""
        drawn = Table(title="Webhooks on their way to Engage", title_justify="left")
        for column in ("event", "state", "what Engage got"):
            drawn.add_column(column, overflow="fold")
        colours = {"delivered": "green", "parked": "red", "pending": "yellow", "leased": "yellow"}
        for step in self.steps:
            colour = colours.get(step.state, "default")
            drawn.add_row(step.what, f"[{colour}]{step.state}[/]", step.engage)
        return drawn


@click.command()
@click.option("--once", is_flag=True, help="End when everything arrived: exit 0, or 1 with the reason.")
@click.option("--port", default=8000, show_default=True, help="Port of the plugin; another one when it is taken.")
@report_errors
def demo(once: bool, port: int) -> None:
    """Show the whole way: a shop's webhooks become contacts and receipts in a stand-in for Engage.

    Example: engage-plugin demo --once
    """
    console = Console()
    state_dir = Path(os.environ.get("STATE_DIR", "./var")).resolve() / "demo"
    with exclusive_state_dir(state_dir):  # another demonstration would lose its files
        shutil.rmtree(state_dir, ignore_errors=True)
    ports = _free_ports([port, 8099, 8098])
    plugin_url, sandbox_url = (f"http://127.0.0.1:{number}" for number in ports[:2])
    os.environ |= {
        "RETRY_BASE_S": os.environ.get("RETRY_BASE_S", "1"),
        "SWEEP_INTERVAL_S": os.environ.get("SWEEP_INTERVAL_S", "5"),
        "STATE_DIR": str(state_dir),
        "PUBLIC_URL": plugin_url,
        "LOG_LEVEL": "WARNING",
    }
    made = _Demo(make_services(port=ports[0]), plugin_url, sandbox_url)
    supervisor = Supervisor()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.request_stop)
    try:
        supervisor.add("sandbox", own_command("sandbox", "--port", str(ports[1])))
        supervisor.add("plugin", own_command("run", "--port", str(ports[0])))
        _play(made, console, supervisor, once=once, shop_port=ports[2])
        if not once:
            console.print("Ctrl-C ends everything.")
            supervisor.watch()
    finally:
        made.services.close()
        supervisor.stop()


def _play(made: _Demo, console: Console, supervisor: Supervisor, *, once: bool, shop_port: int) -> None:
    _wait(lambda: _answers(f"{made.sandbox_url}/sandbox/contacts"), "the sandbox", supervisor)
    _wait(lambda: _answers(f"{made.plugin_url}/readyz"), "the plugin", supervisor)
    shopify, standard = _set_up(made)
    front = serve_shop_front(shopify, shop_port)
    for text in (
        f"My Pages of a demo shopper: {front} (log in there), then {shopify.mypages_url}",
        f"The sandbox's contacts and receipts: {made.sandbox_url}/",
        f"The plugin: {made.plugin_url}/ (figures at /metrics, manifest at /manifest.json)",
    ):
        console.print(text, soft_wrap=True)
    if console.is_terminal and not once:
        with Live(made.table(), console=console, refresh_per_second=8) as live:
            _send_all(made, shopify, standard, supervisor, lambda: live.update(made.table()))
    else:
        _send_all(made, shopify, standard, supervisor, lambda: None)
        console.print(made.table())
    console.print(f"First event delivered {made.first_delivered_s:.1f} s after the start; the books: {_books(made)}")


def _set_up(made: _Demo) -> tuple[ShopAccess, ShopAccess]:
    """Seed the sandbox and register two shops under names of their own, so that a database may be used again."""
    _post(
        f"{made.sandbox_url}/sandbox/seed",
        {
            "stores": [{"externalId": STORE, "name": "Web Sweden", "type": "ECOMM", "timeZone": "Europe/Stockholm"}],
            "promotions": PROMOTIONS,
        },
    )
    run_id = f"{int(time.time()) % 1_000_000:06d}"
    found = []
    for platform in ("shopify", "standard"):
        name = f"demo-{platform}-{run_id}"
        shop = made.services.stores.shops.add(
            NewShop(
                name=name,
                platform=platform,
                engage_url=made.sandbox_url,
                engage_key=ENGAGE_KEY,
                webhook_secret=PLATFORMS[platform].new_secret(),
                settings={
                    "store": STORE,
                    "source": "ECOM",
                    "group_currency": "SEK",
                    "time_zone": "Europe/Stockholm",
                    "page_title": "Demo shop",
                },
            ),
            made.services.clock(),
        )
        found.append(
            ShopAccess(
                name=name,
                webhook_url=f"{made.plugin_url}/webhooks/{platform}/{name}",
                mypages_url=f"{made.plugin_url}/mypages/{name}/",
                webhook_secret=shop.webhook_secrets[0],
                shopper_secret=shop.shopper_secret,
            )
        )
    return found[0], found[1]


def _send_all(
    made: _Demo, shopify: ShopAccess, standard: ShopAccess, supervisor: Supervisor, draw: Callable[[], None]
) -> None:
    def send(what: str, shop: ShopAccess, sign: Callable[[datetime], Signed], got: Callable[[], str]) -> None:
        step = _Step(what)
        made.steps.append(step)
        draw()
        signed = sign(datetime.now(UTC))
        step.event_id = _post_webhook(shop.webhook_url, signed)
        _follow(made, step, supervisor, draw)
        step.engage = got()
        draw()

    def contact(email: str) -> dict[str, Any]:
        found = next(c for c in _contacts(made) if c["attributes"].get("email") == email)
        return dict(found)

    def shown(email: str) -> str:
        attributes = contact(email)["attributes"]
        names = ("firstName", "lastName", "street", "city")
        return f"contact {' '.join(str(attributes[name]) for name in names if attributes.get(name))}"

    def receipt(order_id: str) -> str:
        wanted = f"-{order_id}"
        receipts = _get(f"{made.sandbox_url}/sandbox/receipts")
        found = next(r for r in receipts if r["uniqueReceiptId"].endswith(wanted))
        used = found.get("usedPromotions")
        return f"receipt {found['totalGrossPrice']} {found['currency']}" + (
            ", promotion redeemed and named" if used else ""
        )

    send(
        "signup (Shopify customers/create)",
        shopify,
        lambda at: sign_shopify(shopify, "customers/create", bodies.signup(at), at),
        lambda: shown("ada@example.com"),
    )
    _assign(made, contact("ada@example.com")["id"])
    send(
        "profile change (Shopify customers/update)",
        shopify,
        lambda at: sign_shopify(shopify, "customers/update", bodies.profile_change(at), at),
        lambda: shown("ada@example.com"),
    )
    send(
        "guest order (Standard order.paid)",
        standard,
        lambda at: sign_standard(standard, bodies.guest_order(at), at),
        lambda: f"{shown('grace@example.com')}, {receipt('S-501')}",
    )
    send(
        "paid order with discount and promotion (Shopify orders/paid)",
        shopify,
        lambda at: sign_shopify(shopify, "orders/paid", bodies.paid_order(at), at),
        lambda: receipt("70001"),
    )


def _assign(made: _Demo, contact_id: str) -> None:
    """Give the promotions to the contact, as a marketer would in Engage."""
    for promotion in PROMOTIONS:
        _post(
            f"{made.sandbox_url}/api/v3/promotion-assignments",
            {"contactId": contact_id, "promotionId": promotion["id"]},
            {"apikey": ENGAGE_KEY, "User-Agent": "Demo/1.0"},
        )


def _follow(made: _Demo, step: _Step, supervisor: Supervisor, draw: Callable[[], None]) -> None:
    until = time.monotonic() + ARRIVE_TIMEOUT_S
    while True:
        event, _ = made.services.desk.show(step.event_id or 0)
        step.state = event.state
        draw()
        if step.state == "delivered":
            if made.first_delivered_s is None:
                made.first_delivered_s = time.monotonic() - made.started_at
            return
        if step.state in FINISHED:
            raise DemoFailedError(f"{step.what} ended {step.state}: {event.last_error}")
        if time.monotonic() > until:
            raise DemoFailedError(f"{step.what} is still {step.state}: {event.last_error or 'no worker took it'}")
        _pause(supervisor)


def _books(made: _Demo) -> str:
    counts = made.services.desk.status()
    states = sum(number for name, number in counts.items() if name != "accepted")
    if counts["accepted"] != states:
        raise DemoFailedError(f"accepted {counts['accepted']} is not the sum of the states {states}")
    return f"accepted {counts['accepted']} = delivered {counts['delivered']} + others {states - counts['delivered']}"


def _contacts(made: _Demo) -> list[dict[str, Any]]:
    return list(_get(f"{made.sandbox_url}/sandbox/contacts"))


def _wait(ready: Callable[[], bool], what: str, supervisor: Supervisor) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while not ready():
        if time.monotonic() > until:
            raise DemoFailedError(f"{what} did not start within {START_TIMEOUT_S:g} s")
        _pause(supervisor)


def _pause(supervisor: Supervisor) -> None:
    if supervisor.stopping:
        sys.exit(0)
    time.sleep(0.1)


def _answers(url: str) -> bool:
    with suppress(URLError, OSError):
        _get(url)
        return True
    return False


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own addresses on this machine
        return json.load(answer)


def _post(url: str, body: Any, headers: dict[str, str] | None = None) -> Any:
    return _send(url, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})


def _post_webhook(url: str, signed: Signed) -> int:
    return int(_send(url, signed.body, signed.headers)["event_id"])


def _send(url: str, body: bytes, headers: dict[str, str]) -> Any:
    request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - our own addresses
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return json.load(answer)
    except HTTPError as error:
        raise DemoFailedError(f"{url} answered {error.code}: {error.read(500).decode(errors='replace')}") from error


def _free_ports(wanted: list[int]) -> list[int]:
    """Return each port if it is free, else one that the system picks."""
    found = []
    for port in wanted:
        for candidate in (port, 0):
            with socket.socket() as probe, suppress(OSError):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", candidate))
                found.append(probe.getsockname()[1])
                break
    return found
