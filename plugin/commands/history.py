"""engage-plugin backfill, reconcile and watch: the shop's history, and whether anything is missing."""

import csv
import signal
import sys
import time
from collections import Counter
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from plugin.app import Services
from plugin.commands.common import json_option, open_services, read_time, report_errors, show, table
from plugin.errors import ConfigurationError, ConflictError, ShopApiError
from plugin.store.shops.shops import RegisteredShop
from plugin.store.sync.backfill_runs import RejectedRow, Run, RunState

SAMPLE = 5
SHOWN_EVERY_S = 1.0


@click.group()
def backfill() -> None:
    """Take the shop's history to Engage: customers first, then orders.

    Ctrl-C pauses a run; `backfill resume` goes on where it was, also after a crash.
    """


def _begin(what: str) -> click.Command:
    @backfill.command(what)
    @click.option("--shop", "name", required=True, help="The shop.")
    @click.option("--from", "since", help="Changed at or after this time (ISO 8601).")
    @click.option("--to", "until", help="Changed before this time (ISO 8601).")
    @click.option("--api", "from_api", is_flag=True, help="Read from the shop's own API.")
    @click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Read a CSV file (see docs/history.md).")
    @click.option("--jsonl", "jsonl_path", type=click.Path(path_type=Path), help="Read a file of JSON Lines.")
    @click.option("--files", is_flag=True, help="Orders only: as files, for large amounts (see docs/fallback.md).")
    @click.option("--dry-run", is_flag=True, help="Only count, and show a sample; nothing is sent or stored.")
    @json_option
    @report_errors
    def command(
        name: str,
        since: str | None,
        until: str | None,
        from_api: bool,
        csv_path: Path | None,
        jsonl_path: Path | None,
        files: bool,
        dry_run: bool,
        as_json: bool,
    ) -> None:
        given = [source for source in (from_api and "api", csv_path, jsonl_path) if source]
        if len(given) != 1:
            raise ConfigurationError(["Give exactly one of --api, --csv FILE and --jsonl FILE."])
        if files and what != "orders":
            raise ConfigurationError(["--files is for orders; customers go through the bulk API."])
        form = "api" if from_api else "csv" if csv_path else "jsonl"
        source = "api" if from_api else str(Path(str(given[0])).resolve())
        with open_services() as services:
            shop = services.stores.shops.get(name)
            between = (read_time(since), read_time(until))
            if dry_run:
                _dry_run(services, shop, what, form, source, between, as_json=as_json)
                return
            if files:
                services.backfill.in_files.check(shop)
            options = {"form": form, "files": files}
            run = services.stores.backfill_runs.start(shop, what, source, *between, options, services.clock())
            _work(services, shop, run, as_json=as_json)

    command.help = (
        f"Take the shop's {what} to Engage.\n\nExample: engage-plugin backfill {what} --shop web-se --api --from 2024-01-01 "
        f"--dry-run\n\nExample: engage-plugin backfill {what} --shop web-se --csv {what}.csv"
    )
    return command


for _what in ("customers", "orders"):
    _begin(_what)


@backfill.command("list")
@click.option("--shop", "name", required=True, help="The shop.")
@json_option
@report_errors
def list_runs(name: str, as_json: bool) -> None:
    """List the runs of a shop. Example: engage-plugin backfill list --shop web-se"""
    with open_services() as services:
        shop = services.stores.shops.get(name)
        rows = [_card(services, shop, run) for run in services.stores.backfill_runs.list_for(shop)]
        if as_json:
            show(rows)
            return
        table(
            "Runs",
            ["run", "what", "from", "state", "read", "confirmed", "under way", "refused"],
            [
                [r["run"], r["what"], r["source"], r["state"], r["read"], r["confirmed"], r["under_way"], r["refused"]]
                for r in rows
            ],
        )


@backfill.command()
@click.argument("run_id", type=int)
@click.option("--shop", "name", required=True, help="The shop.")
@json_option
@report_errors
def resume(run_id: int, name: str, as_json: bool) -> None:
    """Go on with a paused run, or one whose process died. Example: engage-plugin backfill resume 3 --shop web-se"""
    with open_services() as services:
        shop = services.stores.shops.get(name)
        run = services.stores.backfill_runs.get(shop, run_id)
        if run.state is RunState.FINISHED:
            raise ConflictError(f"Run {run_id} is finished: start a new one.")
        _work(services, shop, run, as_json=as_json)


