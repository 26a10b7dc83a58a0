"""HTTP calls of the demonstration to its own addresses on this machine, with the standard library alone."""

import json
import urllib.request
from contextlib import suppress
from typing import Any
from urllib.error import HTTPError, URLError

from plugin.errors import PluginError


class DemoFailedError(PluginError):
    """Something in the demonstration did not arrive."""


def is_up(url: str) -> bool:
    """Return whether the address answers with a success."""
    with suppress(URLError, OSError):
        get_json(url)
        return True
    return False


def get_json(url: str) -> Any:
    """Return the JSON at an address. Raises OSError."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own addresses on this machine
        return json.load(answer)


def post_json(url: str, body: Any, headers: dict[str, str] | None = None) -> Any:
    """Post a body as JSON and return the JSON of the answer. Raises DemoFailedError."""
    return post(url, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})


def post(url: str, body: bytes, headers: dict[str, str]) -> Any:
    """Post bytes and return the JSON of the answer. Raises DemoFailedError when it is an error."""
    request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - our own addresses
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return json.load(answer)
    except HTTPError as error:
        raise DemoFailedError(f"{url} answered {error.code}: {error.read(500).decode(errors='replace')}") from error
