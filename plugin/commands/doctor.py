"""engage-plugin doctor: check the whole set-up and say what to mend."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import cast

import click
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from plugin.app import Services
from plugin.commands.common import json_option, make_services, report_errors, show, table, what_failed_in_redis
from plugin.engage.contract.compare import differences, inferred_operations, read_document
from plugin.engage.http.transport import CallRecord
from plugin.engage.operations import Priority
from plugin.errors import ConfigurationError, EngageError, EngageNotFoundError, PermanentError, ShopApiError
from plugin.platforms.registry import PLATFORMS
from plugin.store.database.errors import describe_database_error
from plugin.store.inbox.admin import EventFilter
from plugin.store.orders.redemptions import RedemptionState
from plugin.store.shops.shops import RegisteredShop

SLOW_S = 2.0
SKEW_S = 30.0
#: An address that no contact can have (RFC 2606): only whether the type is known is asked.
NOBODY = "nobody@engage-plugin.invalid"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. result: ok, warning, fault, or by hand for what no endpoint tells.

    todo: what to do, empty when nothing.
    """

    what: str
    result: str
    todo: str = ""


@click.command()
@click.argument("name", required=False)
@click.option(
    "--contract",
    "swagger",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[SWAGGER]",
    help="List what is inferred of Engage's API, or compare it with the tenant's Swagger file (JSON or YAML).",
)
@json_option
@report_errors
def doctor(name: str | None, swagger: str | None, as_json: bool) -> None:
    """Check the set-up, of one shop or of all. Exit 1 when something must be mended.

    Example: engage-plugin doctor web-se

    Example: engage-plugin doctor --contract swagger.json
    """
    if swagger is not None:
        _contract(swagger, as_json=as_json)
        return
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


def _contract(swagger: str, *, as_json: bool) -> None:
    """Print the inferred operations, or how a tenant's Swagger differs; exit 1 when calls would fail there."""
    if not swagger:
        inferred = inferred_operations()
        if as_json:
            show([asdict(operation) for operation in inferred])
            return
        rows = [[i.operation, f"{i.method} {i.path}", "wholly" if i.whole else "in part", i.compare] for i in inferred]
        table(
            "Inferred operations of Engage", ["operation", "call", "inferred", "compare in the tenant's Swagger"], rows
        )
        return
    found = differences(read_document(Path(swagger)))
    if as_json:
        show([asdict(difference) for difference in found])
    else:
        rows = [[d.operation, "fault" if d.serious else "look", d.what, d.todo] for d in found]
        table(f"Differences between {swagger} and this plugin", ["operation", "result", "what", "what to do"], rows)
    if any(difference.serious for difference in found):
        sys.exit(1)


def _all_checks(services: Services, name: str | None) -> Iterator[Check]:
    yield _manifest(services)
    database = _database(services)
    yield database
    yield _redis(services)
    if database.result == "fault":
        return
    yield _balance(services)
    known = services.stores.shops
    unopened = {broken: fault for broken, fault in known.unopened().items() if name in (None, broken)}
    for broken, fault in unopened.items():
        yield _unopened(broken, fault)
    shops = [] if name in unopened else [known.get(name)] if name else list(known.all())
    if not shops and not unopened:
        yield Check("shops", "warning", "No shop is registered: engage-plugin shops add.")
    for shop in shops:
        yield from ShopChecks(services, shop).all()


def _unopened(name: str, fault: str) -> Check:
    give_up = f"If the key is lost: engage-plugin shops erase {name} --sure, then set the shop up again."
    return Check(f"{name}: what is stored", "fault", f"{fault} {give_up}")


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
        return Check(
            what, "fault", f"It does not answer ({describe_database_error(error)}): check DATABASE_URL and the server."
        )
    return Check(what, "ok")


def _redis(services: Services) -> Check:
    address = services.settings.safe_redis_url()
    what = f"Redis {address}" if address else "embedded Redis"
    try:
        policy = cast("dict[str, str]", services.redis.config_get("maxmemory-policy"))
    except RedisError as error:
        todo = "check REDIS_URL and the server" if address else "start `engage-plugin run`"
        said = f"It does not answer ({what_failed_in_redis(error)}): {todo}."
        return Check(what, "fault" if address else "warning", said)
    if policy.get("maxmemory-policy") != "noeviction":
        return Check(
            what, "fault", "Set maxmemory-policy to noeviction: evicting would drop wake-ups and cached rates."
        )
    return Check(what, "ok")


