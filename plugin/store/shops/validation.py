"""What a shop's registration must look like, checked without a database."""

import re
from collections.abc import Mapping

from plugin.errors import ConfigurationError
from plugin.store.shops.settings import parse_settings

_NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,62}$")
_HOST = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?[^/?#]*")


def is_shop_name(name: str) -> bool:
    """Return whether a text may be a shop's name; PostgreSQL refuses a statement with a NUL, which addresses may hold."""
    return _NAME.match(name) is not None


def with_lower_host(domain: str) -> str:
    """Return a shop's domain with scheme and host in lower case; the case of a folder after them matters and stays."""
    return _HOST.sub(lambda match: match[0].lower(), domain, count=1)


def registration_faults(name: str, engage_key: str, settings: Mapping[str, str]) -> list[str]:
    """Return every fault of a shop to be registered that can be found without the database."""
    faults = []
    if not is_shop_name(name):
        faults.append(
            f"The name {name!r} must be lower-case letters, digits and dashes, at most 63: it is part of addresses "
            "and of every receipt's id."
        )
    if not engage_key:
        faults.append("The Engage key is empty.")
    try:
        parse_settings(settings)
    except ConfigurationError as error:
        faults += error.faults
    return faults


def changed_settings(stored: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Return stored settings after changes; an empty text removes one. Raises ConfigurationError with every fault."""
    settings = {**stored, **changes}
    settings = {key: value for key, value in settings.items() if value != "" or key not in changes}
    parse_settings(settings)
    return settings
