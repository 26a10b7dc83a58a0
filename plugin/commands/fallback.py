"""`engage-plugin fallback`: the files that are written while Engage is unavailable."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click

from plugin.app import Services
from plugin.commands.common import json_option, open_services, report_errors, show, table
from plugin.errors import ConflictError, NotFoundHereError, TransferError
from plugin.store.shops.shops import RegisteredShop

shop_argument = click.argument("shop_name", metavar="[SHOP]", required=False)


@click.group()
def fallback() -> None:
    """Deliver receipts as files while Engage's API is unavailable."""


@fallback.command("status")
@shop_argument
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="Newest files only.")
@json_option
@report_errors
def status_command(shop_name: str | None, limit: int, as_json: bool) -> None:
    """Show whether Engage answers, and every file with the reason for its state. Example: engage-plugin fallback status"""
    with open_services() as services:
        shops = _shops(services, shop_name)
        summaries = [_summary(services, shop) for shop in shops]
        only = shops[0] if shop_name else None
        files = services.fallback.files.newest(only, limit)
        if as_json:
            show({"shops": summaries, "files": [asdict(file) for file in files]})
            return
        table(
            "Shops",
            ["shop", "fallback", "engage", "since", "files by state"],
            [[s["shop"], s["fallback"], s["engage"], s["since"], s["files"] or ""] for s in summaries],
        )
        table(
            "Files",
            ["file", "shop", "state", "rows", "lines", "bytes", "why"],
            [[f.name, f.shop, f.state.value, f.rows, f.lines, f.size, f.reason] for f in files],
        )


@fallback.command("write")
@shop_argument
@report_errors
def write_command(shop_name: str | None) -> None:
    """Write what waits to files now, without waiting for FALLBACK_AFTER_S; only while Engage is unavailable.

    Example: engage-plugin fallback write web-se
    """
    with open_services() as services:
        for shop in _shops(services, shop_name):
            status = services.engage_status_for(shop)
            if status.since is None:
                why = (
                    "it answers"
                    if status.availability.value == "answers"
                    else "Redis, which holds that state, does not answer"
                )
                raise ConflictError(
                    f"Engage is not known to be unavailable for shop {shop.name} ({why}): what waits is sent by the API, and a "
                    "file would be withdrawn at once."
                )
            with _locked_files(services, shop) as session:
                services.fallback.recover(session)
                click.echo(f"{shop.name}: {services.fallback.write(session)} events are in files now")


@fallback.command("send")
@shop_argument
@report_errors
def send_command(shop_name: str | None) -> None:
    """Send the files that wait for their next attempt now, and check whether sent files were picked up.

    Example: engage-plugin fallback send web-se
    """
    with open_services() as services:
        for shop in _shops(services, shop_name):
            services.fallback.files.send_now(shop, services.clock())
            with _locked_files(services, shop) as session:
                services.fallback.run_cycle(session)
            counts = services.fallback.files.counts(shop)
            click.echo(f"{shop.name}: {', '.join(f'{state} {n}' for state, n in sorted(counts.items())) or 'no files'}")


@fallback.command("recall")
@click.argument("names", nargs=-1, required=True, metavar="FILE...")
@report_errors
def recall_command(names: tuple[str, ...]) -> None:
    """Withdraw files that were not sent: their events are sent by the API, or in a new file while fallback=yes.

    Example: engage-plugin fallback recall 20260305093000_000471_transactions.xml
    """
    with open_services() as services:
        for name in names:
            file = services.fallback.files.get(name)
            with _locked_files(services, services.stores.shops.get(file.shop)) as session:
                services.fallback.recall(session, services.fallback.files.get(name), "a person took it back")
            click.echo(f"{name}: taken back")


@fallback.command("check")
@click.argument("shop_name", metavar="SHOP")
@report_errors
def check_command(shop_name: str) -> None:
    """Connect to the shop's SFTP server: show the host key to pin, log in, check the folders. Sends nothing.

    Example: engage-plugin fallback check web-se
    """
    with open_services() as services:
        shop = services.stores.shops.get(shop_name)
        if shop.settings.fallback_transfer == "folder":
            _report(_folder_checks(services, shop))
            return
        from plugin.engage_files.sftp import shown_host_key

        key = shown_host_key(shop.settings.fallback_host, shop.settings.fallback_port)
        click.echo(f"host key of {shop.settings.fallback_host}: {key.line}")
        click.echo(f"fingerprint: {key.fingerprint}")
        if not shop.settings.fallback_host_key:
            click.echo(
                "No key is pinned. Compare the fingerprint with what Voyado says, then:\n"
                f"engage-plugin shops set {shop.name} 'fallback_host_key={key.line}'"
            )
            sys.exit(1)
        _report(_server_checks(services, shop))


def _server_checks(services: Services, shop: RegisteredShop) -> Iterator[tuple[str, str]]:
    """Yield what was checked and its fault, "" for none. Raises TransferError if the login fails."""
    from plugin.engage_files.sftp import SftpTransfer

    transfer = services.transfer_for(shop)
    assert isinstance(transfer, SftpTransfer), "fallback_transfer is sftp"
    with transfer:
        yield f"login as {shop.settings.fallback_user}", ""
        for setting in ("fallback_receipts_folder", "fallback_contacts_folder", "fallback_redemptions_folder"):
            folder = getattr(shop.settings, setting)
            if not folder:
                continue
            try:
                transfer.check_folder(folder)
            except TransferError as error:
                yield f"{setting}={folder}", str(error)
            else:
                yield f"{setting}={folder}", ""


def _folder_checks(services: Services, shop: RegisteredShop) -> Iterator[tuple[str, str]]:
    with services.transfer_for(shop) as transfer:
        transfer.find(shop.settings.fallback_receipts_folder, "", None)
    yield "folder", ""


def _report(checks: Iterator[tuple[str, str]]) -> None:
    faults = 0
    for what, fault in checks:
        faults += bool(fault)
        click.echo(f"{what}: {fault or 'ok'}")
    if faults:
        sys.exit(1)


def _shops(services: Services, name: str | None) -> list[RegisteredShop]:
    shops = [services.stores.shops.get(name)] if name else list(services.stores.shops.all())
    if not shops:
        raise NotFoundHereError("No shop is registered: engage-plugin shops add.")
    return shops


def _summary(services: Services, shop: RegisteredShop) -> dict[str, Any]:
    status = services.engage_status_for(shop)
    counts = services.fallback.files.counts(shop)
    return {
        "shop": shop.name,
        "fallback": "yes" if shop.settings.fallback else "no",
        "engage": status.availability.value,
        "since": status.since,
        "files": ", ".join(f"{state} {number}" for state, number in sorted(counts.items())),
    }


@contextmanager
def _locked_files(services: Services, shop: RegisteredShop) -> Iterator[Any]:
    with services.fallback.lease_shop(shop) as session:
        if session is None:
            raise ConflictError(f"Another process is working on the files of shop {shop.name}: try again in a minute.")
        yield session
