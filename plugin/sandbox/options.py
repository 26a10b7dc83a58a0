"""The options of the sandbox's tenant. Everything that Engage's documentation leaves open is an option.

The defaults follow the documented behaviour (docs/engage.md); a test that needs another plausible
behaviour changes one option.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints

CreateAnswer = Literal["201-contact", "200-contact", "200-guid", "201-guid", "202-guid"]
DuplicateAnswer = Literal["409-with-id", "409", "200-guid"]
ErrorShape = Literal["object-errorCode", "object-code", "string", "html", "empty"]
ListShape = Literal["paged", "array"]

KNOWN_ATTRIBUTES = frozenset(
    {
        "firstName", "lastName", "email", "mobilePhone", "street", "careOf", "zipCode", "city", "countryCode",
        "birthDay", "gender", "socialSecurityNumber", "memberNumber", "externalId",
    }
)  # fmt: skip


#: What can be the key of a contact type.
KEY_ATTRIBUTES = ("email", "mobilePhone", "externalId", "socialSecurityNumber")


class OptionError(ValueError):
    """An option has a name or a value that the sandbox does not know. The text names both and what is allowed."""


@dataclass(frozen=True, slots=True)
class ContactTypeRules:
    """A contact type: its key attribute and the attributes that a contact of this type must have."""

    key: str = "email"
    mandatory: tuple[str, ...] = ()

    @property
    def required(self) -> tuple[str, ...]:
        """The mandatory attributes and the key, each once."""
        return tuple(dict.fromkeys((self.key, *self.mandatory)))


DEFAULT_CONTACT_TYPES: Mapping[str, ContactTypeRules] = MappingProxyType(
    {"Member": ContactTypeRules("email"), "Contact": ContactTypeRules("email")}
)


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """The tenant's options. Delays are in seconds; list shapes say whether an answer is a bare array or a page."""

    #: Accepted API keys; without any, every key that is not empty and not refused is accepted.
    accepted_keys: frozenset[str] = frozenset()
    refused_keys: frozenset[str] = frozenset()
    #: Hard limit per key; None for no limit.
    rate_limit_per_s: int | None = 200
    #: Whether a 429 of the limit carries Retry-After: not documented.
    retry_after_on_429: bool = False
    error_shape: ErrorShape = "object-errorCode"
    #: Adds keys that the contract does not have to every object of an answer, as Engage may at any time.
    extra_fields: bool = False

    contact_types: Mapping[str, ContactTypeRules] = field(default_factory=lambda: DEFAULT_CONTACT_TYPES)
    default_contact_type: str = "Member"
    #: Attributes of the tenant in addition to the common ones.
    tenant_attributes: frozenset[str] = frozenset()
    #: What customKey searches.
    custom_key: Literal["externalId", "memberNumber"] = "externalId"
    #: Whether two contacts of different types may have the same key.
    allow_same_key_in_types: bool = False
    create_answer: CreateAnswer = "201-contact"
    duplicate_answer: DuplicateAnswer = "409-with-id"
    max_changes: int = 250_000
    max_bulk_rows: int = 4_000
    bulk_answer: Literal["string", "object"] = "string"
    bulk_delay_s: float = 0.0

    #: Seconds until a receipt is imported; a real tenant's default is 15 minutes.
    import_delay_s: float = 0.0
    #: Whether rows and payments must add up to totalGrossPrice.
    check_receipt_sums: bool = True
    transactions_by_query: bool = True
    transactions_by_path: bool = True
    transactions_answer: ListShape = "paged"
    group_currency: str = "SEK"

    assignments_answer: ListShape = "array"
    #: Engage does not document this operation.
    reactivate_promotions: bool = False
    max_voucher_reactivations: int = 3
    point_accounts_answer: ListShape = "paged"
    #: The documented example spells the list "Items".
    point_items_capital: bool = True

    #: How many calls the log holds.
    keep_calls: int = 20_000

    @property
    def attributes(self) -> frozenset[str]:
        """Every attribute that a contact of this tenant can have."""
        return KNOWN_ATTRIBUTES | self.tenant_attributes


_HINTS = get_type_hints(SandboxOptions)


def options_json(options: SandboxOptions) -> dict[str, Any]:
    """Return the options as JSON-ready data; keys are not shown."""
    shown: dict[str, Any] = {}
    for item in fields(options):
        value = getattr(options, item.name)
        if item.name in {"accepted_keys", "refused_keys"}:
            continue
        if item.name == "contact_types":
            value = {name: asdict(rules) for name, rules in value.items()}
        shown[item.name] = sorted(value) if isinstance(value, frozenset) else value
    return shown


def changed_options(options: SandboxOptions, changes: Mapping[str, Any]) -> SandboxOptions:
    """Return options with some changed, given as JSON. Raises OptionError for an unknown name or a wrong value."""
    unknown = sorted(set(changes) - set(_HINTS))
    if unknown:
        raise OptionError(f"Unknown option {', '.join(unknown)}; known are {', '.join(sorted(_HINTS))}.")
    return replace(options, **{name: _value(name, value) for name, value in changes.items()})


def _value(name: str, value: Any) -> Any:
    hint = _HINTS[name]
    if get_origin(hint) is Literal:
        if value not in get_args(hint) or isinstance(value, bool):
            raise OptionError(f"{name} must be one of {', '.join(map(str, get_args(hint)))}.")
        return value
    if name == "contact_types":
        return _contact_types(value)
    if hint == frozenset[str]:
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise OptionError(f"{name} must be a list of texts.")
        return frozenset(value)
    if hint is bool and isinstance(value, bool):
        return value
    if hint is str and isinstance(value, str) and value:
        return value
    if hint is not bool and hint is not str and _is_count(hint, value):
        return value if hint is not float else float(value)
    raise OptionError(f"{name} has a value of the wrong kind: it must be {hint}.")


def _is_count(hint: Any, value: Any) -> bool:
    if value is None:
        return type(None) in get_args(hint)
    number = (int, float) if hint is float else int
    return isinstance(value, number) and not isinstance(value, bool) and 0 <= value <= 10_000_000


def _contact_types(value: Any) -> Mapping[str, ContactTypeRules]:
    if not isinstance(value, dict) or not value:
        raise OptionError('contact_types must be an object such as {"Member": {"key": "email", "mandatory": []}}.')
    rules = {}
    for name, given in value.items():
        if not isinstance(given, dict) or set(given) - {"key", "mandatory"}:
            raise OptionError(f"contact_types.{name} must have key and mandatory and nothing else.")
        key, mandatory = given.get("key", "email"), given.get("mandatory", [])
        if key not in KEY_ATTRIBUTES:
            raise OptionError(
                f"contact_types.{name}.key must be email, mobilePhone, externalId or socialSecurityNumber."
            )
        if not isinstance(mandatory, (list, tuple)) or not all(isinstance(entry, str) for entry in mandatory):
            raise OptionError(f"contact_types.{name}.mandatory must be a list of attribute names.")
        rules[name] = ContactTypeRules(key, tuple(mandatory))
    return MappingProxyType(rules)
