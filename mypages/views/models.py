"""The view models of the parts of My Pages, for templates and JSON: formatted texts and the raw values beside them.

They hold no sentence of any language: words that need translating are names (`PartState.AWAY`, `gives_kind`,
`problem`), which the templates turn into text. Values of people and of Engage are plain texts, escaped by Jinja.

JSON answers (`mypages.http.responses`) have the same members, and `mypages.http.openapi` describes them with the
docstrings of these classes.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mypages.views.values import Amount, Moment, Number


class PartState(StrEnum):
    """Where a part's data comes from.

    FRESH: from Engage, recently. STALE: Engage is away, the data is `age` old. AWAY: Engage is away and nothing is
    cached; only what this shop itself knows is shown. UNLINKED: the shopper has no contact that may be shown.
    """

    FRESH = "fresh"
    STALE = "stale"
    AWAY = "away"
    UNLINKED = "unlinked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The state that every part has. age: words such as "2 hours", only when STALE. fetched_at: aware UTC."""

    state: PartState
    age: str = ""
    fetched_at: datetime | None = None

    @property
    def stale(self) -> bool:
        """Whether it is older than it should be."""
        return self.state is PartState.STALE

    @property
    def away(self) -> bool:
        """Whether it could not be had at all."""
        return self.state is PartState.AWAY

    @property
    def unlinked(self) -> bool:
        """Whether the shopper has no contact that may be shown."""
        return self.state is PartState.UNLINKED


class Saving(StrEnum):
    """What became of the shopper's own change. NONE: there is none under way."""

    NONE = ""
    SAVING = "saving"  # on its way to Engage; `value` is the new one already
    REFUSED = "refused"  # did not go through; `value` is what Engage has


@dataclass(frozen=True, slots=True)
class ProfileField:
    """One field of the profile that has a value. name: Engage's attribute (firstName, ...), for the label.

    value: as a person reads it (a date and a country in the shopper's locale). label: the shop's own words for a
    field of the tenant's own; "" where the template knows the name.
    """

    name: str
    value: str
    label: str = ""
    saving: Saving = Saving.NONE


@dataclass(frozen=True, slots=True)
class Preference:
    """Whether the shopper wants to be reached by a way. name: acceptsEmail, acceptsSms, acceptsPostal.

    value: None when Engage does not say. editable: the shopper may change it here.
    """

    name: str
    value: bool | None
    editable: bool
    saving: Saving = Saving.NONE

    @property
    def was(self) -> str:
        """What the form says that the shopper saw."""
        return {True: "yes", False: "no", None: ""}[self.value]


class Problem(StrEnum):
    """Why a field of the form was not taken. NONE: it was, or was not sent yet."""

    NONE = ""
    TOO_LONG = "too_long"
    NEEDED = "needed"  # it has a value and cannot be emptied here
    NO_PHONE = "no_phone"
    NO_EMAIL = "no_email"
    NO_DATE = "no_date"
    NO_COUNTRY = "no_country"
    NO_TEXT = "no_text"  # characters that nothing can show


@dataclass(frozen=True, slots=True)
class FormField:
    """A field that the shopper may change. input: text, tel, email, date or country.

    value: what stands in the field (of a date ISO; of a country its code). was: what stood there before the shopper
    wrote in it, for the hidden field. options: (code, name) of a country field.
    autocomplete: the HTML token, "" where none fits.
    """

    name: str
    input: str
    value: str
    was: str = ""
    label: str = ""
    max_length: int = 200
    autocomplete: str = ""
    problem: Problem = Problem.NONE
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile(Part):
    """Personal data and preferences. form: what may be changed, empty where nothing may (or Engage is away).

    saving: some change is on its way. refused: a change did not go through; refused_why: "value" (Engage or the plugin
    refused the value), "later" (it is tried again by a person at the shop). problems: the posted form was not taken.
    """

    greeting: str = ""
    fields: tuple[ProfileField, ...] = ()
    preferences: tuple[Preference, ...] = ()
    form: tuple[FormField, ...] = ()
    saving: bool = False
    refused: bool = False
    refused_why: str = ""
    problems: bool = False

    @property
    def editable(self) -> bool:
        """Whether a form is to be shown."""
        return bool(self.form) or any(preference.editable for preference in self.preferences)


@dataclass(frozen=True, slots=True)
class PurchaseLine:
    """A line of a purchase. amount: what was paid for it, None where it is not known."""

    name: str
    sku: str = ""
    quantity: Number | None = None
    amount: Amount | None = None
    is_return: bool = False


@dataclass(frozen=True, slots=True)
class Purchase:
    """A purchase or return. id: for `link("transactions", id=...)`. being_registered: Engage has not imported it yet.

    amount: negative for a return. date: None where Engage does not say.
    """

    id: str
    number: str
    date: Moment | None
    amount: Amount | None
    place: str = ""
    items: Number | None = None
    is_return: bool = False
    being_registered: bool = False
    lines: tuple[PurchaseLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchases(Part):
    """A page of purchases and returns, newest first. total: how many there are in all, None where it is not known."""

    items: tuple[Purchase, ...] = ()
    page: int = 1
    newer: bool = False
    older: bool = False
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt(Part):
    """One purchase. back: the page of the list that it stands on."""

    purchase: Purchase | None = None
    back: int = 1


@dataclass(frozen=True, slots=True)
class Promotion:
    """A promotion. gives_kind: percent, money, code, text or "" (not known); gives: "20 %", "50,00 kr", ...

    code: what to type at the checkout, where there is one. until: None without an end. used_on: of a used one.
    link: https address, or "".
    """

    id: str
    heading: str
    description: str = ""
    gives_kind: str = ""
    gives: str = ""
    code: str = ""
    until: Moment | None = None
    link: str = ""
    used: bool = False
    used_on: Moment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotions(Part):
    """Promotions that can be used in the shop, soonest to end first; used ones apart, newest first."""

    active: tuple[Promotion, ...] = ()
    used: tuple[Promotion, ...] = ()


@dataclass(frozen=True, slots=True)
class PointAccount:
    """A balance. pending: points that count later. expires: when the balance does."""

    id: str
    balance: Number | None
    pending: Number | None = None
    expires: Moment | None = None


@dataclass(frozen=True, slots=True)
class PointChange:
    """A change of points. kind: addition, deduction, expiry, cancellation or "" (not known). amount: signed as sent."""

    date: Moment | None
    kind: str
    description: str
    amount: Number | None
    valid_to: Moment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Points(Part):
    """Balances, and the history of the first account, newest first (empty on the overview)."""

    accounts: tuple[PointAccount, ...] = ()
    history: tuple[PointChange, ...] = ()
    page: int = 1
    newer: bool = False
    older: bool = False


@dataclass(frozen=True, slots=True)
class Voucher:
    """A reward voucher. value: in the shopper's currency where the tenant has one for it. number: for the checkout."""

    id: str
    number: str
    name: str
    value: Amount | None
    points: Number | None = None
    until: Moment | None = None
    used: bool = False
    used_on: Moment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouchers(Part):
    """Vouchers that can be used, soonest to end first; used ones apart (empty on the overview)."""

    active: tuple[Voucher, ...] = ()
    used: tuple[Voucher, ...] = ()


@dataclass(frozen=True, slots=True)
class Overview:
    """All parts at a glance. points and vouchers: None where the tenant has none. purchases: the newest few."""

    profile: Profile
    purchases: Purchases
    promotions: Promotions
    points: Points | None = None
    vouchers: Vouchers | None = None
