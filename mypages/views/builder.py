"""Building each part from what was found: views of `mypages.content`, and until when they may be shown again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from mypages.data.fetch import Ask, FetchResult, Loader, earliest
from mypages.data.queries import PAGE_SIZE, ContactQueries, PointHistory
from mypages.views import loyalty, profile, purchases
from mypages.views.formatting import Formatter, text
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
    Vouchers,
)
from plugin.engage.data.models import Contact, Page, Transaction
from plugin.store.orders.orders import Orders, StoredOrder
from plugin.store.shops.shops import RegisteredShop

OVERVIEW_PURCHASES = 5
#: How many of the shopper's own orders are looked at for the total that was paid.
KNOWN_ORDERS = 200
#: How many of them can be new enough to be missing in Engage.
NEW_ORDERS = 10
#: How many pages of the history are looked through for one purchase.
SEARCHED_PAGES = 5
#: How long a page without Engage's answer is shown again.
AWAY_AGAIN = timedelta(seconds=2)
LONG = timedelta(hours=1)


@dataclass(slots=True)
class ViewBuilder:
    """Builds the parts of one page for one shopper. loader: None without a contact that may be shown.

    until: how long the page may be shown again; grows smaller with each part. detected_features: what the answers told of the tenant.
    """

    shop: RegisteredShop
    customer_id: str
    contact_id: str | None
    loader: Loader | None
    overlay: profile.PendingEdits
    form: Formatter
    orders: Orders
    now: datetime
    page: int = 1
    until: datetime = field(init=False)
    _asks: ContactQueries = field(init=False)
    detected_features: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.until = self.now + LONG
        self._asks = ContactQueries(self.contact_id or "", self.page)

    # --- whole pages

    def overview(self, offered: Mapping[str, bool]) -> Overview:
        """Return all parts, asked for side by side. offered: whether points and vouchers are worth asking for."""
        asks = {"profile": self._asks.contact, "transactions": self._asks.history, "promotions": self._asks.assignments}
        if offered["points"]:
            asks["points"] = self._asks.accounts
        if offered["vouchers"]:
            asks["vouchers"] = self._asks.available
        found = self._load(asks)
        made = self._purchases(found.get("transactions"), 1)
        few = Purchases(
            state=made.state, age=made.age, fetched_at=made.fetched_at, items=made.items[:OVERVIEW_PURCHASES],
            older=made.older or len(made.items) > OVERVIEW_PURCHASES, total=made.total,
        )  # fmt: skip
        points = self._points(found.get("points")) if "points" in asks else None
        vouchers = self._vouchers(found.get("vouchers"), None) if "vouchers" in asks else None
        return Overview(
            profile=self.profile_of(found.get("profile")),
            purchases=few,
            promotions=self._promotions(found.get("promotions")),
            points=points if self._has("points", points is not None and bool(points.accounts)) else None,
            vouchers=vouchers if self._has("vouchers", vouchers is not None and bool(vouchers.active)) else None,
        )

    def profile(self) -> Profile:
        """Return personal data and preferences."""
        return self.profile_of(self._load({"profile": self._asks.contact}).get("profile"))

    def transactions(self) -> Purchases:
        """Return a page of purchases."""
        return self._purchases(self._load({"transactions": self._asks.history}).get("transactions"), self.page)

    def promotions(self) -> Promotions:
        """Return promotions."""
        return self._promotions(self._load({"promotions": self._asks.assignments}).get("promotions"))

    def points(self) -> Points:
        """Return balances and a page of changes."""
        return self._points(self._load({"points": self._asks.point_history}).get("points"))

    def vouchers(self) -> Vouchers:
        """Return vouchers that can be used, and used ones."""
        found = self._load({"vouchers": self._asks.available, "all vouchers": self._asks.every_voucher})
        return self._vouchers(found.get("vouchers"), found.get("all vouchers"))

    def receipt(self, wanted: str) -> Receipt:
        """Return one purchase; purchase is None where the shopper has none of that id, or Engage is away."""
        own = self._own_order(wanted)
        if own is not None:
            return Receipt(
                state=PartState.FRESH, purchase=purchases.of_order(own, self.shop.name, self.form), back=self.page
            )
        if self.loader is None:
            return Receipt(state=PartState.UNLINKED)
        pages = dict.fromkeys([self.page, *range(1, SEARCHED_PAGES + 1)])
        last = Receipt(state=PartState.FRESH)
        for number in pages:
            found = self._load({"transactions": self._asks.history_page(number)}).get("transactions")
            listed = self._purchases(found, number)
            match = next((one for one in listed.items if one.id == wanted), None)
            last = Receipt(
                state=listed.state, age=listed.age, fetched_at=listed.fetched_at, purchase=match, back=number
            )
            if match is not None or listed.state in {PartState.AWAY, PartState.UNLINKED}:
                break
            if not listed.older and number >= self.page:
                break
        return last

    def contact(self) -> FetchResult[Contact] | None:
        """Return the contact itself, for a change of it."""
        return self._load({"profile": self._asks.contact}).get("profile")

    def _load(self, asks: Mapping[str, Ask]) -> dict[str, FetchResult[Any]]:
        return {} if self.loader is None else self.loader.load(asks)

    # --- parts

    def profile_of(
        self,
        found: FetchResult[Contact] | None,
        posted: Mapping[str, str] | None = None,
        problems: Mapping[str, Problem] | None = None,
        was: Mapping[str, str] | None = None,
    ) -> Profile:
        """Return the profile. posted, problems and was: of a form that was not taken."""
        state, setting, overlay = self._state(found), self.shop.settings.editable_fields, self.overlay
        known = found is not None and found.cached is not None
        contact = found.cached.value if found is not None and found.cached is not None else Contact("")
        shown = found is not None and not found.gone
        values = profile.values_of(contact, overlay, setting) if shown else {}
        return Profile(
            **state,
            greeting=text(values.get("firstName"), 60),
            fields=profile.fields(values, overlay, self.form),
            preferences=profile.preferences(contact.preferences, overlay, setting if known else ()) if shown else (),
            form=profile.form_fields(values, setting, self.form, posted, problems, was) if known else (),
            saving=overlay.is_saving and shown,
            refused=bool(overlay.refused) and shown,
            refused_why="value" if overlay.refused and shown else "",
            problems=bool(problems),
        )

    def _purchases(self, found: FetchResult[Page[Transaction]] | None, number: int) -> Purchases:
        state = self._state(found)
        page = found.cached.value if found is not None and found.cached is not None else None
        own = self.orders.newest_of(self.shop, self.customer_id, KNOWN_ORDERS if page else PAGE_SIZE)
        name = self.shop.name
        new = self._being_registered(own, page) if number == 1 else ()
        if page is None:
            return Purchases(**state, items=new, page=number, newer=number > 1)
        listed = purchases.fetched(page, own, name, self.form)
        end = page.offset + len(page.items)
        older = end < page.total_count if page.total_count is not None else len(page.items) >= PAGE_SIZE
        return Purchases(
            **state,
            items=new + listed,
            page=number,
            newer=number > 1,
            older=older and bool(listed),
            total=page.total_count,
        )

    def _being_registered(self, own: Any, page: Page[Transaction] | None) -> tuple[Purchase, ...]:
        new = own[:NEW_ORDERS] if page is not None else own
        return purchases.being_registered(new, page, self.shop.name, self.form, self.now)

    def _promotions(self, found: FetchResult[Any] | None) -> Promotions:
        state = self._state(found)
        if found is None or found.cached is None:
            return Promotions(**state)
        page = found.cached.value
        self._ends(*(one.expires_on for one in page.items))
        active, used = loyalty.promotions(page, self.form, self.now, self._currencies())
        return Promotions(**state, active=active, used=used)

    def _points(self, found: FetchResult[PointHistory] | None) -> Points:
        self._learn("points", found, lambda value: bool(value.accounts.items))
        state = self._state(found)
        if found is None or found.cached is None:
            return Points(**state)
        history = found.cached.value
        changes = history.changes
        older = False
        if changes is not None:
            end = changes.offset + len(changes.items)
            older = end < changes.total_count if changes.total_count is not None else len(changes.items) >= PAGE_SIZE
        return Points(
            **state,
            accounts=loyalty.point_accounts(history.accounts, self.form),
            history=loyalty.point_changes(changes, self.form) if changes is not None else (),
            page=self.page,
            newer=self.page > 1,
            older=older,
        )

    def _vouchers(self, found: FetchResult[Any] | None, every: FetchResult[Any] | None) -> Vouchers:
        self._learn("vouchers", found, lambda page: bool(page.items))
        state = self._state(found, every if every is not None and every.cached is not None else None)
        if found is None or found.cached is None:
            return Vouchers(**state)
        page, wanted = found.cached.value, self._currencies()
        self._ends(*(one.expires_on for one in page.items))
        used = (
            loyalty.used_vouchers(every.cached.value, self.form, wanted) if every is not None and every.cached else ()
        )
        return Vouchers(**state, active=loyalty.usable_vouchers(page, self.form, self.now, wanted), used=used)

    # --- what parts share

    def _state(self, *found: FetchResult[Any] | None) -> dict[str, Any]:
        """Return the state of a part that was made of these answers, and note how long it may be shown again."""
        first = found[0]
        if first is None or first.gone:
            return {"state": PartState.UNLINKED}
        got = [one.cached for one in found if one is not None and one.cached is not None]
        if first.cached is None:
            self._ends(self.now + AWAY_AGAIN)
            return {"state": PartState.AWAY}
        fetched_at = min(one.fetched_at for one in got)
        self.until = min(self.until, *(one.fresh_until for one in got))
        if any(one.stale for one in got):
            return {"state": PartState.STALE, "age": self.form.age(fetched_at, self.now), "fetched_at": fetched_at}
        return {"state": PartState.FRESH, "fetched_at": fetched_at}

    def _ends(self, *times: datetime | None) -> None:
        sooner = earliest(self.now, *times)
        if sooner is not None:
            self.until = min(self.until, sooner)

    def _learn(self, name: str, found: FetchResult[Any] | None, has_some: Callable[[Any], bool]) -> None:
        if found is None:
            return
        if found.cached is not None and has_some(found.cached.value):
            self.detected_features[name] = "yes"
        elif found.not_offered:
            self.detected_features[name] = "no"

    def _has(self, name: str, shown: bool) -> bool:
        """Tell whether the overview shows points or vouchers: those of a tenant that has them."""
        setting, known = getattr(self.shop.settings, name), getattr(self.shop.settings, f"{name}_found")
        return (
            shown
            or setting == "yes"
            or (setting == "auto" and known == "yes" and self.detected_features.get(name) != "no")
        )

    def _currencies(self) -> tuple[str, ...]:
        newest = self.orders.newest_of(self.shop, self.customer_id, 1)
        return loyalty.currencies((order.currency for order in newest), self.form)

    def _own_order(self, wanted: str) -> StoredOrder | None:
        """Return an order of this shop, if it is this shopper's."""
        if not wanted.startswith(f"{self.shop.name}-"):
            return None
        order = self.orders.get(self.shop, wanted.removeprefix(f"{self.shop.name}-"))
        return order if order is not None and order.customer_id == self.customer_id else None
