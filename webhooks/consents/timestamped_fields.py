"""Consents that a shop keeps in fields of its own beside the time of the answer (setting `consent_fields`, with an @).

Fields without a time are `webhooks.field_consents`' matter.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from plugin.events import Channel, ConsentChange, CustomerCreated, CustomerUpdated, Event, MappingResult
from plugin.platforms.fields import read_instant

#: Stands between a consent and the field of its time.
TIMED = "@"
CHANNELS = {channel.value: channel for channel in (Channel.EMAIL, Channel.SMS, Channel.POSTAL)}
ANSWERS = {
    **dict.fromkeys(("true", "yes", "1", "on", "y"), True),
    **dict.fromkeys(("false", "no", "0", "off", "n"), False),
}


def answer_of(text: str | None) -> bool | None:
    """Read a field as yes or no; None for everything else."""
    return ANSWERS.get((text or "").strip().lower())


def add_timestamped_consents(mapped: MappingResult, fields: Mapping[str, str], latest: datetime) -> MappingResult:
    """Add the consents of a customer's own fields that have their time. fields: field -> CHANNEL@FIELD_OF_THE_TIME.

    latest: when the webhook came; a time after it is not believed, because no later no could outdo such a yes.
    """
    fields = {name: target for name, target in fields.items() if TIMED in target}
    if not fields:
        return mapped
    return replace(mapped, events=tuple(_with(event, fields, latest) for event in mapped.events))


def _with(event: Event, fields: Mapping[str, str], latest: datetime) -> Event:
    if not isinstance(event, (CustomerCreated, CustomerUpdated)):
        return event
    known = dict(event.customer.extra)
    found = [_consent(known, field, target, latest) for field, target in fields.items()]
    return replace(event, consents=(*event.consents, *(change for change in found if change is not None)))


def _consent(known: Mapping[str, str], field: str, target: str, latest: datetime) -> ConsentChange | None:
    name, _, time_field = target.partition(TIMED)
    value, at = answer_of(known.get(field.removeprefix("customer."))), _time(known.get(time_field.strip(), ""))
    if value is None or (at is None and value):  # a yes of unknown age may be older than a no
        return None
    channel = CHANNELS.get(name.strip(), Channel.OTHER)
    consent_id = name.strip() if channel is Channel.OTHER else None
    return ConsentChange(channel, value, None if at is None else min(at, latest), f"shop field {field}", consent_id)


def _time(text: str) -> datetime | None:
    """Read a time as plugins keep it: ISO 8601, without a zone in UTC, or seconds since 1970."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) <= 11:
        return datetime.fromtimestamp(int(text), UTC)
    text = text.replace(" ", "T", 1)
    return read_instant(text) or read_instant(f"{text}+00:00")
