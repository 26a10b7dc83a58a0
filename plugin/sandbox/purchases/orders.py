"""Orders: stored, changeable, every write done by a job (facts 4.1).

The pages leave the fields of jobs, lines and totals open, so an order is kept as it came and its known fields checked.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from plugin.sandbox.contacts import book
from plugin.sandbox.purchases.receipt_rules import MATCH_KEY_TYPES
from plugin.sandbox.state import SandboxState, StoredOrder, new_id
from plugin.sandbox.wire import Answer, ApiError, Call, Operation, parse_time

_PATH = "/api/v3/orders"
_STATUSES = ("InProgress", "Completed", "Cancelled")
_OBJECTS = ("lineItems", "payments", "fees", "discounts", "delivery", "billingAddress")
_TEXTS = ("externalStoreId", "externalStatus", "channel")
_TIMES = ("createdAt", "lastChangedAt")
Write = Callable[[SandboxState, datetime], str | None]


def create_order(call: Call) -> Answer:
    """Register an order; one whose orderId is known is refused."""
    body = checked_order(call.body())
    if body["orderId"] in call.state.data.orders:
        raise ApiError(422, "OrderAlreadyExists", "An order has this orderId; replace it instead.", "orderId")
    return _do(call, body["orderId"], partial(_store, body), body.get("orderAction"))


def replace_order(call: Call) -> Answer:
    """Replace a whole order: what is not sent is gone."""
    body = checked_order(call.body())
    order = _order(call)
    if body["orderId"] != order.order_id:
        raise ApiError(400, "InvalidOrder", "orderId must be that of the path.", "orderId")
    return _do(call, order.order_id, partial(_store, body), body.get("orderAction"))


def delete_order(call: Call) -> Answer:
    """Delete an order."""
    order = _order(call)

    def delete(state: SandboxState, _now: datetime) -> None:
        state.data.orders.pop(order.order_id, None)

    return _do(call, order.order_id, delete, None)


def change_order_status(call: Call) -> Answer:
    """Change status, externalStatus or both."""
    order, body = _order(call), call.body()
    change: dict[str, Any] = {name: body[name] for name in ("status", "externalStatus") if name in body}
    if not change:
        raise ApiError(400, "InvalidOrder", "Give status, externalStatus or both.", "status")
    _check_known({**order.wire, **change, **_action_of(body)})
    return _do(call, order.order_id, partial(_merge, order.order_id, change), body.get("orderAction"))


def change_order_delivery(call: Call) -> Answer:
    """Change method, tracking or date of the delivery; what is not sent stays."""
    order, body = _order(call), call.body()
    if not isinstance(body.get("delivery"), dict):
        raise ApiError(400, "InvalidOrder", "delivery must be an object.", "delivery")
    delivery = {**order.wire.get("delivery", {}), **body["delivery"]}
    _check_known({**order.wire, "delivery": delivery, **_action_of(body)})
    return _do(call, order.order_id, partial(_merge, order.order_id, {"delivery": delivery}), body.get("orderAction"))


def _action_of(body: dict[str, Any]) -> dict[str, Any]:
    return {"orderAction": body["orderAction"]} if "orderAction" in body else {}


def _do(call: Call, order_id: str, write: Write, action: dict[str, Any] | None) -> Answer:
    """Hand a write to a job and answer with a link to it."""
    state = call.state
    job: dict[str, Any] = {"jobId": new_id(), "status": "InProgress", "orderId": order_id}
    state.data.jobs[job["jobId"]] = job

    def work(now: datetime) -> None:
        job.update({"status": "Completed", "versionTag": write(state, now)})
        if action is not None:
            _record_action(state, order_id, action, now)

    state.do_after(call.now, state.options.order_delay_s, work)
    href = f"{_PATH}/jobs/{job['jobId']}"
    data = {"jobId": job["jobId"], "links": [{"href": href, "method": "GET", "rel": "job"}]}
    return Answer(state.options.order_write_status, data, {"Location": href})


def _store(body: dict[str, Any], state: SandboxState, now: datetime) -> str:
    wire = {name: value for name, value in body.items() if name not in {"orderAction", "versionTag"}}
    tag = new_id()
    order = StoredOrder(body["orderId"], wire, tag, _contact_id(state, body["contact"]))
    state.data.orders[order.order_id] = order
    if order.contact_id is None:
        state.note(now, "order", order.order_id, "ignored", "ContactNotFound: the order has no contact")
    return tag


def _merge(order_id: str, change: dict[str, Any], state: SandboxState, _now: datetime) -> str | None:
    order = state.data.orders.get(order_id)
    if order is None:
        return None
    order.wire |= change
    order.version_tag = new_id()
    return order.version_tag


def _contact_id(state: SandboxState, contact: dict[str, Any]) -> str | None:
    kind = MATCH_KEY_TYPES[contact["matchKeyType"].lower()]
    if kind == "contactId":
        found = {contact["matchKey"].lower()} & state.data.contacts.keys()
    else:
        contact_type = contact.get("contactType") or state.options.default_contact_type
        found = book.matches(state, kind, contact["matchKey"], contact_type)
    return found.pop() if len(found) == 1 else None


def get_order(call: Call) -> Answer:
    """Get an order; with contactId it must be that contact's."""
    order = _order(call)
    if "contactId" in call.query and call.guid("contactId", "InvalidContactId") != order.contact_id:
        raise ApiError(404, "OrderNotFound", "This contact has no such order.", "contactId")
    return Answer(data=_wire(order))


