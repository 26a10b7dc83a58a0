"""From a request to an operation and back: fault, guards, work, log.

The guards are Engage's (docs/engage.md#addresses-and-headers): key, System/Version as user agent, Content-Type on every request, 200
requests a second for each key.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NoReturn

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from plugin.sandbox.faults import NO_STRIKE, Strike
from plugin.sandbox.state import SandboxState
from plugin.sandbox.wire import JSON, ApiError, Call, Operation, answer_body, error_body

_AGENT = re.compile(r"[^\s/]+/[^\s/]+(?:\s.*)?")
_FAULT_CODES = {429: "TooManyRequests", 503: "ServiceUnavailable", 504: "GatewayTimeout"}
#: A sleep that a test may replace.
Sleep = Callable[[float], object]


class DroppedConnectionError(ConnectionError):
    """The connection is to be closed without an answer, because of a fault or after a reset; the server closes it."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    status: int
    body: bytes
    content_type: str
    headers: dict[str, str]


def add_operations(app: Flask, state: SandboxState, operations: tuple[Operation, ...], sleep: Sleep) -> None:
    """Give the application a route for every operation, and Engage's own error bodies for unknown paths."""
    for operation in operations:
        app.add_url_rule(
            operation.path.replace("{", "<").replace("}", ">"),
            endpoint=operation.operation_id,
            view_func=_view(state, operation, sleep),
            methods=[operation.method],
            provide_automatic_options=False,
        )

    def no_such_path(error: HTTPException) -> Response:
        status = HTTPStatus(error.code or 404)
        refusal = ApiError(status, status.phrase.replace(" ", ""), "The sandbox has no such operation.")
        body, content_type = error_body(refusal, state.options.error_shape)
        allowed = {name: value for name, value in error.get_headers() if name == "Allow"}
        outcome = _Outcome(status, body, content_type, allowed)
        if request.path.startswith("/api/"):
            with state.lock:
                _log(state, None, NO_STRIKE, outcome, 0.0, request.get_data())
        return _response(outcome)

    for code in (404, 405):
        app.register_error_handler(code, no_such_path)


def _view(state: SandboxState, operation: Operation, sleep: Sleep) -> Callable[..., Response]:
    def view(**path: str) -> Response:
        started = time.perf_counter()
        raw = request.get_data()
        with state.lock:
            strike, tenant = state.faults.strike(operation.operation_id), state.data
        if strike.delay_s:
            sleep(strike.delay_s)
        with state.lock:
            if state.data is not tenant:
                raise DroppedConnectionError(f"{operation.operation_id}: the sandbox was reset while the call waited")
            outcome = _outcome(state, operation, path, raw, strike)
            dropped = strike.drop or (strike.after == "drop" and outcome.status < 400)
            logged = None if dropped else outcome
            _log(state, operation, strike, logged, time.perf_counter() - started, raw)
        if dropped:
            raise DroppedConnectionError(f"{operation.operation_id}: closed without an answer, as the fault wants")
        return _response(outcome)

    return view


def _response(outcome: _Outcome) -> Response:
    response = Response(outcome.body, outcome.status, outcome.headers, content_type=outcome.content_type)
    if not outcome.body:
        del response.headers["Content-Type"]
    return response


def _outcome(state: SandboxState, operation: Operation, path: dict[str, str], raw: bytes, strike: Strike) -> _Outcome:
    """Return the answer. The caller holds the lock."""
    options = state.options
    headers: dict[str, str] = {}
    try:
        if strike.status is not None:
            _strike_down(strike, headers)
        if strike.drop:
            return _Outcome(503, b"", JSON, headers)
        now = state.clock()
        _guard(state, headers, now.timestamp())
        state.settle(now)
        query = {name: values[0] for name, values in request.args.lists()}
        answer = operation.handler(Call(state, now, path, query, raw))
        if strike.after == "504":
            _give_up(operation)
        return _Outcome(answer.status, answer_body(answer, options), JSON, dict(answer.headers))
    except ApiError as refusal:
        body, content_type = error_body(refusal, options.error_shape)
        return _Outcome(refusal.status, body, content_type, headers)


def _strike_down(strike: Strike, headers: dict[str, str]) -> NoReturn:
    status = int(strike.status or 500)
    if strike.retry_after_s is not None:
        headers["Retry-After"] = str(strike.retry_after_s)
    code = _FAULT_CODES.get(status) or HTTPStatus(status).phrase.replace(" ", "")
    raise ApiError(status, code, "A fault of the sandbox.")


def _give_up(operation: Operation) -> NoReturn:
    code = "RequestTimeOut" if operation.operation_id == "createContact" else "GatewayTimeout"
    raise ApiError(504, code, "Gave up waiting.")


def _guard(state: SandboxState, headers: dict[str, str], now: float) -> None:
    """Refuse what Engage refuses before it does the operation. Raises ApiError."""
    options, given = state.options, request.headers
    key = given.get("apikey", "").strip()
    accepted = options.accepted_keys
    if not key or key in options.refused_keys or (accepted and key not in accepted):
        raise ApiError(401, "Unauthorized", "The header apikey is missing or the key is not accepted.")
    if options.rate_limit_per_s is not None and not _within_limit(state, key, options.rate_limit_per_s, now):
        if options.retry_after_on_429:
            headers["Retry-After"] = "1"
        raise ApiError(
            429, "TooManyRequests", f"More than {options.rate_limit_per_s} requests in a second with this key."
        )
    if not _AGENT.fullmatch(given.get("User-Agent", "").strip()):
        raise ApiError(400, "InvalidUserAgent", "User-Agent must be of the form System/Version.", "User-Agent")
    if given.get("Content-Type", "").partition(";")[0].strip().lower() != JSON:
        raise ApiError(500, "Error", "An error has occurred.")


def _within_limit(state: SandboxState, key: str, limit: int, now: float) -> bool:
    """Count a request of a key in the second that began with the key's first one."""
    began, used = state.windows.get(key, (now, 0))
    if not 0 <= now - began < 1:
        began, used = now, 0
    state.windows[key] = (began, used + 1)
    return used < limit


def _log(
    state: SandboxState,
    operation: Operation | None,
    strike: Strike,
    outcome: _Outcome | None,
    duration_s: float,
    raw: bytes,
) -> None:
    """Log the call, without query values; status is None if the connection was dropped."""
    operation_id = operation.operation_id if operation else None
    state.last_sequence += 1
    state.call_counts[operation_id or "unknown", str(outcome.status) if outcome else "dropped"] += 1
    entry: dict[str, Any] = {
        "sequence": state.last_sequence,
        "time": state.clock(),
        "method": request.method,
        "path": request.path,
        "query": list(request.args),
        "operationId": operation_id,
        "status": outcome.status if outcome else None,
        "durationS": round(duration_s, 6),
        "key": request.headers.get("apikey", "")[-4:],
        "fault": strike.name,
        "requestBody": raw,
        "answerBody": outcome.body if outcome else None,
    }
    state.calls.append(entry)
