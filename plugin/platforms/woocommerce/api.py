"""Calls to a WooCommerce shop (docs/platforms/woocommerce.md#rest-api): check, webhooks, and what changed since a time."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from plugin.errors import ShopApiError
from plugin.event_kinds import EventKind
from plugin.platforms.base import ShopCredentials
from plugin.platforms.http import host_of, shop_http
from plugin.platforms.shop_api import PolledResource, Subscription, encode_body
from plugin.platforms.woocommerce import CANCELLED_TOPIC, REFUNDED, SUBSCRIBED, orders, refunds
from plugin.platforms.woocommerce.hooks import Hooks
from plugin.platforms.woocommerce.rest import Rest, RestRoute, base_of, discover_route, name_of
from plugin.platforms.woocommerce.schemas import read_gmt

PER_PAGE = 100
#: Rows that a page has in common with the page before it.
OVERLAP = 20
#: How often, while one list is read, a page may begin too late because the list has shifted by more than the overlap.
MAX_SHIFTS = 20
MAX_REFUND_PAGES = 20
SHIFTS = "The shop's list changes faster than it can be read; the next look reads it again."
SAME_PAGE = "The shop gives the same page of its list again and again; is there a cache in front of its REST API?"
SECOND = timedelta(seconds=1)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
Save = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class WooApi:
    """`plugin.platforms.shop_api.ShopApi` of one shop. known: its credentials, with the changes that this object has saved since."""

    shop: ShopCredentials
    base: str
    save: Save
    known: dict[str, Any] = field(repr=False)

    def check(self) -> str:
        """Verify the keys, store the route by which the shop accepts them, and return the shop's own name."""
        rest = discover_route(self.base, str(self.known["key"]), str(self.known["secret"]))
        if rest.route != self._rest().route:
            self._remember(route_credentials(rest.route))
        return name_of(rest) or host_of(self.base)

    def subscriptions(self, address: str) -> tuple[Subscription, ...]:
        """Return each needed webhook with what is wrong with it."""
        return self._hooks().check(address)

    def repair(self, address: str) -> tuple[str, ...]:
        """Make, correct and switch on webhooks; return a line for each."""
        return self._hooks().repair(address)

    def remove(self) -> tuple[str, ...]:
        """Delete the webhooks that we made; return a line for each."""
        return self._hooks().remove()

    def customers(
        self, since: datetime | None, until: datetime | None, cursor: str | None = None
    ) -> Iterator[PolledResource]:
        """Yield customers changed in [since, until), oldest change first; cursor: continue after it.

        WooCommerce neither filters nor sorts customers by change, so ids and times of all of them are read first (two
        small fields), and then those that are wanted.
        """
        after = _cursor(cursor)
        listing = {"role": "all", "orderby": "id", "order": "asc", "_fields": "id,date_modified_gmt,date_created_gmt"}
        wanted = sorted(
            (changed, _number(row))
            for row in self._pages("/customers", listing)
            if (changed := _changed(row)) is not None
            and (since is None or changed >= since)
            and (until is None or changed < until)
        )
        wanted = [place for place in wanted if after is None or place > after]
        for start in range(0, len(wanted), PER_PAGE):
            part = wanted[start : start + PER_PAGE]
            ids = ",".join(str(number) for _, number in part)
            rows = self._list("/customers", {"role": "all", "include": ids, "per_page": str(PER_PAGE)})
            by_id = {_number(row): row for row in rows}
            for place in part:
                row = by_id.get(place[1])
                if row is not None:  # else it was deleted meanwhile
                    changed_at = _changed(row) or place[0]
                    yield _resource("customer.updated", EventKind.PROFILE_CHANGE, place[1], row, changed_at, place)

    def orders(
        self, since: datetime | None, until: datetime | None, cursor: str | None = None
    ) -> Iterator[PolledResource]:
        """Yield paid orders changed in [since, until), oldest change first, each with its refunds and its cancellation."""
        for changed, number, row in self._orders_by_change(since, until, _cursor(cursor)):
            if not orders.is_paid(row) or orders.status_of(row["status"]) == orders.FAILED:
                continue
            named = sorted(_number(refund) for refund in row.get("refunds") or ())
            body = row
            if named:
                body = {**row, "engage_refunds": [refunds.pruned(refund) for refund in self.refunds(str(number))]}
            parts = [("order.updated", EventKind.ORDER_PAID, number, body)]
            parts += [(REFUNDED, EventKind.REFUND, refund, {**body, "engage_refund": refund}) for refund in named]
            if orders.status_of(row["status"]) == orders.CANCELLED:
                parts.append((CANCELLED_TOPIC, EventKind.CANCELLATION, number, body))
            # whoever stops between an order and its last part begins with that order again
            for left, (topic, kind, part_number, part) in zip(reversed(range(len(parts))), parts, strict=True):
                place = (changed, number - 1) if left else (changed, number)
                yield _resource(topic, kind, part_number, part, changed, place)

    def refunds(self, order_id: str) -> list[dict[str, Any]]:
        """Return an order's refunds with their lines. Raises ShopApiError, ShopUnavailableError."""
        if not (order_id.isascii() and order_id.isdigit()):
            raise ShopApiError("An order's id must be a number.")
        return list(
            self._pages(f"/orders/{order_id}/refunds", {"orderby": "id", "order": "asc"}, max_pages=MAX_REFUND_PAGES)
        )

    def _orders_by_change(
        self, since: datetime | None, until: datetime | None, after: tuple[datetime, int] | None
    ) -> Iterator[tuple[datetime, int, dict[str, Any]]]:
        """Read orders by time of change. Orders move while we read, so each page begins where the page before it ended.

        The filter leaves its own second out, and many orders may change in one second: a second counts as read only once
        an order of a later second, or the end, was seen.
        """
        begin: datetime | None = max(filter(None, (since, after[0] if after else None)), default=EARLIEST) - SECOND
        while begin is not None:
            begin = yield from self._orders_of_one_list(begin, since, until, after)

    def _orders_of_one_list(
        self, begin: datetime, since: datetime | None, until: datetime | None, after: tuple[datetime, int] | None
    ) -> Generator[tuple[datetime, int, dict[str, Any]], None, datetime | None]:
        """Yield the orders changed after `begin` to the last whole second of a page; return where to continue, None at the end."""
        rows: dict[int, tuple[datetime, dict[str, Any]]] = {}
        for page in self._lists("/orders", _changed_after(begin, until)):
            batch = [(changed, row) for row in page if (changed := _changed(row)) is not None]
            if any(changed <= begin for changed, _ in batch):
                raise ShopApiError(
                    "This WooCommerce cannot list orders by their change: version 5.8 or newer is needed."
                )
            rows |= {_number(row): (changed, row) for changed, row in batch}
            last = batch[-1][0] if batch and len(page) == PER_PAGE else None
            ready = sorted((c, n, r) for n, (c, r) in rows.items() if last is None or c < last) if rows else []
            for changed, number, row in ready:
                fits = (since is None or changed >= since) and (until is None or changed < until)
                if fits and (after is None or (changed, number) > after):
                    yield changed, number, row
            if last is not None and ready:
                return last - SECOND
        return None

    def _pages(self, path: str, query: Mapping[str, str], *, max_pages: int = 100_000) -> Iterator[dict[str, Any]]:
        """Yield each row of a list once, from at most `max_pages` pages."""
        seen: set[int] = set()
        for page in islice(self._lists(path, query), max_pages):
            yield from (row for row in page if _number(row) not in seen)
            seen.update(_number(row) for row in page)

    def _lists(self, path: str, query: Mapping[str, str]) -> Iterator[list[dict[str, Any]]]:
        """Yield a list's pages to its end; rows come again where pages overlap.

        A row that leaves its place while the list is read (an edited order moves to the end, a deleted customer is gone)
        draws those after it forward, so each page begins before the end of the page before it. A page that has nothing in
        common with that begins too late, and an earlier page is read. Raises ShopApiError when that does not end.
        """
        start = begun = shifts = 0
        before: list[dict[str, Any]] = []
        while True:
            page = self._list(path, {**query, "per_page": str(PER_PAGE), "offset": str(start)})
            if page and page == before and start > begun:
                raise ShopApiError(SAME_PAGE)
            if start and _places(before).isdisjoint(_places(page)):
                shifts += 1
                if shifts > MAX_SHIFTS:
                    raise ShopApiError(SHIFTS)
                start = max(0, start - PER_PAGE)
                continue
            yield page
            if len(page) < PER_PAGE:
                return
            before, begun, start = page, start, start + PER_PAGE - OVERLAP

    def _list(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        rows = self._rest().call("GET", path, query)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ShopApiError(f"WooCommerce answered GET {path} with something else than a list.")
        return rows

    def _remember(self, changed: Mapping[str, Any]) -> None:
        """Save changed credentials, here too: the next call of this object must not use the former ones."""
        self.known.update(changed)
        self.save(dict(self.known))

    def _rest(self) -> Rest:
        known = self.known
        route = RestRoute(plain=bool(known.get("plain")), in_query=bool(known.get("in_query")))
        return Rest(self.base, str(known["key"]), str(known["secret"]), route, shop_http(operator_typed=True))

    def _hooks(self) -> Hooks:
        def remember(hook_ids: Mapping[str, str], digests: Mapping[str, str]) -> None:
            self._remember({"webhooks": dict(hook_ids), "digests": dict(digests)})

        return Hooks(
            rest=self._rest(),
            shop=self.shop.name,
            secret=self.shop.webhook_secrets[0],
            topics=tuple(SUBSCRIBED),
            hook_ids=dict(self.known.get("webhooks") or {}),
            digests=dict(self.known.get("digests") or {}),
            remember=remember,
        )


def api_for(shop: ShopCredentials, save: Save = lambda _credentials: None) -> WooApi | None:
    """Return the calls to a shop; None before its keys are stored. Raises ShopApiError for an invalid address."""
    if not shop.credentials.get("key") or not shop.credentials.get("secret"):
        return None
    return WooApi(shop, base_of(shop), save, dict(shop.credentials))


def prove(shop: ShopCredentials, key: str, secret: str) -> dict[str, Any]:
    """Prove keys with a call to the shop and return the credentials to store; ids of webhooks made before stay.

    Raises ShopApiError, ShopUnavailableError.
    """
    rest = discover_route(base_of(shop), key, secret)
    return {**shop.credentials, "key": key, "secret": secret, **route_credentials(rest.route)}


def route_credentials(route: RestRoute) -> dict[str, bool]:
    """Return how a route is stored with the keys."""
    return {"plain": route.plain, "in_query": route.in_query}


def _resource(
    topic: str, kind: EventKind, number: int, body: Mapping[str, Any], changed: datetime, place: tuple[datetime, int]
) -> PolledResource:
    return PolledResource(topic, kind, str(number), encode_body(body), changed, f"{place[0].isoformat()}|{place[1]}")


def _cursor(text: str | None) -> tuple[datetime, int] | None:
    """Read a cursor that this module made. Raises ShopApiError."""
    if text is None:
        return None
    at, _, number = text.partition("|")
    when = read_gmt(at)
    if when is None or not (number.isascii() and number.isdigit()):
        raise ShopApiError("The place to continue from is not a cursor of this platform.")
    return when, int(number)


def _changed_after(begin: datetime, until: datetime | None) -> dict[str, str]:
    query = {
        "modified_after": _gmt(begin),
        "dates_are_gmt": "true",
        "orderby": "modified",
        "order": "asc",
        "status": "any",
    }
    return query if until is None else {**query, "modified_before": _gmt(until + SECOND)}


def _changed(row: Mapping[str, Any]) -> datetime | None:
    return read_gmt(row.get("date_modified_gmt")) or read_gmt(row.get("date_created_gmt"))


def _places(page: Iterable[Mapping[str, Any]]) -> set[tuple[int, datetime | None]]:
    """Return what identifies a row in its place: an order that changed has moved."""
    return {(_number(row), _changed(row)) for row in page}


def _number(row: Mapping[str, Any]) -> int:
    number = row.get("id")
    if isinstance(number, bool) or not isinstance(number, int):
        raise ShopApiError("WooCommerce answered with a resource that has no id.")
    return number


def _gmt(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
