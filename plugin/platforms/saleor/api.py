"""Calls to a Saleor shop, with the app's token: GraphQL alone (docs/platforms/saleor.md#api)."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import simplejson

from plugin.errors import PayloadError, ShopApiError
from plugin.event_kinds import EventKind
from plugin.platforms.base import ShopCredentials
from plugin.platforms.fields import load, read_instant
from plugin.platforms.saleor import queries, schemas
from plugin.platforms.saleor.addresses import api_url_of, http_for
from plugin.platforms.saleor.manifest import ADDRESS
from plugin.platforms.saleor.orders import CANCELED, UNSETTLED, was_paid
from plugin.platforms.saleor.refunds import newest_refund_id
from plugin.platforms.shop_api import PolledResource, Subscription

CUSTOMERS_A_PAGE = 50
ORDERS_A_PAGE = 20
MAX_MESSAGE = 200
AGAIN = "install the app again from the manifest"


def call(
    shop: ShopCredentials, api_url: str, token: str, query: str, variables: Mapping[str, Any] | None = None
) -> Any:
    """Send a query and return its data.

    Raises ShopUnavailableError, ShopApiError: also for an answer with errors, because a partial answer looks like a complete one.
    """
    answer = http_for(shop, api_url).send(
        "POST",
        api_url,
        headers={"Authorization": f"Bearer {token}"},
        body={"query": query, "variables": dict(variables or {})},
    )
    if answer.status in {401, 403}:
        raise ShopApiError(f"The shop does not know the app's token any more: {AGAIN}.", status=answer.status)
    found = answer.json() if answer.status in {200, 400} else None
    if not isinstance(found, dict):
        raise ShopApiError(f"The shop's API answered {answer.status} without a result.", status=answer.status)
    errors = found.get("errors")
    if errors or not isinstance(found.get("data"), dict):
        raise ShopApiError(f"The shop's API refused a query: {_reasons(errors)}", status=answer.status)
    return found["data"]


class SaleorApi:
    """`plugin.platforms.shop_api.ShopApi` for one installed shop."""

    def __init__(self, shop: ShopCredentials) -> None:
        self._shop = shop

    def check(self) -> str:
        """Prove the token and the app's permissions with a call and return the shop's own name."""
        found = self._call(queries.CHECK)
        app = found.get("app")
        if not isinstance(app, dict):
            raise ShopApiError(f"The shop does not know the app's token any more: {AGAIN}.")
        granted = {p.get("code") for p in app.get("permissions") or () if isinstance(p, dict)}
        missing = [name for name in queries.PERMISSIONS if name not in granted]
        if missing:
            raise ShopApiError(f"The app lacks the permission {' and '.join(missing)}: grant it in the Dashboard.")
        if app.get("isActive") is False:
            raise ShopApiError("The app is switched off in the Dashboard, so no webhook is sent: activate it there.")
        return str((found.get("shop") or {}).get("name") or self._shop.shop_domain or self._shop.name)

    def subscriptions(self, address: str) -> tuple[Subscription, ...]:
        """Return each needed topic with what is wrong with its webhook: missing, off, elsewhere, or an old query."""
        ours = self._webhooks()
        return tuple(
            _subscription(topic, query, _found(ours, name, address), address)
            for name, (topics, query) in queries.WEBHOOKS.items()
            for topic in topics
        )

    def repair(self, address: str) -> tuple[str, ...]:
        """Make or correct the webhooks that are wrong; return what was done, a line each."""
        ours = self._webhooks()
        done = []
        for name, (topics, query) in queries.WEBHOOKS.items():
            found = _found(ours, name, address)
            problems = [_subscription(topic, query, found, address).problem for topic in topics]
            if not any(problems):
                continue
            target = found["targetUrl"] if found and _is_right(found["targetUrl"], address) else _app_wide(address)
            wanted = {
                "name": name,
                "targetUrl": target,
                "query": query,
                "asyncEvents": [topic.upper() for topic in topics],
                "isActive": True,
            }
            if found is None:
                self._change(queries.CREATE_WEBHOOK, "webhookCreate", {"input": wanted})
                done.append(f"{name}: made")
            else:
                self._change(queries.UPDATE_WEBHOOK, "webhookUpdate", {"id": found["id"], "input": wanted})
                done.append(f"{name}: corrected ({'; '.join(dict.fromkeys(filter(None, problems)))})")
        return tuple(done)

    def customers(
        self, since: datetime | None, until: datetime | None, cursor: str | None = None
    ) -> Iterator[PolledResource]:
        """Yield customers changed in [since, until), oldest change first, in the form of customer_updated."""
        for node, changed_at, at in self._pages(queries.CUSTOMERS, "customers", CUSTOMERS_A_PAGE, since, until, cursor):
            body = {"__typename": "CustomerUpdated", "user": node}
            yield PolledResource(
                "customer_updated", EventKind.PROFILE_CHANGE, str(node["id"]), _bytes(body), changed_at, at
            )

    def orders(
        self, since: datetime | None, until: datetime | None, cursor: str | None = None
    ) -> Iterator[PolledResource]:
        """Yield orders paid in full and changed in [since, until), oldest change first, each followed by its refunds and cancellation.

        One order_refunded names every refund of its order; its resource_id is the newest refund's. An order that cannot
        be read is yielded as it is, so that it is parked where an operator sees it.
        """
        before = cursor or ""
        for node, changed_at, at in self._pages(queries.ORDERS, "orders", ORDERS_A_PAGE, since, until, cursor):
            order_id = str(node["id"])
            try:
                order = load(schemas.OrderSchema(), node)
                wanted = order.get("status") not in UNSETTLED and was_paid(order)
                refund_id = newest_refund_id(order) if wanted else None
                canceled = order.get("status") == CANCELED
            except PayloadError:
                wanted, refund_id, canceled = True, None, False
            if not wanted:
                continue
            parts = [("order_fully_paid", "OrderFullyPaid", EventKind.ORDER_PAID, order_id)]
            if refund_id is not None:
                parts.append(("order_refunded", "OrderRefunded", EventKind.REFUND, refund_id))
            if canceled:
                parts.append(("order_cancelled", "OrderCancelled", EventKind.CANCELLATION, order_id))
            # a reading that stops between an order and its refunds reads the order again, and those with it
            for left, (topic, typename, kind, name) in zip(reversed(range(len(parts))), parts, strict=True):
                body = _bytes({"__typename": typename, "order": node})
                yield PolledResource(topic, kind, name, body, changed_at, before if left else at)
            before = at

    def _call(self, query: str, variables: Mapping[str, Any] | None = None) -> Any:
        api_url = api_url_of(self._shop)
        assert api_url is not None  # there is a token, so the installation stored its address
        return call(self._shop, api_url, str(self._shop.credentials["token"]), query, variables)

    def _webhooks(self) -> list[dict[str, Any]]:
        app = self._call(queries.SUBSCRIPTIONS).get("app")
        if not isinstance(app, dict):
            raise ShopApiError(f"The shop does not know the app's token any more: {AGAIN}.")
        return [webhook for webhook in app.get("webhooks") or () if isinstance(webhook, dict)]

    def _change(self, mutation: str, name: str, variables: Mapping[str, Any]) -> None:
        answer = self._call(mutation, variables).get(name) or {}
        if answer.get("errors"):
            raise ShopApiError(f"The shop refused {name}: {_reasons(answer['errors'])}")

    def _pages(
        self, query: str, name: str, size: int, since: datetime | None, until: datetime | None, cursor: str | None
    ) -> Iterator[tuple[dict[str, Any], datetime, str]]:
        """Yield each node with the time of its change and its cursor, page by page."""
        changed = {"gte": _iso(since), "lte": _iso(until)}
        bounds = {key: value for key, value in changed.items() if value}
        after = cursor or None
        while True:
            variables: dict[str, Any] = {"first": size, "after": after}
            if bounds:
                variables["where"] = {"updatedAt": bounds}
            page = self._call(query, variables).get(name)
            edges = page.get("edges") if isinstance(page, dict) else None
            if not isinstance(page, dict) or not isinstance(edges, list):
                raise ShopApiError(f"The shop's API returned no {name}: does the app have its permissions?")
            for edge in edges:
                node = edge["node"]
                changed_at = read_instant(node.get("updatedAt"))
                if changed_at is None:
                    raise ShopApiError(f"An entry of the shop's {name} has no time of change.")
                if until is None or changed_at < until:  # Saleor's upper bound is inclusive
                    yield node, changed_at, edge["cursor"]
            if not edges or not (page.get("pageInfo") or {}).get("hasNextPage"):
                return
            after = edges[-1]["cursor"]


def _found(webhooks: list[dict[str, Any]], name: str, address: str) -> dict[str, Any] | None:
    """Return our webhook of a name: the right address takes precedence, then an active webhook."""
    named = [webhook for webhook in webhooks if webhook.get("name") == name]
    return max(
        named,
        key=lambda webhook: (_is_right(webhook.get("targetUrl"), address), bool(webhook.get("isActive"))),
        default=None,
    )


def _subscription(topic: str, query: str, webhook: dict[str, Any] | None, address: str) -> Subscription:
    if webhook is None:
        return Subscription(topic, "", False, "there is no webhook for it")
    target, active = str(webhook.get("targetUrl") or ""), bool(webhook.get("isActive"))
    subscribed = {str(event.get("eventType")).lower() for event in webhook.get("asyncEvents") or ()}
    if topic not in subscribed:
        return Subscription(topic, target, False, "its webhook does not subscribe to it")
    if not _is_right(target, address):
        return Subscription(topic, target, active, f"it goes to another address than {_app_wide(address)}")
    if not active:
        return Subscription(topic, target, active, "it is switched off")
    if _squeezed(webhook.get("subscriptionQuery")) != _squeezed(query):
        return Subscription(topic, target, active, "its query is from another version of the plugin")
    return Subscription(topic, target, active)


def _is_right(target: Any, address: str) -> bool:
    return isinstance(target, str) and target.rstrip("/") in {address.rstrip("/"), _app_wide(address)}


def _app_wide(address: str) -> str:
    """Return the address that serves all shops, which the manifest names: that of one shop without its name."""
    before, found, _ = address.rpartition(f"{ADDRESS}/")
    return before + ADDRESS if found else address.rstrip("/")


def _squeezed(query: Any) -> str:
    return " ".join(query.split()) if isinstance(query, str) else ""


def _reasons(errors: Any) -> str:
    """Return the reasons in a list of GraphQL errors, short: codes and fields before sentences."""
    reasons = []
    for error in errors if isinstance(errors, list) else ():
        if isinstance(error, dict):
            code = error.get("code") or ((error.get("extensions") or {}).get("exception") or {}).get("code")
            reasons.append(": ".join(str(part) for part in (code, error.get("field"), error.get("message")) if part))
    return "; ".join(dict.fromkeys(reasons))[:MAX_MESSAGE] or "it gave no reason."


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _bytes(body: Mapping[str, Any]) -> bytes:
    """Return a body as JSON with money as it was read, to the last digit."""
    text: str = simplejson.dumps(body, use_decimal=True)
    return text.encode("ascii")
