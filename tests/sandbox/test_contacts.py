"""Single contacts: finding, creating, changing, deleting, and the changes feed."""

import pytest
from sandbox.conftest import MakeEngage
from support.sandbox_client import GUID, UNKNOWN_ID, Engage, code

from plugin.sandbox import ContactTypeRules
from plugin.sandbox.contacts.rules import is_social_security_number

SSN = "8112189876"  # an invented number with a right check digit


# --- find -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        {"email": "ADA@shop.test"},
        {"mobilePhone": "+46700000001"},
        {"mobilePhone": "+46 70 000 00 01"},
        {"socialSecurityNumber": "19811218-9876"},
        {"customKey": "CUST-1"},
        {"any": "ada@shop.test"},
        {"any": "811218-9876"},
        {"any": "+46700000001"},
        {"any": "CUST-1"},
        {"email": "ada@shop.test", "mobilePhone": "+46700000001", "contactType": "Member"},
    ],
)
def test_contact_is_found_by_each_key_as_a_bare_string(engage: Engage, query: dict[str, str]) -> None:
    contact_id = engage.contact(mobilePhone="+46700000001", socialSecurityNumber=SSN, externalId="CUST-1")
    answer = engage.get("contacts/id", **query)
    assert (answer.status_code, answer.json()) == (200, contact_id)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"email": "no-address"}, "InvalidEmailAddress"),
        ({"mobilePhone": "call me"}, "InvalidPhoneNumber"),
        ({"socialSecurityNumber": "811218-9877"}, "InvalidSocialSecurityNumber"),
        ({"email": "ada@shop.test", "contactType": "Robot"}, "InvalidContactType"),
        ({}, "InvalidSearchQuery"),
        ({"email": ""}, "InvalidSearchQuery"),
    ],
)
def test_search_of_the_wrong_form_is_refused(engage: Engage, query: dict[str, str], expected: str) -> None:
    assert code(engage.get("contacts/id", **query)) == (400, expected)


def test_any_stops_at_the_first_form_that_fits(engage: Engage) -> None:
    engage.contact(externalId="1234567890")
    assert code(engage.get("contacts/id", any="1234567890")) == (404, "ContactNotFound")
    assert engage.get("contacts/id", customKey="1234567890").status_code == 200


def test_several_matches_are_a_conflict_that_the_type_resolves(make_engage: MakeEngage) -> None:
    engage = make_engage(allow_same_key_in_types=True)
    member = engage.contact()
    engage.contact(contactType="Contact")
    assert code(engage.get("contacts/id", email="ada@shop.test")) == (409, "MultipleMatches")
    assert engage.get("contacts/id", email="ada@shop.test", contactType="Member").json() == member


def test_all_given_keys_must_match(engage: Engage) -> None:
    engage.contact(externalId="CUST-1")
    assert code(engage.get("contacts/id", email="ada@shop.test", customKey="CUST-2")) == (404, "ContactNotFound")


def test_custom_key_is_the_member_number_where_the_tenant_says_so(make_engage: MakeEngage) -> None:
    engage = make_engage(custom_key="memberNumber")
    contact_id = engage.contact(memberNumber="M7")
    assert engage.get("contacts/id", customKey="M7").json() == contact_id


# --- create ---------------------------------------------------------------------------------------------------------


def test_created_contact_is_a_member_with_the_query_s_source_and_store(engage: Engage) -> None:
    body = {"email": "ada@shop.test", "firstName": "Ada", "countryCode": "SE", "preferences": {"acceptsEmail": True}}
    answer = engage.post("contacts", body, source="ECOM", storeExternalId="web-se")
    assert answer.status_code == 201
    contact = answer.json()
    assert contact["attributes"]["contactType"] == "Member"
    assert contact["attributes"]["memberNumber"].startswith("M")
    assert (contact["meta"]["source"], contact["meta"]["createdInStore"]) == ("ECOM", "web-se")
    assert contact["preferences"] == {"acceptsEmail": True}


