"""What a body means: the platform's mapping, and the consents that a shop stores beside the time of the answer.

Such consents are named by the setting `consent_fields`, with an @ before the field of the time. Fields without a time are
the subject of `webhooks.consents.plain_fields`.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from plugin.events import Channel, ConsentChange, CustomerCreated, CustomerUpdated, Event, MappingResult
from plugin.platforms.base import Delivery
from plugin.platforms.fields import read_instant
from plugin.platforms.registry import normalise
from plugin.store.shops.shops import RegisteredShop

#: Stands between a consent and the field of its time.
TIMED = "@"
CHANNELS = {channel.value: channel for channel in (Channel.EMAIL, Channel.SMS, Channel.POSTAL)}
ANSWERS = {
    **dict.fromkeys(("true", "yes", "1", "on", "y"), True),
    **dict.fromkeys(("false", "no", "0", "off", "n"), False),
}


def map_body(
    shop: RegisteredShop,
    delivery: Delivery,
    body: bytes,
    received_at: datetime,
    *,
    platform: str | None = None,
) -> MappingResult:
    """Map the body of a stored event, or of a resource that was read from the shop. Raises PayloadError.

    platform: whose format the body has, where that is not the shop's own platform.
    """
    mapped = normalise(platform or shop.platform, delivery, body, received_at)
    fields = {name: target for name, target in shop.settings.consent_fields.items() if TIMED in target}
    if not fields:
        return mapped
    return replace(mapped, events=tuple(_with_consents(event, fields, received_at) for event in mapped.events))


def parse_answer(text: str | None) -> bool | None:
    """Read a field as yes or no; None for everything else."""
    return ANSWERS.get((text or "").strip().lower())


def _with_consents(event: Event, fields: Mapping[str, str], latest: datetime) -> Event:
    """Add the consents of a customer's timed fields. fields: field -> CHANNEL@FIELD_OF_THE_TIME.

    latest: when the webhook came. A later time is not believed, because no later opt-out could override such an opt-in.
    """
    if not isinstance(event, (CustomerCreated, CustomerUpdated)):
        return event
    values = dict(event.customer.extra)
    changes = [_timed_consent(values, field, target, latest) for field, target in fields.items()]
    return replace(event, consents=(*event.consents, *(change for change in changes if change is not None)))


def _timed_consent(values: Mapping[str, str], field: str, target: str, latest: datetime) -> ConsentChange | None:
    name, _, time_field = target.partition(TIMED)
    value, at = parse_answer(values.get(field.removeprefix("customer."))), _time(values.get(time_field.strip(), ""))
    if value is None or (at is None and value):  # an opt-in of unknown age may be older than an opt-out
        return None
    channel = CHANNELS.get(name.strip(), Channel.OTHER)
    consent_id = name.strip() if channel is Channel.OTHER else None
    return ConsentChange(channel, value, None if at is None else min(at, latest), f"shop field {field}", consent_id)


def _time(text: str) -> datetime | None:
    """Read a time as plugins store it: ISO 8601, without a zone in UTC, or seconds since 1970."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) <= 11:
        return datetime.fromtimestamp(int(text), UTC)
    text = text.replace(" ", "T", 1)
    return read_instant(text) or read_instant(f"{text}+00:00")
