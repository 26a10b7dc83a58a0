"""Personal data and preferences: as Engage holds them, with the shopper's own changes that are on their way laid over."""

from collections.abc import Mapping, Sequence
from typing import Any

from mypages.views.formatting import Formatter, text
from mypages.views.models import FormField, Preference, Problem, ProfileField, Saving
from plugin.engage.data.models import Contact
from plugin.errors import PayloadError
from plugin.platforms.internal_events import PREFERENCES, ProfileEdit, read_edit
from plugin.store.inbox.edits import OpenEdit

#: What is shown, in order. Everything else of a contact is the tenant's own and shown only where it may be edited.
SHOWN = (
    "firstName", "lastName", "email", "mobilePhone", "street", "careOf", "zipCode", "city", "countryCode", "birthDay",
    "memberNumber",
)  # fmt: skip
INPUTS: Mapping[str, str] = {
    "email": "email",
    "mobilePhone": "tel",
    "birthDay": "date",
    "countryCode": "country",
}
AUTOCOMPLETE: Mapping[str, str] = {
    "firstName": "given-name",
    "lastName": "family-name",
    "email": "email",
    "mobilePhone": "tel",
    "street": "address-line1",
    "careOf": "address-line2",
    "zipCode": "postal-code",
    "city": "address-level2",
    "countryCode": "country",
    "birthDay": "bday",
}
MAX_LENGTH = 200
#: Attributes that this plugin or Engage itself decides, whatever a setting says.
NEVER_EDITABLE = frozenset({"externalId", "memberNumber", "contactType", "id", "socialSecurityNumber"})


class PendingEdits:
    """A shopper's edits that are under way: newer ones over older ones."""

    def __init__(self, edits: Sequence[OpenEdit]) -> None:
        self.attributes: dict[str, str] = {}
        self.preferences: dict[str, bool] = {}
        self.refused: set[str] = set()
        for one in edits:
            edit = _read(one)
            names = edit.attributes.keys() | edit.preferences.keys()
            if one.parked:
                self.refused |= names
                continue
            self.refused -= names
            self.attributes |= edit.attributes
            self.preferences |= edit.preferences

    def saving(self, name: str) -> Saving:
        """Return what becomes of a field's change."""
        if name in self.refused:
            return Saving.REFUSED
        return Saving.SAVING if name in self.attributes or name in self.preferences else Saving.NONE

    @property
    def is_saving(self) -> bool:
        """Whether any change is on its way."""
        return bool(self.attributes or self.preferences)


def editable_attributes(setting: tuple[str, ...]) -> tuple[str, ...]:
    """Return the attributes that shoppers may change."""
    return tuple(name for name in setting if name not in PREFERENCES and name not in NEVER_EDITABLE)


def editable_preferences(setting: tuple[str, ...]) -> frozenset[str]:
    """Return the preferences that shoppers may change."""
    return frozenset(PREFERENCES.keys() & set(setting))


def values_of(contact: Contact, overlay: PendingEdits, setting: tuple[str, ...]) -> dict[str, str]:
    """Return the texts of a contact that are shown or may be edited; "" where there is none."""
    names = dict.fromkeys([*SHOWN, *editable_attributes(setting)])
    found: dict[str, Any] = {**contact.attributes, **overlay.attributes}
    return {name: text(found.get(name), MAX_LENGTH) for name in names}


def fields(values: Mapping[str, str], overlay: PendingEdits, form: Formatter) -> tuple[ProfileField, ...]:
    """Return the fields that have a value."""
    return tuple(
        ProfileField(name, _readable(name, value, form), "" if name in SHOWN else name, overlay.saving(name))
        for name, value in values.items()
        if value
    )


def preferences(
    found: Mapping[str, bool | None], overlay: PendingEdits, setting: tuple[str, ...]
) -> tuple[Preference, ...]:
    """Return by which ways the shopper wants to be reached; those that neither Engage says nor anybody may change are not."""
    editable, values = editable_preferences(setting), {**found, **overlay.preferences}
    return tuple(
        Preference(name, values.get(name), name in editable, overlay.saving(name))
        for name in PREFERENCES
        if name in editable or values.get(name) is not None
    )


def form_fields(
    values: Mapping[str, str],
    setting: tuple[str, ...],
    form: Formatter,
    posted: Mapping[str, str] | None = None,
    problems: Mapping[str, Problem] | None = None,
    was: Mapping[str, str] | None = None,
) -> tuple[FormField, ...]:
    """Return the fields that may be changed. posted, problems and was: of a form that was not taken."""
    made = []
    for name in editable_attributes(setting):
        value = (posted or {}).get(name, values.get(name, ""))
        kind = INPUTS.get(name, "text")
        made.append(
            FormField(
                name=name,
                input=kind,
                value=value if name in (posted or {}) else input_value(name, value),
                was=(was or {}).get(name, input_value(name, values.get(name, ""))),
                label="" if name in SHOWN else name,
                max_length=MAX_LENGTH,
                autocomplete=AUTOCOMPLETE.get(name, ""),
                problem=(problems or {}).get(name, Problem.NONE),
                options=_countries(value, form) if kind == "country" else (),
            )
        )
    return tuple(made)


def input_value(name: str, value: str) -> str:
    """Return a value as its form field holds it: of a date ISO without a time, of a country its code in capitals."""
    kind = INPUTS.get(name, "text")
    return value[:10] if kind == "date" else value.upper() if kind == "country" else value


def _countries(value: str, form: Formatter) -> tuple[tuple[str, str], ...]:
    names = [(code, str(name)) for code, name in form.locale.territories.items() if len(code) == 2 and code.isalpha()]
    known = value.upper() in {code for code, _ in names}
    other = () if known else ((value, value),)
    return (*other, *sorted(names, key=lambda entry: entry[1]))


def _readable(name: str, value: str, form: Formatter) -> str:
    if name == "birthDay":
        return form.plain_date(value)
    return form.country(value) if name == "countryCode" else value


def _read(one: OpenEdit) -> ProfileEdit:
    try:
        return read_edit(one.body)
    except PayloadError:  # written by another version: it is on its way, but cannot be shown
        return ProfileEdit("", {}, {})
