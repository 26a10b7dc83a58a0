"""The command `engage-plugin`."""

import importlib
import signal
import sys

import click

from plugin.app import Services
from plugin.commands.common import METRICS_FOLDER, make_services, report_errors
from plugin.runtime.embedded_redis import EmbeddedRedis
from plugin.settings import DEFAULT_PORT

port_option = click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(1, 65535))
host_option = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")

#: Commands with a module of their own: name -> module and object. Each is imported only when it is needed: commands start faster.
LAZY_COMMANDS = {
    "api-tokens": "plugin.commands.api_tokens:api_tokens",
    "backfill": "plugin.commands.backfill:backfill",
    "data-request": "plugin.commands.data_request:data_request",
    "doctor": "plugin.commands.doctor.command:doctor",
    "events": "plugin.commands.events:events",
    "fallback": "plugin.commands.fallback:fallback",
    "preview": "plugin.commands.preview:preview",
    "promotions": "plugin.commands.promotions:promotions",
    "reconcile": "plugin.commands.monitoring:reconcile",
    "shops": "plugin.commands.shops:shops",
    "status": "plugin.commands.events:status",
    "watch": "plugin.commands.monitoring:watch",
    "woocommerce": "plugin.commands.woocommerce:woocommerce",
}

#: Commands of the distribution engage-shop-plugin-sandbox, which a production machine does not install.
SANDBOX_COMMANDS = {
    "demo": "plugin.demo.command:demo",
    "sandbox": "plugin.sandbox.command:sandbox",
}


class _Commands(click.Group):
    """The commands of this module, LAZY_COMMANDS and SANDBOX_COMMANDS."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted([*super().list_commands(ctx), *LAZY_COMMANDS, *SANDBOX_COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; one that has its own module is imported now."""
        if cmd_name in LAZY_COMMANDS:
            return _import_command(LAZY_COMMANDS[cmd_name])
        if cmd_name not in SANDBOX_COMMANDS:
            return super().get_command(ctx, cmd_name)
        try:
            return _import_command(SANDBOX_COMMANDS[cmd_name])
        except ModuleNotFoundError as error:
            if error.name not in {"plugin.demo", "plugin.sandbox"}:
                raise
            return _not_installed(cmd_name)


def _import_command(place: str) -> click.Command:
    module, _, name = place.partition(":")
    command: click.Command = getattr(importlib.import_module(module), name)
    return command


def _not_installed(name: str) -> click.Command:
    """Return a command that says which extra it needs, and ends with exit code 2."""

    def stop(**_options: object) -> None:
        click.echo(
            f"`engage-plugin {name}` needs the sandbox, which is not installed: pip install 'engage-shop-plugin[sandbox]'",
            err=True,
        )
        sys.exit(2)

    return click.Command(
        name,
        callback=stop,
        help="Not installed: needs engage-shop-plugin[sandbox].",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )


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
        services.manifest  # noqa: B018 - read here: a faulty manifest prevents the start
        services.stores.shops.check_key()
        services.close()
        web = ["--host", host, "--port", str(port), "--processes", str(web_processes)]
        _run_children(services, workers, web, f"http://{host}:{port}")


def _run_children(services: Services, workers: int, web: list[str], url: str) -> None:
    """Start every process and keep it running until this process is asked to stop."""
    from plugin.metrics import delete_old_metrics
    from plugin.runtime.supervisor import Supervisor, own_command

    delete_old_metrics(services.settings.state_dir / METRICS_FOLDER)
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
    from plugin.runtime.loops import run_worker

    services = make_services(shared=True)
    services.database.check_schema()
    run_worker(services)


@main.command()
@click.option("--once", is_flag=True, help="Sweep once and end.")
@report_errors
def sweep(once: bool) -> None:
    """Release lost leases and wake workers for due events. DATABASE_URL, REDIS_URL and SECRET_KEY must be set.

    Example: engage-plugin sweep
    """
    from plugin.runtime.loops import run_sweep

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


if __name__ == "__main__":
    main()
