"""The sandbox's own paths: what tests and people read and change. They need no key."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, request

from plugin.sandbox.contacts import book
from plugin.sandbox.faults import FaultError
from plugin.sandbox.loyalty.templates import as_wire
from plugin.sandbox.options import OptionError, changed_options, options_json
from plugin.sandbox.purchases.file_import import import_file
from plugin.sandbox.seed import seed
from plugin.sandbox.state import SandboxState, StoredReceipt
from plugin.sandbox.web.page import render_page
from plugin.sandbox.wire import JSON, ApiError, guid, parse_json, to_json


def add_views(app: Flask, state: SandboxState, operation_ids: frozenset[str]) -> None:
    """Add the page at `/` and everything under `/sandbox/` to the application."""

    def answer(work: Callable[[], Any]) -> Response:
        with state.lock:
            state.settle(state.clock())
            try:
                return Response(to_json(work()), content_type=JSON)
            except (ApiError, FaultError, OptionError) as error:
                refusal = error if isinstance(error, ApiError) else ApiError(400, "BadRequest", str(error))
                body = {"errorCode": refusal.code, "message": refusal.message}
                return Response(to_json(body), refusal.status, content_type=JSON)

    def route(rule: str, method: str, work: Callable[..., Any]) -> None:
        app.add_url_rule(
            rule, endpoint=f"{method} {rule}", view_func=lambda **path: answer(lambda: work(**path)), methods=[method]
        )

    def page() -> Response:
        with state.lock:
            state.settle(state.clock())
            body = render_page(state, request.host_url)
        headers = {
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
            "Cache-Control": "no-store",
        }
        return Response(body, headers=headers, content_type="text/html; charset=utf-8")

    app.add_url_rule("/", view_func=page)
    route("/sandbox/contacts", "GET", lambda: [book.wire(c) for c in state.data.contacts.values()])
    route("/sandbox/receipts", "GET", lambda: [receipt_view(receipt) for receipt in state.data.receipts.values()])
    route("/sandbox/redemptions", "GET", lambda: state.data.redemptions)
    route("/sandbox/stores", "GET", lambda: list(state.data.stores.values()))
    route("/sandbox/integration-log", "GET", lambda: list(state.data.integration_log))
    route("/sandbox/calls", "GET", lambda: _calls(state))
    route("/sandbox/counts", "GET", lambda: _counts(state))
    route("/sandbox/summary", "GET", lambda: _summary(state))
    route("/sandbox/faults", "GET", state.faults.as_json)
    route("/sandbox/faults", "POST", lambda: _change_faults(state, operation_ids))
    route("/sandbox/faults", "DELETE", lambda: _clear_faults(state))
    route("/sandbox/options", "GET", lambda: options_json(state.options))
    route("/sandbox/options", "POST", lambda: _change_options(state))
    route("/sandbox/reset", "POST", lambda: _reset(state))
    route("/sandbox/seed", "POST", lambda: seed(state, _body(), state.clock()))
    route("/sandbox/import/<kind>", "POST", lambda kind: import_file(state, kind, request.get_data(), state.clock()))
    route("/sandbox/promotions/<promotion_id>/activate", "POST", lambda promotion_id: _activate(state, promotion_id))


def receipt_view(receipt: StoredReceipt) -> dict[str, Any]:
    """Return a receipt as it was received, with its state: queued, imported or failed."""
    return {
        **parse_json(receipt.body),
        "times_received": receipt.times_received,
        "state": receipt.state,
        "reason": receipt.reason,
        "contactId": receipt.contact_id,
        "receivedOn": receipt.received_on,
    }


def _body() -> dict[str, Any]:
    data = parse_json(request.get_data())
    if not isinstance(data, dict):
        raise ApiError(400, "InvalidRequestBody", "The body must be a JSON object.")
    return data


def _calls(state: SandboxState) -> list[dict[str, Any]]:
    since = request.args.get("since", "0")
    if not since.isascii() or not since.isdigit() or len(since) > 18:
        raise ApiError(400, "InvalidSince", "since must be the sequence number of a call.")
    with_bodies = request.args.get("bodies") == "1"
    calls = []
    for call in state.calls:
        if call["sequence"] > int(since):
            shown = dict(call)
            bodies = {name: shown.pop(name) for name in ("requestBody", "answerBody")}
            if with_bodies:
                shown |= {name: body.decode(errors="replace") if body else None for name, body in bodies.items()}
            calls.append(shown)
    return calls


def _counts(state: SandboxState) -> dict[str, dict[str, int]]:
    """Return how often each operation was answered with each status, since the start or the last reset."""
    counts: dict[str, dict[str, int]] = {}
    for (operation_id, status), number in sorted(state.call_counts.items()):
        counts.setdefault(operation_id, {})[status] = number
    return counts


def _summary(state: SandboxState) -> dict[str, Any]:
    """Return the number of items of each kind: a cheap call, for waiting until everything has arrived."""
    data = state.data
    receipts = data.receipts.values()
    return {
        "contacts": len(data.contacts),
        "receipts": Counter(receipt.state for receipt in receipts),
        "receiptsReceived": sum(receipt.times_received for receipt in receipts),
        "redemptions": Counter(redemption["outcome"] for redemption in data.redemptions),
        "stores": len(data.stores),
        "calls": state.last_sequence,
    }


def _change_faults(state: SandboxState, operation_ids: frozenset[str]) -> dict[str, Any]:
    changes = {name: float(v) if hasattr(v, "as_tuple") else v for name, v in _body().items()}
    state.faults.update(changes, operation_ids)
    return state.faults.as_json()


def _clear_faults(state: SandboxState) -> dict[str, Any]:
    state.faults.clear()
    return state.faults.as_json()


def _change_options(state: SandboxState) -> dict[str, Any]:
    changes = {name: float(v) if hasattr(v, "as_tuple") else v for name, v in _body().items()}
    state.options = changed_options(state.options, changes)
    return options_json(state.options)


def _reset(state: SandboxState) -> dict[str, Any]:
    state.reset()
    return {"reset": True}


def _activate(state: SandboxState, promotion_id: str) -> dict[str, Any]:
    """Activate a draft, as an operator does in Engage."""
    promotion = state.data.promotions.get(guid(promotion_id, "promotionId", "InvalidPromotionId"))
    if promotion is None:
        raise ApiError(404, "PromotionNotFound", "No promotion has this id.")
    promotion.status = "Active"
    return as_wire(promotion, state.clock())
