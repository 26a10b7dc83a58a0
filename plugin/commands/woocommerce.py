"""`engage-plugin woocommerce`: store REST keys that were created manually, repair webhooks, uninstall."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from plugin.app import Services
from plugin.commands.common import open_services, report_errors
from plugin.errors import ConfigurationError, NotFoundHereError, ShopApiError
from plugin.platforms.woocommerce import __file__ as platform_folder
from plugin.platforms.woocommerce.api import WooApi, api_for, prove
from plugin.platforms.woocommerce.rest import check_keys
from plugin.store.shops.shops import RegisteredShop

SLUG = "woocommerce"
COMPANION = "engage-crm"


@click.group()
def woocommerce() -> None:
    """Connect a WooCommerce shop manually, or remove the plugin from it."""


@woocommerce.command()
@click.argument("name")
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the consumer key on one line and the secret on the next.",
)
@click.option("--key", envvar="WOOCOMMERCE_KEY", hidden=True, expose_value=True)
@click.option("--secret", envvar="WOOCOMMERCE_SECRET", hidden=True, expose_value=True)
@report_errors
def keys(name: str, path: Path | None, key: str | None, secret: str | None) -> None:
    """Check and store a shop's REST keys, and create its webhooks.

    The keys are asked for, so that they stay out of the shell's history, or read from --file, or from the environment:
    WOOCOMMERCE_KEY and WOOCOMMERCE_SECRET.

    Example: engage-plugin woocommerce keys web-se
    """
    with open_services() as services:
        shop = _shop(services, name)
        key, secret = _read_keys(path, key, secret)
        faults = check_keys(key, secret)
        if faults:
            raise ConfigurationError(faults)
        credentials = prove(shop, key, secret)
        services.installation_service.save_credentials(name, credentials)
        click.echo(f"{name}: the keys work and are stored.")
        _print_changes(_api(services, name).repair(_address(services, shop)))


@woocommerce.command()
@click.argument("name")
@report_errors
def hooks(name: str) -> None:
    """Create, correct or enable the shop's webhooks. Example: engage-plugin woocommerce hooks web-se"""
    with open_services() as services:
        shop = _shop(services, name)
        _print_changes(_api(services, name).repair(_address(services, shop)))


@woocommerce.command()
@click.argument("name")
@click.option("--forget", is_flag=True, help="Delete the keys even if the shop cannot be reached.")
@report_errors
def uninstall(name: str, forget: bool) -> None:
    """Delete the plugin's webhooks in the shop and the stored keys; contacts, receipts and links stay.

    Example: engage-plugin woocommerce uninstall web-se
    """
    with open_services() as services:
        _shop(services, name)
        try:
            _print_changes(_api(services, name).remove())
        except ShopApiError as error:
            if not forget:
                raise
            click.echo(f"The webhooks in the shop could not be removed: {error}")
        services.stores.shops.save_credentials(name, {})
        click.echo(
            f"{name}: the keys are deleted here; revoke them under WooCommerce > Settings > Advanced > REST API. Links to "
            "contacts, orders and consents stay, for a new installation and for refunds."
        )


@woocommerce.command()
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(f"{COMPANION}.zip"),
    show_default=True,
    help="Where to write it.",
)
@report_errors
def companion(out: Path) -> None:
    """Write the companion plugin as the file that WordPress uploads. Example: engage-plugin woocommerce companion"""
    folder = Path(platform_folder).parent / "companion" / COMPANION
    try:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob("*")):
                if path.suffix in {".php", ".txt"}:
                    archive.write(path, f"{COMPANION}/{path.relative_to(folder).as_posix()}")
    except OSError as error:
        raise ConfigurationError([f"{out} cannot be written: {error.strerror}."]) from error
    click.echo(f"{out}: upload it in WordPress under Plugins > Add New > Upload Plugin.")


def _shop(services: Services, name: str) -> RegisteredShop:
    shop = services.stores.shops.get(name)
    if shop.platform != SLUG:
        raise NotFoundHereError(f"The shop {name!r} is on {shop.platform}, not on WooCommerce.")
    return shop


def _api(services: Services, name: str) -> WooApi:
    def save(credentials: Mapping[str, Any]) -> None:
        services.stores.shops.save_credentials(name, credentials)

    api = api_for(services.stores.shops.get(name), save)
    if api is None:
        raise NotFoundHereError(
            f"No keys of {name} are stored: `engage-plugin shops install {name}` says how to get them."
        )
    return api


def _address(services: Services, shop: RegisteredShop) -> str:
    return f"{services.settings.public_url}/webhooks/{SLUG}/{shop.name}"


def _read_keys(path: Path | None, key: str | None, secret: str | None) -> tuple[str, str]:
    if path is not None:
        return _read_key_file(path)
    return (
        (key or click.prompt("Consumer key (ck_...)", hide_input=True)).strip(),
        (secret or click.prompt("Consumer secret (cs_...)", hide_input=True)).strip(),
    )


def _read_key_file(path: Path) -> tuple[str, str]:
    """Return the key and the secret of two lines, or of the JSON that WooCommerce sends. They are not checked here."""
    text = path.read_bytes().decode("utf-8", "replace").strip()
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        first, _, second = text.partition("\n")
        return first.strip(), second.strip()
    content = content if isinstance(content, dict) else {}
    return str(content.get("consumer_key", "")), str(content.get("consumer_secret", ""))


def _print_changes(changes: tuple[str, ...]) -> None:
    for line in changes or ("Every webhook is correct.",):
        click.echo(line)
