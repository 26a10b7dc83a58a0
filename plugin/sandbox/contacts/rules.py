"""What Engage requires of a contact's fields, and when two values are equal.

The codes InvalidEmailAddress, InvalidPhoneNumber, InvalidSocialSecurityNumber and InvalidContactType are documented
for find (docs/engage.md#finding-a-contact); for writes Engage does not list codes, so the others
are built the same way and name the field.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from plugin.sandbox.options import ContactTypeRules, SandboxOptions
from plugin.sandbox.wire import ApiError, parse_time

EMAIL = re.compile(r"[^\s@,;<>\"]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_][\w-]{1,62}")
_WRITTEN_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_SEARCHED_PHONE = re.compile(r"\+?[0-9]{7,15}")
_PHONE_FILLER = re.compile(r"[\s()./-]")
_SWEDISH = re.compile(r"(?:[0-9]{2})?([0-9]{2})([0-9]{2})([0-9]{2})[-+]?([0-9]{4})")
_FINNISH = re.compile(r"([0-9]{2})([0-9]{2})[0-9]{2}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]")
_FINNISH_CHECK = "0123456789ABCDEFHJKLMNPRSTUVWXY"
PREFERENCES = frozenset({"acceptsEmail", "acceptsSms", "acceptsPostal"})
FINDABLE = ("email", "mobilePhone", "socialSecurityNumber", "externalId", "memberNumber")
#: ISO 3166-1 alpha-2.
_COUNTRY_CODES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY
BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK
FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR
IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK
ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM
PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF
TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
COUNTRIES = frozenset(_COUNTRY_CODES.split())
_CODES = {
    "email": "InvalidEmailAddress",
    "mobilePhone": "InvalidPhoneNumber",
    "socialSecurityNumber": "InvalidSocialSecurityNumber",
}


def folded(attribute: str, value: Any) -> str:
    """Return the form under which two values of an attribute are the same."""
    text = str(value).strip()
    if attribute == "email":
        return text.lower()
    if attribute == "mobilePhone":
        return _PHONE_FILLER.sub("", text)
    if attribute == "socialSecurityNumber":
        return _PHONE_FILLER.sub("", text).upper()[-10:]
    return text


def is_email(value: str) -> bool:
    """Return whether a text has the form of an e-mail address."""
    return len(value) <= 254 and EMAIL.fullmatch(value) is not None


def is_searchable_phone(value: str) -> bool:
    """Return whether a search takes a text for a phone number: any run of digits of that length does."""
    return _SEARCHED_PHONE.fullmatch(_PHONE_FILLER.sub("", value)) is not None


def is_social_security_number(value: str) -> bool:
    """Return whether a text is a Swedish personal or coordination number or a Finnish code, check digit included."""
    text = value.strip().upper()
    if swedish := _SWEDISH.fullmatch(text):
        _, month, day, _ = swedish.groups()
        digits = "".join(swedish.groups())
        in_year = 1 <= int(month) <= 12 and (1 <= int(day) <= 31 or 61 <= int(day) <= 91)
        total = sum(sum(divmod(int(digit) * (2 - index % 2), 10)) for index, digit in enumerate(digits))
        return in_year and total % 10 == 0
    if finnish := _FINNISH.fullmatch(text):
        number = int(text[:6] + text[7:10])
        in_year = 1 <= int(finnish[1]) <= 31 and 1 <= int(finnish[2]) <= 12
        return in_year and _FINNISH_CHECK[number % 31] == text[10]
    return False


def refused(attribute: str, why: str) -> ApiError:
    """Return the refusal of an attribute's value: 400 with a code that names the attribute."""
    code = _CODES.get(attribute, f"Invalid{attribute[:1].upper()}{attribute[1:]}")
    return ApiError(400, code, f"{attribute} {why}.", attribute)


def read_attributes(body: Mapping[str, Any], options: SandboxOptions) -> tuple[dict[str, Any], list[str]]:
    """Return the checked attributes of a flat body, empty values as None, and the names that the tenant lacks.

    Raises ApiError 400 that names the attribute.
    """
    tenant_attributes = options.attributes
    others = {"preferences", "consents", "contactType"}
    unknown = [name for name in body if name not in tenant_attributes and name not in others]
    return {name: _value(name, value) for name, value in body.items() if name in tenant_attributes}, unknown


