"""A shopper of a Saleor storefront logs in to My Pages with the access token of the storefront."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.saleor_shop import Shop, running_saleor

from plugin.store.shops.shops import NewShop


@pytest.fixture(scope="module")
def running() -> Iterator[Shop]:
    with running_saleor() as shop:
        yield shop


@pytest.fixture
def saleor(running: Shop, pages: Any) -> Shop:
    running.broken = 0
    new = NewShop("shop", "saleor", pages.sandbox.url, "k", "s", {"store": "s"}, running.domain)
    pages.shops.add(new, pages.clock())
    pages.shops.save_credentials("shop", {"api_url": running.api_url, "token": "t", "app_id": "QXBwOjE="})
    return running


def start_session(browser: Any, token: str) -> Any:
    return browser.post("/mypages/shop/session", data={"token": token})


def test_the_access_token_starts_a_session_as_often_as_it_is_valid(pages: Any, saleor: Shop) -> None:
    browser, token = pages.browser(), saleor.customer_token(pages.clock())
    for _ in range(2):
        answer = start_session(browser, token)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/mypages/shop/")
    assert browser.get("/mypages/shop/").status_code == 200


@pytest.mark.parametrize(
    "claims",
    [{"is_staff": True}, {"type": "thirdparty"}, {"type": "refresh"}, {"iss": "https://other.example/graphql/"}],
)
def test_other_tokens_are_refused(pages: Any, saleor: Shop, claims: dict[str, Any]) -> None:
    browser = pages.browser()
    assert start_session(browser, saleor.customer_token(pages.clock(), **claims)).status_code == 401
    assert browser.get("/mypages/shop/").status_code == 401


def test_a_key_that_cannot_be_fetched_now_is_answered_503(pages: Any, saleor: Shop) -> None:
    saleor.broken = 500
    assert start_session(pages.browser(), saleor.customer_token(pages.clock(), key="key-9")).status_code == 503
