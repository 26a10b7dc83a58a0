"""JSON for headless shops: it has the same data as the pages and conforms to its OpenAPI description."""

import json
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from openapi_core import OpenAPI
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]


def _filled(pages: Any) -> tuple[Any, Any]:
    shop = pages.add_shop(
        "web", points="yes", vouchers="yes", editable_fields="firstName,countryCode,birthDay,acceptsEmail"
    )
    contact_id = pages.contact(shop, firstName="Ada", preferences={"acceptsEmail": True}, countryCode="SE")
    pages.promotion(contact_id)
    pages.promotion(contact_id, {"redeemed": True})
    pages.order(shop, "9001", lines=[{"name": "Cap", "quantity": "1", "gross": "299.00", "kind": "goods", "sku": "C"}])
    pages.receipt(contact_id, 1, "2026-01-01")
    value = {"amount": 50.5, "currency": "SEK"}
    pages.seed(
        vouchers=[{"contactId": contact_id, "value": value, "points": 10, "expiresOn": "2090-01-01T00:00:00Z"}],
        points=[{"contactId": contact_id, "transactions": [
            {"transactionType": "Addition", "amount": 5, "description": "x", "source": "S",
             "transactionId": "00000000-0000-0000-0000-000000000001", "transactionDate": "2026-01-01T10:00:00Z"}]}],
    )  # fmt: skip
    return shop, contact_id


def _session(pages: Any, shop: Any, customer: str = "1") -> dict[str, str]:
    form = {"token": pages.token(shop, customer)}
    answer = pages.browser().post(f"/mypages/{shop.name}/session", data=form, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json["expires_in"]) == (200, 1800)
    assert "Set-Cookie" not in answer.headers
    return {"Authorization": f"Bearer {answer.json['session']}", "Accept": "application/json"}


def test_the_description_is_valid_openapi_and_names_every_page(pages: Any) -> None:
    answer = pages.browser().get("/mypages/openapi.json")
    described = answer.json
    OpenAPI.from_dict(described).check_spec()
    manifest = json.loads((Path(__file__).parents[3] / "manifest.json").read_text())
    assert {page["path"] for page in manifest["pages"]} <= described["paths"].keys()
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_responses_conform_to_the_description(pages: Any) -> None:
    shop, _ = _filled(pages)
    described = schemathesis.openapi.from_wsgi("/mypages/openapi.json", pages.app)
    headers = _session(pages, shop)

    seen: set[tuple[str, int]] = set()
    for operation in described.get_all_operations():
        _check(operation.ok(), headers, seen)
    good = {label for label, status in seen if status in {200, 202}}
    assert len(good) == 9, seen  # every operation except the one that needs a new token each time


def _check(operation: Any, headers: dict[str, str], seen: set[tuple[str, int]]) -> None:
    @settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy())
    def check(case: Any) -> None:
        case.path_parameters = {**(case.path_parameters or {}), "shop": "web"}
        if "id" in case.path_parameters:
            case.path_parameters["id"] = "web-9001"
        case.headers = headers
        answer = case.call_and_validate(checks=CHECKS)
        seen.add((operation.label, answer.status_code))

    check()


def test_json_and_page_show_the_same_data(pages: Any) -> None:
    shop, _ = _filled(pages)
    headers, browser = _session(pages, shop), pages.logged_in(shop)
    page = pages.browser().get("/mypages/web/profile", headers=headers).json
    assert {"name": "firstName", "value": "Ada", "label": "", "saving": ""} in page["profile"]["fields"]
    assert page["csrf"] == ""
    assert "Ada" in browser.get("/mypages/web/profile").text


@pytest.mark.parametrize("credential", ["session", "one-time token"])
def test_a_bearer_token_needs_no_csrf_token_and_sets_no_cookie(pages: Any, credential: str) -> None:
    shop, contact_id = _filled(pages)

    def headers() -> dict[str, str]:
        if credential == "session":
            return _session(pages, shop)
        return {"Authorization": f"Bearer {pages.token(shop)}", "Accept": "application/json"}

    body = {"fields": {"firstName": "Adele"}, "preferences": {"acceptsEmail": False}}
    answer = pages.browser().post("/mypages/web/profile", json=body, headers=headers())
    assert (answer.status_code, answer.json) == (202, {"saving": True})
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert pages.work() == ["delivered"]
    assert pages.engage(contact_id)["attributes"]["firstName"] == "Adele"
    again = pages.browser().post("/mypages/web/profile", json={"fields": {"firstName": "Adele"}}, headers=headers())
    assert (again.status_code, again.json) == (200, {"saving": False})


def test_a_one_time_token_is_used_up_by_one_request(pages: Any) -> None:
    shop, _ = _filled(pages)
    headers = {"Authorization": f"Bearer {pages.token(shop)}", "Accept": "application/json"}
    assert pages.browser().get("/mypages/web/profile", headers=headers).status_code == 200
    answer = pages.browser().get("/mypages/web/profile", headers=headers)
    assert (answer.status_code, answer.json["error"]) == (401, "token_refused")


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Bearer x", "Bearer a.b.c", "Basic eDp5", "Bearer " + "x" * 9000]
)
def test_a_malformed_bearer_token_is_refused(pages: Any, value: str) -> None:
    pages.add_shop("web", login_url="https://shop.example/login")
    headers = {"Authorization": value, "Accept": "application/json"}
    answer = pages.browser().get("/mypages/web/", headers=headers)
    assert answer.status_code == 401
    assert answer.json["login_url"] == "https://shop.example/login"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_bearer_session_is_not_valid_at_another_shop(pages: Any) -> None:
    shop, _ = _filled(pages)
    pages.add_shop("other")
    assert pages.browser().get("/mypages/other/", headers=_session(pages, shop)).status_code == 401


def test_preflight_requests_of_other_origins_are_answered(pages: Any) -> None:
    pages.add_shop("web")
    answer = pages.browser().options("/mypages/web/profile", headers={"Origin": "https://extensions.shopifycdn.com"})
    assert answer.status_code == 204
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"{", b'{"fields": 7}', b'{"fields": {"firstName": 7}}', b'{"x": 1}',
                                  b'{"preferences": {"acceptsEmail": "yes"}}', b'{"fields": {"email": "a@b.cd"}}'])  # fmt: skip
def test_a_malformed_body_is_refused(pages: Any, body: bytes) -> None:
    shop, _ = _filled(pages)
    answer = pages.browser().post(
        "/mypages/web/profile", data=body, content_type="application/json", headers=_session(pages, shop)
    )
    assert (answer.status_code, answer.json["error"]) == (400, "not_taken")
