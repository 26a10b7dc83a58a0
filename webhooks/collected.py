"""Consents that a shop keeps in fields of its own, by the setting `consent_fields`.

A field without a time of its own says how things stand, not when the shopper said so: it comes again with every change
and every reconciliation. So a yes of such a field counts at the signup alone, and a no whenever it is seen.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from plugin.events import Channel, ConsentChange, CustomerCreated, CustomerUpdated, Event, Mapped
from plugin.platforms.fields import read_instant

YES = frozenset({"yes", "true", "1", "on", "y"})
NO = frozenset({"no", "false", "0", "off", "n"})
CHANNELS = {channel.value: channel for channel in (Channel.EMAIL, Channel.SMS, Channel.POSTAL)}


def with_collected_consents(mapped: Mapped, fields: Mapping[str, str], latest: datetime) -> Mapped:
    """Add the consents of a customer's own fields. fields: field -> CHANNEL, or CHANNEL@FIELD_OF_THE_TIME.

    latest: when the webhook came; a time after it is not believed, because no later no could outdo such a yes.
    """
    if not fields:
        return mapped
    return replace(mapped, events=tuple(_with(event, fields, latest) for event in mapped.events))


def _with(event: Event, fields: Mapping[str, str], latest: datetime) -> Event:
    if not isinstance(event, (CustomerCreated, CustomerUpdated)):
        return event
    known = dict(event.customer.extra)
    found = [_consent(event, known, field, target, latest) for field, target in fields.items()]
    return replace(event, consents=(*event.consents, *(change for change in found if change is not None)))


def _consent(
    event: CustomerCreated | CustomerUpdated, known: Mapping[str, str], field: str, target: str, latest: datetime
) -> ConsentChange | None:
    name, _, time_field = target.partition("@")
    word = known.get(field.removeprefix("customer."), "").strip().lower()
    if word not in YES | NO:
        return None
    value, at = word in YES, _time(known.get(time_field, "")) if time_field else None
    if at is None and value and not isinstance(event, CustomerCreated):
        return None
    if at is not None:
        at = min(at, latest)
    channel = CHANNELS.get(name.strip(), Channel.OTHER)
    consent_id = name.strip() if channel is Channel.OTHER else None
    return ConsentChange(channel, value, at, f"shop field {field}", consent_id)


def _time(text: str) -> datetime | None:
    """Read a time as plugins keep it: ISO 8601, without a zone in UTC, or seconds since 1970."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) <= 11:
        return datetime.fromtimestamp(int(text), UTC)
    text = text.replace(" ", "T", 1)
    return read_instant(text) or read_instant(f"{text}+00:00")