@backfill.command()
@click.argument("run_id", type=int)
@click.option("--shop", "name", required=True, help="The shop.")
@report_errors
def pause(run_id: int, name: str) -> None:
    """Pause a run after its present page, from another terminal. Example: engage-plugin backfill pause 3 --shop web-se"""
    with open_services() as services:
        shop = services.stores.shops.get(name)
        run = services.stores.backfill_runs.get(shop, run_id)
        if run.state is not RunState.RUNNING:
            raise ConflictError(f"Run {run_id} is {run.state}; only a running one can be paused.")
        services.stores.backfill_runs.set_state(run, RunState.PAUSED, services.clock())
        click.echo(f"run {run_id} pauses after its present page")


@backfill.command()
@click.argument("run_id", type=int)
@click.option("--shop", "name", required=True, help="The shop.")
@click.option("--csv", "path", type=click.Path(path_type=Path), help="Write the rows into this file.")
@report_errors
def report(run_id: int, name: str, path: Path | None) -> None:
    """List the rows that a run did not bring to Engage, with reasons.

    Example: engage-plugin backfill report 3 --shop web-se --csv refused.csv
    """
    with open_services() as services:
        shop = services.stores.shops.get(name)
        run = services.stores.backfill_runs.get(shop, run_id)
        rows = [*services.stores.backfill_runs.rejected_rows(run), *services.backfill.not_delivered(shop, run)]
        if path is None:
            table("Not sent", ["id", "code", "reason"], [[row.resource_id, row.code, row.reason] for row in rows])
            return
        _write_csv(path, rows)
        click.echo(f"{len(rows)} rows are in {path}")


@click.command()
@click.option("--shop", "name", required=True, help="The shop.")
@click.option("--from", "since", required=True, help="Compare from this time on (ISO 8601).")
@click.option("--to", "until", help="Compare until this time; else until now.")
@click.option("--repair", is_flag=True, help="Put what is missing through the inbox.")
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
        found = services.reconciler.compare(shop, start, read_time(until) or services.clock(), repair=repair)
    if as_json:
        show(
            {
                "counts": dict(found.counts),
                "differences": [asdict(one) for one in found.differences],
                "error": found.error,
            }
        )
    else:
        table("Compared", ["what", "number"], [[name, number] for name, number in sorted(found.counts.items())])
        rows = [
            [one.difference, one.what, one.resource_id, "put through" if one.repaired else ""]
            for one in found.differences
        ]
        table("Differences", ["difference", "what", "id", "repair"], rows)
        if found.error:
            click.echo(f"The comparison is not whole: {found.error}", err=True)
    if found.error or any(not one.repaired for one in found.differences):
        sys.exit(1)


@click.command()
@click.argument("name", required=False)
@json_option
@report_errors
def watch(name: str | None, as_json: bool) -> None:
    """Look at the shop's webhook subscriptions now, mend them, and fetch what they missed.

    The sweep does the same every WATCH_INTERVAL_S. Example: engage-plugin watch web-se
    """
    with open_services() as services:
        shops = [services.stores.shops.get(name)] if name else list(services.stores.shops.all())
        looks = [services.monitor.check_shop(shop) for shop in shops]
    if as_json:
        show([asdict(look) for look in looks])
    for look in [] if as_json else looks:
        click.echo(
            f"{look.shop}: {look.skipped or look.error or f'{look.seen} changes seen, {look.missed} were missing'}"
        )
        for line in look.repaired:
            click.echo(f"  mended: {line}")
        for line in look.problems:
            click.echo(f"  still wrong: {line}")
    if any(look.error or look.problems for look in looks):
        sys.exit(1)


