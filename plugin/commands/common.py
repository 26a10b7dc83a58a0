"""What all commands share: settings, services, output, and errors that help."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import wraps
from textwrap import fill
from typing import Any, ParamSpec, TypeVar

import click
from redis import ConnectionError as RedisConnectionError
from redis import RedisError
from redis import TimeoutError as RedisTimeoutError
from sqlalchemy.exc import SQLAlchemyError

from plugin.app import Services
from plugin.errors import ConfigurationError, PluginError
from plugin.runtime.embedded_redis import EmbeddedRedis
from plugin.runtime.logs import set_up
from plugin.settings import DEFAULT_PORT, load_settings
from plugin.store.database.errors import describe_database_error
from plugin.store.shops.registry import holds_shops

METRICS_FOLDER = "metrics"
#: A column with sentences is at least so wide, in characters.
PROSE_WIDTH = 24
P = ParamSpec("P")
R = TypeVar("R")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")


def report_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Turn our errors into messages on standard error: exit 2 for a faulty set-up, 1 for anything else."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except ConfigurationError as error:
            click.echo(str(error), err=True)
            sys.exit(2)
        except PluginError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)
        except SQLAlchemyError as error:
            click.echo(
                f"Error: the database did not do its part ({describe_database_error(error)}). Is DATABASE_URL right and the server up? "
                "`engage-plugin doctor` checks it.",
                err=True,
            )
            sys.exit(1)
        except RedisError as error:
            click.echo(
                f"Error: Redis did not do its part ({what_failed_in_redis(error)}). {_about_redis()} "
                "`engage-plugin doctor` checks it.",
                err=True,
            )
            sys.exit(1)

    return run


def what_failed_in_redis(error: RedisError) -> str:
    """Name a fault of Redis for an operator: of a connection that fails, with the client's own first line."""
    name = type(error).__name__
    lines = str(error).strip().splitlines() if isinstance(error, RedisConnectionError | RedisTimeoutError) else []
    return f"{name}: {lines[0]}" if lines else name


def _about_redis() -> str:
    """Say which Redis was asked, and what to do."""
    address = load_settings().safe_redis_url()  # read before without a fault: nothing but Redis gets here
    if address is None:
        return "The embedded one runs while `engage-plugin run` does."
    return f"Is REDIS_URL ({address}) right and the server up?"


def make_services(*, port: int = DEFAULT_PORT, shared: bool = False) -> Services:
    """Read the environment and return the services of this process. Raises ConfigurationError."""
    settings = load_settings(port=port, shared_services=shared, in_use=holds_shops)
    set_up(settings.log_level)
    if shared:
        from plugin.metrics import share_metrics

        share_metrics(settings.state_dir / METRICS_FOLDER)
    redis_url = settings.redis_url or EmbeddedRedis(settings.state_dir).url
    return Services(settings, redis_url)


@contextmanager
def open_services(*, migrate: bool = True, tell_new: bool = False) -> Iterator[Services]:
    """Open services for one command. The embedded database is brought up to date, one on a server is checked.

    tell_new: say on standard error when the embedded database was not there and was made.
    """
    services = make_services()
    try:
        if services.settings.embedded_database and migrate:
            if services.database.migrate() and tell_new:
                click.echo(
                    f"Made a new database: {services.settings.safe_database_url()}. To use one that is there already, set its "
                    "STATE_DIR or DATABASE_URL in this terminal too.",
                    err=True,
                )
        else:
            services.database.check_schema()
        yield services
    finally:
        services.close()


def show(value: Any) -> None:
    """Print JSON: times as ISO 8601, money as text."""
    click.echo(json.dumps(value, indent=2, default=_plain, ensure_ascii=False))


def table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """Print a table, or a line that says there is nothing. Times are UTC.

    Where the terminal is so narrow that words and ids would be broken, or prose stand in a column of single words, each
    row is a paragraph instead.
    """
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    if not rows:
        click.echo(f"{title}: none")
        return
    console, made = Console(), Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        cells = [_cell(row[number]) for row in rows]
        whole = all(isinstance(row[number], datetime | int | None) for row in rows)
        narrowest = min(PROSE_WIDTH, max(map(len, cells))) if any(map(_is_prose, cells)) else None
        made.add_column(column, overflow="fold", no_wrap=whole, min_width=narrowest)
    for row in rows:
        made.add_row(*map(_cell, row))
    # a width without limit: what is measured within one is never wider
    if Measurement.get(console, console.options.update_width(10_000), made).minimum <= console.width:
        console.print(made)
        return
    click.echo(title)
    for row in rows:
        click.echo(_paragraph(columns, list(map(_cell, row)), console.width))


def _paragraph(columns: list[str], cells: list[str], width: int) -> str:
    """Write a row as words: names and short values one after the other, each longer text on lines of its own."""
    named = [(column, cell) for column, cell in zip(columns, cells, strict=True) if cell]
    short = [f"{column} {cell}" for column, cell in named if not _is_prose(cell)]
    parts = [", ".join(short), *(f"{column}: {cell}" for column, cell in named if _is_prose(cell))]
    return "\n".join(
        fill(part, width, initial_indent="  " * bool(number), subsequent_indent="    ", break_long_words=False,
             break_on_hyphens=False)
        for number, part in enumerate(parts)
    )  # fmt: skip


def _is_prose(cell: str) -> bool:
    return cell.count(" ") > 1


def read_time(text: str | None) -> datetime | None:
    """Read the time of an option, UTC where it names no zone. Raises BadParameter."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no ISO 8601 time such as 2026-03-05T09:30:00+01:00") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, Decimal):
        return str(value)
    return value
