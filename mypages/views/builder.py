"""Builds the view models of a page from what Engage answered, and computes how long the page stays valid."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from mypages.data.fetch import Fetcher, FetchResult, Query, earliest
from mypages.data.queries import PAGE_SIZE, ContactQueries, PointHistory
from mypages.data.sanitise import safe_text
from mypages.views import loyalty, profile, purchases
from mypages.views.formatting import Formatter
from mypages.views.models import (
    Overview,
    PartState,
    Points,
    Problem,
    Profile,
    Promotions,
    Purchase,
    Purchases,
    Receipt,
    Voucher,
    Vouchers,
)
from mypages.views.optional_parts import OptionalParts
from plugin.engage.data.models import Contact, Page, Transaction
from plugin.store.orders.orders import Orders, StoredOrder
from plugin.store.shops.shops import RegisteredShop

OVERVIEW_PURCHASES = 5
#: How many of the shopper's stored orders are searched for the total that was paid.
KNOWN_ORDERS = 200
#: How many of them may be too new to be in Engage.
NEW_ORDERS = 10
#: How many pages of the history are searched for one purchase.
SEARCHED_PAGES = 5
#: How long a page without Engage's answer is valid.
AWAY_VALIDITY = timedelta(seconds=2)
MAX_VALIDITY = timedelta(hours=1)


@dataclass(slots=True)
class ViewBuilder:
    """Builds the parts of one page for one shopper. fetcher: None without a contact that may be shown.

    valid_until: how long the page may be shown from a cache; each part can shorten it.
    """

    shop: RegisteredShop
    customer_id: str
    contact_id: str | None
    fetcher: Fetcher | None
    pending_edits: profile.PendingEdits
    formatter: Formatter
    orders: Orders
    now: datetime
    page: int = 1
    valid_until: datetime = field(init=False)
    optional_parts: OptionalParts = field(init=False)
    _queries: ContactQueries = field(init=False)

    def __post_init__(self) -> None:
        self.valid_until = self.now + MAX_VALIDITY
        self.optional_parts = OptionalParts(self.shop.settings)
        self._queries = ContactQueries(self.contact_id or "", self.page)

    # --- whole pages

    def overview(self) -> Overview:
        """Return all parts, fetched in parallel."""
        queries = {
            "profile": self._queries.contact,
            "transactions": self._queries.history,
            "promotions": self._queries.assignments,
        }
        if self.optional_parts.may_have("points"):
            queries["points"] = self._queries.accounts
        if self.optional_parts.may_have("vouchers"):
            queries["vouchers"] = self._queries.available_vouchers
        results = self._fetch(queries)
        listed = self._purchases(results.get("transactions"), 1)
        newest = Purchases(
            state=listed.state, age=listed.age, fetched_at=listed.fetched_at, items=listed.items[:OVERVIEW_PURCHASES],
            older=listed.older or len(listed.items) > OVERVIEW_PURCHASES, total=listed.total,
        )  # fmt: skip
        points = self._points(results.get("points")) if "points" in queries else None
        vouchers = self._vouchers(results.get("vouchers"), None) if "vouchers" in queries else None
        return Overview(
            profile=self.profile_of(results.get("profile")),
            purchases=newest,
            promotions=self._promotions(results.get("promotions")),
            points=points
            if self.optional_parts.is_on_overview("points", points is not None and bool(points.accounts))
            else None,
            vouchers=vouchers
            if self.optional_parts.is_on_overview("vouchers", vouchers is not None and bool(vouchers.active))
            else None,
        )

    def profile(self) -> Profile:
        """Return personal data and preferences."""
        return self.profile_of(self._fetch({"profile": self._queries.contact}).get("profile"))

    def transactions(self) -> Purchases:
        """Return a page of purchases."""
        return self._purchases(self._fetch({"transactions": self._queries.history}).get("transactions"), self.page)

    def promotions(self) -> Promotions:
        """Return promotions."""
        return self._promotions(self._fetch({"promotions": self._queries.assignments}).get("promotions"))

    def points(self) -> Points:
        """Return balances and a page of changes."""
        return self._points(self._fetch({"points": self._queries.point_history}).get("points"))

    def vouchers(self) -> Vouchers:
        """Return vouchers that can be used, and used ones."""
        queries = {"vouchers": self._queries.available_vouchers, "all vouchers": self._queries.all_vouchers}
        results = self._fetch(queries)
        return self._vouchers(results.get("vouchers"), results.get("all vouchers"))

    def receipt(self, purchase_id: str) -> Receipt:
        """Return one purchase; `purchase` is None where the shopper has none with that id, or Engage is away."""
        own = self._own_order(purchase_id)
        if own is not None:
            return Receipt(
                state=PartState.FRESH,
                purchase=purchases.from_order(own, self.shop.name, self.formatter),
                back=self.page,
            )
        if self.fetcher is None:
            return Receipt(state=PartState.UNLINKED)
        pages = dict.fromkeys([self.page, *range(1, SEARCHED_PAGES + 1)])
        last = Receipt(state=PartState.FRESH)
        for number in pages:
            result = self._fetch({"transactions": self._queries.history_page(number)}).get("transactions")
            listed = self._purchases(result, number)
            match = next((purchase for purchase in listed.items if purchase.id == purchase_id), None)
            last = Receipt(
                state=listed.state, age=listed.age, fetched_at=listed.fetched_at, purchase=match, back=number
            )
            if match is not None or listed.state in {PartState.AWAY, PartState.UNLINKED}:
                break
            if not listed.older and number >= self.page:
                break
        return last

    def contact(self) -> FetchResult[Contact] | None:
        """Return the contact itself, to compare a change with."""
        return self._fetch({"profile": self._queries.contact}).get("profile")

    def _fetch(self, queries: Mapping[str, Query]) -> dict[str, FetchResult[Any]]:
        return {} if self.fetcher is None else self.fetcher.fetch(queries)

    # --- parts

    def profile_of(
        self,
        result: FetchResult[Contact] | None,
        posted: Mapping[str, str] | None = None,
        problems: Mapping[str, Problem] | None = None,
        was: Mapping[str, str] | None = None,
    ) -> Profile:
        """Return the profile. posted, problems and was: of a form that was rejected."""
        state, setting, pending_edits = self._state(result), self.shop.settings.editable_fields, self.pending_edits
        is_known = result is not None and result.cached is not None
        contact = result.cached.value if result is not None and result.cached is not None else Contact("")
        is_linked = result is not None and not result.is_missing
        is_refused = bool(pending_edits.refused) and is_linked
        values = profile.values_of(contact, pending_edits, setting) if is_linked else {}
        editable = setting if is_known else ()
        return Profile(
            **state,
            greeting=safe_text(values.get("firstName"), 60),
            fields=profile.fields(values, pending_edits, self.formatter),
            preferences=profile.preferences(contact.preferences, pending_edits, editable) if is_linked else (),
            form=profile.form_fields(values, setting, self.formatter, posted, problems, was) if is_known else (),
            saving=pending_edits.is_saving and is_linked,
            refused=is_refused,
            refused_why="value" if is_refused else "",
            problems=bool(problems),
        )

    def _purchases(self, result: FetchResult[Page[Transaction]] | None, number: int) -> Purchases:
        state = self._state(result)
        page = result.cached.value if result is not None and result.cached is not None else None
        own = self.orders.newest_of(self.shop, self.customer_id, KNOWN_ORDERS if page else PAGE_SIZE)
        name = self.shop.name
        new = self._being_registered(own, page) if number == 1 else ()
        if page is None:
            return Purchases(**state, items=new, page=number, newer=number > 1)
        listed = purchases.from_history(page, own, name, self.formatter)
        return Purchases(
            **state,
            items=new + listed,
            page=number,
            newer=number > 1,
            older=_has_more(page) and bool(listed),
            total=page.total_count,
        )

    def _being_registered(self, own: Any, page: Page[Transaction] | None) -> tuple[Purchase, ...]:
        new = own[:NEW_ORDERS] if page is not None else own
        return purchases.being_registered(new, page, self.shop.name, self.formatter, self.now)

    def _promotions(self, result: FetchResult[Any] | None) -> Promotions:
        state = self._state(result)
        if result is None or result.cached is None:
            return Promotions(**state)
        page = result.cached.value
        self._limit_validity(*(item.expires_on for item in page.items))
        active, used = loyalty.promotions(page, self.formatter, self.now, self._currencies())
        return Promotions(**state, active=active, used=used)

    def _points(self, result: FetchResult[PointHistory] | None) -> Points:
        self._detect_feature("points", result, lambda value: bool(value.accounts.items))
        state = self._state(result)
        if result is None or result.cached is None:
            return Points(**state)
        history = result.cached.value
        changes = history.changes
        return Points(
            **state,
            accounts=loyalty.point_accounts(history.accounts, self.formatter),
            history=loyalty.point_changes(changes, self.formatter) if changes is not None else (),
            page=self.page,
            newer=self.page > 1,
            older=changes is not None and _has_more(changes),
        )

    def _vouchers(self, result: FetchResult[Any] | None, all_result: FetchResult[Any] | None) -> Vouchers:
        self._detect_feature("vouchers", result, lambda page: bool(page.items))
        state = self._state(result, all_result if all_result is not None and all_result.cached is not None else None)
        if result is None or result.cached is None:
            return Vouchers(**state)
        page, wanted = result.cached.value, self._currencies()
        self._limit_validity(*(item.expires_on for item in page.items))
        used: tuple[Voucher, ...] = ()
        if all_result is not None and all_result.cached:
            used = loyalty.used_vouchers(all_result.cached.value, self.formatter, wanted)
        return Vouchers(**state, active=loyalty.usable_vouchers(page, self.formatter, self.now, wanted), used=used)

    # --- what parts share

    def _state(self, *results: FetchResult[Any] | None) -> dict[str, Any]:
        """Return the state of a part that is built from these results, and limit the page's validity accordingly."""
        first = results[0]
        if first is None or first.is_missing:
            return {"state": PartState.UNLINKED}
        answers = [result.cached for result in results if result is not None and result.cached is not None]
        if first.cached is None:
            self._limit_validity(self.now + AWAY_VALIDITY)
            return {"state": PartState.AWAY}
        fetched_at = min(answer.fetched_at for answer in answers)
        self.valid_until = min(self.valid_until, *(answer.fresh_until for answer in answers))
        if any(answer.stale for answer in answers):
            return {"state": PartState.STALE, "age": self.formatter.age(fetched_at, self.now), "fetched_at": fetched_at}
        return {"state": PartState.FRESH, "fetched_at": fetched_at}

    def _limit_validity(self, *times: datetime | None) -> None:
        end = earliest(self.now, *times)
        if end is not None:
            self.valid_until = min(self.valid_until, end)

    def _detect_feature(self, name: str, result: FetchResult[Any] | None, has_data: Callable[[Any], bool]) -> None:
        if result is None:
            return
        if result.cached is not None and has_data(result.cached.value):
            self.optional_parts.detected_features[name] = "yes"
        elif result.is_not_offered:
            self.optional_parts.detected_features[name] = "no"

    def _currencies(self) -> tuple[str, ...]:
        newest = self.orders.newest_of(self.shop, self.customer_id, 1)
        return loyalty.likely_currencies((order.currency for order in newest), self.formatter)

    def _own_order(self, purchase_id: str) -> StoredOrder | None:
        """Return a stored order of this shop, if it belongs to this shopper."""
        if not purchase_id.startswith(f"{self.shop.name}-"):
            return None
        order = self.orders.get(self.shop, purchase_id.removeprefix(f"{self.shop.name}-"))
        return order if order is not None and order.customer_id == self.customer_id else None


def _has_more(page: Page[Any]) -> bool:
    """Return whether older entries follow this page."""
    if page.total_count is None:
        return len(page.items) >= PAGE_SIZE
    return page.offset + len(page.items) < page.total_count
