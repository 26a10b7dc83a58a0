"""Every page, in light, dark and narrow: no axe-core violations, no sideways scrolling, few bytes, no foreign requests."""

from collections.abc import Iterator

import pytest
from browser.conftest import Visit
from browser.visitors import Look, Site, Visitor
from playwright.sync_api import Browser

from plugin.store.shops.shops import RegisteredShop

MAX_BYTES = 50_000


class Member:
    """A shop and a shopper with data in every part, shared by all tests here."""

    def __init__(self, site: Site) -> None:
        self.shop: RegisteredShop = site.shop(
            theme_welcome="Good to see you again.",
            theme_help="Questions? Call us.",
            theme_help_url="https://shop.example/help",
        )
        contact_id = site.member(self.shop)
        site.receipts(self.shop, contact_id, 25)
        site.pages.order(self.shop, "9001")


@pytest.fixture(scope="module")
def member(site: Site) -> Member:
    return Member(site)


@pytest.fixture(scope="module")
def shared_window(chromium: Browser, site: Site, member: Member) -> Iterator[Visitor]:
    """The member's browser window, logged in once."""
    visitor = Visitor(chromium, site, Look())
    visitor.log_in(member.shop)
    yield visitor
    visitor.close()


@pytest.fixture
def window(shared_window: Visitor) -> Visitor:
    """The same window, reset to a wide and light screen."""
    shared_window.page.set_viewport_size({"width": 1280, "height": 900})
    shared_window.page.emulate_media(media="screen", color_scheme="light")
    return shared_window


PAGES = {
    "overview": "",
    "profile": "profile",
    "purchases": "transactions",
    "older-purchases": "transactions?page=2",
    "promotions": "promotions",
    "points": "points",
    "vouchers": "vouchers",
    "unknown-page": "transactions/nothing-of-yours",
}


