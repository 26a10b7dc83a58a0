"""A shop's own theme: its settings become a small stylesheet of CSS variables, which we serve.

Only values that `plugin/store/shops/settings.py` has validated are used. The shop's colour is moved towards black or
white until text in it is readable (WCAG 2.2, 1.4.3: 4.5 to 1), on the light and on the dark surfaces of
`static/mypages.css`.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from babel import Locale
from flask import Blueprint, Response, abort, request

from mypages.views.language import tag
from plugin.store.shops.settings import ShopSettings
from plugin.store.shops.shops import RegisteredShop

#: The surfaces of `static/mypages.css` on which the colour is hardest to read as text, in light and in dark.
LIGHT_SURFACE = "#fbe9e7"
DARK_SURFACE = "#3a311a"
#: A little more than 4.5, because browsers round.
READABLE = 4.6
CORNERS: Mapping[str, tuple[str, str]] = {
    "square": ("0", "0"),
    "soft": ("1rem", "0.6rem"),
    "round": ("1.6rem", "999px"),
}
FONTS: Mapping[str, str] = {
    "humanist": 'Seravek,"Gill Sans Nova",Ubuntu,Calibri,"DejaVu Sans",source-sans-pro,sans-serif',
    "serif": '"Iowan Old Style","Palatino Linotype",Palatino,"URW Palladio L",P052,Georgia,serif',
}
#: The least contrast of a filled surface with its background; less than READABLE, because only its text is read.
VISIBLE = 1.2
BROWSER_CACHE_S = 86400
_STATIC = Path(__file__).parent.parent / "static"
#: Changes with our stylesheet and script, so that browsers may cache them.
VERSION = hashlib.sha256(b"".join((_STATIC / name).read_bytes() for name in ("mypages.css", "mypages.js"))).hexdigest()[
    :10
]


@dataclass(frozen=True, slots=True)
class Looks:
    """What `base.html` needs to look like the shop. Texts are "" where the shop has none; lang: the HTML attribute."""

    lang: str
    scheme: str = "auto"
    stylesheet: str = ""
    logo: str = ""
    welcome: str = ""
    help: str = ""
    help_url: str = ""
    version: str = VERSION


def looks(shop: RegisteredShop | None, assets: str, locale: Locale) -> Looks:
    """Return a shop's looks in a locale, our defaults where there is no shop. assets: where static files are."""
    if shop is None:
        return Looks(tag(locale))
    settings = shop.settings
    return Looks(
        lang=tag(locale),
        scheme=settings.theme_scheme,
        stylesheet=address(settings, shop.name, assets),
        logo=settings.theme_logo_url,
        welcome=_in_locale(settings.theme_welcome, locale),
        help=_in_locale(settings.theme_help, locale),
        help_url=settings.theme_help_url,
    )


def add_route(routes: Blueprint, settings_of: Callable[[str], ShopSettings | None]) -> None:
    """Serve each shop's stylesheet beside the static files, with the same base address; give templates `looks`."""
    routes.context_processor(lambda: {"looks": looks})

    @routes.after_request
    def let_browsers_cache(answer: Response) -> Response:
        if request.endpoint == f"{routes.name}.static":  # the address changes with the content, see VERSION
            answer.headers["Cache-Control"] = f"public, max-age={BROWSER_CACHE_S}"
            answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer

    @routes.get("/static/theme/<shop>.css")
    def theme(shop: str) -> Response:
        settings = settings_of(shop)
        if settings is None:
            abort(404)
        answer = Response(stylesheet(settings), mimetype="text/css")
        answer.headers["Cache-Control"] = f"public, max-age={BROWSER_CACHE_S}"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer


def stylesheet(settings: ShopSettings) -> str:
    """Return the stylesheet, "" where the shop uses our defaults."""
    variables: list[str] = []
    dark = ""
    if settings.theme_accent:
        variables.append(_colours(settings.theme_accent, LIGHT_SURFACE, "#ffffff"))
        dark = _colours(settings.theme_accent, DARK_SURFACE, "#1d1f1c")
    if settings.theme_corners in CORNERS and settings.theme_corners != "soft":
        large, small = CORNERS[settings.theme_corners]
        variables += [f"--mp-radius:{large}", f"--mp-radius-small:{small}"]
    if settings.theme_font in FONTS:
        variables.append(f"--mp-font:{FONTS[settings.theme_font]}")
    rules = [f".mp{{{';'.join(variables)}}}"] if variables else []
    if dark:
        rules.append(f".mp-dark{{{dark}}}")
        rules.append(f"@media (prefers-color-scheme:dark){{.mp-auto{{{dark}}}}}")
    return "\n".join(rules)


def _colours(colour: str, surface: str, card: str) -> str:
    """Return the variables of a colour.

    For text and lines it is made readable. As a filled surface it is unchanged, unless it would be invisible on a card.
    """
    accent = readable(colour, surface)
    fill = colour if contrast(colour, card) >= VISIBLE else accent
    return f"--mp-accent:{accent};--mp-fill:{fill};--mp-on-fill:{ink_on(fill)}"


def address(settings: ShopSettings, shop: str, assets: str) -> str:
    """Return the stylesheet's address, which changes with its content; "" where it is empty."""
    css = stylesheet(settings)
    if not css:
        return ""
    return f"{assets}theme/{shop}.css?v={hashlib.sha256(css.encode()).hexdigest()[:10]}"


def _in_locale(texts: Mapping[str, str], locale: Locale) -> str:
    return texts.get(locale.language, texts.get("", ""))


def image_sources(settings: ShopSettings | None) -> str:
    """Return the image sources of the Content-Security-Policy: our own, and the shop's logo."""
    logo = settings.theme_logo_url if settings is not None else ""
    return f"'self' {logo}".strip()


def readable(colour: str, surface: str) -> str:
    """Return the colour, moved towards black or white until it is READABLE on the surface. Colours are #rrggbb."""
    target = 0 if _luminance(surface) > 0.2 else 255
    shares = (step / 20 for step in range(21))
    return next(
        (moved for share in shares if contrast(moved := _mixed(colour, target, share), surface) >= READABLE), colour
    )


def ink_on(colour: str) -> str:
    """Return black or white, whichever is more readable on the colour."""
    return max(("#ffffff", "#000000"), key=lambda ink: contrast(ink, colour))


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    dark, light = sorted((_luminance(first), _luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _mixed(colour: str, target: int, share: float) -> str:
    return "#" + "".join(f"{round(value + (target - value) * share):02x}" for value in _channels(colour))


def _luminance(colour: str) -> float:
    """Return the relative luminance, 0 to 1 (WCAG 2.2, "relative luminance")."""
    linear = [
        value / 255 / 12.92 if value / 255 <= 0.04045 else ((value / 255 + 0.055) / 1.055) ** 2.4
        for value in _channels(colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
