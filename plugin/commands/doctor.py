"""engage-plugin doctor: check the whole set-up and say what to mend."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from time import monotonic
from typing import cast

import click
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from plugin.app import Services
from plugin.commands.common import explained, json_option, make_services, show, table
from plugin.engage.operations import Lane
from plugin.errors import ConfigurationError, EngageError
from plugin.store.shops import RegisteredShop

SLOW_S = 2.0


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. result: ok, warning or fault; todo: what to do, empty when nothing."""

    what: str
    result: str
    todo: str = ""


@click.command()
@click.argument("name", required=False)
@json_option
@explained
def doctor(name: str | None, as_json: bool) -> None:
    """Check the set-up, of one shop or of all. Exit 1 when something must be mended.

    Example: engage-plugin doctor web-se
    """
    services = make_services()
    try:
        checks = list(_all_checks(services, name))
    finally:
        services.close()
    if as_json:
        show([asdict(check) for check in checks])
    else:
        table("Doctor", ["what", "result", "what to do"], [[c.what, c.result, c.todo] for c in checks])
    if any(check.result == "fault" for check in checks):
        sys.exit(1)


def _all_checks(services: Services, name: str | None) -> Iterator[Check]:
    yield _manifest(services)
    database = _database(services)
    yield database
    yield _redis(services)
    if database.result == "fault":
        return
    yield _balance(services)
    shops = [services.stores.shops.get(name)] if name else list(services.stores.shops.all())
    if not shops:
        yield Check("shops", "warning", "No shop is registered: engage-plugin shops add.")
    for shop in shops:
        yield from _shop_checks(services, shop)


def _manifest(services: Services) -> Check:
    try:
        return Check(f"manifest, version {services.manifest.version}", "ok")
    except ConfigurationError as error:
        return Check("manifest", "fault", str(error))


def _database(services: Services) -> Check:
    what = f"database {services.settings.safe_database_url()}"
    try:
        services.database.check_schema()
    except ConfigurationError as error:
        return Check(what, "fault", " ".join(error.faults))
    except SQLAlchemyError as error:
        return Check(what, "fault", f"It does not answer ({type(error).__name__}): check DATABASE_URL and the server.")
    return Check(what, "ok")


def _redis(services: Services) -> Check:
    what = "Redis" if services.settings.redis_url else "embedded Redis"
    try:
        policy = cast("dict[str, str]", services.redis.config_get("maxmemory-policy"))
    except RedisError as error:
        todo = "start `engage-plugin run`" if services.settings.redis_url is None else "check REDIS_URL and the server"
        return Check(
            what, "warning" if services.settings.redis_url is None else "fault", f"{type(error).__name__}: {todo}."
        )
    if policy.get("maxmemory-policy") != "noeviction":
        return Check(
            what, "fault", "Set maxmemory-policy to noeviction: evicting would drop wake-ups and cached rates."
        )
    return Check(what, "ok")


def _balance(services: Services) -> Check:
    counts = services.desk.status()
    missing = counts["accepted"] - sum(number for state, number in counts.items() if state != "accepted")
    if missing:
        return Check(
            "balance", "fault", f"{missing} accepted events are in no state: compare with a backup of the database."
        )
    if counts["parked"]:
        return Check(
            "balance", "warning", f"{counts['parked']} events are parked: engage-plugin events list --state parked."
        )
    return Check(f"balance, {counts['accepted']} events accepted", "ok")


def _shop_checks(services: Services, shop: RegisteredShop) -> Iterator[Check]:
    def labelled(what: str, check: Callable[[], tuple[str, str]]) -> Check:
        try:
            result, todo = check()
        except EngageError as error:
            result, todo = "fault", str(error)
        return Check(f"{shop.name}: {what}", result, todo)

    client = services.client_of(shop).with_options(lane=Lane.SHOPPER, read_timeout_s=10)

    def stores() -> tuple[str, str]:
        started = monotonic()
        known = {store.external_id for store in client.list_stores(include_inactive=True)}
        took = monotonic() - started
        used = {shop.settings.store, *shop.settings.country_stores.values()}
        missing = ", ".join(sorted(used - known))
        if missing:
            return (
                "fault",
                f"Engage has no store {missing}; a receipt would create it. Mend the setting or make the store.",
            )
        if took > SLOW_S:
            return "warning", f"Engage took {took:.1f} s to answer."
        return "ok", ""

    def consents() -> tuple[str, str]:
        wanted = set(shop.settings.consent_ids.values())
        if not wanted:
            return "ok", ""
        missing = ", ".join(sorted(wanted - {consent.id for consent in client.list_consents()}))
        return ("fault", f"Engage knows no consent {missing}: mend consent_ids.") if missing else ("ok", "")

    def links() -> tuple[str, str]:
        number = services.stores.contacts.unverified_links(shop)
        if not number:
            return "ok", ""
        return (
            "warning",
            f"{number} customers share an e-mail with a contact that nobody vouches for; their data stays apart.",
        )

    if shop.stopped_reason:
        yield Check(
            f"{shop.name}: deliveries",
            "fault",
            f"Stopped: {shop.stopped_reason} Then: engage-plugin shops set {shop.name} engage_key=KEY",
        )
    yield labelled("key and stores", stores)
    yield labelled("consents", consents)
    yield labelled("links nobody vouches for", links)
    if not shop.settings.group_currency:
        yield Check(
            f"{shop.name}: group currency",
            "warning",
            "Not set, so receipts carry no exchange rate: engage-plugin shops set NAME group_currency=SEK",
        )
    if not shop.settings.login_url:
        yield Check(
            f"{shop.name}: login page", "warning", "Set login_url, so that My Pages leads shoppers to the login."
        )
