"""`engage-plugin reconcile` and `watch`: whether anything of a shop is missing here or in Engage."""

import sys
from dataclasses import asdict

import click

from plugin.commands.common import json_option, open_services, read_time, report_errors, show, table


@click.command()
@click.option("--shop", "name", required=True, help="The shop.")
@click.option("--from", "since", required=True, help="Compare from this time on (ISO 8601).")
@click.option("--to", "until", help="Compare until this time; else until now.")
@click.option("--repair", is_flag=True, help="Store what is missing in the inbox, so that it is sent.")
@json_option
@report_errors
def reconcile(name: str, since: str, until: str | None, repair: bool, as_json: bool) -> None:
    """Compare what the shop has, what came in and what Engage has. Exit 1 when something differs and was not repaired.

    Example: engage-plugin reconcile --shop web-se --from 2026-03-01 --repair
    """
    with open_services() as services:
        shop = services.stores.shops.get(name)
        start = read_time(since)
        assert start is not None
        comparison = services.reconciler.compare(shop, start, read_time(until) or services.clock(), repair=repair)
    if as_json:
        show(
            {
                "counts": dict(comparison.counts),
                "differences": [asdict(difference) for difference in comparison.differences],
                "error": comparison.error,
            }
        )
    else:
        table("Compared", ["what", "number"], [[name, number] for name, number in sorted(comparison.counts.items())])
        rows = [
            [row.difference, row.what, row.resource_id, "put through" if row.repaired else ""]
            for row in comparison.differences
        ]
        table("Differences", ["difference", "what", "id", "repair"], rows)
        if comparison.error:
            click.echo(f"The comparison is incomplete: {comparison.error}", err=True)
    if comparison.error or any(not difference.repaired for difference in comparison.differences):
        sys.exit(1)


@click.command()
@click.argument("name", required=False)
@json_option
@report_errors
def watch(name: str | None, as_json: bool) -> None:
    """Check the shop's webhook subscriptions now, repair them, and fetch the changes that they missed.

    The sweep does the same every WATCH_INTERVAL_S. Example: engage-plugin watch web-se
    """
    with open_services() as services:
        shops = [services.stores.shops.get(name)] if name else list(services.stores.shops.all())
        results = [services.monitor.check_shop(shop) for shop in shops]
    if as_json:
        show([asdict(result) for result in results])
    for result in [] if as_json else results:
        click.echo(
            f"{result.shop}: {result.skipped or result.error or f'{result.seen} changes seen, {result.missed} were missing'}"
        )
        for line in result.repaired:
            click.echo(f"  repaired: {line}")
        for line in result.problems:
            click.echo(f"  still wrong: {line}")
    if any(result.error or result.problems for result in results):
        sys.exit(1)
