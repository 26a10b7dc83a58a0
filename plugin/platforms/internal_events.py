"""The plugin's own events: what a shopper changes on My Pages goes through the inbox as a shop's webhooks do.

They are in the inbox under the shop's own platform, with a topic that no shop can send: the receiver accepts only the
topics of the platform.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from plugin.errors import PayloadError
from plugin.event_kinds import EventKind
from plugin.events import Channel, ConsentChange, MappingResult, ProfileEdited
from plugin.platforms.base import Delivery
from plugin.platforms.fields import clamp_to_received_at, parse_json, read_instant

PROFILE_EDITED = "my-pages.profile-edited"
INTERNAL_TOPICS: Mapping[str, EventKind] = MappingProxyType({PROFILE_EDITED: EventKind.PROFILE_EDIT})
#: Engage's preferences and what each is a consent for.
PREFERENCES: Mapping[str, Channel] = MappingProxyType(
    {"acceptsEmail": Channel.EMAIL, "acceptsSms": Channel.SMS, "acceptsPostal": Channel.POSTAL}
)
SOURCE = "my-pages"


@dataclass(frozen=True, slots=True)
class ProfileEdit:
    """What a shopper changed: attributes by Engage's names, none empty; preferences by Engage's names."""

    customer_id: str
    attributes: Mapping[str, str]
    preferences: Mapping[str, bool]


def encode_edit(edit: ProfileEdit, at: datetime) -> bytes:
    """Return the body of an edit's event in the inbox. at: when the shopper made it, aware UTC."""
    payload = {
        "customer_id": edit.customer_id,
        "at": at.isoformat(),
        "attributes": dict(edit.attributes),
        "preferences": dict(edit.preferences),
    }
    return json.dumps(payload).encode()


def read_edit(body: bytes) -> ProfileEdit:
    """Read a body that `encode_edit` made. Raises PayloadError that names the field."""
    payload = parse_json(body)
    attributes, preferences = _mapping(payload, "attributes", str), _mapping(payload, "preferences", bool)
    customer_id = payload.get("customer_id")
    if not isinstance(customer_id, str) or not customer_id:
        raise PayloadError("is missing", "customer_id")
    if not (attributes or preferences) or not all(attributes.values()):
        raise PayloadError("holds no change, or an empty one", "attributes")
    if not preferences.keys() <= PREFERENCES.keys():
        raise PayloadError("names no preference of Engage", "preferences")
    return ProfileEdit(customer_id, attributes, preferences)


def normalise(_delivery: Delivery, body: bytes, received_at: datetime) -> MappingResult:
    """Map an event of the plugin itself. Raises PayloadError that names the field."""
    edit = read_edit(body)
    at = clamp_to_received_at(read_instant(parse_json(body).get("at")), received_at)
    consents = tuple(
        ConsentChange(PREFERENCES[name], value, at, SOURCE) for name, value in sorted(edit.preferences.items())
    )
    return MappingResult((ProfileEdited(at, edit.customer_id, tuple(sorted(edit.attributes.items())), consents),))


def _mapping(payload: Mapping[str, Any], name: str, kind: type) -> dict[str, Any]:
    value = payload.get(name)
    if not isinstance(value, dict) or not all(isinstance(entry, kind) for entry in value.values()):
        raise PayloadError("is missing, or holds another type than expected", name)
    return value
