"""What the pages show, and to which shoppers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from plugin.store.contacts.links import Link


def test_the_overview_shows_profile_purchases_and_promotions(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop, firstName="Ada", city="Stockholm")
    pages.promotion(contact_id)
    pages.order(shop, "9001")
    text = pages.logged_in(shop).get("/mypages/web/").text
    for shown in ("Ada", "Stockholm", "20 % off caps", "SPRING20", "N9001", "Being registered"):
        assert shown in text


@pytest.mark.parametrize(
    ("part", "calls"),
    [
        ("profile", ["getContact"]),
        ("transactions", ["getTransactions"]),
        ("promotions", ["listPromotionAssignments"]),
        ("points", ["listPointAccounts", "listPointTransactions"]),
        ("vouchers", ["listAvailableRewardVouchers", "listRewardVouchers"]),
        ("", ["getContact", "getTransactions", "listAvailableRewardVouchers", "listPointAccounts", "listPromotionAssignments"]),
    ],
)  # fmt: skip
def test_each_page_calls_only_the_endpoints_that_it_needs_and_each_once(
    pages: Any, part: str, calls: list[str]
) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop)
    pages.seed(points=[{"contactId": contact_id, "transactions": []}])
    browser = pages.logged_in(shop)
    for _ in range(3):
        assert browser.get(f"/mypages/web/{part}").status_code == 200
    pages.drop_cached_pages()
    assert browser.get(f"/mypages/web/{part}").status_code == 200
    assert sorted(pages.calls()) == calls


def test_missing_features_of_a_tenant_are_detected_and_remembered(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop)
    pages.fault(error_rate=1, error_statuses=[404], operations=["listPointAccounts"])
    browser = pages.logged_in(shop)
    assert browser.get("/mypages/web/points").status_code == 404
    assert pages.shops.get("web").settings.points_found == "no"
    assert "vouchers" not in pages.json(browser, "/mypages/web/")["parts"]
    assert (
        pages.shops.get("web").settings.vouchers_found == ""
    )  # one contact without vouchers does not show that the tenant has none
    value = {"amount": 50, "currency": "SEK"}
    pages.seed(vouchers=[{"contactId": contact_id, "value": value}])
    pages.age_the_cache(10)
    overview = pages.json(browser, "/mypages/web/")
    assert overview["parts"][-1] == "vouchers"
    assert overview["overview"]["points"] is None
    assert pages.shops.get("web").settings.vouchers_found == "yes"
    assert pages.calls().count("listPointAccounts") == 1


@pytest.mark.parametrize(("setting", "status"), [("no", 404), ("yes", 200)])
def test_a_setting_decides_whether_points_and_vouchers_are_shown(pages: Any, setting: str, status: int) -> None:
    shop = pages.add_shop("web", points=setting, vouchers=setting)
    pages.contact(shop)
    browser = pages.logged_in(shop)
    for part in ("points", "vouchers"):
        assert browser.get(f"/mypages/web/{part}").status_code == status
        assert (part in pages.json(browser, "/mypages/web/")["parts"]) is (setting == "yes")


def test_a_voucher_is_shown_in_the_shoppers_currency(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop)
    local = [{"amount": 50, "currency": "SEK"}, {"amount": 5, "currency": "EUR"}]
    pages.seed(vouchers=[{"contactId": contact_id, "value": local[0], "localValues": local, "voucherNumber": "V1"}])
    browser = pages.browser()
    browser.post("/mypages/web/session", data={"token": pages.token(shop, locale="de-DE")})
    (voucher,) = pages.json(browser, "/mypages/web/vouchers")["vouchers"]["active"]
    assert (voucher["value"]["currency"], voucher["value"]["text"]) == ("EUR", "5,00\xa0€")
    pages.order(shop, "9001")  # paid in SEK: the currency of orders takes precedence over the country
    (voucher,) = pages.json(browser, "/mypages/web/vouchers")["vouchers"]["active"]
    assert voucher["value"]["currency"] == "SEK"


def test_points_show_balance_and_history(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop)
    changes = [
        {
            "transactionType": "Addition", "amount": amount, "description": f"Purchase {amount}", "source": "S",
            "transactionId": f"00000000-0000-0000-0000-{amount:012d}", "transactionDate": f"2026-01-{amount:02d}T10:00:00Z",
        }
        for amount in range(1, 26)
    ]  # fmt: skip
    pages.seed(points=[{"contactId": contact_id, "transactions": changes}])
    browser = pages.logged_in(shop)
    points = pages.json(browser, "/mypages/web/points")["points"]
    assert points["accounts"][0]["balance"]["value"] == "325"
    assert (points["history"][0]["description"], len(points["history"]), points["older"]) == ("Purchase 25", 20, True)
    second = pages.json(browser, "/mypages/web/points?page=2")["points"]
    assert (len(second["history"]), second["older"], second["newer"]) == (5, False, True)
    assert "Purchase 25" in browser.get("/mypages/web/points").text


@pytest.mark.parametrize("verified", [False, None])
def test_without_a_verified_link_only_the_shops_own_orders_are_shown(pages: Any, verified: bool | None) -> None:
    shop = pages.add_shop("web", signup_url="https://shop.example/join")
    if verified is not None:
        pages.contact(shop, verified=False, firstName="Owner")
    pages.order(shop, "9001")
    browser = pages.logged_in(shop)
    text = "".join(
        browser.get(f"/mypages/web/{part}").text for part in ("", "profile", "promotions", "points", "vouchers")
    )
    assert "Owner" not in text
    assert "N9001" in text
    assert "https://shop.example/join" in text
    assert pages.calls() == []


def test_a_deleted_contact_is_shown_as_unlinked(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop, firstName="Ada")
    pages.post_to_engage(f"/api/v3/contacts/{contact_id}", None, "DELETE")
    assert pages.json(pages.logged_in(shop), "/mypages/web/profile")["profile"]["state"] == "unlinked"


def test_an_id_in_a_mail_link_shows_nothing(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop, firstName="Ada")
    for name in ("eclub", "eClub", "vtid", "contactId"):
        answer = pages.browser().get(f"/mypages/web/profile?{name}={contact_id}")
        assert (answer.status_code, "Ada" in answer.text) == (401, False)
    pages.contact(shop, "2", firstName="Bea")
    text = pages.logged_in(shop, "2").get(f"/mypages/web/profile?eclub={contact_id}").text
    assert "Bea" in text
    assert "Ada" not in text


def test_many_purchases_are_paged_newest_first(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop)
    for number in range(25):
        pages.receipt(contact_id, number, f"2026-01-{number + 1:02d}")
    browser = pages.logged_in(shop)
    first, second = browser.get("/mypages/web/transactions").text, browser.get("/mypages/web/transactions?page=2").text
    assert first.index("No-24.") < first.index("No-23.") < first.index("No-5.")
    assert second.index("No-4.") < second.index("No-0.")
    assert "No-4." not in first
    assert "No-5." not in second
    assert 'rel="next"' in first
    assert 'rel="prev"' in second
    for odd in ("0", "-1", "x", "99999999999999999999", "٣"):
        assert browser.get(f"/mypages/web/transactions?page={odd}").status_code == 200


def test_a_purchase_has_its_own_page_with_its_lines(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop)
    for number in range(25):
        pages.receipt(contact_id, number, f"2026-01-{number + 1:02d}")
    line = {"kind": "goods", "name": "Blue cap", "sku": "CAP", "quantity": "2", "gross": "299.00"}
    pages.order(shop, "9001", lines=[line])
    browser = pages.logged_in(shop)
    own = browser.get("/mypages/web/transactions/web-9001")
    assert "Blue cap" in own.text
    assert "getTransactions" not in pages.calls()
    purchase = pages.json(browser, "/mypages/web/transactions/R3")["receipt"]  # on the second page
    assert (purchase["purchase"]["number"], purchase["back"]) == ("No-3.", 2)
    assert browser.get("/mypages/web/transactions/R99").status_code == 404


def test_a_purchase_of_another_customer_is_not_found(pages: Any) -> None:
    shop, other = pages.add_shop("web"), pages.add_shop("other")
    for customer in ("1", "2"):
        pages.contact(shop, customer)
    pages.order(shop, "9001", "2")
    pages.order(other, "9002", "1")
    browser = pages.logged_in(shop)
    for purchase_id in ("web-9001", "9001", "other-9002", "web-9002", "../../other/transactions/other-9002"):
        answer = browser.get(f"/mypages/web/transactions/{purchase_id}")
        assert answer.status_code in {404, 401}
        assert "N900" not in answer.text


def test_an_order_is_being_registered_until_engage_shows_it(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop)
    pages.order(shop, "9001")
    browser = pages.logged_in(shop)
    (row,) = pages.json(browser, "/mypages/web/transactions")["purchases"]["items"]
    assert (row["id"], row["being_registered"], row["amount"]["value"]) == ("web-9001", True, "299.00")
    pages.receipt(contact_id, 1, "2026-01-01", uniqueReceiptId="web-9001")
    pages.sync_states.bump_generation(shop, contact_id, datetime.now(UTC))
    (row,) = pages.json(browser, "/mypages/web/transactions")["purchases"]["items"]
    assert (row["id"], row["being_registered"], row["amount"]["value"]) == ("web-9001", False, "299.00")


def test_an_order_that_engage_never_shows_is_dropped_after_two_days(pages: Any) -> None:
    shop = pages.add_shop("web")
    pages.contact(shop)
    pages.order(shop, "9001")
    long_ago = datetime.now(UTC) - timedelta(days=3)
    with pages.database.transaction() as session:
        pages.orders.write_change(session, shop, "9001", receipt_sent_at=long_ago)
    assert pages.json(pages.logged_in(shop), "/mypages/web/transactions")["purchases"]["items"] == []


def test_expired_promotions_are_not_shown_and_used_promotions_are_listed_separately(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop)
    pages.promotion(contact_id, presentation={"heading": "Long"})
    percent = [{"type": "ECOM", "valueType": "PERCENT", "value": "12.5"}]
    pages.promotion(
        contact_id, {"expiresOn": "2027-06-01T00:00:00Z"}, presentation={"heading": "Soon"}, redemptionChannels=percent
    )
    pages.promotion(contact_id, {"expiresOn": "2020-01-01T00:00:00Z"}, presentation={"heading": "Ended"})
    pages.promotion(contact_id, {"redeemed": True}, presentation={"heading": "Used"})
    till = [{"type": "POS", "valueType": "MANUAL", "value": "x"}]
    pages.promotion(contact_id, presentation={"heading": "Till only"}, redemptionChannels=till)
    promotions = pages.json(pages.logged_in(shop), "/mypages/web/promotions")["promotions"]
    assert [promotion["heading"] for promotion in promotions["active"]] == ["Soon", "Long"]
    assert [promotion["heading"] for promotion in promotions["used"]] == ["Used"]
    assert (promotions["active"][0]["gives_kind"], promotions["active"][0]["gives"]) == ("percent", "12.5\xa0%")
    assert (promotions["active"][1]["gives_kind"], promotions["active"][1]["code"]) == ("code", "SPRING20")


def test_personal_pages_have_security_headers(pages: Any) -> None:
    shop = pages.add_shop("web", frame_ancestors="https://shop.example")
    headers = pages.logged_in(shop).get("/mypages/web/").headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors https://shop.example" in policy
    assert "unsafe-inline" not in policy
    assert "Access-Control-Allow-Origin" not in headers
    plain = pages.browser().get("/mypages/nobody/").headers
    assert "frame-ancestors 'none'" in plain["Content-Security-Policy"]
    assert plain["X-Frame-Options"] == "DENY"


def test_a_fragment_can_be_embedded_in_another_page(pages: Any) -> None:
    shop = pages.add_shop("web")
    pages.contact(shop, firstName="Ada")
    browser = pages.logged_in(shop)
    text = browser.get("/mypages/web/profile?embed=1").text
    assert "Ada" in text
    assert "<html" not in text
    assert "/mypages/web/promotions?embed=1" in text
    assert "http://127.0.0.1:8000/mypages/static/" in text


def test_verifying_or_deleting_a_link_takes_effect_at_once(pages: Any) -> None:
    shop = pages.add_shop("web")
    contact_id = pages.contact(shop, verified=False, firstName="Ada")
    browser = pages.logged_in(shop)
    assert "Ada" not in browser.get("/mypages/web/profile").text
    pages.links.save(shop, "1", Link(contact_id, True, "test"), datetime.now(UTC))
    assert "Ada" in browser.get("/mypages/web/profile").text
    pages.links.delete(shop, "1")
    assert "Ada" not in browser.get("/mypages/web/profile").text