def list_orders(call: Call) -> Answer:
    """List a contact's orders, ten a page, with links to the pages beside it."""
    contact_id = call.guid("contactId", "InvalidContactId")
    found = [_wire(order) for order in call.state.data.orders.values() if order.contact_id == contact_id]
    page = call.page(found, default_count=10)
    page["links"] = []
    for name, offset in (("previous", page["offset"] - page["count"]), ("next", page["offset"] + page["count"])):
        if 0 <= offset < len(found) or (name == "previous" and page["offset"] > 0):
            href = f"{_PATH}?contactId={contact_id}&offset={max(offset, 0)}&count={page['count']}"
            page["links"].append({"href": href, "method": "GET", "rel": name})
    return Answer(data=page)


def get_order_job(call: Call) -> Answer:
    """Return how far a write is; 302 to the order when it is done."""
    job = call.state.data.jobs.get(call.path["jobId"])
    if job is None:
        raise ApiError(404, "JobNotFound", "No job has this id.")
    if job["status"] == "InProgress":
        return Answer(data=job)
    return Answer(302, headers={"Location": f"{_PATH}/{quote(job['orderId'], safe='')}"})


def trigger_order_action(call: Call) -> Answer:
    """Send an order's mail; versionTag must be that of the last finished write."""
    order, body = _order(call), call.body()
    for name in ("action", "versionTag"):
        if not isinstance(body.get(name), str) or not body[name]:
            raise ApiError(400, "InvalidOrderAction", f"{name} is required.", name)
    _check_action(body)
    if body["versionTag"] != order.version_tag:
        raise ApiError(
            404, "VersionTagMismatch", "The order has changed since: read its versionTag again.", "versionTag"
        )
    if order.contact_id is None:
        raise ApiError(422, "OrderHasNoContact", "The order's contact is not known.")
    _record_action(call.state, order.order_id, body, call.now)
    return Answer(202)


def _record_action(state: SandboxState, order_id: str, action: dict[str, Any], now: datetime) -> None:
    entry = {"time": now, "orderId": order_id, "action": action["action"], "language": action.get("language")}
    state.data.order_actions.append(entry)


def _order(call: Call) -> StoredOrder:
    order = call.state.data.orders.get(call.path["orderId"])
    if order is None:
        raise ApiError(404, "OrderNotFound", "No order has this id.")
    return order


def _wire(order: StoredOrder) -> dict[str, Any]:
    return {**order.wire, "versionTag": order.version_tag}


