"""The choice of a locale, and gettext in it."""

from typing import Any

import pytest
from babel import Locale
from flask import Flask, g, render_template_string

from mypages.views import language


@pytest.mark.parametrize(
    ("sources", "locale"),
    [
        ({"token": "sv-SE", "setting": "de", "contact": {"countryCode": "FI"}, "browser": ["da"]}, "sv_SE"),
        ({"token": "fr-FR", "setting": "de-AT", "contact": {"countryCode": "FI"}, "browser": ["da"]}, "de_AT"),
        ({"setting": "", "contact": {"language": "nb-NO", "countryCode": "SE"}, "browser": ["da"]}, "nb_NO"),
        ({"contact": {"countryCode": "fi"}, "browser": ["da"]}, "fi_FI"),
        ({"contact": {"countryCode": "US", "language": None}, "browser": ["fr", "da-DK"]}, "da_DK"),
        ({"browser": ["no", "sv"]}, "nb"),
        ({"token": "nn_NO"}, "nb_NO"),
        ({"token": "en-SE"}, "en_SE"),
        ({"token": "de-Latn-CH-1996-x-shop"}, "de_CH"),
        ({"token": "EN-us"}, "en_US"),
        ({"browser": ["fr", "it"]}, "en"),
        ({}, "en"),
    ],
)
def test_the_first_source_with_a_supported_language_decides(sources: dict[str, Any], locale: str) -> None:
    assert str(language.locale_for(**sources)) == locale


@pytest.mark.parametrize(
    "hostile", ["", "sv" * 40, "../../etc", "sv\x00", "-", "s", "sv-\u202e", 7, None, ["sv"], "sv_SE.UTF-8@x"]
)
def test_a_malformed_language_tag_is_ignored(hostile: Any) -> None:
    locale = language.locale_for(
        token=hostile, setting=hostile, contact={"language": hostile, "countryCode": hostile}, browser=[hostile]
    )
    assert locale.language in language.LANGUAGES


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        ("en-SE", "Log out"),
        ("sv", "Logga ut"),
        ("nb-NO", "Logg ut"),
        ("da", "Log ud"),
        ("fi", "Kirjaudu ulos"),
        ("de-AT", "Abmelden"),
    ],
)
def test_templates_are_rendered_in_the_language_of_the_request(tag: str, text: str) -> None:
    app = Flask("words")
    language.install(app)
    with app.test_request_context():
        g.mypages_locale = language.locale_for(tag)
        assert render_template_string("{{ _('Log out') }}") == text
        assert language.tag(g.mypages_locale) == tag


def test_values_in_translated_sentences_are_escaped() -> None:
    app = Flask("words")
    language.install(app)
    with app.test_request_context():
        g.mypages_locale = Locale("sv")
        assert render_template_string("{{ _('Hello, %(name)s', name='<b>%(x)s') }}") == "Hej, &lt;b&gt;%(x)s"
