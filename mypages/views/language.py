"""The language of My Pages, and gettext.

The source texts are English, the other languages are catalogues in `translations/` (`make translations`). Babel formats
money, dates and numbers in the locale that `locale_for` returns.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from babel import Locale, UnknownLocaleError
from flask import Flask, g
from flask_babel import Babel

TRANSLATIONS = Path(__file__).parent.parent / "translations"
#: The languages of My Pages, the source's own first.
LANGUAGES = ("en", "sv", "nb", "da", "fi", "de")
#: Aliases of supported languages: shops and browsers often call Bokmål "no", and readers of Nynorsk can read it.
_ALIASES = {"no": "nb", "nn": "nb"}
#: The locale of a contact's country, for contacts without a language. The mapping is ours, see
#: docs/engage.md#contact-model.
_LOCALE_OF_COUNTRY = {"SE": "sv_SE", "NO": "nb_NO", "DK": "da_DK", "FI": "fi_FI", "DE": "de_DE", "AT": "de_AT"}
#: Attributes that may hold a contact's language. Engage documents none, so the usual names are read.
_CONTACT_ATTRIBUTES = ("language", "languageCode", "locale", "culture", "preferredLanguage")
_MAX_TAG = 35  # the longest tag that RFC 5646, 4.4.1 requires


def install(app: Flask) -> None:
    """Add gettext to the application's templates, in the Babel locale that a request sets in `g.mypages_locale`."""
    if "babel" not in app.extensions:
        Babel().init_app(
            app,
            default_locale="en",
            default_translation_directories=str(TRANSLATIONS),
            locale_selector=lambda: g.get("mypages_locale"),
        )


def locale_for(
    token: str | None = None,
    setting: str | None = None,
    contact: Mapping[str, Any] | None = None,
    browser: Iterable[str] = (),
) -> Locale:
    """Return the first supported locale among the sources, else English.

    The order is: the shop's token for this shopper, the shop's setting, the contact (its attributes; None where they
    are not known), the browser (tags of Accept-Language, best first).
    """
    for name in (token, setting, *_contact_locales(contact or {}), *browser):
        locale = _supported(name)
        if locale is not None:
            return locale
    return Locale("en")


def tag(locale: Locale) -> str:
    """Return the tag for the attribute lang, such as en-SE."""
    return str(locale).replace("_", "-")


def _contact_locales(contact: Mapping[str, Any]) -> Iterator[Any]:
    yield from (contact.get(name) for name in _CONTACT_ATTRIBUTES)
    country = contact.get("countryCode")
    if isinstance(country, str):
        yield _LOCALE_OF_COUNTRY.get(country.strip().upper())


def _supported(name: Any) -> Locale | None:
    """Return the locale of a tag, None when it is malformed, unknown, or in an unsupported language."""
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_TAG:
        return None
    language, *rest = name.strip().replace("_", "-").split("-")
    language = _ALIASES.get(language.lower(), language.lower())
    if language not in LANGUAGES:
        return None
    for subtags in (rest, [part for part in rest if len(part) == 2], []):  # Babel may not know scripts and extensions
        try:
            return Locale.parse("-".join([language, *subtags]), sep="-")
        except (ValueError, UnknownLocaleError):
            continue
    return None
