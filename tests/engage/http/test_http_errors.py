"""Answers of any shape become data or an error that helps and tells nothing of a person."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from plugin.engage.http.http_errors import Answer, contact_id_of, items_of, parse_body, raise_for_status
from plugin.errors import (
    ContractError,
    EngageConflictError,
    EngageError,
    EngageNotFoundError,
    PermanentError,
    TransientError,
    UnauthorisedError,
)

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
GUID = "7d3c1c1e-2b1f-4b57-9d0a-5f5a2f7f6a01"


def error_of(status: int, data: Any, sent: Any = None, **headers: str) -> EngageError:
    with pytest.raises(EngageError) as caught:
        raise_for_status(Answer(status, data, headers), "create_contact", NOW, sent)
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, EngageError), (400, PermanentError), (401, UnauthorisedError), (403, UnauthorisedError),
        (404, EngageNotFoundError), (408, TransientError), (409, EngageConflictError), (422, PermanentError),
        (429, TransientError), (500, TransientError), (501, TransientError), (503, TransientError), (504, TransientError),
    ],
)  # fmt: skip
def test_each_status_raises_its_kind_of_error(status: int, kind: type[EngageError]) -> None:
    assert type(error_of(status, None)) is kind


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_2xx_raises_nothing(status: int) -> None:
    raise_for_status(Answer(status, None, {}), "create_contact", NOW)


@pytest.mark.parametrize(
    ("data", "code", "field"),
    [
        ("InvalidEmailAddress", "InvalidEmailAddress", None),
        ({"errorCode": "InvalidPhoneNumber", "field": "mobilePhone"}, "InvalidPhoneNumber", "mobilePhone"),
        ({"code": "ContactNotFound", "message": "ada@example.com was not found"}, "ContactNotFound", None),
        ({"errors": {"zipCode": ["is wrong"]}, "title": "One or more errors"}, None, "zipCode"),
        ({"errors": [{"code": "InvalidGender", "field": "gender"}]}, "InvalidGender", "gender"),
        ({"message": "RewardVoucherExpired"}, "RewardVoucherExpired", None),
        (parse_body(b"<html><b>ada@example.com</b></html>"), None, None),
        (None, None, None),
        ([1], None, None),
    ],
)
def test_codes_and_fields_are_read_from_every_plausible_shape(data: Any, code: str | None, field: str | None) -> None:
    error = error_of(400, data)
    assert (error.code, error.field) == (code, field)
    assert "ada@example.com" not in str(error)


@pytest.mark.parametrize(
    "text",
    ["No ada@example.com", "Phone +46 70 123 45 67 is taken", 'Name "Ada Berg" is bad', "<p>Ada</p>", "x" * 5000],
)
def test_personal_data_is_removed_from_error_texts(text: str) -> None:
    shown = str(error_of(400, {"message": text}))
    for personal in ("ada@", "123 45 67", "Ada Berg", "<p>"):
        assert personal not in shown
    assert len(shown) < 300


SENT = {
    "contactType": "Member",
    "firstName": "Anna-Karin",
    "lastName": "von Svensson",
    "street": "Storgatan 1",
    "consents": [{"id": "Bo", "value": True}],
}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Anna-Karin Svensson is no first name", "… … is no first name"),
        ("STORGATAN 1 is no street of a Member", "… is no street of a Member"),
        ("the surname (von svensson) is taken", "the surname (…) is taken"),
        ("Bo is not known; the Bookkeeper is", "… is not known; the Bookkeeper is"),
    ],
)
def test_values_that_were_sent_are_removed_from_error_texts(said: str, shown: str) -> None:
    error = error_of(400, {"errorCode": "InvalidFirstName", "message": said}, SENT)
    assert str(error) == f"Engage answered 400 to create_contact: InvalidFirstName {shown}"


def test_a_value_that_was_sent_is_not_taken_for_a_code() -> None:
    error = error_of(400, "Svensson", SENT)
    assert (error.code, "Svensson" in str(error)) == (None, False)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("999999999", 21600),
        ("Thu, 05 Mar 2026 12:01:00 GMT", 60),
        ("Thu, 05 Mar 2020 12:01:00 GMT", 0),
    ],
)
def test_retry_after_is_read_as_seconds_or_date_and_bounded(header: str, seconds: int) -> None:
    error = error_of(429, None, **{"Retry-After": header})
    assert isinstance(error, TransientError)
    assert error.retry_after == timedelta(seconds=seconds)


def test_an_invalid_retry_after_is_ignored() -> None:
    error = error_of(503, None, **{"Retry-After": "soon"})
    assert isinstance(error, TransientError)
    assert error.retry_after is None


@pytest.mark.parametrize("data", [{"contactId": GUID}, f"A contact exists: {GUID}"])
def test_a_conflict_may_name_the_contact(data: Any) -> None:
    error = error_of(409, data)
    assert isinstance(error, EngageConflictError)
    assert error.contact_id == GUID


def test_a_contact_id_is_read_from_text_or_object_and_its_absence_is_a_contract_error() -> None:
    assert contact_id_of(GUID, "find_contact_id") == GUID
    assert contact_id_of({"id": GUID}, "create_contact") == GUID
    with pytest.raises(ContractError) as caught:
        contact_id_of({}, "create_contact")
    assert caught.value.field == "id"


def test_lists_are_read_bare_and_paged() -> None:
    assert items_of([1], "x") == ([1], None)
    assert items_of({"items": [1], "totalCount": 9}, "x") == ([1], 9)
    assert items_of({"Items": [1]}, "x") == ([1], None)
    with pytest.raises(ContractError):
        items_of({"rows": []}, "x")
