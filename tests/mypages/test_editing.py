"""A shopper changes their data: through the inbox, at once shown as being saved, over a verified link alone."""

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


def test_a_change_is_shown_at_once_and_is_delivered(pages: Any) -> None:
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
    found = pages.engage(contact_id)["preferences"]
    assert (found["acceptsEmail"], found["acceptsSms"]) == (True, False)
    last = pages.consents.latest(shop, contact_id)
    assert {name: value for name, (value, _) in last.items()} == {"email": True, "sms": False}


def test_an_old_page_is_no_new_yes(pages: Any) -> None:
    """The shopper unsubscribed by a mail's link while the page with the ticked box was open."""
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop, firstName="Ada", preferences={"acceptsEmail": True, "acceptsSms": False})
    browser = pages.logged_in(shop)
    changed = {"preferences": {"acceptsEmail": False}, "firstName": "Adele"}
    pages.post_to_engage(f"/api/v3/contacts/{contact_id}", changed, "PATCH")
    pages.sync_states.bump_generation(shop, contact_id, datetime.now(UTC))
    form = {"acceptsEmail": "yes", "acceptsSms": "yes", "shown": ["acceptsEmail:yes", "acceptsSms:no"]}
    pages.edit(browser, shop, **form, firstName="Ada", **{"was.firstName": "Ada"})
    pages.work()
    found = pages.engage(contact_id)
    assert found["preferences"]["acceptsEmail"] is False
    assert found["preferences"]["acceptsSms"] is True
    assert found["attributes"]["firstName"] == "Adele"


