"""Checks of one shop: its settings in Engage, its own API, its installation and what waits."""

from collections.abc import Callable, Iterator
from datetime import timedelta

from plugin.app import Services
from plugin.commands.doctor.check import Check
from plugin.engage.http.transport import CallRecord
from plugin.engage.operations import Priority
from plugin.errors import EngageError, EngageNotFoundError, PermanentError, ShopApiError
from plugin.platforms.registry import PLATFORMS
from plugin.store.inbox.admin import EventFilter
from plugin.store.orders.redemptions import RedemptionState
from plugin.store.shops.shops import RegisteredShop

SLOW_S = 2.0
SKEW_S = 30.0
#: An address that no contact can have (RFC 2606): the lookup asks only whether Engage has the contact type.
UNUSED_EMAIL = "nobody@engage-plugin.invalid"


class ShopChecks:
    """The checks of one shop. Its calls to Engage are timed, and their Date headers are read."""

    def __init__(self, services: Services, shop: RegisteredShop) -> None:
        self._services = services
        self._shop = shop
        self._answers: list[CallRecord] = []
        self._client = services.client_for(shop).with_options(
            priority=Priority.SHOPPER, read_timeout_s=10, observer=self._answers.append
        )

    def all(self) -> Iterator[Check]:
        """Run every check."""
        shop = self._shop
        if shop.stopped_reason:
            yield self._line(
                "deliveries",
                "fault",
                f"Stopped: {shop.stopped_reason} Then: engage-plugin shops set {shop.name} engage_key=KEY",
            )
        yield self._call("key and stores", self._stores)
        yield self._call("contact types", self._contact_types)
        yield self._line(
            "key attribute",
            "by hand",
            f"No endpoint returns it: check in Engage that contacts of type {shop.settings.contact_type} are keyed by "
            f"{shop.settings.key_attribute}, else set key_attribute.",
        )
        yield self._call("consents", self._consents)
        yield self._time_to_answer()
        yield self._clock_skew()
        yield self._line(
            "article register",
            "by hand",
            "Look up the item of a receipt in Engage: its SKU must equal the id in the product feed, else no article is "
            "found. `engage-plugin preview EVENT_ID` prints the SKUs that are sent.",
        )
        yield self._call("links that are not verified", self._links)
        yield self._call("unconfirmed redemptions", self._redemptions)
        yield from self._subscriptions()
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

    def _subscriptions(self) -> Iterator[Check]:
        """Check the shop's own API and its webhook subscriptions, if its platform has an API."""
        shop, services = self._shop, self._services
        try:
            api = services.shop_api_for(shop)
            if api is None:
                yield from self._not_installed()
                return
            api.check()
            wrong = [item for item in api.subscriptions(services.monitor.webhook_url(shop)) if item.problem]
        except ShopApiError as error:
            yield self._line("the shop's own API", "fault", str(error))
            return
        yield self._line("the shop's own API", "ok")
        for subscription in wrong:
            yield self._line(
                f"webhook {subscription.topic}",
                "fault",
                f"{subscription.problem}. Repair it: engage-plugin watch {shop.name}",
            )
        if not wrong:
            yield self._line("webhook subscriptions", "ok")

    def _not_installed(self) -> Iterator[Check]:
        """Check how far the installation of a shop without an API client is: its events are all that can be seen of it."""
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

    def _call(self, what: str, check: Callable[[], tuple[str, str]]) -> Check:
        try:
            result, todo = check()
        except EngageError as error:
            result, todo = "fault", str(error)
        return self._line(what, result, todo)

    def _stores(self) -> tuple[str, str]:
        settings = self._shop.settings
        existing = {store.external_id for store in self._client.list_stores(include_inactive=True)}
        missing = ", ".join(sorted({settings.store, *settings.country_stores.values()} - existing))
        if missing:
            return (
                "fault",
                f"Engage has no store {missing}; a receipt would create it. Correct the setting or create the store.",
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
                self._client.find_contact_id(email=UNUSED_EMAIL, contact_type=contact_type)
            except EngageNotFoundError:
                continue
            except PermanentError as error:
                return "fault", f"Engage does not accept the contact type {contact_type}: correct {setting}. {error}"
        return "ok", ""

    def _consents(self) -> tuple[str, str]:
        wanted = set(self._shop.settings.consent_ids.values())
        if not wanted:
            return "ok", ""
        missing = ", ".join(sorted(wanted - {consent.id for consent in self._client.list_consents()}))
        return ("fault", f"Engage has no consent {missing}: correct consent_ids.") if missing else ("ok", "")

    def _links(self) -> tuple[str, str]:
        number = self._services.stores.links.count_unverified(self._shop)
        if not number:
            return "ok", ""
        return (
            "warning",
            f"{number} customers share an e-mail with a contact without proof that it is theirs: their data is not sent to it.",
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
            f"`engage-plugin promotions redemptions {self._shop.name} --state intended` lists their orders.",
        )

    def _time_to_answer(self) -> Check:
        took = [answer.duration_s for answer in self._answers if answer.status is not None]
        if not took:
            return self._line("time to answer", "warning", "Engage gave no answer that could be timed.")
        slowest = max(took)
        what = f"time to answer, slowest of {len(took)} calls {slowest * 1000:.0f} ms"
        if slowest > SLOW_S:
            return self._line(what, "warning", "Deliveries and My Pages will be slow: ask Voyado if it continues.")
        return self._line(what, "ok")

    def _clock_skew(self) -> Check:
        """Compare Engage's Date header, which has whole seconds, with our clock at the middle of the call."""
        skews = [
            (answer.engage_time - answer.at).total_seconds() + 0.5 - answer.duration_s / 2
            for answer in self._answers
            if answer.engage_time is not None
        ]
        if not skews:
            return self._line(
                "clock", "by hand", "Engage sends no time: check that this machine's clock is synchronised (NTP)."
            )
        skew = min(skews, key=abs)
        if abs(skew) > SKEW_S:
            where = "behind" if skew > 0 else "ahead of"
            return self._line(
                "clock", "warning", f"This machine is {abs(skew):.0f} s {where} Engage: synchronise its clock (NTP)."
            )
        return self._line("clock", "ok")