def inspect(visitor: Visitor, name: str) -> None:
    """Check the rules of every page for the open page, in each look."""
    page = visitor.page
    assert page.locator("h1").count() == 1
    for look, width, scheme in (("light", 1280, "light"), ("narrow-dark", 320, "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(media="screen", color_scheme=scheme)  # type: ignore[arg-type]
        assert visitor.accessibility_violations() == [], look
        assert visitor.overflow() <= 0, look
        assert visitor.faults == [], look
        visitor.screenshot(f"{name}-{look}")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_accessible_in_every_look(name: str, window: Visitor, member: Member) -> None:
    visitor = window
    assert visitor.open(member.shop, PAGES[name]).status == (404 if name == "unknown-page" else 200)
    assert visitor.foreign_requests() == []
    assert visitor.weight() < MAX_BYTES
    inspect(visitor, name)


def test_a_purchase_is_accessible_and_prints_alone(window: Visitor, member: Member) -> None:
    visitor, page = window, window.page
    visitor.open(member.shop, "transactions")
    page.locator(".mp-row-title a").nth(1).click()
    page.wait_for_url("**/transactions/*")
    assert page.get_by_role("button", name="Print").is_visible()
    inspect(visitor, "purchase")
    page.emulate_media(media="print")
    for hidden in ("nav", ".mp-back", "button"):
        assert not any(element.is_visible() for element in page.locator(hidden).all()), hidden
    assert page.locator(".mp-receipt").is_visible()
    assert page.locator(".mp-brand").is_visible()
    visitor.screenshot("purchase-print")


def test_an_expanded_purchase_of_the_list_prints_alone(window: Visitor, member: Member) -> None:
    visitor, page = window, window.page
    visitor.open(member.shop, "transactions")
    rows = page.locator(".mp-row")
    row = rows.filter(has=page.locator("details")).first
    row.locator("summary").click()
    page.emulate_media(media="print")
    assert [shown for shown in rows.all() if shown.is_visible()] != []
    assert sum(shown.is_visible() for shown in rows.all()) == 1


def test_the_form_and_its_problems_are_accessible(window: Visitor, member: Member) -> None:
    visitor, page = window, window.page
    visitor.open(member.shop, "profile")
    page.get_by_text("Change my details").click()
    page.get_by_label("Mobile phone").fill("call me")
    page.get_by_role("button", name="Save", exact=True).click()
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "not a phone number" in alert.inner_text()
    assert page.evaluate("document.activeElement.id") == "mp-problems"
    assert page.get_by_label("Mobile phone").input_value() == "call me"
    inspect(visitor, "profile-problem")


def test_pages_without_a_contact_are_accessible(visit: Visit, site: Site) -> None:
    shop = site.shop(signup_url="https://shop.example/join")
    site.pages.order(shop, "9001", "7")
    visitor = visit()
    page = visitor.log_in(shop, "7")
    assert page.get_by_role("link", name="Join now").get_attribute("href") == "https://shop.example/join"
    assert page.get_by_text("N9001").is_visible()
    inspect(visitor, "no-member")


def test_empty_pages_are_accessible(visit: Visit, site: Site) -> None:
    shop = site.shop()
    site.pages.contact(shop, "8", firstName="Ada")
    visitor = visit()
    page = visitor.log_in(shop, "8")
    assert page.get_by_text("No purchases yet").is_visible()
    inspect(visitor, "nothing-yet")


def test_the_login_message_is_accessible(visit: Visit, site: Site) -> None:
    shop = site.shop()
    visitor = visit()
    assert visitor.open(shop).status == 401
    assert visitor.page.get_by_role("link", name="Go to the login").get_attribute("href") == f"{site.front}/login"
    inspect(visitor, "please-log-in")


@pytest.mark.parametrize("part", ["", "profile", "transactions"])
def test_a_fragment_keeps_its_layout_inside_a_shops_theme(part: str, visit: Visit, site: Site, member: Member) -> None:
    browser = site.pages.logged_in(member.shop)
    site.inside[part or "overview"] = browser.get(f"/mypages/{member.shop.name}/{part}?embed=1").text
    visitor = visit()
    page = visitor.page
    page.goto(f"{site.front}/theme/{part or 'overview'}")
    assert page.locator(".mp").evaluate("inside => getComputedStyle(inside).fontFamily") == "Georgia, serif"
    assert page.locator(".mp h1").evaluate("title => getComputedStyle(title).marginTop") == "0px"
    assert page.locator(".mp-nav ul").evaluate("list => getComputedStyle(list).listStyleType") == "none"
    for box in page.locator(".mp-switch input:checked").all():
        colours = box.evaluate(
            "box => [getComputedStyle(box), getComputedStyle(box, '::before')].map(s => s.backgroundColor)"
        )
        assert colours == ["rgb(27, 94, 75)", "rgb(255, 255, 255)"]  # its knob is visible on any background
    inspect(visitor, f"in-a-theme-{part or 'overview'}")


@pytest.mark.parametrize(
    "settings",
    [
        {"theme_accent": "#ffe600", "theme_corners": "square", "theme_font": "serif"},
        {"theme_accent": "#0b0b3b", "theme_corners": "round", "theme_font": "humanist"},
    ],
    ids=["yellow", "night"],
)
def test_a_shops_own_colours_and_logo_are_shown_and_readable(
    settings: dict[str, str], visit: Visit, site: Site
) -> None:
    logo = f"{site.front}/logo.svg"
    shop = site.shop(theme_logo_url=logo, **settings)
    site.member(shop)
    visitor = visit()
    page = visitor.log_in(shop)
    visitor.open(shop)
    assert visitor.foreign_requests() == [logo]
    assert page.get_by_role("img", name="Nordlys & Co").evaluate("image => image.naturalWidth") == 120
    filled = page.locator(".mp-tile").first.evaluate("tile => getComputedStyle(tile).backgroundColor")
    wanted = settings["theme_accent"]
    assert filled == f"rgb({int(wanted[1:3], 16)}, {int(wanted[3:5], 16)}, {int(wanted[5:7], 16)})"
    inspect(visitor, f"theme-{settings['theme_font']}")


def test_the_shops_colour_scheme_wins_over_the_device(visit: Visit, site: Site) -> None:
    shop = site.shop(theme_scheme="light")
    site.pages.contact(shop, "1")
    page = visit(dark=True).log_in(shop)
    assert _brightness(page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")) > 200


def test_the_dark_scheme_is_dark(visit: Visit, member: Member) -> None:
    page = visit(dark=True).log_in(member.shop)
    assert _brightness(page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")) < 60
    assert _brightness(page.locator("body").evaluate("body => getComputedStyle(body).color")) > 200


def _brightness(colour: str) -> float:
    numbers = [float(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    return sum(numbers) / 3


def test_screenshots_for_the_readme(visit: Visit, site: Site) -> None:
    """`SCREENSHOTS=1`, then copy both from ci-output/ to docs/."""
    shop = site.shop(theme_welcome="Good to see you again.", theme_help="Questions? We answer on weekdays, 9 to 17.")
    contact_id = site.member(shop, email="ada@example.com")
    site.receipts(shop, contact_id, 3, numbering="#100{}")
    site.pages.seed(
        vouchers=[{"contactId": contact_id, "name": "Welcome", "value": {"amount": 50, "currency": "SEK"}}],
        points=[],
    )
    lines = [
        {"name": "Rain jacket Fjord", "quantity": "1", "gross": "1200.00"},
        {"name": "Shipping", "quantity": "1", "gross": "49.00"},
    ]
    site.pages.order(shop, "1042", total="1249.00", lines=lines)
    for name, look in (("my-pages", {"width": 1280}), ("my-pages-narrow-dark", {"width": 390, "dark": True})):
        visitor = visit(**look)
        page = visitor.log_in(shop, locale="en-SE")
        assert page.get_by_role("heading", level=1).inner_text() == "Hello, Ada"
        visitor.screenshot(name)
