"""`engage-plugin backfill`: import the shop's history into Engage."""

import csv
import signal
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
UPDATE_INTERVAL_S = 1.0


@click.group()
def backfill() -> None:
    """Import the shop's history into Engage: customers first, then orders.

    Ctrl-C pauses a run; `backfill resume` continues it where it was, also after a crash.
    """


def _add_command(what: str) -> click.Command:
    """Add the command that starts a run: of customers, or of orders."""

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
            raise ConfigurationError(["--files is for orders; customers are sent through the bulk API."])
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
            _run(services, shop, run, as_json=as_json)

    command.help = (
        f"Import the shop's {what} into Engage.\n\nExample: engage-plugin backfill {what} --shop web-se --api --from 2024-01-01 "
        f"--dry-run\n\nExample: engage-plugin backfill {what} --shop web-se --csv {what}.csv"
    )
    return command


for _what in ("customers", "orders"):
    _add_command(_what)


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
    """Continue a paused run, or one whose process died. Example: engage-plugin backfill resume 3 --shop web-se"""
    with open_services() as services:
        shop = services.stores.shops.get(name)
        run = services.stores.backfill_runs.get(shop, run_id)
        if run.state is RunState.FINISHED:
            raise ConflictError(f"Run {run_id} is finished: start a new one.")
        _run(services, shop, run, as_json=as_json)


@backfill.command()
@click.argument("run_id", type=int)
@click.option("--shop", "name", required=True, help="The shop.")
@report_errors
def pause(run_id: int, name: str) -> None:
    """Pause a run after its current page, from another terminal. Example: engage-plugin backfill pause 3 --shop web-se"""
    with open_services() as services:
        shop = services.stores.shops.get(name)
        run = services.stores.backfill_runs.get(shop, run_id)
        if run.state is not RunState.RUNNING:
            raise ConflictError(f"Run {run_id} is {run.state}; only a running one can be paused.")
        services.stores.backfill_runs.set_state(run, RunState.PAUSED, services.clock())
        click.echo(f"run {run_id} pauses after its current page")


@backfill.command()
@click.argument("run_id", type=int)
@click.option("--shop", "name", required=True, help="The shop.")
@click.option("--csv", "path", type=click.Path(path_type=Path), help="Write the rows into this file.")
@report_errors
def report(run_id: int, name: str, path: Path | None) -> None:
    """List the rows that a run did not send to Engage, with the reasons.

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


def _run(services: Services, shop: RegisteredShop, run: Run, *, as_json: bool) -> None:
    """Do the work of a run in this process, and print what Engage confirmed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: services.stopping.set())
    rows = services.backfill.rows(
        shop, run.what, str(run.options["form"]), run.source, run.since, run.until, run.cursor
    )
    progress = _Progress(services, shop, run)
    with progress.display(quiet=as_json):
        try:
            state = services.backfill.work(shop, run, rows, progress.update)
        except ShopApiError:
            services.stores.backfill_runs.set_state(run, RunState.PAUSED, services.clock())
            raise
    card = _card(services, shop, services.stores.backfill_runs.get(shop, run.id))
    if as_json:
        show(card)
    else:
        click.echo(_summary(card))
        if state is RunState.PAUSED:
            click.echo(f"Paused: engage-plugin backfill resume {run.id} --shop {shop.name}")
        if card["refused"] or card["parked"] or card["ignored"]:
            click.echo(f"Not sent, with reasons: engage-plugin backfill report {run.id} --shop {shop.name}")


class _Progress:
    """A line on the terminal that counts what was read and what Engage confirmed."""

    def __init__(self, services: Services, shop: RegisteredShop, run: Run) -> None:
        self._services, self._shop, self._run = services, shop, run
        self._started = time.monotonic()
        self._confirmed_before = services.backfill.confirmed(shop, run, Counter(run.counts))
        self._updated_at = 0.0
        self._total = services.backfill.size(str(run.options["form"]), run.source)
        self._live: Live | None = None

    def display(self, *, quiet: bool) -> Live:
        """Return the context in which the line is shown."""
        live = Live(Text(""), console=Console(stderr=True, quiet=quiet), refresh_per_second=4, transient=True)
        self._live = live
        return live

    def update(self, counts: Counter[str]) -> None:
        """Show the progress of the run, at most once a second."""
        if self._live is None or time.monotonic() - self._updated_at < UPDATE_INTERVAL_S:
            return
        self._updated_at = time.monotonic()
        confirmed = self._services.backfill.confirmed(self._shop, self._run, counts)
        elapsed_s = max(self._updated_at - self._started, 0.001)
        rate = (confirmed - self._confirmed_before) / elapsed_s
        left = "time left: unknown, because the source does not say how much is left"
        if self._total is not None and rate > 0:
            left = f"about {max(self._total - counts['read'], 0) / rate / 60:.0f} min left"
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
        show({"counts": dict(counts), "refused": [asdict(row) for row in refusals]})
        return
    table("It would", ["what", "number"], [[name, number] for name, number in sorted(counts.items())])
    table(
        f"The first {SAMPLE} that would be refused",
        ["id", "code", "reason"],
        [[row.resource_id, row.code, row.reason] for row in refusals[:SAMPLE]],
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


def _summary(card: dict[str, Any]) -> str:
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
