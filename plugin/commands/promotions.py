"""`engage-plugin promotions`: create drafts, show and assign promotions, list redemptions."""

import csv
import sys
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import click

from plugin.app import Services
from plugin.commands.common import json_option, open_services, report_errors, show, table
from plugin.engage.data.models import Money, PromotionWrite
from plugin.errors import ConfigurationError, ConflictError, TransientError
from plugin.promotions import serializers
from plugin.promotions.bulk_assignment import Report
from plugin.promotions.recipients import CONTACT, CUSTOMER, EMAIL, Recipient, read_recipients, recipient
from plugin.promotions.service import ACTIVATE, CODE, MONEY, PERCENT, parse_amount, parse_day
from plugin.store.orders.redemptions import RedemptionState
from plugin.store.shops.shops import RegisteredShop

LIST_LIMIT = 50


@click.group()
def promotions() -> None:
    """Create promotions as drafts, assign them, and list redemptions."""


@promotions.command()
@click.argument("shop")
@click.option("--name", required=True, help="Its name, as operators see it.")
@click.option("--code", help="The code of the shop's own price rule (Engage: external offer code).")
@click.option("--percent", help="The discount in percent, such as 20.")
@click.option("--money", help="An amount off in the tenant's group currency, such as 50.")
@click.option("--money-in", multiple=True, metavar="CUR:AMOUNT", help="What --money is in another currency; repeat it.")
@click.option("--external-id", help="The shop's own name of it, unique; --code when it is not given.")
@click.option("--start", help="First day, such as 2026-03-05; today when it is not given.")
@click.option("--end", help="Last day.")
@click.option("--days", type=int, help="Instead of --end: days that each assignment is valid.")
@click.option("--heading", help="What shoppers read; the name when it is not given.")
@click.option("--description", help="What shoppers read below it.")
@json_option
@report_errors
def create(  # noqa: PLR0913, PLR0917 - one option a field of the promotion
    shop: str,
    name: str,
    code: str | None,
    percent: str | None,
    money: str | None,
    money_in: tuple[str, ...],
    external_id: str | None,
    start: str | None,
    end: str | None,
    days: int | None,
    heading: str | None,
    description: str | None,
    as_json: bool,
) -> None:
    """Create a promotion in Engage as a draft; a person must activate it there.

    Example: engage-plugin promotions create web-se --name "Spring" --code SPRING20 --end 2026-04-30
    """
    given = [(t, v) for t, v in ((CODE, code), (PERCENT, percent), (MONEY, money)) if v is not None]
    if len(given) != 1:
        raise ConfigurationError(["Give exactly one of --code, --percent and --money."])
    value_type, value = given[0]
    if external_id is None and code is None:
        raise ConfigurationError(
            ["--external-id is needed with --percent and --money: orders find the promotion by it."]
        )
    with open_services() as services:
        write = PromotionWrite(
            name=name,
            external_id=external_id or value,
            start_date=_day("--start", start) or services.clock().date(),
            value_type=value_type,
            value=value.strip(),
            end_date=_day("--end", end),
            assigned_days=days,
            heading=heading,
            description=description,
            local_values=tuple(_money(pair) for pair in money_in),
        )
        promotion = services.promotion_service.create(services.stores.shops.get(shop), write)
        if as_json:
            show({**serializers.promotion_json(promotion), "next": ACTIVATE})
            return
        click.echo(f"created: promotion id {promotion.id}, externalId {promotion.external_id or write.external_id}")
        click.echo(ACTIVATE)


@promotions.command("list")
@click.argument("shop")
@json_option
@report_errors
def list_promotions(shop: str, as_json: bool) -> None:
    """List the promotions that were created here, with their current status. Example: engage-plugin promotions list web-se"""
    with open_services() as services:
        rows = [
            serializers.listed_promotion_json(entry)
            for entry in services.promotion_service.list_all(services.stores.shops.get(shop))
        ]
        if as_json:
            show(rows)
            return
        columns = ["promotion_id", "external_id", "name", "status", "value_type", "value"]
        table("Promotions", columns, [[row[column] for column in columns] for row in rows])


@promotions.command("show")
@click.argument("shop")
@click.argument("promotion")
@click.option("--customer", help="Show this customer's assignments of it too, by the shop's customer id.")
@click.option("--email", help="The same by e-mail.")
@click.option("--contact", help="The same by Engage's contactId.")
@json_option
@report_errors
def show_promotion(
    shop: str, promotion: str, customer: str | None, email: str | None, contact: str | None, as_json: bool
) -> None:
    """Show a promotion by its id or externalId: both names, and a person's assignments with the ids to redeem.

    Example: engage-plugin promotions show web-se SPRING20 --customer 1001
    """
    with open_services() as services:
        registered = services.stores.shops.get(shop)
        details = services.promotion_service.find(registered, promotion)
        card: dict[str, Any] = serializers.promotion_json(details)
        person = _one_person(customer, email, contact)
        if person is not None:
            contact_id = services.bulk_assigner.contact_of(registered, services.client_for(registered), person)
            assignments = services.promotion_service.assignments(registered, contact_id, details)
            card["assignments"] = [serializers.assignment_json(a) for a in assignments]
        if as_json:
            show(card)
            return
        rows = card.pop("assignments", None)
        for name, value in card.items():
            click.echo(f"{name}: {'' if value is None else value}")
        if rows is not None:
            columns = ["assignment_id", "redeemed", "redeemed_on", "expires_on"]
            table("Assignments (these ids are redeemed)", columns, [[row[c] for c in columns] for row in rows])


