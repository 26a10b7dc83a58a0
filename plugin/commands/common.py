"""What all commands share: services, output, and errors turned into messages."""

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
#: The least width, in characters, of a column with sentences.
PROSE_WIDTH = 24
P = ParamSpec("P")
R = TypeVar("R")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")


def report_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Turn errors into messages on standard error, and exit with 2 for a faulty set-up, with 1 for any other error."""

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
                f"Error: Redis failed ({what_failed_in_redis(error)}). {_about_redis()} "
                "`engage-plugin doctor` checks it.",
                err=True,
            )
            sys.exit(1)

    return run


def what_failed_in_redis(error: RedisError) -> str:
    """Describe an error of Redis for an operator; for a failed connection with the first line of the client's text."""
    name = type(error).__name__
    lines = str(error).strip().splitlines() if isinstance(error, RedisConnectionError | RedisTimeoutError) else []
    return f"{name}: {lines[0]}" if lines else name


def _about_redis() -> str:
    """Return which Redis was used, and what to check."""
    address = load_settings().safe_redis_url()  # the settings have been read without a fault before
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
def open_services(*, migrate: bool = True, announce_new: bool = False) -> Iterator[Services]:
    """Open the services of a command. The embedded database is migrated; the schema of a database on a server is checked.

    announce_new: print on standard error that the embedded database did not exist and was created.
    """
    services = make_services()
    try:
        if services.settings.embedded_database and migrate:
            if services.database.migrate() and announce_new:
                click.echo(
                    f"Created a new database: {services.settings.safe_database_url()}. To use an existing one, set its "
                    "STATE_DIR or DATABASE_URL in this terminal too.",
                    err=True,
                )
        else:
            services.database.check_schema()
        yield services
    finally:
        services.close()


def show(value: Any) -> None:
    """Print JSON, with times in ISO 8601 and money as text."""
    click.echo(json.dumps(value, indent=2, default=_plain, ensure_ascii=False))


def table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """Print a table, or a line that says that it is empty. Times are UTC.

    In a terminal so narrow that words and ids would be broken, or prose be squeezed into a column of single words, each row
    is printed as a paragraph.
    """
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    if not rows:
        click.echo(f"{title}: none")
        return
    console, drawn = Console(), Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        cells = [_cell(row[number]) for row in rows]
        whole = all(isinstance(row[number], datetime | int | None) for row in rows)
        narrowest = min(PROSE_WIDTH, max(map(len, cells))) if any(map(_is_prose, cells)) else None
        drawn.add_column(column, overflow="fold", no_wrap=whole, min_width=narrowest)
    for row in rows:
        drawn.add_row(*map(_cell, row))
    # measured without a limit of the width: within a limit the result is never wider
    if Measurement.get(console, console.options.update_width(10_000), drawn).minimum <= console.width:
        console.print(drawn)
        return
    click.echo(title)
    for row in rows:
        click.echo(_paragraph(columns, list(map(_cell, row)), console.width))


def _paragraph(columns: list[str], cells: list[str], width: int) -> str:
    """Return a row as text: names and short values on one line, each longer text on its own lines."""
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
    """Return the time of an option, in UTC if it has no zone. Raises BadParameter."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not an ISO 8601 time such as 2026-03-05T09:30:00+01:00") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


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
