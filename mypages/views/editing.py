"""Changes that a shopper posts: they are read, validated and stored in the inbox like any other event."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from mypages.views.models import Problem
from mypages.views.profile import (
    INPUTS,
    MAX_LENGTH,
    PendingEdits,
    editable_attributes,
    editable_preferences,
    input_value,
)
from plugin.event_kinds import EventKind
from plugin.platforms.contact_normalisers import clean_country, clean_email, clean_text, e164
from plugin.platforms.internal_events import PROFILE_EDITED, ProfileEdit, encode_edit
from plugin.store.inbox.edits import Edits, OpenEdit
from plugin.store.inbox.inbox import NewEvent
from plugin.store.inbox.keys import customer_key
from plugin.store.shops.shops import RegisteredShop

WAS = "was."
MIN_BIRTH_YEAR = 1900


@dataclass(frozen=True, slots=True)
class Posted:
    """A posted form, or the same as JSON. values: by attribute. was: what the shopper saw, if the form has it.

    Only a difference from what the shopper saw is their change. The page may be old and the contact may have changed
    since; above all, a box that was ticked on the old page does not give consent again.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    preferences: Mapping[str, bool] = field(default_factory=dict)
    was: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ValidatedEdit:
    """The values to change, and the problems of the others."""

    attributes: Mapping[str, str]
    preferences: Mapping[str, bool]
    problems: Mapping[str, Problem]

    def __bool__(self) -> bool:
        return bool(self.attributes or self.preferences)


def from_form(form: Mapping[str, str], shown: list[str], setting: tuple[str, ...]) -> Posted:
    """Read a posted form.

    shown: the preferences whose boxes were on the page, each with a colon and its earlier value (`acceptsSms:no`). A box
    without a tick means no.
    """
    boxes = dict(entry.partition(":")[::2] for entry in shown)
    attributes, preferences = editable_attributes(setting), editable_preferences(setting)
    was = {name: form[WAS + name] for name in attributes if WAS + name in form}
    return Posted(
        {name: form[name] for name in attributes if name in form},
        {name: form.get(name) == "yes" for name in preferences if name in boxes},
        was | {name: boxes[name] for name in preferences if boxes.get(name)},
    )


def from_json(body: Any, setting: tuple[str, ...]) -> Posted | None:
    """Read `{"fields": {...}, "preferences": {...}}`; None for anything else, or fields that may not be changed."""
    if not isinstance(body, dict) or not body.keys() <= {"fields", "preferences"}:
        return None
    values, preferences = body.get("fields", {}), body.get("preferences", {})
    if not isinstance(values, dict) or not isinstance(preferences, dict):
        return None
    if not values.keys() <= set(editable_attributes(setting)) or not preferences.keys() <= editable_preferences(
        setting
    ):
        return None
    if not all(isinstance(v, str) for v in values.values()) or not all(
        isinstance(v, bool) for v in preferences.values()
    ):
        return None
    return Posted(values, preferences)


def validate(
    posted: Posted,
    values: Mapping[str, str],
    preferences: Mapping[str, bool | None],
    today: date,
    territory: str | None = None,
) -> ValidatedEdit:
    """Return the normalised values that differ from the current ones, and why others were rejected.

    values and preferences: the current ones. territory: the country of a phone number without a country code, where
    neither the form nor the contact names a country.
    """
    attributes: dict[str, str] = {}
    problems: dict[str, Problem] = {}
    countries = [posted.values.get("countryCode"), values.get("countryCode"), territory]
    for name, raw in posted.values.items():
        current = input_value(name, values.get(name, ""))
        if raw.strip() == current or raw.strip() == posted.was.get(name):
            continue
        value, problem = _read(name, raw, countries, today)
        if not raw.strip():
            problem = Problem.NEEDED if current else Problem.NONE
        if problem:
            problems[name] = problem
        elif value is not None and value != current:
            attributes[name] = value
    changed = {
        name: value
        for name, value in posted.preferences.items()
        if preferences.get(name) is not value and posted.was.get(name) != ("yes" if value else "no")
    }
    return ValidatedEdit(attributes, changed, problems)


def accept(
    edits: Edits,
    shop: RegisteredShop,
    customer_id: str,
    validated: ValidatedEdit,
    form_token: str,
    now: datetime,
    *,
    snapshot: str,
) -> int | None:
    """Store a change in the inbox and return its event's id; None when the same form was sent twice at once.

    form_token and snapshot (the shopper's state before the change) distinguish a double click, which changes once, from
    the same change made again after another: no, yes and no again are three changes, even where a script sends them
    with the same token or without one.
    """
    edit = ProfileEdit(customer_id, validated.attributes, validated.preferences)
    body = encode_edit(edit, now)
    minute = int(now.timestamp()) // 60  # a change that an operator discarded does not change the snapshot
    identity = repr(
        (form_token, snapshot, minute, customer_id, sorted(edit.attributes.items()), sorted(edit.preferences.items()))
    )
    new = NewEvent(
        shop_id=shop.id,
        platform=shop.platform,
        topic=PROFILE_EDITED,
        kind=EventKind.PROFILE_EDIT,
        dedupe_key="my-pages:" + hashlib.sha256(identity.encode()).hexdigest(),
        ordering_key=customer_key(customer_id),
        occurred_at=now,
        received_at=now,
        body=body,
    )
    accepted = edits.accept(new, _superseded(edits.open_of(shop, customer_id), edit))
    return None if accepted.duplicate else accepted.event_id


def _superseded(open_edits: Sequence[OpenEdit], edit: ProfileEdit) -> list[int]:
    """Return the ids of the parked edits whose every field the new edit sets again."""
    names = edit.attributes.keys() | edit.preferences.keys()
    return [old.event_id for old in open_edits if old.parked and PendingEdits([old]).refused <= names]


def _read(name: str, raw: str, countries: list[str | None], today: date) -> tuple[str | None, Problem]:
    """Return a value in the form in which it is sent to Engage, or its problem."""
    if len(raw) > MAX_LENGTH:
        return None, Problem.TOO_LONG
    kind = INPUTS.get(name, "text")
    if kind == "tel":
        number = e164(raw, [clean_country(country) for country in countries])
        return number, Problem.NONE if number else Problem.NO_PHONE
    if kind == "email":
        email = clean_email(raw)
        return email, Problem.NONE if email else Problem.NO_EMAIL
    if kind == "country":
        code = clean_country(raw)
        return code, Problem.NONE if code else Problem.NO_COUNTRY
    if kind == "date":
        return _birthday(raw, today)
    cleaned = clean_text(raw)
    return cleaned, Problem.NONE if cleaned else Problem.NO_TEXT


def _birthday(raw: str, today: date) -> tuple[str | None, Problem]:
    try:
        day = date.fromisoformat(raw.strip())
    except ValueError:
        return None, Problem.NO_DATE
    return (day.isoformat(), Problem.NONE) if day.year >= MIN_BIRTH_YEAR and day < today else (None, Problem.NO_DATE)
