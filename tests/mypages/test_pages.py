"""What the pages show, to whom, and what happens when Engage is away."""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

HEADERS = {"apikey": "k", "User-Agent": "Test/1.0", "Content-Type": "application/json"}


def test_the_overview_shows_profile_purchases_and_promotions(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop, firstName="Ada", city="Stockholm")
    pages.promotion(contact_id)
    pages.order(shop, "9001")
    text = pages.logged_in(shop).get("/mypages/web/").text
    for shown in ("Ada", "Stockholm", "20 % off caps", "SPRING20", "N9001", "being registered"):
        assert shown in text


@pytest.mark.parametrize(
    ("part", "calls"),
    [
        ("profile", ["getContact"]),
        ("transactions", ["getTransactions"]),
        ("promotions", ["listPromotionAssignments"]),
        ("", ["getContact", "getTransactions", "listPromotionAssignments"]),
    ],
)
def test_each_page_calls_only_the_endpoints_of_what_it_shows(pages: Any, part: str, calls: list[str]) -> None:
    shop = pages.add_shop("web")
    pages.contact(shop)
    browser = pages.logged_in(shop)
    for _ in range(3):
        assert browser.get(f"/mypages/web/{part}").status_code == 200
    assert sorted(pages.calls()) == calls


def test_json_of_the_same_data_for_headless_shops(pages: Any) -> None:
    shop = pages.add_shop("web")
    pages.contact(shop, firstName="Ada")
    answer = pages.logged_in(shop).get("/mypages/web/profile", headers={"Accept": "application/json"})
    assert {"label": "First name", "value": "Ada"} in answer.json["profile"]["rows"]


@pytest.mark.parametrize("verified", [False, None])
def test_without_a_verified_link_only_the_shops_own_orders_are_shown(pages: Any, verified: bool | None) -> None:
    shop = pages.add_shop("web")
    if verified is not None:
        pages.contact(shop, verified=False, firstName="Owner")
    pages.order(shop, "9001")
    browser = pages.logged_in(shop)
    text = browser.get("/mypages/web/").text + browser.get("/mypages/web/profile").text
    assert "Owner" not in text
    assert "N9001" in text
    assert pages.calls() == []


def test_two_shoppers_and_two_shops_never_see_each_other(pages: Any) -> None:
    people = {}
    for shop_name in ("web", "kiosk"):
        shop = pages.add_shop(shop_name)
        for customer in ("1", "2"):
            mark = f"Person{shop_name}{customer}"
            contact_id = pages.contact(shop, customer, firstName=mark)
            pages.promotion(contact_id, presentation={"heading": f"Offer {mark}"})
            pages.order(shop, f"{shop_name}-{customer}", customer)
            people[(shop_name, customer)] = (mark, pages.logged_in(shop, customer))
    faults: list[str] = []

    def visit(shop_name: str, mine: str, browser: Any) -> None:
        for _ in range(5):
            for part in ("", "profile", "transactions", "promotions"):
                text = browser.get(f"/mypages/{shop_name}/{part}").text
                foreign = [mark for mark, _ in people.values() if mark != mine and mark in text]
                if foreign or (part in {"", "profile"} and mine not in text):
                    faults.append(f"{mine} saw {foreign} on {part}")

    threads = [threading.Thread(target=visit, args=(name, mark, b)) for (name, _), (mark, b) in people.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


@pytest.mark.parametrize(
    "value", ["<script>alert(1)</script>", "{{ 7*7 }}", "{% raw %}", "\u202eabc", "x" * 440, "'\"><img>"]
)
def test_hostile_values_are_harmless(pages: Any, value: str) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop, firstName=value)
    pages.promotion(contact_id, presentation={"heading": value[:400], "link": "javascript:alert(1)"})
    text = pages.logged_in(shop).get("/mypages/web/").text
    assert "<script" not in text
    assert "<img" not in text
    assert "javascript:" not in text
    assert "49" not in text or "7*7" in text
    assert len(text) < 20_000


def test_with_engage_away_and_nothing_cached_the_page_is_calm_and_quick(pages: Any) -> None:
    shop = pages.add_shop("web")
    pages.contact(shop)
    pages.order(shop, "9001")
    pages.fault(latency_s=5)
    browser = pages.logged_in(shop)
    started = time.monotonic()
    answer = browser.get("/mypages/web/")
    assert time.monotonic() - started < 3.5
    assert answer.status_code == 200
    assert "cannot be fetched" in answer.text
    assert "N9001" in answer.text


