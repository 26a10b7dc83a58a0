"""`shopify.app.toml`, rendered from `manifest.json`: what the app asks for and where Shopify sends what.

The keys are described in docs/platforms/shopify.md#installation. Addresses are absolute, because relative ones would be joined to the
application's address, which is the installation page.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from plugin.event_kinds import EventKind

START = "/install/shopify"
CALLBACK = "/install/shopify/callback"
WEBHOOKS = "/webhooks/shopify"
PROXY = "/mypages/proxy/shopify"
#: The address of My Pages in the shop: https://SHOP/apps/my-pages/. The merchant can change both in Shopify.
PROXY_PREFIX, PROXY_SUBPATH = "apps", "my-pages"

#: The permissions of manifest.json in Shopify's words.
SCOPES: Mapping[str, str] = {"MANAGE_USERS": "read_customers", "MANAGE_ORDERS": "read_orders"}
PROXY_SCOPE = "write_app_proxy"
#: Topics that exist in the app's configuration alone; the Admin API does not accept them (docs/platforms/shopify.md#compliance-topics).
COMPLIANCE = ("customers/data_request", "customers/redact", "shop/redact")
#: What must be granted before Shopify delivers a topic, by what the topic begins with (inferred for merges).
TOPIC_SCOPES: Mapping[str, str] = {"customers": "read_customers", "orders": "read_orders", "refunds": "read_orders"}

#: The events of manifest.json by the kind of a topic: a topic is subscribed when the manifest lists its event.
KIND_EVENTS: Mapping[EventKind, tuple[str, ...]] = {
    EventKind.SIGNUP: ("CustomerCreated",),
    EventKind.PROFILE_CHANGE: ("CustomerUpdated",),
    EventKind.CONSENT: ("ConsentChanged",),
    EventKind.MERGE: ("CustomerMerged",),
    EventKind.ORDER_PAID: ("OrderPaid",),
    EventKind.REFUND: ("OrderRefunded",),
    EventKind.CANCELLATION: ("OrderCancelled",),
    EventKind.ERASURE: ("CustomerDeleted", "CustomerErased"),
    EventKind.DATA_REQUEST: ("DataRequested",),
    EventKind.SHOP: ("ShopUninstalled",),
}


def needed_scopes(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the scopes that the manifest's permissions and pages need, sorted."""
    scopes = {SCOPES[permission] for permission in manifest.get("permissions", ()) if permission in SCOPES}
    if manifest.get("pages"):
        scopes.add(PROXY_SCOPE)
    return tuple(sorted(scopes))


def missing_scopes(needed: Iterable[str], granted: str) -> tuple[str, ...]:
    """Return the needed scopes that were not granted. A granted write_X holds read_X."""
    have = {scope.strip() for scope in granted.replace(" ", ",").split(",") if scope.strip()}
    have |= {scope.replace("write_", "read_", 1) for scope in have if scope.startswith("write_")}
    return tuple(scope for scope in needed if scope not in have)


def subscribed_topics(topics: Mapping[str, EventKind], manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the topics whose events the manifest lists, without the compliance topics."""
    listed = {entry.get("event") for entry in manifest.get("events", ())}
    return tuple(
        topic for topic, kind in topics.items() if topic not in COMPLIANCE and listed & set(KIND_EVENTS.get(kind, ()))
    )


def render(
    manifest: Mapping[str, Any],
    topics: Mapping[str, EventKind],
    *,
    public_url: str,
    client_id: str,
    api_version: str,
    shop_webhooks: bool = False,
) -> str:
    """Return the file. shop_webhooks: the plugin makes each shop's subscriptions itself, so only the compliance topics are here."""
    lines = [
        f"# {manifest['name']} {manifest['version']}, rendered from manifest.json: do not edit, fetch it again.",
        f"client_id = {_text(client_id)}",
        f"name = {_text(str(manifest['name']))}",
        f"handle = {_text(str(manifest['id']))}",
        f"application_url = {_text(public_url + START)}",
        "embedded = false",
        "",
        "[access_scopes]",
        f"scopes = {_text(','.join(needed_scopes(manifest)))}",
        "# the plugin asks for the scopes itself, by the authorization code grant (inferred: needed for that grant)",
        "use_legacy_install_flow = true",
        "",
        "[auth]",
        f"redirect_urls = [ {_text(public_url + CALLBACK)} ]",
        "",
        "[webhooks]",
        f"api_version = {_text(api_version)}",
    ]
    subscribed = () if shop_webhooks else subscribed_topics(topics, manifest)
    if subscribed:
        lines += [
            "",
            "[[webhooks.subscriptions]]",
            *_list("topics", subscribed),
            f"uri = {_text(public_url + WEBHOOKS)}",
        ]
    compliance = [topic for topic in COMPLIANCE if topic in topics]
    lines += ["", "[[webhooks.subscriptions]]", *_list("compliance_topics", compliance)]
    lines.append(f"uri = {_text(public_url + WEBHOOKS)}")
    if manifest.get("pages"):
        lines += [
            "",
            "[app_proxy]",
            f"url = {_text(public_url + PROXY)}",
            f"prefix = {_text(PROXY_PREFIX)}",
            f"subpath = {_text(PROXY_SUBPATH)}",
        ]
    return "\n".join([*lines, ""])


def _list(name: str, values: Sequence[str]) -> list[str]:
    return [f"{name} = [", *(f"  {_text(value)}," for value in values), "]"]


def _text(value: str) -> str:
    """Return a TOML basic string; JSON's escapes are a part of TOML's."""
    return json.dumps(value, ensure_ascii=False)
