"""`engage-plugin status` and `events`: see what became of events, retry and discard them."""

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict
from typing import Any

import click

from plugin.app import Services
from plugin.commands.common import json_option, open_services, read_time, report_errors, show, table
from plugin.errors import ConflictError
from plugin.store.inbox.admin import EventFilter, EventRow
from plugin.store.tables.inbox import State

LIST_LIMIT = 50
RETRY_LIMIT = 100_000


@click.command()
@json_option
@report_errors
def status(as_json: bool) -> None:
    """Show how many events were accepted and where they are. Example: engage-plugin status --json"""
    with open_services() as services:
        counts = services.event_admin.status()
        if as_json:
            show(counts)
            return
        oldest = services.event_admin.oldest_pending()
        now = services.clock()
        table("Events", ["state", "number"], [[name, number] for name, number in counts.items()])
        missing = counts["accepted"] - sum(number for name, number in counts.items() if name != "accepted")
        click.echo("The states add up." if not missing else f"ALARM: the states are {missing} short of accepted.")
        for shop, received_at in oldest.items():
            click.echo(f"{shop}: the oldest unfinished event is {(now - received_at).total_seconds():.0f} s old")
        for cause in _causes(services):
            click.echo(cause)


def _causes(services: Services) -> Iterator[str]:
    """Yield why all events of a shop wait."""
    for shop in services.stores.shops.all():
        if shop.stopped_reason is not None:
            yield f"{shop.name}: deliveries are stopped: {shop.stopped_reason}"
            continue
        away_since = services.call_guards.for_key(shop.engage_key).open_since()
        if away_since is not None:
            yield (
                f"{shop.name}: Engage has not answered since {away_since:%Y-%m-%d %H:%M:%S} UTC; a probe is sent every "
                f"{services.settings.retry_base_s:g} s, and deliveries continue when one is answered"
            )


@click.group()
def events() -> None:
    """List, show, retry and discard events."""