def _value(name: str, value: Any) -> Any:
    if value is None or value == "":
        return None
    if isinstance(value, (dict, list)):
        raise refused(name, "must be a text, a number or true or false")
    if name in FINDABLE or name in {"birthDay", "countryCode", "firstName", "lastName"}:
        if not isinstance(value, str):
            raise refused(name, "must be a text")
        return _text(name, value)
    if isinstance(value, str) and len(value) > 4_000:
        raise refused(name, "is longer than 4000 characters")
    if isinstance(value, Decimal) and abs(value.adjusted()) > 300:
        raise refused(name, "is a number of no use")
    return value


def _text(name: str, value: str) -> str:
    if len(value) > 450:
        raise refused(name, "is longer than 450 characters")
    if name == "email" and not is_email(value.strip()):
        raise refused(name, "has not the form of an e-mail address")
    if name == "mobilePhone":
        value = _PHONE_FILLER.sub("", value)
        if not _WRITTEN_PHONE.fullmatch(value):
            raise refused(name, "must be in international form, with + and the country's number")
    if name == "socialSecurityNumber" and not is_social_security_number(value):
        raise refused(name, "is not a Swedish or Finnish number")
    if name == "countryCode" and value.upper() not in COUNTRIES:
        raise refused(name, "is not an ISO 3166-1 alpha-2 code")
    if name == "birthDay" and not _is_day(value):
        raise refused(name, "must be a day such as 1990-05-17")
    return value.strip()


def _is_day(value: str) -> bool:
    try:
        return date.fromisoformat(value).year >= 1880
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(value).year >= 1880
    except ValueError:
        return False


def read_preferences(body: Mapping[str, Any]) -> dict[str, bool]:
    """Return the preferences that a body sets. Raises ApiError 400 for an unknown name or a value that is not a boolean."""
    given = body.get("preferences")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise refused("preferences", "must be an object")
    for name, value in given.items():
        if name not in PREFERENCES:
            raise ApiError(
                400, "InvalidPreference", f"The known preferences are {', '.join(sorted(PREFERENCES))}.", "preferences"
            )
        if not isinstance(value, bool):
            raise ApiError(400, "InvalidPreference", f"{name} must be true or false.", f"preferences.{name}")
    return dict(given)


def read_consents(body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the consents that a body sets, by id: yes or no; a consent is never unset again. Raises ApiError 400."""
    given = body.get("consents")
    if given is None:
        return {}
    if not isinstance(given, list):
        raise refused("consents", "must be a list")
    consents = {}
    for index, consent in enumerate(given):
        where = f"consents[{index}]"
        if not isinstance(consent, dict) or not isinstance(consent.get("id"), str) or not consent["id"]:
            raise ApiError(400, "InvalidConsent", f"{where} must have an id.", f"{where}.id")
        if not isinstance(consent.get("value"), bool):
            text = f"{where}.value must be true or false: a consent cannot be unset."
            raise ApiError(400, "InvalidConsent", text, f"{where}.value")
        if consent.get("date") is not None and parse_time(consent["date"]) is None:
            raise ApiError(400, "InvalidConsent", f"{where}.date must be a time with its offset.", f"{where}.date")
        for name in ("source", "comment"):
            if consent.get(name) is not None and not isinstance(consent[name], str):
                raise ApiError(400, "InvalidConsent", f"{where}.{name} must be a text.", f"{where}.{name}")
        stored_names = ("id", "value", "date", "source", "comment")
        consents[consent["id"]] = {name: consent[name] for name in stored_names if consent.get(name) is not None}
    return consents


def check_required(attributes: Mapping[str, Any], rules: ContactTypeRules) -> None:
    """Check that a contact has what its type requires. Raises ApiError 400 that names the attribute."""
    for name in rules.required:
        if attributes.get(name) is None:
            text = f"{name} is required for this contact type."
            raise ApiError(400, f"Missing{name[:1].upper()}{name[1:]}", text, name)
