"""A shop's own theme: readable in any colour, and only validated values reach a stylesheet or a header."""

import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from babel import Locale
from hypothesis import given
from hypothesis import strategies as st

from mypages.views import theme
from plugin.errors import ConfigurationError
from plugin.store.shops.settings import parse_settings

COLOURS = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")


def _settings(**settings: str) -> Any:
    return parse_settings({"store": "web", **settings})


@given(COLOURS, st.sampled_from([theme.LIGHT_SURFACE, theme.DARK_SURFACE]))
def test_text_is_readable_in_any_colour_that_a_shop_picks(colour: str, surface: str) -> None:
    moved = theme.readable(colour, surface)
    assert theme.contrast(moved, surface) >= 4.5
    assert theme.contrast(theme.ink_on(colour), colour) >= 4.5  # on a filled surface the colour is not changed
    assert theme.contrast(theme.ink_on(moved), moved) >= 4.5


def test_the_surfaces_with_the_least_contrast_are_those_of_the_stylesheet() -> None:
    css = (Path(theme.__file__).parents[1] / "static/mypages.css").read_text()
    light, dark = css.split(".mp-dark {")[0], css.split(".mp-dark {")[1].split("}")[0]
    for block, hardest, ink in ((light, theme.LIGHT_SURFACE, "#000000"), (dark, theme.DARK_SURFACE, "#ffffff")):
        surfaces = re.findall(r"--mp-(?:page|card|tint|note|bad-tint|good-tint): (#[0-9a-f]{3,6});", block)
        assert len(surfaces) == 6
        whole = [s if len(s) == 7 else "#" + "".join(2 * digit for digit in s[1:]) for s in surfaces]
        assert min(whole, key=lambda surface: theme.contrast(ink, surface)) == hardest


def test_a_readable_colour_is_not_changed() -> None:
    assert theme.readable("#1b5e4b", theme.LIGHT_SURFACE) == "#1b5e4b"
    assert theme.contrast("#000000", "#ffffff") == pytest.approx(21)


def test_a_colour_that_is_invisible_on_a_card_is_not_used_as_a_fill() -> None:
    light, dark = theme.stylesheet(_settings(theme_accent="#fefefe")).split("\n")[:2]
    assert "--mp-fill:#fefefe" not in light
    assert "--mp-fill:#fefefe;--mp-on-fill:#000000" in dark


def test_the_stylesheet_has_the_shops_settings_and_its_address_changes_with_them() -> None:
    plain, own = _settings(), _settings(theme_accent="#C2185B", theme_corners="square", theme_font="serif")
    assert theme.stylesheet(plain) == theme.address(plain, "web", "/a/") == ""
    css = theme.stylesheet(own)
    assert "--mp-fill:#c2185b" in css
    assert "--mp-radius:0" in css
    assert "Georgia" in css
    assert theme.address(own, "web", "/a/").startswith("/a/theme/web.css?v=")
    assert theme.address(own, "web", "/a/") != theme.address(_settings(theme_accent="#c2185c"), "web", "/a/")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("theme_accent", "red"),
        ("theme_accent", "#fff;}body{display:none"),
        ("theme_accent", "#12345\n6"),
        ("theme_scheme", "dark}"),
        ("theme_corners", "url(https://x.example)"),
        ("theme_font", "Comic Sans"),
        ("theme_logo_url", "http://shop.example/logo.svg"),
        ("theme_logo_url", "javascript:alert(1)"),
        ("theme_logo_url", "https://shop.example/logo.svg; script-src *"),
        ("theme_logo_url", "https://shop.example/logo.svg?x=1"),
        ("theme_logo_url", "https://user@shop.example/logo.svg"),
        ("theme_logo_url", "https://tracker.example/logo.svg"),
        ("theme_welcome", "two\nlines"),
        ("theme_welcome", "x" * 301),
        ("theme_welcome", '{"swedish": "Hej"}'),
        ("theme_welcome", '{"sv": 1}'),
        ("theme_welcome", "{"),
        ("theme_help_url", "javascript:alert(1)"),
    ],
)
def test_a_harmful_setting_is_refused(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _settings(login_url="https://shop.example/login", **{name: text})
    assert name in str(caught.value)


def test_the_only_image_beside_ours_is_a_logo_on_the_shops_own_host() -> None:
    own = _settings(login_url="https://shop.example/login", theme_logo_url="https://shop.example/a/logo.svg")
    framed = _settings(frame_ancestors="https://www.shop.example", theme_logo_url="https://www.shop.example/l.png")
    assert theme.image_sources(own) == "'self' https://shop.example/a/logo.svg"
    assert theme.image_sources(framed) == "'self' https://www.shop.example/l.png"
    assert theme.image_sources(_settings()) == theme.image_sources(None) == "'self'"


def test_a_shops_texts_are_shown_in_the_shoppers_language() -> None:
    class Shop:
        name = "web"
        settings = _settings(theme_welcome='{"sv": "Välkommen", "": "Welcome"}', theme_help="Call us")

    looks = {code: theme.looks(Shop(), "/a/", Locale(code)) for code in ("sv", "de")}  # type: ignore[arg-type]
    assert (looks["sv"].welcome, looks["de"].welcome) == ("Välkommen", "Welcome")
    assert looks["sv"].help == "Call us"
    assert theme.looks(None, "/a/", Locale("fi")).lang == "fi"


def test_browsers_may_cache_stylesheets_and_scripts_but_not_pages(pages: Any) -> None:
    shop = pages.add_shop("web", theme_accent="#c2185b")
    browser = pages.logged_in(shop)
    page = browser.get("/mypages/web/")
    assert page.headers["Cache-Control"] == "no-store"
    addresses = re.findall(r'(?:href|src)="(/mypages/static/[^"]+)"', page.text)
    assert len(addresses) == 4  # icon, our stylesheet, the shop's, the script
    for address in addresses:
        with closing(browser.get(address)) as answer:
            assert answer.status_code == 200, address
            assert answer.headers["Cache-Control"] == "public, max-age=86400"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert browser.get("/mypages/static/theme/other.css").status_code == 404