def _work(services: Services, shop: RegisteredShop, run: Run, *, as_json: bool) -> None:
    """Work a run off in this process, and say what Engage confirmed of it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: services.stopping.set())
    rows = services.backfill.rows(
        shop, run.what, str(run.options["form"]), run.source, run.since, run.until, run.cursor
    )
    progress = _Progress(services, shop, run)
    with progress.shown(quiet=as_json):
        try:
            state = services.backfill.work(shop, run, rows, progress.tell)
        except ShopApiError:
            services.stores.backfill_runs.set_state(run, RunState.PAUSED, services.clock())
            raise
    card = _card(services, shop, services.stores.backfill_runs.get(shop, run.id))
    if as_json:
        show(card)
    else:
        click.echo(_line(card))
        if state is RunState.PAUSED:
            click.echo(f"Paused: engage-plugin backfill resume {run.id} --shop {shop.name}")
        if card["refused"] or card["parked"] or card["ignored"]:
            click.echo(f"Not sent, with reasons: engage-plugin backfill report {run.id} --shop {shop.name}")


class _Progress:
    """A line that says what was read and what Engage confirmed, never more than that."""

    def __init__(self, services: Services, shop: RegisteredShop, run: Run) -> None:
        self._services, self._shop, self._run = services, shop, run
        self._started = time.monotonic()
        self._before = services.backfill.confirmed(shop, run, Counter(run.counts))
        self._shown_at = 0.0
        self._lines = services.backfill.size(str(run.options["form"]), run.source)
        self._live: Live | None = None

    def shown(self, *, quiet: bool) -> Live:
        """Return what shows the line while a run goes on."""
        live = Live(Text(""), console=Console(stderr=True, quiet=quiet), refresh_per_second=4, transient=True)
        self._live = live
        return live

    def tell(self, counts: Counter[str]) -> None:
        """Show how far the run is, at most once a second."""
        if self._live is None or time.monotonic() - self._shown_at < SHOWN_EVERY_S:
            return
        self._shown_at = time.monotonic()
        confirmed = self._services.backfill.confirmed(self._shop, self._run, counts)
        took = max(self._shown_at - self._started, 0.001)
        rate = (confirmed - self._before) / took
        left = "time left: the source does not tell how much is left"
        if self._lines is not None and rate > 0:
            left = f"about {max(self._lines - counts['read'], 0) / rate / 60:.0f} min left"
        under_way = self._services.backfill.under_way(self._shop, self._run)
        self._live.update(
            Text(
                f"{counts['read']} read, {confirmed} confirmed by Engage, {under_way} under way, "
                f"{counts['refused']} refused; {rate:.0f}/s, {left}"
            )
        )


def _dry_run(
    services: Services,
    shop: RegisteredShop,
    what: str,
    form: str,
    source: str,
    between: tuple[datetime | None, datetime | None],
    *,
    as_json: bool,
) -> None:
    rows = services.backfill.rows(shop, what, form, source, *between, None)
    counts, refusals = services.backfill.estimate(shop, what, rows)
    if as_json:
        show({"counts": dict(counts), "refused": [asdict(one) for one in refusals]})
        return
    table("It would", ["what", "number"], [[name, number] for name, number in sorted(counts.items())])
    table(
        f"The first {SAMPLE} that would be refused",
        ["id", "code", "reason"],
        [[one.resource_id, one.code, one.reason] for one in refusals[:SAMPLE]],
    )
    click.echo("Nothing was sent or stored. `engage-plugin preview FILE --shop NAME` shows the calls of one body.")


def _card(services: Services, shop: RegisteredShop, run: Run) -> dict[str, Any]:
    counts = Counter(run.counts)
    states = services.backfill.states(shop, run)
    return {
        "run": run.id,
        "what": run.what,
        "source": run.source,
        "state": run.state.value,
        "read": counts["read"],
        "confirmed": services.backfill.confirmed(shop, run, counts),
        "under_way": services.backfill.under_way(shop, run),
        "parked": states.get("parked", 0),
        "ignored": states.get("ignored", 0),
        "refused": counts["refused"],
        "in_files": counts["in_files"],
        "counts": dict(counts),
    }


def _line(card: dict[str, Any]) -> str:
    return (
        f"run {card['run']} ({card['what']}) is {card['state']}: {card['read']} read, {card['confirmed']} confirmed by Engage, "
        f"{card['in_files']} in files, {card['under_way']} under way, {card['parked']} parked, {card['ignored']} ignored, "
        f"{card['refused']} refused"
    )


def _write_csv(path: Path, rows: list[RejectedRow]) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "code", "reason"])
            writer.writerows([row.resource_id, row.code, row.reason] for row in rows)
    except OSError as error:
        raise ConfigurationError([f"{path} cannot be written: {error.strerror}."]) from error