@promotions.command()
@click.argument("shop")
@click.argument("promotion")
@click.option("--customer", help="One person by the shop's customer id.")
@click.option("--email", help="One person by e-mail.")
@click.option("--contact", help="One person by Engage's contactId.")
@click.option("--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A list of people.")
@click.option("--again", is_flag=True, help="Also to contacts that have an unused assignment of it.")
@click.option(
    "--refusals", type=click.Path(dir_okay=False, path_type=Path), help="Write refused rows to this CSV file."
)
@json_option
@report_errors
def assign(
    shop: str,
    promotion: str,
    customer: str | None,
    email: str | None,
    contact: str | None,
    file: Path | None,
    again: bool,
    refusals: Path | None,
    as_json: bool,
) -> None:
    """Assign a promotion (id or externalId) to a person or to a list; the same list continues where it stopped.

    A list has one customer id, e-mail or contactId a line, or a heading that names the column customer_id, email or
    contact_id. Exit 1 when rows were refused.

    Example: engage-plugin promotions assign web-se SPRING20 --file members.csv --refusals refused.csv
    """
    person = _one_person(customer, email, contact)
    if (person is None) == (file is None):
        raise ConfigurationError(["Give one of --customer, --email, --contact and --file."])
    people = [person] if person is not None else read_recipients(_text_of(file))
    with open_services() as services:
        registered = services.stores.shops.get(shop)
        outcome = _assign(services, registered, promotion, people, again=again)
    lines = {p.position: p.line for p in people}
    if refusals is not None:
        _write_refusals(refusals, outcome, lines)
    if as_json:
        show(serializers.report_json(outcome, people))
    else:
        counts = ", ".join(f"{number} {state}" for state, number in sorted(outcome.counts.items()))
        click.echo(f"{len(people)} rows: {counts}")
        rows = [[lines[row.position], row.reason] for row in outcome.refused[:LIST_LIMIT]]
        if rows:
            table("Refused rows", ["line", "why"], rows)
    if outcome.refused:
        sys.exit(1)


@promotions.command()
@click.argument("shop")
@click.option("--state", type=click.Choice([state.value for state in RedemptionState]), help="Only in this state.")
@click.option("--order", help="Only of this order of the shop.")
@click.option("--limit", default=LIST_LIMIT, show_default=True, type=click.IntRange(1, 1000))
@json_option
@report_errors
def redemptions(shop: str, state: str | None, order: str | None, limit: int, as_json: bool) -> None:
    """List what orders redeemed; intended means that Engage has not confirmed it yet.

    Example: engage-plugin promotions redemptions web-se --state intended
    """
    with open_services() as services:
        registered, store = services.stores.shops.get(shop), services.stores.redemptions
        states = [RedemptionState(state)] if state else list(RedemptionState)
        redemptions = store.of_order(registered, order) if order else store.find(registered, states, limit=limit)
        rows = [asdict(row) for row in redemptions if row.state in states]
        if as_json:
            show([{name: value for name, value in row.items() if name not in {"fresh", "shop_id"}} for row in rows])
            return
        columns = ["kind", "assignment_id", "order_id", "state", "event_id", "intended_at", "finished_at", "note"]
        table("Redemptions", columns, [[row[column] for column in columns] for row in rows])


def _assign(services: Services, shop: RegisteredShop, name: str, people: list[Recipient], *, again: bool) -> Report:
    """Assign with a progress bar on standard error."""
    promotion = services.promotion_service.find(shop, name)
    try:
        with click.progressbar(length=len(people), label="assigning", file=sys.stderr) as bar:

            def progress(done: int) -> None:
                bar.update(done - bar.pos)

            return services.bulk_assigner.run(shop, promotion, people, again=again, progress=progress)
    except TransientError as error:
        raise ConflictError(f"{error} The list stopped there: run the same command again to continue there.") from error


def _one_person(customer: str | None, email: str | None, contact: str | None) -> Recipient | None:
    given = [(k, v) for k, v in ((CUSTOMER, customer), (EMAIL, email), (CONTACT, contact)) if v is not None]
    if len(given) > 1:
        raise ConfigurationError(["Give only one of --customer, --email and --contact."])
    return recipient(*given[0]) if given else None


def _text_of(file: Path | None) -> str:
    assert file is not None
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError([f"{file} is not UTF-8."]) from None


def _write_refusals(path: Path, outcome: Report, lines: dict[int, int]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["line", "row", "reason"])
        writer.writerows([lines[row.position], row.position, row.reason] for row in outcome.refused)


def _day(option: str, text: str | None) -> date | None:
    day = parse_day(text) if text else None
    if text and day is None:
        raise ConfigurationError([f"{option} must be a day such as 2026-03-05."])
    return day


def _money(pair: str) -> Money:
    currency, _, amount = pair.partition(":")
    value = parse_amount(amount)
    if value is None:
        raise ConfigurationError([f"--money-in {pair!r} must be CUR:AMOUNT, such as EUR:5.50."])
    return Money(value, currency.strip().upper())
