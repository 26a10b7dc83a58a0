"""What Engage checks before it looks at an operation."""

import pytest
from sandbox.conftest import MakeEngage
from support.sandbox_client import CONTRACT, Engage, code

from plugin.sandbox.operations import OPERATIONS


def test_sandbox_answers_every_operation_of_the_contract_and_no_other() -> None:
    declared = {
        (operation["operationId"], method.upper(), path)
        for path, item in CONTRACT["paths"].items()
        for method, operation in item.items()
    }
    assert {(operation.operation_id, operation.method, operation.path) for operation in OPERATIONS} == declared


def test_missing_key_is_refused(engage: Engage) -> None:
    assert code(engage.call("GET", "stores", headers={"apikey": ""})) == (401, "Unauthorized")


def test_refused_key_is_refused_and_another_is_taken(make_engage: MakeEngage) -> None:
    engage = make_engage(refused_keys=frozenset({"revoked"}))
    assert engage.call("GET", "stores", headers={"apikey": "revoked"}).status_code == 401
    assert engage.call("GET", "stores", headers={"apikey": "another"}).status_code == 200


def test_only_accepted_keys_are_taken_where_they_are_named(make_engage: MakeEngage) -> None:
    engage = make_engage(accepted_keys=frozenset({"the-key"}))
    assert engage.get("stores").status_code == 401
    assert engage.call("GET", "stores", headers={"apikey": "the-key"}).status_code == 200


@pytest.mark.parametrize("agent", ["", "curl", "Shop/", "/1.0", "a b/1"])
def test_user_agent_that_is_not_system_and_version_is_refused(engage: Engage, agent: str) -> None:
    assert code(engage.call("GET", "stores", headers={"User-Agent": agent})) == (400, "InvalidUserAgent")


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_a_server_error_even_on_get(engage: Engage, content_type: str) -> None:
    answer = engage.call("GET", "stores", headers={"Content-Type": content_type})
    assert answer.status_code == 500
    assert answer.json()["message"] == "An error has occurred."


def test_content_type_with_its_charset_is_taken(engage: Engage) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert engage.call("GET", "stores", headers=headers).status_code == 200


def test_201st_call_within_a_second_is_too_many(engage: Engage) -> None:
    statuses = [engage.get("stores").status_code for _ in range(201)]
    assert statuses == [200] * 200 + [429]


def test_next_second_is_free_again(make_engage: MakeEngage) -> None:
    engage = make_engage(rate_limit_per_s=2)
    assert [engage.get("stores").status_code for _ in range(3)] == [200, 200, 429]
    engage.clock.forward(1)
    assert engage.get("stores").status_code == 200


def test_each_key_has_its_own_limit(make_engage: MakeEngage) -> None:
    engage = make_engage(rate_limit_per_s=1)
    assert engage.get("stores").status_code == 200
    assert engage.get("stores").status_code == 429
    assert engage.call("GET", "stores", headers={"apikey": "another"}).status_code == 200


@pytest.mark.parametrize(("switch", "expected"), [(True, "1"), (False, None)])
def test_retry_after_of_a_429_is_an_option(make_engage: MakeEngage, switch: bool, expected: str | None) -> None:
    engage = make_engage(rate_limit_per_s=0, retry_after_on_429=switch)
    answer = engage.get("stores")
    assert (answer.status_code, answer.headers.get("Retry-After")) == (429, expected)


def test_body_that_is_not_json_is_refused(engage: Engage) -> None:
    for body in (b"{", b"[]", b"\xff", b'{"amount": NaN}', b"[" * 100_000, b""):
        assert code(engage.call("POST", "receipts", data=body)) == (400, "InvalidRequestBody")


def test_unknown_path_is_not_found(engage: Engage) -> None:
    assert code(engage.get("nothing")) == (404, "NotFound")
    assert engage.delete("receipts").status_code == 405


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ("object-errorCode", b'{"errorCode":"ContactNotFound","message":"No contact has this id."}'),
        ("object-code", b'{"code":"ContactNotFound","message":"No contact has this id."}'),
        ("string", b'"ContactNotFound"'),
        ("html", b"<!doctype html><title>404</title><h1>404</h1><p>ContactNotFound</p>"),
        ("empty", b""),
    ],
)
def test_error_has_the_shape_of_the_tenant(make_engage: MakeEngage, shape: str, body: bytes) -> None:
    engage = make_engage(error_shape=shape)
    answer = engage.get("contacts/99999999-9999-4999-8999-999999999999")
    assert (answer.status_code, answer.content) == (404, body)


def test_extra_fields_are_in_every_object_but_preferences(make_engage: MakeEngage) -> None:
    engage = make_engage(extra_fields=True)
    contact_id = engage.contact(preferences={"acceptsEmail": True})
    contact = engage.get(f"contacts/{contact_id}").json()
    assert all("sandboxExtra" in found for found in (contact, contact["attributes"], contact["meta"]))
    assert contact["preferences"] == {"acceptsEmail": True}
