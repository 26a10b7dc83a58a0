"""`engage-plugin demo`: a shop, the plugin and a stand-in for Engage on one machine, with webhooks arriving as you watch."""

import os
import shutil
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live

from plugin.commands.common import make_services, report_errors
from plugin.demo.local_http import is_up, post_json
from plugin.demo.people import PROMOTIONS, STORE
from plugin.demo.shop import DemoShop, serve_shop_front
from plugin.demo.story import ENGAGE_KEY, Story, wait_until
from plugin.platforms.registry import PLATFORMS
from plugin.runtime.preflight import exclusive_state_dir
from plugin.runtime.supervisor import Supervisor, own_command
from plugin.store.shops.shops import NewShop

START_TIMEOUT_S = 60.0
SANDBOX_PORT = 8099
SHOP_PORT = 8098


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
    with exclusive_state_dir(state_dir):  # refuses to delete the files of a demonstration that is running
        shutil.rmtree(state_dir, ignore_errors=True)
    plugin_port, sandbox_port, shop_port = _free_ports([port, SANDBOX_PORT, SHOP_PORT])
    plugin_url, sandbox_url = f"http://127.0.0.1:{plugin_port}", f"http://127.0.0.1:{sandbox_port}"
    os.environ |= {
        "RETRY_BASE_S": os.environ.get("RETRY_BASE_S", "1"),
        "SWEEP_INTERVAL_S": os.environ.get("SWEEP_INTERVAL_S", "5"),
        "STATE_DIR": str(state_dir),
        "PUBLIC_URL": plugin_url,
        "LOG_LEVEL": "WARNING",
    }
    supervisor = Supervisor()
    story = Story(make_services(port=plugin_port), plugin_url, sandbox_url, supervisor)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.request_stop)
    try:
        supervisor.add("sandbox", own_command("sandbox", "--port", str(sandbox_port)))
        supervisor.add("plugin", own_command("run", "--port", str(plugin_port)))
        _play(story, console, once=once, shop_port=shop_port)
        if not once:
            console.print("Ctrl-C ends everything.")
            supervisor.watch()
    finally:
        story.services.close()
        supervisor.stop()


def _play(story: Story, console: Console, *, once: bool, shop_port: int) -> None:
    """Wait for the processes, register the shops, print the addresses and send the webhooks."""
    sandbox_ready, plugin_ready = f"{story.sandbox_url}/sandbox/contacts", f"{story.plugin_url}/readyz"
    wait_until(lambda: is_up(sandbox_ready), "the sandbox", story.supervisor, START_TIMEOUT_S)
    wait_until(lambda: is_up(plugin_ready), "the plugin", story.supervisor, START_TIMEOUT_S)
    shopify, standard = _register_shops(story)
    front = serve_shop_front(shopify, shop_port)
    for text in (
        f"My Pages of a demo shopper: {front} (log in there), then {shopify.mypages_url}",
        f"The sandbox's contacts and receipts: {story.sandbox_url}/",
        f"The plugin: {story.plugin_url}/ (figures at /metrics, manifest at /manifest.json)",
    ):
        console.print(text, soft_wrap=True)
    if console.is_terminal and not once:
        with Live(story.table(), console=console, refresh_per_second=8) as live:
            story.send_all(shopify, standard, lambda: live.update(story.table()))
    else:
        story.send_all(shopify, standard, lambda: None)
        console.print(story.table())
    console.print(f"First event delivered {story.first_delivered_s:.1f} s after the start; the books: {story.totals()}")


def _register_shops(story: Story) -> tuple[DemoShop, DemoShop]:
    """Seed the sandbox and register a Shopify and a Standard shop.

    Their names hold the time, so that a database that is used again accepts them.
    """
    post_json(
        f"{story.sandbox_url}/sandbox/seed",
        {
            "stores": [{"externalId": STORE, "name": "Web Sweden", "type": "ECOMM", "timeZone": "Europe/Stockholm"}],
            "promotions": PROMOTIONS,
        },
    )
    run_id = f"{int(time.time()) % 1_000_000:06d}"
    return _register_shop(story, "shopify", run_id), _register_shop(story, "standard", run_id)


def _register_shop(story: Story, platform: str, run_id: str) -> DemoShop:
    name = f"demo-{platform}-{run_id}"
    shop = story.services.stores.shops.add(
        NewShop(
            name=name,
            platform=platform,
            engage_url=story.sandbox_url,
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
        story.services.clock(),
    )
    return DemoShop(
        name=name,
        webhook_url=f"{story.plugin_url}/webhooks/{platform}/{name}",
        mypages_url=f"{story.plugin_url}/mypages/{name}/",
        webhook_secret=shop.webhook_secrets[0],
        shopper_secret=shop.shopper_secret,
    )


def _free_ports(wanted: list[int]) -> list[int]:
    """Return each port if it is free, else a free one that the system picks."""
    ports = []
    for port in wanted:
        for candidate in (port, 0):
            with socket.socket() as probe, suppress(OSError):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", candidate))
                ports.append(probe.getsockname()[1])
                break
    return ports