@events.command("list")
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only events in this state.")
@click.option("--shop", help="Only events of this shop.")
@click.option("--topic", help="Only events of this topic.")
@click.option("--customer", help="Only events of this customer id.")
@click.option("--error", "error_code", help="Only events with this error code.")
@click.option("--since", help="Received at or after this time (ISO 8601; UTC if it has no zone).")
@click.option("--until", help="Received before this time (ISO 8601; UTC if it has no zone).")
@click.option("--after", type=int, help="The oldest events with a higher id, for the next page; without it the newest.")
@click.option("--limit", default=LIST_LIMIT, show_default=True, type=click.IntRange(1, 1000))
@json_option
@report_errors
def list_events(
    state: str | None,
    shop: str | None,
    topic: str | None,
    customer: str | None,
    error_code: str | None,
    since: str | None,
    until: str | None,
    after: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """List the newest events. Example: engage-plugin events list --state parked --json"""
    criteria = EventFilter(
        state=state,
        shop=shop,
        topic=topic,
        ordering_key=f"customer:{customer}" if customer else None,
        error_code=error_code,
        since=read_time(since),
        until=read_time(until),
    )
    with open_services() as services:
        stopped = _stopped(services)
        if shop is not None:
            services.stores.shops.id_and_platform(shop)  # a mistyped name is an error, not an empty list
        rows = services.event_admin.find(criteria, limit=limit, after_id=after)
        if as_json:
            show([asdict(row) for row in rows])
            return
        table(
            "Events (times are UTC)",
            ["id", "shop", "topic", "state", "attempts", "next attempt", "code", "why"],
            [
                [e.id, e.shop, e.topic, e.state, e.attempts, e.next_attempt_at, e.error_code, _why(e, stopped)]
                for e in rows
            ],
        )
        if len(rows) == limit:
            click.echo(
                f"More: --after {rows[-1].id}" if after is not None else f"Only the newest {limit}; all: --after 0"
            )


@events.command("show")
@click.argument("event_id", type=int)
@json_option
@report_errors
def show_event(event_id: int, as_json: bool) -> None:
    """Show one event and its timeline. Example: engage-plugin events show 42"""
    with open_services() as services:
        event, timeline = services.event_admin.show(event_id)
        if as_json:
            show({**asdict(event), "timeline": [asdict(entry) for entry in timeline]})
            return
        for name, value in asdict(event).items():
            shown = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
            click.echo(f"{name}: {'' if shown is None else shown}")
        if waits := _waits_for(event, _stopped(services)):
            click.echo(waits)
        table(
            "Timeline (times are UTC)",
            ["at", "try", "step", "fields sent", "outcome", "status", "ms"],
            [[e.at, e.attempt, e.operation, e.sent, e.outcome, e.status, e.duration_ms] for e in timeline],
        )


def _stopped(services: Services) -> set[str]:
    return {shop.name for shop in services.stores.shops.all() if shop.stopped_reason is not None}


def _why(event: EventRow, stopped: Collection[str]) -> str | None:
    return event.last_error or _waits_for(event, stopped)


def _waits_for(event: EventRow, stopped: Collection[str]) -> str | None:
    """Return what a pending event waits for, unless it is only for its next attempt."""
    if event.state != State.PENDING:
        return None
    if event.shop in stopped:
        return f"Deliveries of the shop are stopped: `engage-plugin shops show {event.shop}` says why."
    if event.next_attempt_at is not None:
        return None
    if event.held_by is None:
        return "Waits for the customer's earlier events."
    return (
        f"Waits for event {event.held_by} of the same customer: `engage-plugin events show {event.held_by}` says why."
    )


@events.command()
@click.argument("event_ids", nargs=-1, type=int, metavar="ID...")
@click.option("--error", "error_code", help="All parked events with this error code.")
@click.option("--shop", help="All parked events of this shop.")
@click.option("--since", help="All parked events received at or after this time (ISO 8601; UTC if it has no zone).")
@click.option("--until", help="All parked events received before this time (ISO 8601; UTC if it has no zone).")
@click.option("--preview", "preview", is_flag=True, help="Only show which events, and what each would send.")
@json_option
@report_errors
def retry(
    event_ids: tuple[int, ...],
    error_code: str | None,
    shop: str | None,
    since: str | None,
    until: str | None,
    preview: bool,
    as_json: bool,
) -> None:
    """Try parked events again: those with the ids, or all that match every option.

    Example: engage-plugin events retry 42 43

    Example: engage-plugin events retry --error missing_key:email --since 2026-03-05 --preview
    """
    with open_services() as services:
        ids = list(dict.fromkeys(event_ids))
        if error_code or shop or since or until:
            if ids:
                raise ConflictError("Give ids or options, not both: it is not clear which events are meant.")
            if shop:
                services.stores.shops.id_and_platform(shop)
            criteria = EventFilter(
                state=State.PARKED.value,
                error_code=error_code,
                shop=shop,
                since=read_time(since),
                until=read_time(until),
            )
            ids = [row.id for row in services.event_admin.find(criteria, limit=RETRY_LIMIT)]
        if not ids:
            raise ConflictError("No parked event matches: give ids, or --error, --shop, --since or --until.")
        if preview:
            _show_previews(services, ids, as_json=as_json)
            return
        retried = services.event_admin.retry(ids, services.clock())
        for event_id in retried[:8]:
            services.notifier.wake(event_id)
        if as_json:
            show({"retried": retried})
        else:
            click.echo(f"{len(retried)} events are retried")


def _show_previews(services: Services, ids: list[int], *, as_json: bool) -> None:
    """Print what each event would send and how it would end, without sending or storing anything."""
    rows: list[dict[str, Any]] = []
    for event_id in ids:
        state = services.event_admin.show(event_id)[0].state
        if state not in {State.PARKED, State.PENDING}:
            rows.append({"id": event_id, "would_send": [], "would_be": state, "why": "It would not be retried."})
            continue
        try:
            result = services.preview.of_event(event_id)
        except ConflictError as error:
            rows.append({"id": event_id, "would_send": [], "would_be": "unknown", "why": str(error)})
            continue
        calls = [call.operation for call in result.calls]
        rows.append(
            {"id": event_id, "would_send": calls, "would_be": result.event.state, "why": result.event.last_error}
        )
    if as_json:
        show(rows)
        return
    table(
        f"Preview of {len(rows)} events; nothing was sent",
        ["id", "would send", "would be", "why"],
        [[row["id"], ", ".join(row["would_send"]), row["would_be"], row["why"]] for row in rows],
    )
    click.echo("`engage-plugin preview ID` prints the bodies.")


@events.command()
@click.argument("event_id", type=int)
@click.option("--why", required=True, help="The reason, stored with the event.")
@report_errors
def discard(event_id: int, why: str) -> None:
    """End an event without sending it. Example: engage-plugin events discard 42 --why "test order of a colleague\""""
    if not why.strip():
        raise click.BadParameter("must not be empty: it is all that remains of the event", param_hint="--why")
    with open_services() as services:
        services.event_admin.discard(event_id, why.strip(), services.clock())
        services.notifier.wake(event_id)  # the customer's next event may be sent now
        click.echo(f"event {event_id} is discarded")