def test_source_store_and_approval_in_headers_are_ignored(engage: Engage) -> None:
    headers = {"source": "ECOM", "storeExternalId": "web-se", "createAsUnapproved": "true"}
    meta = engage.call("POST", "contacts", json={"email": "ada@shop.test"}, headers=headers).json()["meta"]
    assert (meta["source"], meta["createdInStore"], meta["approved"]) == (None, None, True)


def test_contact_can_be_created_unapproved(engage: Engage) -> None:
    answer = engage.post("contacts", {"email": "ada@shop.test"}, createAsUnapproved="true")
    assert answer.json()["meta"]["approved"] is False
    refused = engage.post("contacts", {"email": "bo@shop.test"}, createAsUnapproved="yes")
    assert code(refused) == (400, "InvalidCreateAsUnapproved")


@pytest.mark.parametrize(
    ("body", "expected", "field"),
    [
        ({"email": "ada"}, "InvalidEmailAddress", "email"),
        ({"email": "ada@shop.test", "mobilePhone": "0700000001"}, "InvalidPhoneNumber", "mobilePhone"),
        ({"email": "ada@shop.test", "countryCode": "XX"}, "InvalidCountryCode", "countryCode"),
        ({"email": "ada@shop.test", "birthDay": "1990-02-30"}, "InvalidBirthDay", "birthDay"),
        ({"email": "ada@shop.test", "firstName": ["Ada"]}, "InvalidFirstName", "firstName"),
        ({"email": "ada@shop.test", "contactType": "Robot"}, "InvalidContactType", "contactType"),
        ({"email": "ada@shop.test", "preferences": {"acceptsEmail": "yes"}}, "InvalidPreference", None),
        ({"email": "ada@shop.test", "consents": [{"id": "club", "value": None}]}, "InvalidConsent", None),
        ({"firstName": "Ada"}, "MissingEmail", "email"),
    ],
)
def test_bad_field_is_refused_by_name_and_nothing_is_created(
    engage: Engage, body: dict[str, object], expected: str, field: str | None
) -> None:
    answer = engage.post("contacts", body)
    assert code(answer) == (400, expected)
    assert field is None or answer.json()["field"] == field
    assert engage.view("contacts") == []


def test_key_and_the_mandatory_fields_follow_the_contact_type(make_engage: MakeEngage) -> None:
    engage = make_engage(contact_types={"Member": ContactTypeRules("mobilePhone", ("lastName",))})
    assert code(engage.post("contacts", {"lastName": "Berg"})) == (400, "MissingMobilePhone")
    assert code(engage.post("contacts", {"mobilePhone": "+46700000001"})) == (400, "MissingLastName")
    assert engage.post("contacts", {"mobilePhone": "+46700000001", "lastName": "Berg"}).status_code == 201


@pytest.mark.parametrize(
    ("switch", "status", "is_guid"),
    [
        ("201-contact", 201, False),
        ("200-contact", 200, False),
        ("200-guid", 200, True),
        ("201-guid", 201, True),
        ("202-guid", 202, True),
    ],
)
def test_create_answers_by_switch(make_engage: MakeEngage, switch: str, status: int, is_guid: bool) -> None:
    answer = make_engage(create_answer=switch).post("contacts", {"email": "ada@shop.test"})
    assert answer.status_code == status
    found = answer.json() if is_guid else answer.json()["id"]
    assert GUID.fullmatch(found)


@pytest.mark.parametrize(("switch", "status"), [("409-with-id", 409), ("409", 409), ("200-guid", 200)])
def test_duplicate_key_is_answered_by_switch(make_engage: MakeEngage, switch: str, status: int) -> None:
    engage = make_engage(duplicate_answer=switch)
    contact_id = engage.contact()
    answer = engage.post("contacts", {"email": "Ada@Shop.test", "contactType": "Contact"})
    assert answer.status_code == status
    assert (contact_id in answer.text) == (switch != "409")
    assert len(engage.view("contacts")) == 1