def test_a_double_click_changes_once_and_nothing_changed_is_no_event(pages: Any) -> None:
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
def test_a_value_that_cannot_be_is_not_taken_and_what_was_written_stays(
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
    given = browser.post(
        PROFILE,
        json={"csrf": pages.csrf(browser, shop), "fields": {field: value}},
        headers={"Accept": "application/json"},
    )
    assert (given.status_code, given.json["problems"]) == (422, {field: problem})


def test_values_are_sent_as_engage_wants_them(pages: Any) -> None:
    shop = pages.add_shop("web", editable_fields="mobilePhone,birthDay,countryCode,firstName")
    contact_id = pages.contact(shop, countryCode="SE", birthDay="1990-01-01T00:00:00")
    browser = pages.logged_in(shop)
    pages.edit(browser, shop, mobilePhone="070-174 06 05", birthDay="1990-01-01", countryCode="no", firstName=" Ada  ")
    assert pages.work() == ["delivered"]
    found = pages.engage(contact_id)["attributes"]
    assert (found["countryCode"], found["firstName"]) == ("NO", "Ada")
    assert found["mobilePhone"] == "+46701740605"
    assert found["birthDay"] == "1990-01-01T00:00:00"


def test_what_the_shop_does_not_allow_is_not_changed(pages: Any) -> None:
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
    given = {"csrf": pages.csrf(browser, shop), "fields": {"email": "eve@example.com"}}
    assert browser.post(PROFILE, json=given).status_code == 400
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


def test_a_form_is_taken_only_with_its_own_token(pages: Any) -> None:
    shop, other = pages.add_shop("web"), pages.add_shop("other")
    for one in (shop, other):
        pages.contact(one, "1", firstName="Ada")
        pages.contact(one, "2", firstName="Bea")
    browser, second, elsewhere = pages.logged_in(shop), pages.logged_in(shop, "2"), pages.logged_in(other)
    good = pages.csrf(browser, shop)
    bad = [
        "",
        "x",
        "..",
        good[:-1],
        good + "x",
        pages.csrf(second, shop),
        pages.csrf(elsewhere, other),
        "å.b.c",
        "ff." * 99,
    ]
    for token in bad:
        assert browser.post(PROFILE, data={"csrf": token, "firstName": "Eve"}).status_code == 403
        assert browser.post("/mypages/web/reload", data={"csrf": token}).status_code == 403
        assert browser.post(PROFILE, json={"csrf": token, "fields": {"firstName": "Eve"}}).status_code == 403
    assert browser.post(PROFILE, json={"csrf": 7, "fields": {}}).status_code == 403
    assert browser.post(PROFILE, data="\xff", content_type="application/json").status_code == 403
    pages.clock.ahead = timedelta(minutes=29)
    assert browser.get(PROFILE).status_code == 200  # the session goes on, the old form does not
    pages.clock.ahead = timedelta(minutes=58)
    assert browser.get(PROFILE).status_code == 200
    pages.clock.ahead = timedelta(minutes=62)
    answer = browser.post(PROFILE, data={"csrf": good, "firstName": "Eve"})
    assert (answer.status_code, "open for too long" in answer.text) == (403, True)
    assert pages.woken == []
    assert pages.browser().post(PROFILE, data={"csrf": good, "firstName": "Eve"}).status_code == 401


def test_a_refused_value_is_told_and_the_rest_goes(pages: Any) -> None:
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
    pages.edit(browser, shop, firstName="Adela")  # says the same field anew: the parked one is needless
    assert pages.work() == ["delivered"]
    assert pages.engage(contact_id)["attributes"]["firstName"] == "Adela"
    assert _fields(pages.json(browser, PROFILE))["firstName"] == ("Adela", "")


def test_while_engage_is_away_the_change_waits_and_says_so(pages: Any) -> None:
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


def test_what_nobody_knows_now_cannot_be_changed_now(pages: Any) -> None:
    shop = pages.add_shop("web")
    pages.contact(shop, firstName="Ada")
    browser = pages.logged_in(shop)
    pages.fault(outage=True)
    token = pages.json(browser, PROFILE)["csrf"]
    answer = browser.post(PROFILE, data={"csrf": token, "firstName": "Adele"})
    assert (answer.status_code, "not saved" in answer.text) == (503, True)
    pages.no_faults()


def test_the_shops_old_value_does_not_undo_the_shoppers_edit_but_a_new_one_does(pages: Any) -> None:
    shop = pages.add_shop("web", bulk_from="0")
    contact_id = pages.contact(shop)

    def told(name: str) -> None:
        pages.event(STANDARD, shop, "customer.updated", customer={"id": "1", "first_name": name})
        pages.work()

    told("Ada")
    browser = pages.logged_in(shop)
    pages.edit(browser, shop, firstName="Adele")
    assert pages.work() == ["delivered"]
    told("Ada")
    assert pages.engage(contact_id)["attributes"]["firstName"] == "Adele"
    told("Augusta")
    assert pages.engage(contact_id)["attributes"]["firstName"] == "Augusta"


def test_no_shop_can_send_the_plugins_own_event(pages: Any) -> None:
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


@pytest.mark.parametrize("by", ["bearer", "cookie"])
def test_a_change_back_and_forth_by_one_token_ends_as_the_shopper_said_last(pages: Any, by: str) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop, preferences={"acceptsEmail": False})
    browser, headers = pages.logged_in(shop), {"Accept": "application/json"}
    body = {"csrf": pages.csrf(browser, shop)}
    if by == "bearer":
        handed = {"token": pages.token(shop)}
        session = pages.browser().post("/mypages/web/session", data=handed, headers=headers).json["session"]
        browser, body, headers = pages.browser(), {}, {**headers, "Authorization": f"Bearer {session}"}
    for wish in (True, False, True, False):
        answer = browser.post(PROFILE, json={**body, "preferences": {"acceptsEmail": wish}}, headers=headers)
        assert (answer.status_code, answer.json) == (202, {"saving": True})
        assert pages.work() == ["delivered"]
        assert pages.engage(contact_id)["preferences"]["acceptsEmail"] is wish


def test_the_same_change_after_a_discarded_one_is_taken(pages: Any) -> None:
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


@pytest.mark.parametrize("body", [b"[" * 5000, b'{"a":' * 5000, b'{"csrf": "\\ud800.\\ud800"}', b'{"csrf": "\\u0000"}'])
def test_json_that_nobody_can_read_is_refused(pages: Any, body: bytes) -> None:
    shop = pages.add_shop("web")
    pages.contact(shop, firstName="Ada")
    answer = pages.logged_in(shop).post(PROFILE, data=body, content_type="application/json")
    assert answer.status_code == 403
