"""`engage-plugin preview`: print exactly what an event would send, without sending it."""

from dataclasses import asdict
from pathlib import Path

import click
import simplejson

from plugin.commands.common import json_option, open_services, report_errors
from plugin.errors import ConflictError, PayloadError
from plugin.platforms.fields import parse_json


@click.command()
@click.argument("event", metavar="EVENT_ID|FILE")
@click.option("--shop", help="With a file: the shop it would come from.")
@click.option("--topic", help="With a file: the webhook's topic, if the file does not name it.")
@click.option("--ask", is_flag=True, help="Let calls that only read go to Engage, so that look-ups are real.")
@json_option
@report_errors
def preview(event: str, shop: str | None, topic: str | None, ask: bool, as_json: bool) -> None:
    """Print what an event would send to Engage. Sends nothing and stores nothing.

    A FILE holds a webhook's body, or an object of "topic" and "body".

    Example: engage-plugin preview 42

    Example: engage-plugin preview order.json --shop web-se --topic orders/paid
    """
    with open_services() as services:
        if event.isdigit():
            result = services.preview.of_event(int(event), ask=ask)
        else:
            named, body = _read(Path(event), topic)
            if shop is None:
                raise click.UsageError("Name the shop that the file would come from: --shop NAME")
            result = services.preview.of_body(shop, named, body, ask=ask)
    if as_json:
        outcome = {"state": result.event.state, "error": result.event.last_error, "error_code": result.event.error_code}
        remarks = [{"step": remark.operation, "text": remark.outcome} for remark in result.remarks]
        document = {"calls": [asdict(call) for call in result.calls], **outcome, "remarks": remarks}
        click.echo(simplejson.dumps(document, use_decimal=True, indent=2, ensure_ascii=False))
        return
    for number, call in enumerate(result.calls, 1):
        click.echo(f"{number}. {call.method} {call.path}")
        if call.body is not None:
            click.echo(simplejson.dumps(call.body, use_decimal=True, indent=2, ensure_ascii=False))
        click.echo(f"   {'answered by Engage' if call.assumed == 'asked' else 'assumed: ' + call.assumed}")
    for remark in result.remarks:
        click.echo(f"remark ({remark.operation}): {remark.outcome}")
    reason = f": {result.event.last_error}" if result.event.last_error else ""
    click.echo(f"{len(result.calls)} calls; then the event would be {result.event.state}{reason}")
    click.echo("Nothing was sent or stored.")


def _read(path: Path, topic: str | None) -> tuple[str, bytes]:
    """Return the topic and the body of a file. Raises ConflictError, UsageError."""
    try:
        body = path.read_bytes()
    except OSError as error:
        raise ConflictError(f"{path} cannot be read ({error.strerror}): give an event's id or a file.") from None
    try:
        content = parse_json(body)
    except PayloadError as error:
        if topic is None:
            raise click.UsageError(
                f"{path} does not hold a webhook: {error}. Give a file with a webhook's body."
            ) from None
        content = {}
    if isinstance(content.get("topic"), str) and isinstance(content.get("body"), dict):
        topic = topic or content["topic"]
        body = simplejson.dumps(content["body"], use_decimal=True).encode()
    elif isinstance(content.get("type"), str):
        topic = topic or content["type"]
    if topic is None:
        raise click.UsageError("The file does not name its topic: --topic TOPIC, such as orders/paid")
    return topic, body
