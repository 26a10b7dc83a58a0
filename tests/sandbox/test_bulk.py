"""Bulk: accepted at once, done later, told row by row."""

import pytest
from sandbox.conftest import MakeEngage
from support.sandbox_client import Engage, code


@pytest.mark.parametrize("switch", ["string", "object"])
def test_batch_id_comes_as_text_or_object_by_switch(make_engage: MakeEngage, switch: str) -> None:
    engage = make_engage(bulk_answer=switch)
    answer = engage.post("contacts/bulk", [{"email": "ada@shop.test"}])
    assert answer.status_code == 202
    batch_id = answer.json() if switch == "string" else answer.json()["batchId"]
    assert engage.get("contacts/bulk/status", batchId=batch_id).json()["status"] == "Completed"


def test_batch_waits_for_its_delay(make_engage: MakeEngage) -> None:
    engage = make_engage(bulk_delay_s=30)
    batch_id = engage.post("contacts/bulk", [{"email": "ada@shop.test"}]).json()
    assert engage.get("contacts/bulk/status", batchId=batch_id).json()["status"] == "Processing"
    assert engage.get("contacts/id", email="ada@shop.test").status_code == 404
    engage.clock.forward(30)
    assert engage.get("contacts/id", email="ada@shop.test").status_code == 200
    assert engage.get("contacts/bulk/status", batchId=batch_id).json()["status"] == "Completed"


def test_bad_rows_are_reported_and_the_others_are_done(engage: Engage) -> None:
    rows = [{"email": "ada@shop.test"}, {"email": "bo"}, "no row", {"email": "ada@shop.test"}]
    batch_id = engage.post("contacts/bulk", rows, contactType="Contact").json()
    status = engage.get("contacts/bulk/status", batchId=batch_id).json()
    assert (status["status"], status["succeeded"], status["totalCount"]) == ("CompletedWithErrors", 1, 4)
    errors = [(error["row"], error["errorCode"]) for error in status["errors"]]
    assert errors == [(1, "InvalidEmailAddress"), (2, "InvalidRow"), (3, "ContactAlreadyExists")]


def test_bulk_changes_find_contacts_by_id_or_key(engage: Engage) -> None:
    ada, bo = engage.contact(), engage.contact("bo@shop.test")
    rows = [{"contactId": ada, "city": "Lund"}, {"email": "bo@shop.test", "city": "Ystad"}, {"email": "cy@shop.test"}]
    batch_id = engage.patch("contacts/bulk", [*rows, {"city": "Kivik"}], contactType="Member").json()
    cities = {c["id"]: c["attributes"].get("city") for c in engage.view("contacts")}
    assert cities == {ada: "Lund", bo: "Ystad"}
    status = engage.get("contacts/bulk/status", batchId=batch_id).json()
    assert [error["errorCode"] for error in status["errors"]] == ["ContactNotFound", "MissingEmail"]


def test_empty_value_in_bulk_erases(engage: Engage) -> None:
    ada = engage.contact(city="Lund")
    engage.patch("contacts/bulk", [{"contactId": ada, "city": ""}])
    assert "city" not in engage.get(f"contacts/{ada}").json()["attributes"]


def test_more_rows_than_allowed_and_unknown_types_are_refused(engage: Engage) -> None:
    too_many = [{"email": f"a{number}@shop.test"} for number in range(4_001)]
    assert code(engage.post("contacts/bulk", too_many)) == (400, "InvalidRequestBody")
    assert code(engage.post("contacts/bulk", [])) == (400, "InvalidRequestBody")
    assert code(engage.post("contacts/bulk", [{}], contactType="Robot")) == (400, "InvalidContactType")


def test_unknown_batch_is_not_found(engage: Engage) -> None:
    assert code(engage.get("contacts/bulk/status", batchId="x")) == (404, "BatchNotFound")
