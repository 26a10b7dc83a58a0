"""`engage-plugin doctor`: check the whole set-up and say what to fix."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from plugin.app import Services
from plugin.commands.common import json_option, make_services, report_errors, show, table
from plugin.commands.doctor import machine_checks
from plugin.commands.doctor.check import Check
from plugin.commands.doctor.shop_checks import ShopChecks
from plugin.engage.contract.compare import differences, inferred_operations, read_document


@click.command()
@click.argument("name", required=False)
@click.option(
    "--contract",
    "swagger",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[SWAGGER]",
    help="List what is inferred of Engage's API, or compare it with the tenant's Swagger file (JSON or YAML).",
)
@json_option
@report_errors
def doctor(name: str | None, swagger: str | None, as_json: bool) -> None:
    """Check the set-up of one shop or of all. Exit 1 when something must be fixed.

    Example: engage-plugin doctor web-se

    Example: engage-plugin doctor --contract swagger.json
    """
    if swagger is not None:
        _report_contract(swagger, as_json=as_json)
        return
    services = make_services()
    try:
        checks = list(_all_checks(services, name))
    finally:
        services.close()
    if as_json:
        show([asdict(check) for check in checks])
    else:
        table("Doctor", ["what", "result", "what to do"], [[c.what, c.result, c.todo] for c in checks])
    if any(check.result == "fault" for check in checks):
        sys.exit(1)


def _report_contract(swagger: str, *, as_json: bool) -> None:
    """Print the inferred operations, or how a tenant's Swagger differs. Exit 1 when calls would fail there."""
    if not swagger:
        inferred = inferred_operations()
        if as_json:
            show([asdict(operation) for operation in inferred])
            return
        rows = [[i.operation, f"{i.method} {i.path}", "wholly" if i.whole else "in part", i.compare] for i in inferred]
        table(
            "Inferred operations of Engage", ["operation", "call", "inferred", "compare in the tenant's Swagger"], rows
        )
        return
    deviations = differences(read_document(Path(swagger)))
    if as_json:
        show([asdict(difference) for difference in deviations])
    else:
        rows = [[d.operation, "fault" if d.serious else "look", d.what, d.todo] for d in deviations]
        table(f"Differences between {swagger} and this plugin", ["operation", "result", "what", "what to do"], rows)
    if any(difference.serious for difference in deviations):
        sys.exit(1)


def _all_checks(services: Services, name: str | None) -> Iterator[Check]:
    yield machine_checks.check_manifest(services)
    database = machine_checks.check_database(services)
    yield database
    yield machine_checks.check_redis(services)
    if database.result == "fault":
        return
    yield machine_checks.check_balance(services)
    store = services.stores.shops
    unreadable = {shop: fault for shop, fault in store.unopened().items() if name in (None, shop)}
    for shop_name, fault in unreadable.items():
        yield _unreadable_shop(shop_name, fault)
    shops = [] if name in unreadable else [store.get(name)] if name else list(store.all())
    if not shops and not unreadable:
        yield Check("shops", "warning", "No shop is registered: engage-plugin shops add.")
    for shop in shops:
        yield from ShopChecks(services, shop).all()


def _unreadable_shop(name: str, fault: str) -> Check:
    """Return the fault of a shop whose stored secrets cannot be decrypted."""
    advice = f"If the key is lost: engage-plugin shops erase {name} --sure, then set the shop up again."
    return Check(f"{name}: what is stored", "fault", f"{fault} {advice}")
