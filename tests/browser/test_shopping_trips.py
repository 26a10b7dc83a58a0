"""What shoppers do: log in, browse, change data; also by keyboard, without scripts, during an outage, in turn."""

import time
from datetime import timedelta

import pytest
from browser.conftest import Visit
from browser.visitors import Site
from playwright.sync_api import Page, expect


def test_a_shopper_comes_from_the_shop_and_leaves_again(visit: Visit, site: Site) -> None:
    shop = site.shop()
    site.member(shop)
    visitor = visit()
    page = visitor.log_in(shop)
    expect(page.get_by_role("heading", level=1)).to_have_text("Hello, Ada")
    expect(page.get_by_text("15% off")).to_be_visible()
    assert "token" not in page.url
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{site.front}/login*")
    assert visitor.open(shop).status == 401


def test_purchases_are_paged_newest_first(visit: Visit, site: Site) -> None:
    shop = site.shop()
    site.receipts(shop, site.member(shop), 45)
    page = visit().log_in(shop)
    page.get_by_role("link", name="All purchases").click()
    assert _numbers(page) == [f"No-{number}." for number in range(45, 25, -1)]
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**page=2")
    assert _numbers(page) == [f"No-{number}." for number in range(25, 5, -1)]
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**page=3")
    assert _numbers(page) == [f"No-{number}." for number in range(5, 0, -1)]
    expect(page.get_by_role("link", name="Older")).to_have_count(0)
    page.get_by_role("link", name="Newer").click()
    page.wait_for_url("**page=2")
    page.get_by_role("link", name="No-25.").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("No-25.")
    page.get_by_role("link", name="All purchases").click()
    page.wait_for_url("**page=2")


def _numbers(page: Page) -> list[str]:
    return [text.strip() for text in page.locator(".mp-row-title bdi").all_inner_texts()]


def test_a_code_is_copied_with_one_click(visit: Visit, site: Site) -> None:
    shop = site.shop()
    site.member(shop)
    visitor = visit()
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visitor.log_in(shop)
    page.get_by_role("button", name="Copy SPRING20").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "SPRING20"


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_details_and_choices_are_changed_and_show_at_once(visit: Visit, site: Site, scripts: bool) -> None:
    shop = site.shop()
    site.member(shop)
    page = visit(scripts=scripts).log_in(shop)
    page.get_by_role("link", name="Profile").click()
    page.get_by_text("Change my details").click()
    page.get_by_label("City").fill("Göteborg")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Your change is being saved")).to_be_visible()
    expect(page.locator(".mp-facts div", has_text="City")).to_contain_text("Göteborg")
    expect(page.locator(".mp-facts div", has_text="City")).to_contain_text("Being saved")
    page.get_by_label("By text message").check()
    page.get_by_label("By e-mail").uncheck()
    page.get_by_role("button", name="Save choices").click()
    expect(page.get_by_label("By text message")).to_be_checked()
    expect(page.get_by_label("By e-mail")).not_to_be_checked()


def test_an_invalid_value_is_shown_and_corrected_without_scripts(visit: Visit, site: Site) -> None:
    shop = site.shop()
    site.member(shop)
    page = visit(scripts=False).log_in(shop)
    page.goto(f"{site.url}/mypages/{shop.name}/profile")
    page.get_by_text("Change my details").click()
    page.get_by_label("Mobile phone").fill("call me")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("not a phone number")
    page.get_by_label("Mobile phone").fill("+46 70 765 43 21")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Your change is being saved")).to_be_visible()


def test_everything_works_without_scripts(visit: Visit, site: Site) -> None:
    shop = site.shop()
    site.member(shop)
    site.pages.order(shop, "9001")
    page = visit(scripts=False).log_in(shop)
    for name in ("Purchases", "Promotions", "Points", "Vouchers", "Profile", "Overview"):
        page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
        expect(page.locator("[aria-current=page]")).to_have_text(name)
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)  # it would do nothing
    expect(page.get_by_text("SPRING20").first).to_be_visible()


def test_every_action_works_with_the_keyboard_alone(visit: Visit, site: Site) -> None:
    shop = site.shop()
    site.member(shop)
    site.pages.order(shop, "9001")
    page = visit().log_in(shop)
    page.goto(f"{site.url}/mypages/{shop.name}/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "mp-content"
    _tab_to(page, "All purchases")
    page.keyboard.press("Enter")
    page.wait_for_url("**/transactions")
    _tab_to(page, "N9001")
    page.keyboard.press("Enter")
    page.wait_for_url("**/transactions/*")
    page.goto(f"{site.url}/mypages/{shop.name}/profile")
    _tab_to(page, "Change my details")
    page.keyboard.press("Enter")
    _tab_to(page, "", "City")
    page.keyboard.press("Control+A")
    page.keyboard.type("Göteborg")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Your change is being saved")).to_be_visible()
    _tab_to(page, "", "By text message")
    page.keyboard.press("Space")
    _tab_to(page, "Save choices")
    page.keyboard.press("Enter")
    expect(page.get_by_label("By text message")).to_be_checked()


def _tab_to(page: Page, text: str, label: str = "") -> None:
    """Press Tab until the element with this text or label has the focus. The focus must always be visible."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => { const e = document.activeElement, s = getComputedStyle(e);
            return {text: e.innerText || "", label: e.labels && e.labels[0] ? e.labels[0].innerText : "",
                    visible: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2, tag: e.tagName}; }"""
        )
        assert focused["visible"] or focused["tag"] == "BODY", focused
        if (text and text in focused["text"]) or (label and label in focused["label"]):
            return
    pytest.fail(f"Tab does not reach {text or label!r}")