def checked_order(body: dict[str, Any]) -> dict[str, Any]:
    """Check an order's known fields and return it. Raises Refusal 400 that names the field."""
    order_id, contact = body.get("orderId"), body.get("contact")
    if not isinstance(order_id, str) or not order_id.strip() or len(order_id) > 450:
        raise _bad("orderId", "must be a text of 1 to 450 characters")
    if not isinstance(contact, dict) or not isinstance(contact.get("matchKey"), str) or not contact["matchKey"]:
        raise _bad("contact", "must have matchKey and matchKeyType")
    if str(contact.get("matchKeyType")).lower() not in MATCH_KEY_TYPES:
        raise _bad("contact.matchKeyType", f"must be one of {', '.join(MATCH_KEY_TYPES.values())}")
    currency = body.get("currencyCode")
    if not isinstance(currency, str) or len(currency) != 3 or not currency.isalpha() or not currency.isupper():
        raise _bad("currencyCode", "must be an ISO 4217 code of three capitals")
    _check_known(body)
    return body


def _check_known(body: dict[str, Any]) -> None:
    if body.get("status") not in _STATUSES:
        raise _bad("status", f"must be one of {', '.join(_STATUSES)}")
    for name in _TEXTS:
        if name in body and not isinstance(body[name], str):
            raise _bad(name, "must be a text")
    for name in _OBJECTS:
        if name in body and not isinstance(body[name], dict):
            raise _bad(name, "must be an object")
    for name in _TIMES:
        if name in body and parse_time(body[name]) is None:
            raise _bad(name, "must be ISO 8601 with an offset")
    references = body.get("references", [])
    if not isinstance(references, list) or not all(isinstance(entry, str) for entry in references):
        raise _bad("references", "must be a list of texts")
    _check_parts(body)
    if "orderAction" in body:
        _check_action(body["orderAction"])


def _check_parts(body: dict[str, Any]) -> None:
    lines = body.get("lineItems", {})
    items = lines.get("items", [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _bad("lineItems.items", "must be a list of objects")
    if "subTotal" in lines and (isinstance(lines["subTotal"], (bool, str, dict, list)) or lines["subTotal"] is None):
        raise _bad("lineItems.subTotal", "must be a number")
    delivery, address = body.get("delivery", {}), body.get("billingAddress", {})
    for name in ("method", "trackingNumber", "trackingUri"):
        if not isinstance(delivery.get(name, ""), str):
            raise _bad(f"delivery.{name}", "must be a text")
    if "deliveryDate" in delivery and parse_time(delivery["deliveryDate"]) is None:
        raise _bad("delivery.deliveryDate", "must be ISO 8601 with an offset")
    for name in ("title", "firstname"):
        if not isinstance(address.get(name, ""), str):
            raise _bad(f"billingAddress.{name}", "must be a text")


def _check_action(action: Any) -> None:
    if not isinstance(action, dict) or not isinstance(action.get("action"), str) or not action["action"]:
        raise _bad("orderAction.action", "is required")
    if not isinstance(action.get("language", ""), str) or not isinstance(action.get("data", {}), dict):
        raise _bad("orderAction", "must have language as a text and data as an object")


def _bad(field: str, why: str) -> ApiError:
    return ApiError(400, "InvalidOrder", f"{field} {why}.", field)


OPERATIONS = (
    Operation("listOrders", "GET", _PATH, list_orders),
    Operation("createOrder", "POST", _PATH, create_order),
    Operation("getOrder", "GET", f"{_PATH}/{{orderId}}", get_order),
    Operation("replaceOrder", "PUT", f"{_PATH}/{{orderId}}", replace_order),
    Operation("deleteOrder", "DELETE", f"{_PATH}/{{orderId}}", delete_order),
    Operation("getOrderJob", "GET", f"{_PATH}/jobs/{{jobId}}", get_order_job),
    Operation("triggerOrderAction", "POST", f"{_PATH}/{{orderId}}/action", trigger_order_action),
    Operation("changeOrderStatus", "POST", f"{_PATH}/{{orderId}}/change-status", change_order_status),
    Operation("changeOrderDelivery", "POST", f"{_PATH}/{{orderId}}/change-delivery", change_order_delivery),
)
