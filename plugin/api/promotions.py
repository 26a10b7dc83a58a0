"""/api/promotions for a shop's own servers: create a draft, list, show, assign. Authenticated by an API token of the shop."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from flask import Blueprint, Response, jsonify, request

from plugin.api.checkout import add_error_answers
from plugin.api.request_parsing import RequestError, currency, json_object, objects, only, text
from plugin.auth.api_auth import ApiAuthenticator
from plugin.engage.data.models import Money, Promotion, PromotionWrite
from plugin.errors import (
    ConflictError,
    EngageError,
    NotFoundHereError,
    TransientError,
)
from plugin.promotions.bulk_assignment import BulkAssigner
from plugin.promotions.recipients import KINDS, Recipient, recipient
from plugin.promotions.serializers import listed_promotion_json, promotion_json, report_json
from plugin.promotions.service import ACTIVATE, CODE, MONEY, PERCENT, PromotionService, parse_amount, parse_day
from plugin.store.shops.shops import RegisteredShop

#: Recipients that a request may name: it is processed before it is answered. Longer lists are for the command.
MAX_RECIPIENTS = 200


def blueprint(service: PromotionService, assigner: BulkAssigner, authenticator: ApiAuthenticator) -> Blueprint:
    """Return the merchant's blueprint."""
    routes = Blueprint("promotions_api", __name__, url_prefix="/api/promotions")

    def shop() -> RegisteredShop:
        return authenticator.merchant(request.headers.get("Authorization", ""))

    @routes.post("")
    def create() -> tuple[Response, int]:
        of = shop()
        made = service.create(of, read_promotion(json_object(request.get_data()), service.clock().date()))
        return jsonify({**promotion_json(made), "next": ACTIVATE}), 201

    @routes.get("")
    def list_promotions() -> Response:
        return jsonify({"promotions": [listed_promotion_json(entry) for entry in service.list_all(shop())]})

    @routes.get("/<path:name>")
    def show(name: str) -> Response:
        return jsonify(promotion_json(service.find(shop(), name)))

    @routes.post("/<path:name>/assignments")
    def assign(name: str) -> tuple[Response, int]:
        of = shop()
        body = json_object(request.get_data())
        only(body, *KINDS, "people", "again")
        recipients = _recipients(body)
        again = body.get("again", False)
        if not isinstance(again, bool):
            raise RequestError("again must be true or false.")
        promotion: Promotion = service.find(of, name)
        result = assigner.run(of, promotion, recipients, again=again)
        return jsonify({"promotion": promotion_json(promotion), **report_json(result, recipients)}), 200

    @routes.after_request
    def private(answer: Response) -> Response:
        answer.headers["Cache-Control"] = "no-store"
        return answer

    _add_error_answers(routes)
    return routes


def read_promotion(body: Mapping[str, Any], today: date) -> PromotionWrite:
    """Read a promotion from JSON. Raises RequestError."""
    only(
        body, "name", "external_id", "code", "percent", "money", "money_in", "start_date", "end_date", "assigned_days",
        "heading", "description",
    )  # fmt: skip
    kinds = [kind for kind in ("code", "percent", "money") if body.get(kind) is not None]
    if len(kinds) != 1:
        raise RequestError("Give exactly one of code (the shop's price rule), percent and money.")
    kind = kinds[0]
    if kind == "code":
        value_type, value = CODE, text(body, "code", 512, needed=True) or ""
    else:
        value_type, value = {"percent": PERCENT, "money": MONEY}[kind], _number(body, kind)
    external_id = text(body, "external_id", 450) or (value if kind == "code" else None)
    if external_id is None:
        raise RequestError("external_id is needed: the shop's own name of the promotion, by which its orders find it.")
    days = body.get("assigned_days")
    if days is not None and (isinstance(days, bool) or not isinstance(days, int)):
        raise RequestError("assigned_days must be a whole number.")
    return PromotionWrite(
        name=text(body, "name", 450, needed=True) or "",
        external_id=external_id,
        start_date=_day(body, "start_date") or today,
        value_type=value_type,
        value=value,
        end_date=_day(body, "end_date"),
        assigned_days=days,
        heading=text(body, "heading", 450),
        description=text(body, "description", 4000),
        local_values=tuple(Money(_amount(entry, "amount"), currency(entry)) for entry in objects(body, "money_in", 50)),
    )


def _recipients(body: Mapping[str, Any]) -> list[Recipient]:
    named = [kind for kind in KINDS if body.get(kind) is not None]
    if "people" in body and not named:
        entries = objects(body, "people", MAX_RECIPIENTS)
        if not entries:
            raise RequestError("people is empty.")
    elif len(named) == 1 and "people" not in body:
        entries = [{named[0]: body[named[0]]}]
    else:
        raise RequestError(f"Give one of {', '.join(KINDS)}, or a list of such objects as people.")
    recipients = []
    for position, entry in enumerate(entries, 1):
        only(entry, *KINDS)
        if len(entry) != 1:
            raise RequestError(f"people[{position - 1}] must have one of {', '.join(KINDS)}.")
        ((kind, value),) = entry.items()
        if not isinstance(value, str):
            raise RequestError(f"people[{position - 1}].{kind} must be a text.")
        recipients.append(recipient(kind, value, position))
    return recipients


def _number(body: Mapping[str, Any], name: str) -> str:
    return f"{_amount(body, name):f}"


def _amount(body: Mapping[str, Any], name: str) -> Any:
    value = body.get(name)
    amount = None if isinstance(value, bool) else parse_amount(str(value))
    if amount is None:
        raise RequestError(f"{name} must be a number above 0, such as 20 or 20.5.")
    return amount


def _day(body: Mapping[str, Any], name: str) -> date | None:
    value = body.get(name)
    day = parse_day(value) if isinstance(value, str) else None
    if value is not None and day is None:
        raise RequestError(f"{name} must be a day such as 2026-03-05: a promotion cannot start or end within a day.")
    return day


def _add_error_answers(routes: Blueprint) -> None:
    add_error_answers(routes)

    def answer(message: str, code: str, status: int) -> tuple[Response, int]:
        return jsonify({"message": message, "code": code}), status

    @routes.errorhandler(ConflictError)
    def conflict(error: ConflictError) -> tuple[Response, int]:
        return answer(str(error), "conflict", 409)

    @routes.errorhandler(NotFoundHereError)
    def not_found(error: NotFoundHereError) -> tuple[Response, int]:
        return answer(str(error), "not_found", 404)

    @routes.errorhandler(TransientError)
    def unavailable(error: TransientError) -> tuple[Response, int]:
        made, status = answer(
            f"{error} Send the same request again later: finished rows are not repeated.", "engage_down", 503
        )
        made.headers["Retry-After"] = "10"
        return made, status

    @routes.errorhandler(EngageError)
    def refused(error: EngageError) -> tuple[Response, int]:
        return answer(str(error), error.code or "engage_refuses", 502)