def test_two_types_may_share_a_key_where_the_tenant_says_so(make_engage: MakeEngage) -> None:
    engage = make_engage(allow_same_key_in_types=True)
    engage.contact()
    assert engage.post("contacts", {"email": "ada@shop.test", "contactType": "Contact"}).status_code == 201
    assert engage.post("contacts", {"email": "ada@shop.test", "contactType": "Contact"}).status_code == 409


# --- read, change, delete -------------------------------------------------------------------------------------------


def test_unknown_contact_is_not_found(engage: Engage) -> None:
    for answer in (
        engage.get(f"contacts/{UNKNOWN_ID}"),
        engage.patch(f"contacts/{UNKNOWN_ID}", {"firstName": "Ada"}),
        engage.delete(f"contacts/{UNKNOWN_ID}"),
        engage.post(f"contacts/{UNKNOWN_ID}/updateContactType", contactTypeId="Member"),
    ):
        assert code(answer) == (404, "ContactNotFound")


def test_contact_id_that_is_not_a_guid_is_refused(engage: Engage) -> None:
    assert code(engage.get("contacts/12")) == (400, "InvalidContactId")


def test_patch_changes_only_what_it_holds(engage: Engage) -> None:
    contact_id = engage.contact(firstName="Ada", city="Lund", preferences={"acceptsEmail": True})
    answer = engage.patch(f"contacts/{contact_id}", {"city": "Malmö", "preferences": {"acceptsSms": False}})
    assert answer.status_code == 200
    contact = engage.get(f"contacts/{contact_id}").json()
    assert (contact["attributes"]["firstName"], contact["attributes"]["city"]) == ("Ada", "Malmö")
    assert contact["preferences"] == {"acceptsEmail": True, "acceptsSms": False}


@pytest.mark.parametrize("empty", ["", None])
def test_empty_value_erases(engage: Engage, empty: str | None) -> None:
    contact_id = engage.contact(firstName="Ada")
    assert "firstName" not in engage.patch(f"contacts/{contact_id}", {"firstName": empty}).json()["attributes"]


def test_key_cannot_be_erased(engage: Engage) -> None:
    contact_id = engage.contact()
    assert code(engage.patch(f"contacts/{contact_id}", {"email": ""})) == (400, "MissingEmail")


def test_unknown_attribute_is_ignored_and_logged(engage: Engage) -> None:
    contact_id = engage.contact()
    answer = engage.patch(f"contacts/{contact_id}", {"frstName": "Ada"})
    assert answer.status_code == 200
    assert "frstName" not in answer.json()["attributes"]
    assert [line["reason"] for line in engage.view("integration-log")] == ["unknown attribute frstName"]


def test_attribute_of_the_tenant_is_stored(make_engage: MakeEngage) -> None:
    engage = make_engage(tenant_attributes=frozenset({"hasAccount"}))
    contact_id = engage.contact(hasAccount=True)
    assert engage.get(f"contacts/{contact_id}").json()["attributes"]["hasAccount"] is True


def test_type_and_store_cannot_be_patched(engage: Engage) -> None:
    contact_id = engage.contact(storeExternalId="web-se")
    engage.patch(f"contacts/{contact_id}", {"contactType": "Contact", "storeExternalId": "web-no"})
    contact = engage.get(f"contacts/{contact_id}").json()
    assert (contact["attributes"]["contactType"], contact["meta"]["createdInStore"]) == ("Member", "web-se")


def test_key_that_another_contact_has_is_a_conflict(engage: Engage) -> None:
    engage.contact()
    other = engage.contact("bo@shop.test")
    assert code(engage.patch(f"contacts/{other}", {"email": "ada@shop.test"})) == (409, "ContactAlreadyExists")


