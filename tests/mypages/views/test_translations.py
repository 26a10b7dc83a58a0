"""Every text of My Pages is marked and translated: a missing, fuzzy, stale or mangled translation fails."""

import gettext
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

import mypages
from mypages.views.language import LANGUAGES, TRANSLATIONS

SOURCE = Path(mypages.__file__).parent
TEMPLATES = sorted((SOURCE / "templates").rglob("*.html"))
TRANSLATED = [language for language in LANGUAGES if language != "en"]
PLACEHOLDER = re.compile(r"%\((\w+)\)[sd]|%(?!\()")
HOW_TO_FIX = "run `make translations`, translate the new messages in {}, and run it again"

MessageId = str | tuple[str, ...]


@pytest.fixture(scope="module")
def source_messages() -> set[MessageId]:
    """The messages that the source holds now."""
    with (SOURCE.parent / "babel.cfg").open() as lines:
        methods, options = parse_mapping_cfg(lines)
    messages = extract_from_dir(SOURCE, method_map=methods, options_map=options)
    return {message if isinstance(message, str) else tuple(message) for _, _, message, _, _ in messages}


def _catalogue(language: str) -> tuple[Path, Catalog]:
    path = TRANSLATIONS / language / "LC_MESSAGES" / "messages.po"
    with path.open("rb") as lines:
        return path, read_po(lines, locale=language)


def _messages(catalogue: Catalog) -> list[Message]:
    return [message for message in catalogue if message.id]


def _texts(message: MessageId) -> tuple[str, ...]:
    return (message,) if isinstance(message, str) else tuple(message)


def test_the_source_has_messages(source_messages: set[MessageId]) -> None:
    assert "Log out" in source_messages
    assert ("%(number)s item", "%(number)s items") in source_messages


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_message_is_translated_and_none_is_obsolete(language: str, source_messages: set[MessageId]) -> None:
    path, catalogue = _catalogue(language)
    translated = {
        message.id
        for message in _messages(catalogue)
        if not message.fuzzy and all(map(str.strip, _texts(message.string)))
    }
    assert source_messages - translated == set(), HOW_TO_FIX.format(path)
    assert translated - source_messages == set(), HOW_TO_FIX.format(path)
    assert not catalogue.obsolete, HOW_TO_FIX.format(path)


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_keep_placeholders_and_final_punctuation(language: str) -> None:
    path, catalogue = _catalogue(language)
    for message in _messages(catalogue):
        strings = _texts(message.string)
        assert len(strings) == (catalogue.num_plurals if message.pluralizable else 1), (path, message.id)
        names = set(PLACEHOLDER.findall(_texts(message.id)[-1]))
        for text in strings:
            assert set(PLACEHOLDER.findall(text)) == names, (path, message.id)
            assert text == text.strip(), (path, message.id)
            assert "<" not in text, (path, message.id)  # a translation is put into a page without escaping
            end = _texts(message.id)[0][-1]
            assert end not in ".:" or text[-1] == end, (path, message.id)


@pytest.mark.parametrize("language", TRANSLATED)
def test_compiled_catalogues_match_their_source(language: str) -> None:
    path, catalogue = _catalogue(language)
    with path.with_suffix(".mo").open("rb") as lines:
        compiled = gettext.GNUTranslations(lines)
    for message in _messages(catalogue):
        if message.pluralizable:
            got = tuple(compiled.ngettext(*message.id, number) for number in (1, 2))
        else:
            got = (compiled.gettext(message.id),)
        assert got == _texts(message.string), HOW_TO_FIX.format(path)


class _Visible(HTMLParser):
    """Collects the text that a shopper sees or hears."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        del tag
        self.texts += [
            value or "" for name, value in attributes if name in {"aria-label", "title", "alt", "placeholder"}
        ]


def _unmarked(template: str) -> Iterator[str]:
    """Yield the words of a template that no translator sees."""
    text = re.sub(r"\{#.*?#\}", "", template, flags=re.DOTALL)
    text = re.sub(r"<(/?)\{\{.*?\}\}", r"<\1p", text)  # a tag whose name is a variable
    text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", text, flags=re.DOTALL)
    parser = _Visible()
    parser.feed(text)
    parser.close()
    for part in parser.texts:
        yield from re.findall(r"[^\W\d_]+", part)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_have_no_unmarked_words(path: Path) -> None:
    assert list(_unmarked(path.read_text())) == []


def test_an_unmarked_word_would_be_found() -> None:
    template = '{# no #}<p title="{{ x }}">{{ _("Hello") }} you</p><{{ level }} class="a">{% if a %}<img alt="logo">{% endif %}'
    assert list(_unmarked(template)) == ["you", "logo"]
