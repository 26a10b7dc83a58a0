"""`engage-plugin shops`: register shops and change their settings."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import click

from plugin.commands.common import json_option, open_services, report_errors, show, table
from plugin.errors import ConfigurationError, ConflictError, TransferError
from plugin.platforms.registry import PLATFORMS
from plugin.services.core import APP_SECRETS
from plugin.settings import is_loopback_host
from plugin.store.shops.settings import SETTINGS, defaults
from plugin.store.shops.shops import NewShop, RegisteredShop
from plugin.store.shops.validation import changed_settings, registration_faults

DOMAIN_KEY = "shop_domain"
SECRET_KEYS = ("engage_key", "engage_url", "webhook_secret")
FILE_ACCESS_KEYS = ("fallback_password", "fallback_key")


@click.group()
def shops() -> None:
    """Register shops and change their settings."""


@shops.command()
@click.argument("name")
@click.option("--platform", required=True, type=click.Choice(sorted(PLATFORMS)), help="The shop's platform.")
@click.option("--engage-url", required=True, help="The tenant's address: https://CLIENT.voyado.com")
@click.option("--engage-key", required=True, help="The tenant's API key; stored encrypted.")
@click.option("--store", required=True, help="externalId of the store for contacts and receipts.")
@click.option("--source", default="ECOM", show_default=True, help="Source of new contacts.")
@click.option("--shop-domain", help="The shop's domain, as its webhooks name it.")
@click.option("--webhook-secret", help="The secret that signs webhooks; otherwise the app's, or a new one.")
@report_errors
def add(
    name: str,
    platform: str,
    engage_url: str,
    engage_key: str,
    store: str,
    source: str,
    shop_domain: str | None,
    webhook_secret: str | None,
) -> None:
    """Register a shop and print what its developer needs.

    Example: engage-plugin shops add web-se --platform standard --engage-url https://acme.voyado.com
    --engage-key KEY --store web-se
    """
    adapter = PLATFORMS[platform]
    new = NewShop(
        name=name,
        platform=platform,
        engage_url=engage_url,
        engage_key=engage_key,
        webhook_secret=adapter.new_secret() if webhook_secret is None else webhook_secret,
        settings={"store": store, "source": source},
        shop_domain=shop_domain,
    )
    faults = [*registration_faults(new.name, new.engage_key, new.settings), *engage_url_faults(engage_url)]
    faults += _faults_in(lambda: adapter.check_secret(new.webhook_secret))
    if faults:
        raise ConfigurationError(faults)
    with open_services(announce_new=True) as services:
        if webhook_secret is None and platform in services.app_secrets:
            new = replace(new, webhook_secret=services.app_secrets[platform])
        shop = services.stores.shops.add(new, services.clock())
        if webhook_secret is None and platform in APP_SECRETS and platform not in services.app_secrets:
            _warn_of_random_secret(shop, APP_SECRETS[platform])
        if adapter.domain_example and shop.shop_domain is None:
            click.echo(
                f"{shop.name} has no domain: it cannot be installed, nor asked for what its webhooks missed: "
                f"engage-plugin shops set {shop.name} shop_domain={adapter.domain_example}",
                err=True,
            )
        if not {"PUBLIC_URL", "PUBLIC_URL_FILE"} & set(os.environ):
            click.echo("PUBLIC_URL is not set in this terminal, so the addresses below are this machine's.", err=True)
        show(_card(shop, services.settings.public_url, secrets=True))


def _warn_of_random_secret(shop: RegisteredShop, setting: str) -> None:
    click.echo(
        f"{setting} is not set in this terminal: {shop.name} was given a random webhook secret, and webhooks that the app signs "
        f"will be refused. Store the app's secret: engage-plugin shops set {shop.name} webhook_secret=SECRET",
        err=True,
    )


@shops.command("list")
@json_option
@report_errors
def list_shops(as_json: bool) -> None:
    """List registered shops. Example: engage-plugin shops list --json"""
    with open_services() as services:
        registered = services.stores.shops.all()
        if as_json:
            show([_card(shop, services.settings.public_url) for shop in registered])
            return
        table(
            "Shops",
            ["name", "platform", "domain", "engage", "deliveries"],
            [[s.name, s.platform, s.shop_domain, s.engage_url, s.stopped_reason or "running"] for s in registered],
        )


@shops.command("show")
@click.argument("name")
@click.option("--secrets", is_flag=True, help="Show the webhook and shopper secrets too.")
@json_option
@report_errors
def show_shop(name: str, secrets: bool, as_json: bool) -> None:
    """Show a shop and every setting with its default and meaning. Example: engage-plugin shops show web-se"""
    with open_services() as services:
        shop = services.stores.shops.get(name)
        card = _card(shop, services.settings.public_url, secrets=secrets)
        default_values = defaults()
        rows = [
            {
                "setting": key,
                "value": shop.stored_settings.get(key, default_values.get(key, "")),
                "default": default_values.get(key, ""),
                "meaning": setting.meaning,
            }
            for key, setting in SETTINGS.items()
        ]
        if as_json:
            show({**card, "settings": rows})
            return
        for key, value in card.items():
            click.echo(f"{key}: {value}")
        table("Settings", ["setting", "value", "default", "meaning"], [list(row.values()) for row in rows])


@shops.command("set")
@click.argument("name")
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE...")
@report_errors
def set_shop(name: str, changes: tuple[str, ...]) -> None:
    """Change settings; an empty VALUE restores the default. No restart is needed.

    Also shop_domain=, engage_key=, engage_url= and webhook_secret= (the former secret stays valid until the new one is set again), and
    fallback_password= or fallback_key=@FILE of the SFTP user; one replaces the other.

    Example: engage-plugin shops set web-se group_currency=SEK login_url=https://shop.example/login
    """
    wanted, faults = _read_changes(changes)
    domain = {DOMAIN_KEY: wanted.pop(DOMAIN_KEY)} if DOMAIN_KEY in wanted else {}
    access = {key: wanted.pop(key) for key in SECRET_KEYS if key in wanted}
    file_access = {key: wanted.pop(key) for key in FILE_ACCESS_KEYS if key in wanted}
    with open_services() as services:
        shop = services.stores.shops.get(name)
        faults += [f"{key} must not be empty" for key, value in (access | domain).items() if not value]
        if access.get("engage_url"):
            faults += engage_url_faults(access["engage_url"])
        if access.get("webhook_secret"):
            faults += _faults_in(lambda: PLATFORMS[shop.platform].check_secret(access["webhook_secret"]))
        file_access, file_faults = _read_file_access(file_access)
        faults += [*file_faults, *_faults_in(lambda: changed_settings(shop.stored_settings, wanted))]
        if faults:
            raise ConfigurationError(faults)
        if domain:
            services.stores.shops.keep_domain(name, domain[DOMAIN_KEY])
        if wanted:
            services.stores.shops.change(name, wanted)
        if access:
            services.stores.shops.replace_secrets(name, **access)
        if file_access:
            services.stores.shops.keep_file_access(name, file_access)
        click.echo(f"{name}: {', '.join([*domain, *wanted, *access, *(f'fallback_{key}' for key in file_access)])} set")
        if "webhook_secret" in access:
            former = len(services.stores.shops.get(name).webhook_secrets) > 1
            click.echo(
                "The former webhook secret stays valid, until you set this one once more."
                if former
                else "The former webhook secret is no longer valid."
            )


@shops.command("install")
@click.argument("name")
@report_errors
def install_shop(name: str) -> None:
    """Print the steps that install the plugin in the shop, with the addresses to open.

    Example: engage-plugin shops install web-se
    """
    with open_services() as services:
        shop = services.stores.shops.get(name)
        steps = PLATFORMS[shop.platform].install_steps(services.installation_service, shop)
        if not steps:
            card = _card(shop, services.settings.public_url, secrets=True)
            steps = (
                f"Send the shop's webhooks to {card['webhook_url']}, signed with the secret {card['webhook_secret']}.",
            )
        for number, step in enumerate(steps, 1):
            click.echo(f"{number}. {step}")


@shops.command("erase")
@click.argument("name")
@click.option("--sure", is_flag=True, help="Do it; without this the command only prints what it would do.")
@report_errors
def erase_shop(name: str, sure: bool) -> None:
    """Erase all stored data of a shop's customers, and stop its deliveries. The contacts in Engage stay.

    A shop that requests it itself (Shopify's shop/redact) is erased without this.

    Example: engage-plugin shops erase web-se --sure
    """
    with open_services() as services:
        shop_id, platform = services.stores.shops.id_and_platform(name)
        if not sure:
            click.echo(
                f"Would stop {name} and erase its links, consents, orders, redemptions and what its events hold; what is "
                "still due would be discarded. Its row, its settings and bare event rows stay. Add --sure to do it."
            )
            return
        services.stores.shops.uninstall(shop_id, "An operator erased the shop's data.")
        erasures, total = services.stores.shop_erasures, Counter[str]()
        while done := erasures.erase_some(shop_id, services.clock()):
            total.update(done)
        erasures.record(shop_id, None, services.clock(), dict(total))
        if services.stores.shops.renew_lost_secrets(shop_id, PLATFORMS[platform].new_secret()):
            click.echo(
                f"The secrets of {name} could not be decrypted and were replaced. To use the shop again, set its engage_key "
                f"and give the shop the secrets that `engage-plugin shops show {name} --secrets` prints.",
                err=True,
            )
        left = erasures.under_way(shop_id)
        show({"erased": dict(total), "still_worked_on": left})
        if left:
            raise ConflictError(f"{left} events are being processed: run this again in some minutes.")


def _read_changes(changes: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """Return the values of KEY=VALUE arguments by key, and the faults: not KEY=VALUE, or a key given twice."""
    wanted: dict[str, str] = {}
    faults = []
    for change in changes:
        key, separator, value = (part.strip() for part in change.partition("="))
        if not separator:
            faults.append(f"{change!r} is not KEY=VALUE")
        elif key in wanted:
            faults.append(f"{key} is given twice: give one value")
        else:
            wanted[key] = value
    return wanted, faults


def _faults_in(check: Callable[[], object]) -> list[str]:
    """Return the faults that a check raises."""
    try:
        check()
    except ConfigurationError as error:
        return list(error.faults)
    return []


def _read_file_access(given: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the SFTP user's password or key, read from its file if it begins with @, and the faults."""
    access = {key.removeprefix("fallback_"): value for key, value in given.items()}
    key = access.get("key", "")
    if key.startswith("@"):
        try:
            access["key"] = Path(key[1:]).expanduser().read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return {}, [f"fallback_key names {key[1:]}, which is not a readable text file"]
    if access.get("key"):
        from plugin.engage_files.sftp import check_private_key

        try:
            check_private_key(access["key"])
        except TransferError as error:
            return {}, [f"fallback_key: {error}"]
    return access, []


def engage_url_faults(url: str) -> list[str]:
    """Return the faults of a tenant's address; plain http is allowed on this machine only."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return [f"The Engage address {url!r} must be https://CLIENT.voyado.com."]
    if parts.scheme == "http" and not is_loopback_host(parts.hostname):
        return ["The Engage address must be https: the API key is sent there."]
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        return ["The Engage address must have no path: the plugin adds /api/v3 itself."]
    return []


def _card(shop: RegisteredShop, public_url: str, *, secrets: bool = False) -> dict[str, str | None]:
    card: dict[str, str | None] = {
        "name": shop.name,
        "platform": shop.platform,
        "shop_domain": shop.shop_domain,
        "engage_url": shop.engage_url,
        "stopped_reason": shop.stopped_reason,
        "webhook_url": f"{public_url}/webhooks/{shop.platform}/{shop.name}",
        "mypages_url": f"{public_url}/mypages/{shop.name}/",
    }
    if secrets:
        card |= {"webhook_secret": shop.webhook_secrets[0], "shopper_secret": shop.shopper_secret}
    return card