def _age_the_cache(pages: Any, minutes: int) -> None:
    """Make everything that is cached older, in the cache itself."""
    from requests_cache.models.response import CachedResponse

    cache = pages.transport._cached.cache
    for key in list(cache.responses.keys()):
        kept: CachedResponse = cache.responses[key]
        kept.created_at = kept.created_at - timedelta(minutes=minutes)
        cache.responses[key] = kept


def test_with_engage_away_older_data_is_shown_with_its_age(pages: Any) -> None:
    shop = pages.add_shop("web")
    pages.contact(shop, firstName="Ada")
    browser = pages.logged_in(shop)
    assert "Ada" in browser.get("/mypages/web/profile").text
    _age_the_cache(pages, 90)
    pages.fault(outage=True)
    text = browser.get("/mypages/web/profile").text
    assert "Ada" in text
    assert "2 hours ago" in text


@pytest.mark.parametrize("status", [404, 401])
def test_after_404_and_401_nothing_that_was_cached_is_shown(pages: Any, status: int) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop, firstName="Ada")
    browser = pages.logged_in(shop)
    assert "Ada" in browser.get("/mypages/web/profile").text
    _age_the_cache(pages, 90)
    if status == 404:
        requests.delete(
            f"{pages.sandbox.url}/api/v3/contacts/{contact_id}", headers=HEADERS, timeout=5
        ).raise_for_status()
    else:
        options = {"refused_keys": ["key-web"]}
        requests.post(f"{pages.sandbox.url}/sandbox/options", json=options, timeout=5).raise_for_status()
    assert "Ada" not in browser.get("/mypages/web/profile").text
    pages.fault(outage=True)
    assert "Ada" not in browser.get("/mypages/web/profile").text


def test_a_change_of_the_contact_makes_the_page_fresh_at_once(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop, firstName="Ada")
    browser = pages.logged_in(shop)
    browser.get("/mypages/web/profile")
    path = f"{pages.sandbox.url}/api/v3/contacts/{contact_id}"
    requests.patch(path, json={"firstName": "Adele"}, headers=HEADERS, timeout=5).raise_for_status()
    assert "Adele" not in browser.get("/mypages/web/profile").text
    with pages.database.transaction() as session:
        pages.contacts.write_forget_cached(session, shop, contact_id, datetime.now(UTC))
    assert "Adele" in browser.get("/mypages/web/profile").text


def test_personal_pages_are_guarded_by_their_headers(pages: Any) -> None:
    shop = pages.add_shop("web", frame_ancestors="https://shop.example")
    headers = pages.logged_in(shop).get("/mypages/web/").headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors https://shop.example" in policy
    assert "unsafe-inline" not in policy


def test_many_purchases_are_paged(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop)
    pages.seed(stores=[{"externalId": "web", "name": "Web"}])
    for number in range(25):
        receipt = {
            "contact": {"matchKey": contact_id, "matchKeyType": "contactId"}, "uniqueReceiptId": f"R{number}",
            "receiptNumber": f"No-{number}.", "createdDate": f"2026-01-{number + 1:02d}T10:00:00+01:00", "storeExternalId": "web",
            "currency": "SEK", "totalGrossPrice": 10, "paymentMethods": [{"type": "card", "value": 10}],
            "items": [{"type": "PURCHASE", "sku": "A", "quantity": 1, "grossPaidPrice": 10, "taxAmount": 2, "taxPercent": 25,
                       "articleNumber": "A", "articleName": "A"}],
        }  # fmt: skip
        requests.post(
            f"{pages.sandbox.url}/api/v3/receipts", json=receipt, headers=HEADERS, timeout=5
        ).raise_for_status()
    browser = pages.logged_in(shop)
    first, second = browser.get("/mypages/web/transactions").text, browser.get("/mypages/web/transactions?page=2").text
    assert first.count("No-") == 20
    assert second.count("No-") == 5
    assert 'rel="next"' in first
    assert 'rel="prev"' in second
    for odd in ("0", "-1", "x", "99999999999999999999"):
        assert browser.get(f"/mypages/web/transactions?page={odd}").status_code == 200
