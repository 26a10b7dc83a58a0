"""A shopper changes their data: through the inbox, shown at once as being saved, and only with a verified link."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from plugin.platforms.internal_events import PROFILE_EDITED
from plugin.platforms.standard import STANDARD
from plugin.store.inbox.admin import EventAdmin

PROFILE = "/mypages/web/profile"


def _fields(page: Any) -> dict[str, Any]:
    return {row["name"]: (row["value"], row["saving"]) for row in page["profile"]["fields"]}


def _preferences(page: Any) -> dict[str, Any]:
    return {row["name"]: (row["value"], row["saving"]) for row in page["profile"]["preferences"]}


def test_a_change_is_shown_at_once_and_delivered(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop, firstName="Ada", city="Stockholm")
    browser = pages.logged_in(shop)
    answer = pages.edit(browser, shop, firstName="Adele", city="Stockholm", zipCode="")
    assert (answer.status_code, answer.headers["Location"]) == (303, PROFILE)
    assert len(pages.woken) == 1
    page = pages.json(browser, PROFILE)
    assert (_fields(page)["firstName"], page["profile"]["saving"]) == (("Adele", "saving"), True)
    assert "being saved" in browser.get(PROFILE).text
    assert pages.engage(contact_id)["attributes"]["firstName"] == "Ada"
    assert pages.work() == ["delivered"]
    assert pages.engage(contact_id)["attributes"]["firstName"] == "Adele"
    page = pages.json(browser, PROFILE)
    assert (_fields(page)["firstName"], page["profile"]["saving"]) == (("Adele", ""), False)


def test_preferences_go_into_the_ledger_and_to_engage(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop, preferences={"acceptsEmail": False, "acceptsSms": True})
    browser = pages.logged_in(shop)
    pages.edit(browser, shop, acceptsEmail="yes", shown=["acceptsEmail:no", "acceptsSms:yes"])
    page = _preferences(pages.json(browser, PROFILE))
    assert (page["acceptsEmail"], page["acceptsSms"]) == ((True, "saving"), (False, "saving"))
    assert pages.work() == ["delivered"]
    preferences = pages.engage(contact_id)["preferences"]
    assert (preferences["acceptsEmail"], preferences["acceptsSms"]) == (True, False)
    last = pages.consents.latest(shop, contact_id)
    assert {name: value for name, (value, _) in last.items()} == {"email": True, "sms": False}


def test_a_ticked_box_on_an_old_page_gives_no_consent(pages: Any) -> None:
    """The shopper unsubscribed through an e-mail link while the page with the ticked box was open."""
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop, firstName="Ada", preferences={"acceptsEmail": True, "acceptsSms": False})
    browser = pages.logged_in(shop)
    changed = {"preferences": {"acceptsEmail": False}, "firstName": "Adele"}
    pages.post_to_engage(f"/api/v3/contacts/{contact_id}", changed, "PATCH")
    pages.sync_states.bump_generation(shop, contact_id, datetime.now(UTC))
    form = {"acceptsEmail": "yes", "acceptsSms": "yes", "shown": ["acceptsEmail:yes", "acceptsSms:no"]}
    pages.edit(browser, shop, **form, firstName="Ada", **{"was.firstName": "Ada"})
    pages.work()
    contact = pages.engage(contact_id)
    assert contact["preferences"]["acceptsEmail"] is False
    assert contact["preferences"]["acceptsSms"] is True
    assert contact["attributes"]["firstName"] == "Adele"


def test_a_double_click_changes_once_and_an_unchanged_form_makes_no_event(pages: Any) -> None:
    shop = pages.add_shop("web")
    pages.contact(shop, firstName="Ada")
    browser = pages.logged_in(shop)
    form = {"csrf": pages.csrf(browser, shop), "firstName": "Adele"}
    for _ in range(2):
        assert browser.post(PROFILE, data=form).status_code == 303
    pages.edit(browser, shop, firstName="Adele")
    assert len(pages.woken) == 1
    assert pages.work() == ["delivered"]


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("mobilePhone", "12", "no_phone"),
        ("firstName", "x" * 201, "too_long"),
        ("firstName", "", "needed"),
        ("firstName", "\x01", "no_text"),
        ("birthDay", "31.12.1990", "no_date"),
        ("birthDay", "2090-01-01", "no_date"),
        ("countryCode", "Sweden", "no_country"),
        ("email", "ada", "no_email"),
    ],
)
def test_an_invalid_value_is_rejected_and_the_form_keeps_what_was_typed(
    pages: Any, field: str, value: str, problem: str
) -> None:
    fields = "firstName,lastName,email,mobilePhone,birthDay,countryCode,shoeSize"
    shop = pages.add_shop("web", editable_fields=fields)
    pages.contact(shop, firstName="Ada", mobilePhone="+46700000001")
    browser = pages.logged_in(shop)
    answer = pages.edit(browser, shop, lastName="Berg", **{field: value})
    assert answer.status_code == 422
    assert "Berg" in answer.text
    assert pages.woken == []
    rejected = browser.post(
        PROFILE,
        json={"csrf": pages.csrf(browser, shop), "fields": {field: value}},
        headers={"Accept": "application/json"},
    )
    assert (rejected.status_code, rejected.json["problems"]) == (422, {field: problem})


def test_values_are_normalised_for_engage(pages: Any) -> None:
    shop = pages.add_shop("web", editable_fields="mobilePhone,birthDay,countryCode,firstName")
    contact_id = pages.contact(shop, countryCode="SE", birthDay="1990-01-01T00:00:00")
    browser = pages.logged_in(shop)
    pages.edit(browser, shop, mobilePhone="070-174 06 05", birthDay="1990-01-01", countryCode="no", firstName=" Ada  ")
    assert pages.work() == ["delivered"]
    attributes = pages.engage(contact_id)["attributes"]
    assert (attributes["countryCode"], attributes["firstName"]) == ("NO", "Ada")
    assert attributes["mobilePhone"] == "+46701740605"
    assert attributes["birthDay"] == "1990-01-01T00:00:00"


def test_fields_that_the_shop_does_not_allow_are_not_changed(pages: Any) -> None:
    shop = pages.add_shop("web", editable_fields="firstName,memberNumber,externalId")
    contact_id = pages.contact(shop, firstName="Ada", email="ada@example.com")
    browser = pages.logged_in(shop)
    form = {
        "email": "eve@example.com",
        "externalId": "99",
        "memberNumber": "1",
        "acceptsSms": "yes",
        "shown": "acceptsSms:no",
    }
    assert pages.edit(browser, shop, **form).status_code == 303
    assert pages.work() == []
    body = {"csrf": pages.csrf(browser, shop), "fields": {"email": "eve@example.com"}}
    assert browser.post(PROFILE, json=body).status_code == 400
    assert pages.engage(contact_id)["attributes"]["email"] == "ada@example.com"


@pytest.mark.parametrize("verified", [False, None])
def test_without_a_verified_link_nothing_is_changed(pages: Any, verified: bool | None) -> None:
    shop = pages.add_shop("web")
    if verified is not None:
        pages.contact(shop, verified=False, firstName="Owner")
    browser = pages.logged_in(shop)
    token = pages.json(browser, PROFILE)["csrf"]
    answer = browser.post(PROFILE, data={"csrf": token, "firstName": "Eve"})
    assert answer.status_code == 403
    assert pages.work() == []


def test_a_refused_value_is_shown_and_can_be_corrected(pages: Any) -> None:
    shop = pages.add_shop("web", editable_fields="firstName,gender")
    contact_id = pages.contact(shop, firstName="Ada")
    browser = pages.logged_in(shop)
    refusing = {"next": 1, "error_rate": 1, "error_statuses": [400], "operations": ["updateContact"]}
    pages.fault(**refusing)
    pages.edit(browser, shop, firstName="Adele")
    assert pages.work() == ["parked"]
    page = pages.json(browser, PROFILE)
    assert (_fields(page)["firstName"], page["profile"]["refused"]) == (("Ada", "refused"), True)
    assert "could not be saved" in browser.get(PROFILE).text
    pages.edit(browser, shop, firstName="Adela")  # sets the same field again, so the parked edit is superseded
    assert pages.work() == ["delivered"]
    assert pages.engage(contact_id)["attributes"]["firstName"] == "Adela"
    assert _fields(pages.json(browser, PROFILE))["firstName"] == ("Adela", "")


def test_while_engage_is_away_a_change_is_shown_as_being_saved(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop, firstName="Ada")
    browser = pages.logged_in(shop)
    token = pages.csrf(browser, shop)
    pages.fault(outage=True)
    assert browser.post(PROFILE, data={"csrf": token, "firstName": "Adele"}).status_code == 303
    assert pages.work() == ["retry"]
    assert _fields(pages.json(browser, PROFILE))["firstName"] == ("Adele", "saving")
    pages.no_faults()
    pages.clock.ahead = timedelta(minutes=10)
    assert pages.work() == ["delivered"]
    assert pages.engage(contact_id)["attributes"]["firstName"] == "Adele"


def test_a_contact_that_cannot_be_fetched_cannot_be_changed(pages: Any) -> None:
    shop = pages.add_shop("web")
    pages.contact(shop, firstName="Ada")
    browser = pages.logged_in(shop)
    pages.fault(outage=True)
    token = pages.json(browser, PROFILE)["csrf"]
    answer = browser.post(PROFILE, data={"csrf": token, "firstName": "Adele"})
    assert (answer.status_code, "not saved" in answer.text) == (503, True)
    pages.no_faults()


def test_only_a_new_value_of_the_shop_overrides_the_shoppers_edit(pages: Any) -> None:
    shop = pages.add_shop("web", bulk_from="0")
    contact_id = pages.contact(shop)

    def update_in_shop(name: str) -> None:
        pages.event(STANDARD, shop, "customer.updated", customer={"id": "1", "first_name": name})
        pages.work()

    update_in_shop("Ada")
    browser = pages.logged_in(shop)
    pages.edit(browser, shop, firstName="Adele")
    assert pages.work() == ["delivered"]
    update_in_shop("Ada")
    assert pages.engage(contact_id)["attributes"]["firstName"] == "Adele"
    update_in_shop("Augusta")
    assert pages.engage(contact_id)["attributes"]["firstName"] == "Augusta"


def test_a_shop_cannot_send_the_internal_event(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop, firstName="Ada")
    pages.event(STANDARD, shop, PROFILE_EDITED, customer_id="1", attributes={"firstName": "Eve"}, preferences={})
    assert pages.work() == []
    assert pages.engage(contact_id)["attributes"]["firstName"] == "Ada"


def test_an_erased_person_leaves_no_edit_behind(pages: Any) -> None:
    shop = pages.add_shop("web")
    pages.contact(shop, firstName="Ada")
    browser = pages.logged_in(shop)
    pages.edit(browser, shop, firstName="Adele")
    pages.event(STANDARD, shop, "customer.deleted", customer={"id": "1"})
    while pages.work():
        pass
    text = browser.get(PROFILE).text
    assert "Ada" not in text
    assert "Adele" not in text


@pytest.mark.parametrize("method", ["bearer", "cookie"])
def test_changes_back_and_forth_with_the_same_token_are_all_made(pages: Any, method: str) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop, preferences={"acceptsEmail": False})
    browser, headers = pages.logged_in(shop), {"Accept": "application/json"}
    body = {"csrf": pages.csrf(browser, shop)}
    if method == "bearer":
        handed = {"token": pages.token(shop)}
        session = pages.browser().post("/mypages/web/session", data=handed, headers=headers).json["session"]
        browser, body, headers = pages.browser(), {}, {**headers, "Authorization": f"Bearer {session}"}
    for accepts in (True, False, True, False):
        answer = browser.post(PROFILE, json={**body, "preferences": {"acceptsEmail": accepts}}, headers=headers)
        assert (answer.status_code, answer.json) == (202, {"saving": True})
        assert pages.work() == ["delivered"]
        assert pages.engage(contact_id)["preferences"]["acceptsEmail"] is accepts


def test_the_same_change_after_a_discarded_one_is_accepted(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop, firstName="Ada")
    browser = pages.logged_in(shop)
    form = {"csrf": pages.csrf(browser, shop), "firstName": "Adele"}
    browser.post(PROFILE, data=form)
    EventAdmin(pages.database).discard(pages.woken[0], "by mistake", pages.clock())
    pages.clock.ahead = timedelta(minutes=2)
    browser.post(PROFILE, data=form)
    assert pages.work() == ["delivered"]
    assert pages.engage(contact_id)["attributes"]["firstName"] == "Adele"