def _balance(services: Services) -> Check:
    counts = services.event_admin.status()
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


class ShopChecks:
    """The checks of one shop. Its calls to Engage are timed, and their Date headers read."""

    def __init__(self, services: Services, shop: RegisteredShop) -> None:
        self._services = services
        self._shop = shop
        self._answers: list[CallRecord] = []
        self._client = services.client_for(shop).with_options(
            priority=Priority.SHOPPER, read_timeout_s=10, observer=self._answers.append
        )

    def all(self) -> Iterator[Check]:
        """Make every check, one line each."""
        shop = self._shop
        if shop.stopped_reason:
            yield self._line(
                "deliveries",
                "fault",
                f"Stopped: {shop.stopped_reason} Then: engage-plugin shops set {shop.name} engage_key=KEY",
            )
        yield self._asked("key and stores", self._stores)
        yield self._asked("contact types", self._contact_types)
        yield self._line(
            "key attribute",
            "by hand",
            f"No endpoint tells it: see in Engage that contacts of type {shop.settings.contact_type} are keyed by "
            f"{shop.settings.key_attribute}, else set key_attribute.",
        )
        yield self._asked("consents", self._consents)
        yield self._time_to_answer()
        yield self._clock_skew()
        yield self._line(
            "article register",
            "by hand",
            "Look one receipt's item up in Engage: its SKU must equal the id in the product feed, else no article is "
            "found. `engage-plugin preview EVENT_ID` prints the SKUs that are sent.",
        )
        yield self._asked("links nobody vouches for", self._links)
        yield self._asked("redemptions that wait", self._redemptions)
        yield from self._watched()
        if not shop.settings.group_currency:
            yield self._line(
                "group currency",
                "warning",
                f"Not set, so receipts carry no exchange rate: engage-plugin shops set {shop.name} group_currency=SEK",
            )
        if shop.settings.fallback:
            yield self._line("fallback", *self._fallback())
        if not shop.settings.login_url:
            yield self._line("login page", "warning", "Set login_url, so that My Pages leads shoppers to the login.")

    def _watched(self) -> Iterator[Check]:
        """Tell what the monitor saw of the shop itself, where its platform has an API."""
        shop, services = self._shop, self._services
        try:
            api = services.shop_api_for(shop)
            if api is None:
                yield from self._not_installed()
                return
            api.check()
            found = [one for one in api.subscriptions(services.monitor.webhook_url(shop)) if one.problem]
        except ShopApiError as error:
            yield self._line("the shop's own API", "fault", str(error))
            return
        yield self._line("the shop's own API", "ok")
        for one in found:
            yield self._line(
                f"webhook {one.topic}", "fault", f"{one.problem}. Mend it: engage-plugin watch {shop.name}"
            )
        if not found:
            yield self._line("webhook subscriptions", "ok")

    def _not_installed(self) -> Iterator[Check]:
        """Tell how far a shop is that cannot be asked: on some platforms its events are all there is to see."""
        shop, platform = self._shop, PLATFORMS[self._shop.platform]
        install = f"engage-plugin shops install {shop.name}"
        if self._services.event_admin.find(EventFilter(shop=shop.name), limit=1):
            if platform.domain_example:
                todo = f"Events arrive, but the shop cannot be asked for what was missed: {install}"
                yield self._line("installation", "warning", todo)
            else:
                yield self._line("installation, events arrive", "ok")
        elif platform.install_steps(self._services.installation_service, shop):
            yield self._line("installation", "warning", f"Nothing is installed yet: {install}")

    def _line(self, what: str, result: str, todo: str = "") -> Check:
        return Check(f"{self._shop.name}: {what}", result, todo)

    def _asked(self, what: str, check: Callable[[], tuple[str, str]]) -> Check:
        try:
            result, todo = check()
        except EngageError as error:
            result, todo = "fault", str(error)
        return self._line(what, result, todo)

    def _stores(self) -> tuple[str, str]:
        settings = self._shop.settings
        known = {store.external_id for store in self._client.list_stores(include_inactive=True)}
        missing = ", ".join(sorted({settings.store, *settings.country_stores.values()} - known))
        if missing:
            return (
                "fault",
                f"Engage has no store {missing}; a receipt would create it. Mend the setting or make the store.",
            )
        return "ok", ""

    def _fallback(self) -> tuple[str, str]:
        settings, access = self._shop.settings, self._shop.file_access
        if settings.fallback_transfer == "sftp":
            missing = [name for name in ("fallback_user", "fallback_host_key") if not getattr(settings, name)]
            missing += [] if access else ["fallback_password or fallback_key"]
            if missing:
                return "fault", f"Set {', '.join(missing)}; `engage-plugin fallback check {self._shop.name}` helps."
        failed = self._services.fallback.files.counts(self._shop).get("failed", 0)
        if failed:
            return "warning", f"{failed} files failed: engage-plugin fallback status {self._shop.name}"
        return "ok", ""

    def _contact_types(self) -> tuple[str, str]:
        for setting in ("contact_type", "guest_contact_type"):
            contact_type = getattr(self._shop.settings, setting)
            try:
                self._client.find_contact_id(email=NOBODY, contact_type=contact_type)
            except EngageNotFoundError:
                continue
            except PermanentError as error:
                return "fault", f"Engage does not take the contact type {contact_type}: mend {setting}. {error}"
        return "ok", ""

    def _consents(self) -> tuple[str, str]:
        wanted = set(self._shop.settings.consent_ids.values())
        if not wanted:
            return "ok", ""
        missing = ", ".join(sorted(wanted - {consent.id for consent in self._client.list_consents()}))
        return ("fault", f"Engage knows no consent {missing}: mend consent_ids.") if missing else ("ok", "")

    def _links(self) -> tuple[str, str]:
        number = self._services.stores.links.count_unverified(self._shop)
        if not number:
            return "ok", ""
        return (
            "warning",
            f"{number} customers share an e-mail with a contact that nobody vouches for; their data stays apart.",
        )

    def _redemptions(self) -> tuple[str, str]:
        waiting = self._services.stores.redemptions.find(self._shop, [RedemptionState.INTENDED], limit=1000)
        since = self._services.clock() - timedelta(seconds=self._shop.settings.redeem_wait_s)
        late = [row for row in waiting if row.intended_at < since]
        if not late:
            return "ok", ""
        return (
            "warning",
            f"{len(late)} promotions or vouchers of paid orders are not confirmed by Engage for longer than redeem_wait_s: "
            f"`engage-plugin promotions redemptions {self._shop.name} --state intended` names their orders.",
        )

    def _time_to_answer(self) -> Check:
        took = [answer.duration_s for answer in self._answers if answer.status is not None]
        if not took:
            return self._line("time to answer", "warning", "Engage gave no answer that could be timed.")
        slowest = max(took)
        what = f"time to answer, slowest of {len(took)} calls {slowest * 1000:.0f} ms"
        if slowest > SLOW_S:
            return self._line(what, "warning", "Deliveries and My Pages will be slow: ask Voyado when it lasts.")
        return self._line(what, "ok")

    def _clock_skew(self) -> Check:
        """Compare Engage's Date header, which is whole seconds, with our clock at the middle of the call."""
        skews = [
            (answer.engage_time - answer.at).total_seconds() + 0.5 - answer.duration_s / 2
            for answer in self._answers
            if answer.engage_time is not None
        ]
        if not skews:
            return self._line(
                "clock", "by hand", "Engage sends no time: see that this machine's clock is synchronised (NTP)."
            )
        skew = min(skews, key=abs)
        if abs(skew) > SKEW_S:
            where = "behind" if skew > 0 else "ahead of"
            return self._line(
                "clock", "warning", f"This machine is {abs(skew):.0f} s {where} Engage: synchronise its clock (NTP)."
            )
        return self._line("clock", "ok")
