"""Shopify's Admin API: checks of the token and the webhooks, and what changed since a time (docs/platforms/shopify.md#admin-api).

The REST form is used because its customers, orders and refunds are the bodies of the webhooks, so that one mapping
reads both. Inferred, and watched while reading: `order=updated_at asc` sorts a list by change. Shopify asks for a pause
with 429 and Retry-After; waiting is the caller's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from plugin.errors import ShopApiError
from plugin.event_kinds import EventKind
from plugin.platforms.base import ShopCredentials
from plugin.platforms.fields import as_object, as_objects, read_instant
from plugin.platforms.http import ShopResponse
from plugin.platforms.shop_api import PolledResource, Subscription, encode_body
from plugin.platforms.shopify import admin
from plugin.platforms.shopify.app_toml import TOPIC_SCOPES, missing_scopes

PAGE = 250
#: Orders in these states were paid; later refunds do not change that.
PAID = frozenset({"paid", "partially_refunded", "refunded"})


class ShopifyApi:
    """Calls to one shop.

    topics: those to subscribe, without the compliance topics. api_version: such as 2026-07. by_shop: whether the plugin
    makes this shop's subscriptions; else the app's configuration does, which the Admin API does not show.
    """

    def __init__(
        self,
        shop: ShopCredentials,
        save: Callable[[Mapping[str, Any]], None],
        *,
        topics: Sequence[str],
        api_version: str,
        by_shop: bool,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._domain = str(shop.shop_domain)
        self._name = shop.name
        self._tokens = admin.Tokens(shop, save, clock)
        self._topics = topics
        self._root = f"/admin/api/{api_version}"
        self._by_shop = by_shop

    def check(self) -> str:
        """Prove the token and its scopes, and return the shop's name. Raises ShopApiError."""
        name = as_object(self._get(f"{self._root}/shop.json").get("shop")).get("name")
        missing = self._missing_scopes()
        if missing:
            raise ShopApiError(
                f"{self._domain} has not granted {', '.join(missing)}: open the installation address again and agree."
            )
        return str(name or self._domain)

    def subscriptions(self, address: str) -> tuple[Subscription, ...]:
        """Return each topic with what is wrong with it.

        Where the app's configuration subscribes (shopify.app.toml), Shopify keeps them up to date and shows them in no API:
        what can be wrong is a scope that was not granted, or a second subscription of this shop that doubles it.
        """
        missing = self._missing_scopes()
        known = self._known()
        found = []
        for topic in self._topics:
            scope = TOPIC_SCOPES.get(topic.partition("/")[0].partition("_")[0])
            problem = f"the scope {scope} is not granted" if scope in missing else ""
            problem = problem or self._problem([s for s in known if s.get("topic") == topic], address)
            found.append(Subscription(topic, address, active=not problem, problem=problem))
        return tuple(found)

    def repair(self, address: str) -> tuple[str, ...]:
        """Make, correct or (where the app's configuration subscribes) remove subscriptions; return a line each."""
        done = []
        known = self._known()
        for topic in self._topics:
            here = [s for s in known if s.get("topic") == topic]
            if not self._problem(here, address):
                continue
            if not self._by_shop:
                for subscription in here:
                    if subscription.get("address") == address:
                        self._call("DELETE", f"{self._root}/webhooks/{_id(subscription)}.json")
                        done.append(f"{topic}: removed a subscription that doubled the app's own")
                continue
            wanted = {"topic": topic, "address": address, "format": "json"}
            if here:
                self._call(
                    "PUT", f"{self._root}/webhooks/{_id(here[0])}.json", {"webhook": {"id": here[0]["id"], **wanted}}
                )
                done.append(f"{topic}: corrected the address")
            else:
                self._call("POST", f"{self._root}/webhooks.json", {"webhook": wanted})
                done.append(f"{topic}: subscribed")
        return tuple(done)

    def customers(
        self, since: datetime | None, until: datetime | None, cursor: str | None = None
    ) -> Iterator[PolledResource]:
        """Yield customers changed in [since, until), oldest change first."""
        for customer, changed_at in self._changed("customers", since, until, cursor):
            mark = f"{changed_at.isoformat()}|{_id(customer)}"
            if mark != cursor:
                yield _found("customers/update", EventKind.PROFILE_CHANGE, customer, changed_at, mark)

    def orders(
        self, since: datetime | None, until: datetime | None, cursor: str | None = None
    ) -> Iterator[PolledResource]:
        """Yield paid orders changed in [since, until), each followed by its refunds and its cancellation; no test orders."""
        for order, changed_at in self._changed("orders", since, until, cursor):
            if order.get("financial_status") not in PAID or order.get("test") is True:
                continue
            mark = f"{changed_at.isoformat()}|{_id(order)}"
            found = list(_of_order(order, changed_at, mark))
            marks = [resource.cursor for resource in found]
            yield from found[marks.index(cursor) + 1 :] if cursor in marks else found

    def _changed(
        self, what: str, since: datetime | None, until: datetime | None, cursor: str | None
    ) -> Iterator[tuple[dict[str, Any], datetime]]:
        """Yield what changed, oldest first. A cursor begins with the time of change that it continues from."""
        begin = since
        if cursor is not None:
            begin = read_instant(cursor.partition("|")[0])
            if begin is None:
                raise ShopApiError(f"The cursor {cursor[:60]!r} is not one of Shopify's.")
        query = {"limit": str(PAGE), "order": "updated_at asc"}
        if what == "orders":
            query["status"] = "any"
        if begin is not None:
            query["updated_at_min"] = begin.isoformat()
        if until is not None:
            query["updated_at_max"] = until.isoformat()
        last = None
        for resource in self._pages(f"{self._root}/{what}.json", what, query):
            changed_at = read_instant(resource.get("updated_at"))
            if changed_at is None:
                raise ShopApiError(f"{self._domain} returned an entry of its {what} without updated_at.")
            if last is not None and changed_at < last:
                raise ShopApiError(
                    f"{self._domain} did not sort its {what} by change, so reading could not be resumed safely."
                )
            last = changed_at
            if (begin is None or changed_at >= begin) and (until is None or changed_at < until):
                yield resource, changed_at

    def _pages(self, path: str, what: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        while True:
            answer = self._call("GET", path, query=query)
            yield from as_objects(as_object(answer.json()).get(what))
            following = _next_page(answer.headers.get("link", ""))
            if following is None:
                return
            query = {"limit": str(PAGE), "page_info": following}

    def _known(self) -> list[dict[str, Any]]:
        """Return this shop's own subscriptions; those of the app's configuration are not among them."""
        return as_objects(self._get(f"{self._root}/webhooks.json", {"limit": str(PAGE)}).get("webhooks"))

    def _problem(self, here: list[dict[str, Any]], address: str) -> str:
        ours = [s for s in here if s.get("address") == address]
        if not self._by_shop:
            return "is there twice: this shop has a subscription besides the app's own" if ours else ""
        if any(s.get("format") == "json" for s in ours):
            return ""
        if ours:
            return "is delivered as XML"
        return "goes to another address" if here else "is missing"

    def _missing_scopes(self) -> tuple[str, ...]:
        granted = self._get("/admin/oauth/access_scopes.json").get("access_scopes")
        return missing_scopes(
            sorted(set(TOPIC_SCOPES.values())), ",".join(str(scope.get("handle")) for scope in as_objects(granted))
        )

    def _get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        return as_object(self._call("GET", path, query=query).json())

    def _call(
        self, method: str, path: str, body: Any = None, *, query: Mapping[str, str] | None = None
    ) -> ShopResponse:
        """Send a call; a token that Shopify does not take is refreshed once. Raises ShopApiError."""
        answer = self._send(method, path, body, query)
        if answer.status == 401 and self._tokens.refreshable:
            self._tokens.refresh()
            answer = self._send(method, path, body, query)
        if answer.status in {200, 201}:
            return answer
        raise ShopApiError(f"{self._domain} answered {answer.status}: {self._todo(answer)}", status=answer.status)

    def _send(self, method: str, path: str, body: Any, query: Mapping[str, str] | None) -> ShopResponse:
        return admin.send(self._domain, method, path, token=self._tokens.current(), query=query, body=body)

    def _todo(self, answer: ShopResponse) -> str:
        if answer.status == 401:
            return f"the token is not valid any more. `engage-plugin shops install {self._name}` prints the address to open."
        if answer.status == 403:
            return "a scope or the approval for protected customer data is missing."
        if answer.status in {402, 423}:
            return "the shop is frozen or locked."
        return "see SHOPIFY_API_VERSION, and whether the shop's domain is right."


def _of_order(order: dict[str, Any], changed_at: datetime, mark: str) -> Iterator[PolledResource]:
    """Yield an order as orders/paid, then its refunds and its cancellation, each in the form of its webhook."""
    bought_at = order.get("processed_at") or order.get("created_at")
    # the body holds no time of payment; the webhook's time of triggering takes its place
    meta = {"triggered_at": bought_at} if isinstance(bought_at, str) else {}
    yield _found("orders/paid", EventKind.ORDER_PAID, order, changed_at, mark, meta)
    for refund in sorted(as_objects(order.get("refunds")), key=lambda r: str(r.get("created_at"))):
        whole = {"order_id": order.get("id"), **refund}
        yield _found("refunds/create", EventKind.REFUND, whole, changed_at, f"{mark}|refund {_id(refund)}")
    if order.get("cancelled_at"):
        yield _found("orders/cancelled", EventKind.CANCELLATION, order, changed_at, f"{mark}|cancelled")


def _found(
    topic: str,
    kind: EventKind,
    resource: dict[str, Any],
    changed_at: datetime,
    cursor: str,
    meta: Mapping[str, str] | None = None,
) -> PolledResource:
    return PolledResource(topic, kind, _id(resource), encode_body(resource), changed_at, cursor, meta or {})


def _next_page(link: str) -> str | None:
    """Return the page_info of the next page. Only that is taken from the header, never an address to send a token to."""
    for part in link.split(","):
        address, _, relation = part.partition(";")
        if 'rel="next"' in relation.replace(" ", "") or "rel=next" in relation.replace(" ", ""):
            values = parse_qs(urlsplit(address.strip().strip("<>")).query).get("page_info")
            return values[0] if values else None
    return None


def _id(found: Mapping[str, Any]) -> str:
    return str(found.get("id") or "")