def test_with_engage_away_cached_data_is_shown_with_its_age(visit: Visit, site: Site) -> None:
    shop = site.shop()
    site.member(shop)
    visitor = visit()
    page = visitor.log_in(shop)
    visitor.open(shop, "promotions")
    site.pages.age_the_cache(90)
    site.pages.fault(outage=True)
    visitor.open(shop)
    expect(page.locator(".mp-note")).to_have_count(1)  # once, however many parts are old
    expect(page.locator(".mp-note")).to_contain_text("2 hours old")
    visitor.open(shop, "promotions")
    expect(page.locator(".mp-note")).to_contain_text("2 hours old")
    expect(page.get_by_role("code").first).to_have_text("SPRING20")
    expect(page.get_by_role("main").get_by_text("Try again")).to_be_visible()
    assert visitor.accessibility_violations() == []
    visitor.screenshot("engage-away-cached")


def test_with_engage_away_and_nothing_cached_a_page_is_shown_quickly(visit: Visit, site: Site) -> None:
    shop = site.shop()
    site.member(shop)
    site.pages.order(shop, "9001")
    site.pages.fault(latency_s=5)
    visitor = visit()
    started = time.monotonic()
    page = visitor.log_in(shop)
    assert time.monotonic() - started < 4.5  # 3 s for the page, the rest for the login before it
    expect(page.get_by_role("heading", name="We are taking a short break")).to_be_visible()
    expect(page.get_by_text("N9001")).to_be_visible()
    assert visitor.accessibility_violations() == []
    visitor.screenshot("engage-away-nothing-cached")
    site.recover()
    for _ in range(20):  # calls that are still running are waited for first
        page.get_by_role("main").get_by_text("Try again").first.click()
        if "Ada" in page.get_by_role("heading", level=1).inner_text():
            break
        page.wait_for_timeout(500)
    expect(page.get_by_role("heading", level=1)).to_have_text("Hello, Ada")


def test_after_a_session_expires_the_page_links_to_the_login(visit: Visit, site: Site) -> None:
    shop = site.shop()
    site.member(shop)
    visitor = visit()
    page = visitor.log_in(shop)
    site.pages.clock.ahead = timedelta(minutes=31)
    assert visitor.open(shop, "profile").status == 401
    expect(page.get_by_role("heading", level=1)).to_have_text("Please log in")
    assert "Ada" not in page.content()
    expect(page.get_by_role("link", name="Go to the login")).to_be_visible()


def test_the_next_shopper_in_the_same_browser_sees_no_data_of_the_previous_shopper(visit: Visit, site: Site) -> None:
    shop = site.shop()
    site.member(shop, "1", firstName="Ada", city="Stockholm")
    site.member(shop, "2", firstName="Grace", city="Bergen", mobilePhone="+4740123456")
    visitor = visit()
    page = visitor.log_in(shop, "1")
    for part in ("", "profile", "transactions", "promotions"):
        visitor.open(shop, part)
    page = visitor.log_in(shop, "2")
    expect(page.get_by_role("heading", level=1)).to_have_text("Hello, Grace")
    for part in ("", "profile", "transactions", "promotions"):
        visitor.open(shop, part)
        assert "Ada" not in page.content()
        assert "Stockholm" not in page.content()
    for _ in range(7):  # the browser's history has no personal data either
        page.go_back()
        assert "Stockholm" not in page.content()


@pytest.mark.parametrize(
    ("locale", "shop_locale", "heading", "until"),
    [
        ("sv-SE", "", "Hej, Ada", "Till 31 dec. 2099"),
        ("da-DK", "nb-NO", "Hei, Ada", "Til 31. des. 2099"),
        ("de-DE", "fi-FI", "Hei, Ada", "31.12.2099 asti"),
        ("fr-FR", "", "Hello, Ada", "Until"),
    ],
)
def test_the_shops_language_overrides_the_browsers(
    visit: Visit, site: Site, locale: str, shop_locale: str, heading: str, until: str
) -> None:
    shop = site.shop()
    site.member(shop, countryCode="US")
    page = visit(locale=locale).log_in(shop, locale=shop_locale)
    expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    expect(page.get_by_text(until).first).to_be_visible()
    assert page.locator("html").get_attribute("lang") == (shop_locale or (locale if locale != "fr-FR" else "en"))


HOSTILE = {
    "code": "<script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}{% raw %}",
    "right-to-left": "\u202e" + "\u05d0" * 90,
    "huge": "W" * 440,
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_hostile_values_neither_run_nor_break_the_page(visit: Visit, site: Site, value: str) -> None:
    shop = site.shop()
    contact_id = site.pages.contact(shop, firstName=value[:200], lastName=value[:200], street=value[:200])
    channel = {"type": "ECOM", "valueType": "EXTERNALOFFER", "value": value[:400]}
    offer = {"heading": value[:400], "description": value, "link": "javascript:alert(1)"}
    site.pages.promotion(contact_id, presentation=offer, redemptionChannels=[channel])
    site.receipts(shop, contact_id, 1, name=value[:200])
    much = {"amount": 10**12, "currency": "SEK"}
    points = [{"amount": 10**12, "description": value}]
    site.pages.seed(
        vouchers=[{"contactId": contact_id, "name": value, "value": much, "voucherNumber": value}],
        points=[{"contactId": contact_id, "transactions": points}],
    )
    visitor = visit()
    visitor.log_in(shop)
    for part in ("", "profile", "transactions", "promotions", "points", "vouchers"):
        assert visitor.open(shop, part).status == 200
        for width in (1280, 320):
            visitor.page.set_viewport_size({"width": width, "height": 900})
            assert visitor.overflow() <= 0, (part, width)
        assert visitor.page.locator("[href^=javascript]").count() == 0
    assert visitor.foreign_requests() == []
