"""Personal data and preferences: as Engage has them, with the shopper's own pending changes applied."""

from collections.abc import Mapping, Sequence
from typing import Any

from mypages.data.sanitise import safe_text
from mypages.views.formatting import Formatter
from mypages.views.models import FormField, Preference, Problem, ProfileField, Saving
from plugin.engage.data.models import Contact
from plugin.errors import PayloadError
from plugin.platforms.internal_events import PREFERENCES, ProfileEdit, read_edit
from plugin.store.inbox.edits import OpenEdit

#: What is shown, in order. Other attributes are the tenant's own and shown only where they may be edited.
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
#: Attributes that this plugin or Engage itself sets, whatever a setting says.
NEVER_EDITABLE = frozenset({"externalId", "memberNumber", "contactType", "id", "socialSecurityNumber"})


class PendingEdits:
    """A shopper's edits that have not reached Engage yet; newer edits override older ones."""

    def __init__(self, edits: Sequence[OpenEdit]) -> None:
        self.attributes: dict[str, str] = {}
        self.preferences: dict[str, bool] = {}
        self.refused: set[str] = set()
        for open_edit in edits:
            edit = _read(open_edit)
            names = edit.attributes.keys() | edit.preferences.keys()
            if open_edit.parked:
                self.refused |= names
                continue
            self.refused -= names
            self.attributes |= edit.attributes
            self.preferences |= edit.preferences

    def status_of(self, name: str) -> Saving:
        """Return the state of a field's change."""
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


def values_of(contact: Contact, pending_edits: PendingEdits, setting: tuple[str, ...]) -> dict[str, str]:
    """Return the attributes of a contact that are shown or may be edited, as texts; "" where there is no value."""
    names = dict.fromkeys([*SHOWN, *editable_attributes(setting)])
    attributes: dict[str, Any] = {**contact.attributes, **pending_edits.attributes}
    return {name: safe_text(attributes.get(name), MAX_LENGTH) for name in names}


def fields(values: Mapping[str, str], pending_edits: PendingEdits, formatter: Formatter) -> tuple[ProfileField, ...]:
    """Return the fields that have a value."""
    return tuple(
        ProfileField(
            name, _readable(name, value, formatter), "" if name in SHOWN else name, pending_edits.status_of(name)
        )
        for name, value in values.items()
        if value
    )


def preferences(
    stored: Mapping[str, bool | None], pending_edits: PendingEdits, setting: tuple[str, ...]
) -> tuple[Preference, ...]:
    """Return the shopper's marketing preferences, without those that Engage does not have and the shopper may not change."""
    editable, values = editable_preferences(setting), {**stored, **pending_edits.preferences}
    return tuple(
        Preference(name, values.get(name), name in editable, pending_edits.status_of(name))
        for name in PREFERENCES
        if name in editable or values.get(name) is not None
    )


def form_fields(
    values: Mapping[str, str],
    setting: tuple[str, ...],
    formatter: Formatter,
    posted: Mapping[str, str] | None = None,
    problems: Mapping[str, Problem] | None = None,
    was: Mapping[str, str] | None = None,
) -> tuple[FormField, ...]:
    """Return the fields that may be changed. posted, problems and was: of a form that was rejected."""
    form = []
    for name in editable_attributes(setting):
        value = (posted or {}).get(name, values.get(name, ""))
        kind = INPUTS.get(name, "text")
        form.append(
            FormField(
                name=name,
                input=kind,
                value=value if name in (posted or {}) else input_value(name, value),
                was=(was or {}).get(name, input_value(name, values.get(name, ""))),
                label="" if name in SHOWN else name,
                max_length=MAX_LENGTH,
                autocomplete=AUTOCOMPLETE.get(name, ""),
                problem=(problems or {}).get(name, Problem.NONE),
                options=_countries(value, formatter) if kind == "country" else (),
            )
        )
    return tuple(form)


def input_value(name: str, value: str) -> str:
    """Return the value of a form field: a date as ISO 8601 without a time, a country as its code in capitals."""
    kind = INPUTS.get(name, "text")
    return value[:10] if kind == "date" else value.upper() if kind == "country" else value


def _countries(value: str, formatter: Formatter) -> tuple[tuple[str, str], ...]:
    names = [
        (code, str(name)) for code, name in formatter.locale.territories.items() if len(code) == 2 and code.isalpha()
    ]
    is_listed = value.upper() in {code for code, _ in names}
    other = () if is_listed else ((value, value),)
    return (*other, *sorted(names, key=lambda entry: entry[1]))


def _readable(name: str, value: str, formatter: Formatter) -> str:
    if name == "birthDay":
        return formatter.plain_date(value)
    return formatter.country(value) if name == "countryCode" else value


def _read(edit: OpenEdit) -> ProfileEdit:
    try:
        return read_edit(edit.body)
    except PayloadError:  # written by another version of the plugin: it will be sent, but cannot be shown
        return ProfileEdit("", {}, {})