def test_changed_key_is_found_and_the_old_one_is_not(engage: Engage) -> None:
    contact_id = engage.contact()
    engage.patch(f"contacts/{contact_id}", {"email": "ada@home.test"})
    assert engage.get("contacts/id", email="ada@home.test").json() == contact_id
    assert engage.get("contacts/id", email="ada@shop.test").status_code == 404


def test_consent_is_set_changed_and_never_unset(engage: Engage) -> None:
    contact_id = engage.contact()
    assert engage.get(f"contacts/{contact_id}").json()["consents"] == []
    for value in (True, False):
        consents = [{"id": "club", "value": value, "date": "2026-03-05T09:30:00+01:00", "source": "ECOM"}]
        found = engage.patch(f"contacts/{contact_id}", {"consents": consents}).json()["consents"]
        assert found == consents
    refused = engage.patch(f"contacts/{contact_id}", {"consents": [{"id": "club", "value": None}]})
    assert code(refused) == (400, "InvalidConsent")


def test_consent_without_a_definition_is_ignored_and_logged(engage: Engage) -> None:
    engage.seed(consents=[{"id": "club"}])
    contact_id = engage.contact(consents=[{"id": "clbu", "value": True}])
    assert engage.get(f"contacts/{contact_id}").json()["consents"] == []
    assert engage.view("integration-log")[0]["reason"] == "unknown consent clbu"


def test_type_changes_when_the_contact_has_what_it_requires(make_engage: MakeEngage) -> None:
    rules = {"Member": ContactTypeRules("email", ("lastName",)), "Contact": ContactTypeRules("email")}
    engage = make_engage(contact_types=rules)
    contact_id = engage.contact(contactType="Contact")
    path = f"contacts/{contact_id}/updateContactType"
    assert code(engage.post(path, contactTypeId="Member")) == (400, "MissingLastName")
    engage.patch(f"contacts/{contact_id}", {"lastName": "Berg"})
    assert engage.post(path, contactTypeId="Member").status_code == 200
    assert engage.get(f"contacts/{contact_id}").json()["attributes"]["contactType"] == "Member"
    assert code(engage.post(path, contactTypeId="Robot")) == (400, "InvalidContactType")


def test_type_does_not_change_onto_another_contact_s_key(make_engage: MakeEngage) -> None:
    engage = make_engage(allow_same_key_in_types=True)
    engage.contact()
    guest = engage.contact(contactType="Contact")
    answer = engage.post(f"contacts/{guest}/updateContactType", contactTypeId="Member")
    assert code(answer) == (409, "ContactAlreadyExists")


@pytest.mark.parametrize("name", ["acceptsEmail", "acceptsSms", "acceptsPostal"])
def test_preference_has_its_own_path_and_approves(engage: Engage, name: str) -> None:
    contact_id = engage.contact(approved=False)
    contact = engage.post(f"contacts/{contact_id}/preferences/{name}", {"value": True}).json()
    assert (contact["preferences"], contact["meta"]["approved"]) == ({name: True}, True)
    assert code(engage.post(f"contacts/{contact_id}/preferences/{name}", {"value": 1})) == (400, "InvalidPreference")


def test_deleted_contact_is_gone_with_what_it_had(engage: Engage) -> None:
    contact_id = engage.contact()
    assignment_id = engage.assignment(contact_id)
    engage.voucher(contact_id)
    assert engage.delete(f"contacts/{contact_id}").status_code == 200
    assert engage.get("contacts/id", email="ada@shop.test").status_code == 404
    answer = engage.post(f"promotion-assignments/{assignment_id}/redeem", {"redemptionChannel": "ECOM"})
    assert answer.status_code == 404
    assert engage.post("contacts", {"email": "ada@shop.test"}).status_code == 201


def test_overview_is_found_by_id_or_by_type_and_key(engage: Engage) -> None:
    contact_id = engage.contact()
    assert engage.get("contactoverview", contactId=contact_id).json()["id"] == contact_id
    by_key = engage.get("contactoverview", contactType="Member", email="ada@shop.test")
    assert by_key.json()["id"] == contact_id
    assert code(engage.get("contactoverview", email="ada@shop.test")) == (400, "InvalidContactType")


