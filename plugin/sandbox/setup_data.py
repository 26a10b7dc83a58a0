"""Stores and consent definitions (docs/engage.md#stores)."""

from plugin.sandbox.state import new_store
from plugin.sandbox.wire import Answer, ApiError, Call, Operation

_STORES = "/api/v3/stores"
_STORE_TEXTS = frozenset(
    {
        "name", "externalId", "city", "countryCode", "county", "email", "adjacentZipCodes", "emailUnsubscribeText",
        "emailViewOnlineText", "footerHtml", "headerHtml", "homepage", "phoneNumber", "region", "senderAddress",
        "senderName", "street", "zipCode", "timeZone", "locale", "type",
    }
)  # fmt: skip


def list_stores(call: Call) -> Answer:
    """List all stores, inactive ones where includeInactive is true."""
    stores = call.state.data.stores.values()
    return Answer(data=[store for store in stores if store["active"] or _include_inactive(call)])


def get_store(call: Call) -> Answer:
    """Get a store by its externalId."""
    store = call.state.data.stores.get(call.path["externalId"])
    if store is None or not (store["active"] or _include_inactive(call)):
        raise ApiError(404, "StoreNotFound", "No store has this externalId.")
    return Answer(data=store)


def create_store(call: Call) -> Answer:
    """Create a store; name and externalId are required."""
    body = call.body()
    for name in ("name", "externalId"):
        if not isinstance(body.get(name), str) or not body[name].strip():
            raise ApiError(400, f"Missing{name[:1].upper()}{name[1:]}", f"{name} is required.", name)
    for name in _STORE_TEXTS & body.keys():
        if not isinstance(body[name], (str, type(None))) or len(body[name] or "") > 4_000:
            raise ApiError(400, "InvalidStore", f"{name} must be a text.", name)
    if not isinstance(body.get("active", True), bool):
        raise ApiError(400, "InvalidStore", "active must be true or false.", "active")
    if body["externalId"] in call.state.data.stores:
        raise ApiError(400, "StoreAlreadyExists", "A store has this externalId.", "externalId")
    store = new_store(body["externalId"], body["name"])
    store |= {name: body[name] for name in (_STORE_TEXTS | {"active"}) & body.keys()}
    call.state.data.stores[body["externalId"]] = store
    return Answer(data=store)


def list_consents(call: Call) -> Answer:
    """List the consent definitions."""
    return Answer(data=list(call.state.data.consent_definitions.values()))


def _include_inactive(call: Call) -> bool:
    return call.query.get("includeInactive", "").lower() == "true"


OPERATIONS = (
    Operation("listStores", "GET", _STORES, list_stores),
    Operation("createStore", "POST", _STORES, create_store),
    Operation("getStore", "GET", f"{_STORES}/{{externalId}}", get_store),
    Operation("listConsents", "GET", "/api/v3/consents", list_consents),
)
