"""`engage-plugin sandbox`: the stand-in for Engage alone, until Ctrl-C or SIGTERM."""

import sys

import click

from plugin.sandbox import serve


@click.command()
@click.option("--port", default=8099, show_default=True, type=click.IntRange(1, 65535))
def sandbox(port: int) -> None:
    """Run a stand-in for Engage, for trying things out. Example: engage-plugin sandbox --port 8099"""
    try:
        serve(port, ready=_print_address)
    except OSError as error:
        click.echo(f"The sandbox cannot listen on port {port}: {error.strerror}.", err=True)
        sys.exit(2)


def _print_address(address: str) -> None:
    click.echo(f"The sandbox stands in for Engage at {address} and takes any key. Open it to see what it holds.")