# --- changes --------------------------------------------------------------------------------------------------------


def test_feed_names_each_changed_contact_once(engage: Engage) -> None:
    ada = engage.contact()
    engage.clock.forward(60)
    bo = engage.contact("bo@shop.test")
    for city in ("Lund", "Malmö"):
        engage.patch(f"contacts/{ada}", {"city": city})
    window = {"fromDate": "2026-03-05 09:30:00.000"}
    assert engage.get("contacts/changes", changeType="Created", **window).json() == [ada, bo]
    assert engage.get("contacts/changes", changeType="Updated", **window).json() == [ada]
    assert engage.get("contacts/changes", changeType="Deleted", **window).json() == []
    engage.delete(f"contacts/{bo}")
    assert engage.get("contacts/changes", changeType="Deleted", **window).json() == [bo]


def test_feed_lists_only_its_time_window(engage: Engage) -> None:
    engage.contact()
    query = {"changeType": "Created", "fromDate": "2026-03-05 09:00:00.000"}
    assert engage.get("contacts/changes", **query, toDate="2026-03-05 09:29:59.999").json() == []
    assert len(engage.get("contacts/changes", **query, toDate="2026-03-05T10:30:00+01:00").json()) == 1


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"changeType": "Moved", "fromDate": "2026-03-05 09:00:00.000"}, "InvalidChangeType"),
        ({"changeType": "Created", "fromDate": "yesterday"}, "InvalidDate"),
        ({"changeType": "Created", "fromDate": "2026-13-05 09:00:00.000"}, "InvalidDate"),
        ({"changeType": "Created"}, "InvalidDate"),
    ],
)
def test_feed_refuses_other_forms(engage: Engage, query: dict[str, str], expected: str) -> None:
    assert code(engage.get("contacts/changes", **query)) == (400, expected)


def test_feed_refuses_more_ids_than_it_may_name(make_engage: MakeEngage) -> None:
    engage = make_engage(max_changes=1)
    engage.contact()
    engage.contact("bo@shop.test")
    answer = engage.get("contacts/changes", changeType="Created", fromDate="2026-03-05 09:00:00.000")
    assert code(answer) == (400, "TooManyContacts")


# --- forms ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "fits"),
    [
        ("811218-9876", True),
        ("19811218-9876", True),
        ("8112789873", True),  # a coordination number: 60 is added to the day
        ("811218-9875", False),
        ("811318-9876", False),
        ("131052-308T", True),
        ("131052-308U", False),
        ("321052-308T", False),
        ("12345", False),
    ],
)
def test_swedish_and_finnish_numbers_are_checked(number: str, fits: bool) -> None:
    assert is_social_security_number(number) is fits


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"birthDay": "1990-05-17"}, 201),
        ({"birthDay": "1990-05-17T00:00:00+02:00"}, 201),
        ({"birthDay": "1790-05-17"}, 400),
        ({"countryCode": "se"}, 201),
        ({"mobilePhone": "+46 70-000 00 01"}, 201),
        ({"mobilePhone": "+0700000001"}, 400),
        ({"gender": ["f"]}, 400),
        ({"zipCode": "2" * 4_001}, 400),
        ({"firstName": "A" * 451}, 400),
        ({"preferences": []}, 400),
        ({"preferences": {"acceptsFax": True}}, 400),
        ({"consents": {}}, 400),
        ({"consents": [{"value": True}]}, 400),
        ({"consents": [{"id": "club", "value": True, "date": "today"}]}, 400),
        ({"consents": [{"id": "club", "value": True, "source": 7}]}, 400),
        ({"contactType": 7}, 400),
    ],
)
def test_fields_are_taken_and_refused_by_their_form(engage: Engage, fields: dict[str, object], status: int) -> None:
    assert engage.post("contacts", {"email": "ada@shop.test", **fields}).status_code == status
