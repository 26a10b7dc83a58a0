"""How the text of a setting is read. A parser raises ValueError whose text continues "NAME=VALUE ..."."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_HANDLE = re.compile(r"^[\w.\-]{1,64}$")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
#: No query, no fragment, no character that has a meaning in a Content-Security-Policy.
_PICTURE = re.compile(r"(https|http)://[a-z0-9.\-]{1,253}(:[0-9]{1,5})?/[A-Za-z0-9._~/%@+\-]{1,300}")
_LANGUAGE = re.compile(r"[a-z]{2}")
_MAX_TEXT = 300


def boolean(text: str) -> bool:
    """Read yes or no (also true, false, 1, 0)."""
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in words:
        raise ValueError("must be yes or no")
    return words[text.lower()]


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return what reads a whole number of [low, high]."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"must be a whole number from {low} to {high}") from None
        if not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return read


def one_of(*words: str) -> Callable[[str], str]:
    """Return what reads one of some words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return read


def handle(text: str) -> str:
    """Read a name of letters, digits, dots, dashes and underscores."""
    if not _HANDLE.match(text):
        raise ValueError("must be 1 to 64 letters, digits, dots, dashes or underscores")
    return text


def optional_handle(text: str) -> str:
    """Read a name as `handle` does, or nothing."""
    return handle(text) if text else ""


def time_zone(text: str) -> str:
    """Read the name of an IANA time zone."""
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be a time zone such as Europe/Stockholm") from None
    return text


def any_text(text: str) -> str:
    """Read any text."""
    return text


def currency(text: str) -> str:
    """Read a currency code, or nothing."""
    if text and not re.fullmatch(r"[A-Z]{3}", text):
        raise ValueError("must be a currency code of three capitals (ISO 4217), or empty")
    return text


def url(text: str) -> str:
    """Read an http or https address, or nothing."""
    # a line break would end as a fault of every answer that leads there
    if text and (
        urlsplit(text).scheme not in {"http", "https"}
        or not urlsplit(text).hostname
        or not text.isprintable()
        or " " in text
    ):
        raise ValueError("must be an address that begins with https:// and has no spaces, or empty")
    return text


def colour(text: str) -> str:
    """Read a colour as six hexadecimal digits, or nothing."""
    if text and not _COLOUR.fullmatch(text):
        raise ValueError("must be a colour such as #1b5e4b, or empty")
    return text.lower()


def picture_url(text: str) -> str:
    """Read an address that can be part of a Content-Security-Policy as it is, or nothing."""
    loopback = urlsplit(text).hostname in {"127.0.0.1", "localhost"}
    if text and (not _PICTURE.fullmatch(text) or not (text.startswith("https://") or loopback)):
        raise ValueError("must be an https address of a picture, without a query, or empty")
    return text


def texts_by_language(text: str) -> dict[str, str]:
    """Read one text for all languages, or a JSON object of texts by language ("" for the rest)."""
    found: dict[str, Any] = {"": text} if text else {}
    if text.strip().startswith("{"):
        try:
            found = json.loads(text)
        except ValueError:
            raise ValueError("is not a JSON object") from None
    for language, words in found.items():
        if language and not _LANGUAGE.fullmatch(language):
            raise ValueError(f"has {language!r} where a language of two letters is wanted, such as sv")
        if not isinstance(words, str) or len(words) > _MAX_TEXT or not words.isprintable():
            raise ValueError(f"must be texts of one line, at most {_MAX_TEXT} characters each")
    return found


def origins(text: str) -> str:
    """Read origins separated by spaces."""
    for origin in text.split():
        parts = urlsplit(origin)
        if (
            parts.scheme not in {"http", "https"}
            or not parts.hostname
            or parts.path
            or any(c in origin for c in ";,'\"")
        ):
            raise ValueError("must be origins such as https://shop.example, separated by spaces")
    return " ".join(text.split())


def reactivation_path(text: str) -> str:
    """Read a path of Engage's API with a place for the assignment's id, or nothing."""
    if text and not re.fullmatch(r"/api/[\w./\-]*\{assignmentId\}[\w./\-]*", text):
        raise ValueError("must be a path that begins with /api/ and has {assignmentId} in it, or empty")
    return text


def host_key(text: str) -> str:
    """Read an SSH host key, or nothing."""
    if text and not re.fullmatch(r"(\S+ )?(ssh-|ecdsa-)\S+ [A-Za-z0-9+/]+=*( .*)?", text):
        raise ValueError("must be TYPE BASE64 as `engage-plugin fallback check NAME` shows it, or empty")
    return text


def remote_path(text: str) -> str:
    """Read a path of folders on the SFTP server."""
    if ".." in text.split("/") or any(ord(letter) < 32 for letter in text):
        raise ValueError("must be a path of folders without ..")
    return text.rstrip("/")


def local_path(text: str) -> str:
    """Read an absolute path on this machine, or nothing."""
    if text and not text.startswith("/"):
        raise ValueError("must be a path that begins with /, or empty")
    return text


def name_pairs(text: str) -> dict[str, str]:
    """Read NAME:VALUE pairs separated by commas, or a JSON object of texts."""
    if text.strip().startswith("{"):
        try:
            found = json.loads(text)
        except ValueError:
            raise ValueError("is not a JSON object") from None
        if not all(isinstance(value, str) for value in found.values()):
            raise ValueError("must hold texts only")
        return dict(found)
    pairs: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, separator, value = pair.partition(":")
        if not separator or not name.strip() or not value.strip():
            raise ValueError("must be pairs NAME:VALUE separated by commas")
        pairs[name.strip()] = value.strip()
    return pairs


def name_list(text: str) -> tuple[str, ...]:
    """Read names separated by commas; `none` is the empty list."""
    names = tuple(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
    odd = [name for name in names if not _HANDLE.match(name)]
    if odd:
        raise ValueError(f"must be names separated by commas, not {odd[0]!r}")
    return () if names == ("none",) else names
