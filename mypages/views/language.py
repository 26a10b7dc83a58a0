"""Which language My Pages speak, and gettext in it.

The words are in `translations/`: English is what the source says, the others are catalogues (`make translations`). Money,
dates and numbers are Babel's, in the locale that `locale_for` finds: language and region of whoever named it first.
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
#: Other names of a language that we speak: "no" is what shops and browsers often call Bokmål, and who reads Nynorsk reads it.
_ALSO = {"no": "nb", "nn": "nb"}
#: What a contact's country says where nothing says more (facts 2.1: countryCode steers language; the mapping is ours).
_OF_COUNTRY = {"SE": "sv_SE", "NO": "nb_NO", "DK": "da_DK", "FI": "fi_FI", "DE": "de_DE", "AT": "de_AT"}
#: Attributes that a tenant may keep a contact's language in; the public pages name none, so each that is usual is read.
_OF_CONTACT = ("language", "languageCode", "locale", "culture", "preferredLanguage")
_MAX_TAG = 35  # the longest tag that RFC 5646 4.4.1 asks for


def install(app: Flask) -> None:
    """Teach the application's templates gettext: it speaks the Babel locale that a request leaves in `g.mypages_locale`."""
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
    """Return the locale of the first who names a language that we speak; English at last.

    The shop comes first: what it said of this shopper (token), then of all (its setting). Then the contact (its
    attributes, None where they are not known), then the browser (tags of Accept-Language, best first).
    """
    for name in (token, setting, *_said_by(contact or {}), *browser):
        locale = _spoken(name)
        if locale is not None:
            return locale
    return Locale("en")


def tag(locale: Locale) -> str:
    """Return the tag for the attribute lang, such as en-SE."""
    return str(locale).replace("_", "-")


def _said_by(contact: Mapping[str, Any]) -> Iterator[Any]:
    yield from (contact.get(name) for name in _OF_CONTACT)
    country = contact.get("countryCode")
    if isinstance(country, str):
        yield _OF_COUNTRY.get(country.strip().upper())


def _spoken(name: Any) -> Locale | None:
    """Return the locale that a tag means, None when it is no tag, unknown, or in a language that we do not speak."""
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_TAG:
        return None
    language, *rest = name.strip().replace("_", "-").split("-")
    language = _ALSO.get(language.lower(), language.lower())
    if language not in LANGUAGES:
        return None
    for subtags in (rest, [part for part in rest if len(part) == 2], []):  # scripts and extensions may be unknown
        try:
            return Locale.parse("-".join([language, *subtags]), sep="-")
        except (ValueError, UnknownLocaleError):
            continue
    return None
