"""CSRF tokens: bound to shop and shopper, valid for an hour."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mypages.auth.csrf import CsrfTokens
from plugin.store.shops.vault import Vault

PROFILE = "/mypages/web/profile"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def tokens() -> CsrfTokens:
    return CsrfTokens(Vault("a key of tests that is longer than thirty-two characters"))


@pytest.mark.parametrize(
    ("age", "valid"),
    [
        (timedelta(), True),
        (timedelta(hours=1), True),
        (timedelta(hours=1, seconds=1), False),
        (timedelta(seconds=-60), True),
        (timedelta(seconds=-61), False),
    ],
)
def test_a_token_is_valid_for_an_hour_and_a_clock_may_be_a_minute_ahead(
    tokens: CsrfTokens, age: timedelta, valid: bool
) -> None:
    token = tokens.make("web", "1", NOW)
    assert tokens.is_valid(token, "web", "1", NOW + age) is valid


def test_a_token_is_bound_to_shop_and_customer(tokens: CsrfTokens) -> None:
    token = tokens.make("web", "1", NOW)
    for shop, customer_id in (("kiosk", "1"), ("web", "2"), ("web1", ""), ("", "web1")):
        assert not tokens.is_valid(token, shop, customer_id, NOW)


def test_tokens_of_the_same_moment_differ(tokens: CsrfTokens) -> None:
    assert tokens.make("web", "1", NOW) != tokens.make("web", "1", NOW)


def test_a_changed_or_malformed_token_is_not_valid(tokens: CsrfTokens) -> None:
    token = tokens.make("web", "1", NOW)
    for changed in (
        "",
        ".",
        "..",
        "x" + token,
        token + "x" * 200,
        token.swapcase(),
        "\ud800.\ud800.\ud800",
        "a" * 5000,
    ):
        assert not tokens.is_valid(changed, "web", "1", NOW)


def test_a_token_of_another_key_is_not_valid(tokens: CsrfTokens) -> None:
    other = CsrfTokens(Vault("another key of tests that is longer than thirty-two characters"))
    assert not tokens.is_valid(other.make("web", "1", NOW), "web", "1", NOW)


def test_a_form_is_accepted_only_with_its_own_token(pages: Any) -> None:
    shop, other = pages.add_shop("web"), pages.add_shop("other")
    for owner in (shop, other):
        pages.contact(owner, "1", firstName="Ada")
        pages.contact(owner, "2", firstName="Bea")
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
    assert browser.get(PROFILE).status_code == 200  # the session is prolonged, the old form is not
    pages.clock.ahead = timedelta(minutes=58)
    assert browser.get(PROFILE).status_code == 200
    pages.clock.ahead = timedelta(minutes=62)
    answer = browser.post(PROFILE, data={"csrf": good, "firstName": "Eve"})
    assert (answer.status_code, "open for too long" in answer.text) == (403, True)
    assert pages.woken == []
    assert pages.browser().post(PROFILE, data={"csrf": good, "firstName": "Eve"}).status_code == 401


@pytest.mark.parametrize("body", [b"[" * 5000, b'{"a":' * 5000, b'{"csrf": "\\ud800.\\ud800"}', b'{"csrf": "\\u0000"}'])
def test_json_that_cannot_be_parsed_is_refused(pages: Any, body: bytes) -> None:
    shop = pages.add_shop("web")
    pages.contact(shop, firstName="Ada")
    answer = pages.logged_in(shop).post(PROFILE, data=body, content_type="application/json")
    assert answer.status_code == 403
