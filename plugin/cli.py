"""The command `engage-plugin`."""

import importlib
import signal

import click

from plugin.app import Services
from plugin.commands.common import METRICS_FOLDER, make_services, report_errors
from plugin.errors import ConfigurationError
from plugin.runtime.embedded_redis import EmbeddedRedis
from plugin.settings import DEFAULT_PORT

port_option = click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(1, 65535))
host_option = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")

#: Commands with a module of their own: name -> where. Each is imported when it is asked for, so that none waits for others.
LAZY_COMMANDS = {
    "api-tokens": "plugin.commands.api_tokens:api_tokens",
    "backfill": "plugin.commands.history:backfill",
    "data-request": "plugin.commands.data_request:data_request",
    "demo": "plugin.commands.demo:demo",
    "doctor": "plugin.commands.doctor:doctor",
    "events": "plugin.commands.events:events",
    "fallback": "plugin.commands.fallback:fallback",
    "preview": "plugin.commands.preview:preview",
    "promotions": "plugin.commands.promotions:promotions",
    "reconcile": "plugin.commands.history:reconcile",
    "shops": "plugin.commands.shops:shops",
    "status": "plugin.commands.events:status",
    "watch": "plugin.commands.history:watch",
    "woocommerce": "plugin.commands.woocommerce:woocommerce",
}


class _Commands(click.Group):
    """The commands of this module and those of ELSEWHERE."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted([*super().list_commands(ctx), *LAZY_COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now where it is elsewhere."""
        if cmd_name not in LAZY_COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, name = LAZY_COMMANDS[cmd_name].partition(":")
        found: click.Command = getattr(importlib.import_module(module), name)
        return found


@click.group(cls=_Commands)
@click.version_option(package_name="engage-shop-plugin")
def main() -> None:
    """Connect a shop to Voyado Engage."""


@main.command()
@port_option
@host_option
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Worker processes.")
@click.option("--web-processes", default=2, show_default=True, type=click.IntRange(1, 64), help="Web processes.")
@report_errors
def run(port: int, host: str, workers: int, web_processes: int) -> None:
    """Migrate, then run web, workers and sweep on this machine until Ctrl-C or SIGTERM.

    Starts the embedded Redis where REDIS_URL is not set. Example: engage-plugin run --port 8000 --workers 2
    """
    from plugin.runtime.preflight import check_port, exclusive_state_dir

    services = make_services(port=port)
    with exclusive_state_dir(services.settings.state_dir):
        check_port(host, port)
        services.database.migrate()
        services.manifest  # noqa: B018 - checked here, before anything starts
        services.stores.shops.check_key()
        services.close()
        web = ["--host", host, "--port", str(port), "--processes", str(web_processes)]
        _run_children(services, workers, web, f"http://{host}:{port}")


def _run_children(services: Services, workers: int, web: list[str], url: str) -> None:
    """Start every process and keep it running until this one is told to stop."""
    from plugin.metrics import forget_figures
    from plugin.runtime.supervisor import Supervisor, own_command

    forget_figures(services.settings.state_dir / METRICS_FOLDER)
    supervisor = Supervisor(services.settings.longest_restart_pause_s)
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop_signal, supervisor.request_stop)
    environment = {
        "DATABASE_URL": services.settings.database_url,
        "REDIS_URL": services.redis_url,
        "SECRET_KEY": services.settings.secret_key,
        "STATE_DIR": str(services.settings.state_dir),
        "PUBLIC_URL": services.settings.public_url,
    }
    try:
        if services.settings.redis_url is None:
            embedded = EmbeddedRedis(services.settings.state_dir)
            supervisor.add("redis", embedded.prepare())
            embedded.wait_until_ready()
        supervisor.add("sweep", own_command("sweep"), environment)
        for number in range(workers):
            supervisor.add(f"worker-{number + 1}", own_command("worker"), environment)
        supervisor.add("web", own_command("web", *web), environment)
        click.echo(f"engage-plugin listens on {url}", err=True)
        supervisor.watch()
    finally:
        supervisor.stop()


@main.command()
@port_option
@host_option
@click.option("--processes", default=2, show_default=True, type=click.IntRange(1, 64), help="Web processes.")
@report_errors
def web(port: int, host: str, processes: int) -> None:
    """Serve webhooks and My Pages. DATABASE_URL, REDIS_URL and SECRET_KEY must be set.

    Example: engage-plugin web --host 0.0.0.0 --port 8000
    """
    from plugin.runtime.preflight import check_port
    from plugin.runtime.web_server import run_web

    services = make_services(port=port, shared=True)
    services.database.check_schema()
    check_port(host, port)
    run_web(services, host=host, port=port, processes=processes)


@main.command()
@report_errors
def worker() -> None:
    """Deliver events to Engage. DATABASE_URL, REDIS_URL and SECRET_KEY must be set. Example: engage-plugin worker"""
    from plugin.runtime.supervisor import run_worker

    services = make_services(shared=True)
    services.database.check_schema()
    run_worker(services)


@main.command()
@click.option("--once", is_flag=True, help="Sweep once and end.")
@report_errors
def sweep(once: bool) -> None:
    """Find lost leases and due events. DATABASE_URL, REDIS_URL and SECRET_KEY must be set. Example: engage-plugin sweep"""
    from plugin.runtime.supervisor import run_sweep

    services = make_services(shared=True)
    services.database.check_schema()
    run_sweep(services, once=once)


@main.command()
@report_errors
def migrate() -> None:
    """Bring the database to the current schema. Example: engage-plugin migrate"""
    services = make_services()
    services.database.migrate()
    services.close()
    click.echo(f"The schema of {services.settings.safe_database_url()} is current.")


@main.command()
@click.option("--port", default=8099, show_default=True, type=click.IntRange(1, 65535))
@report_errors
def sandbox(port: int) -> None:
    """Run a stand-in for Engage, for trying things out. Example: engage-plugin sandbox --port 8099"""
    from plugin.sandbox import serve

    try:
        serve(port, ready=_tell_of_sandbox)
    except OSError as error:
        raise ConfigurationError([f"The sandbox cannot listen on port {port}: {error.strerror}."]) from error


def _tell_of_sandbox(address: str) -> None:
    click.echo(f"The sandbox stands in for Engage at {address} and takes any key. Open it to see what it holds.")


if __name__ == "__main__":
    main()
