"""Saleor's users in the plugin's words (docs/platforms/saleor.md#customers)."""

from datetime import datetime
from typing import Any

from plugin.errors import PayloadError
from plugin.events import Address, Customer, CustomerCreated, CustomerDeleted, CustomerUpdated, MappingResult
from plugin.platforms.contact_normalisers import clean_country, clean_email, clean_text, dropped_notes, e164
from plugin.platforms.fields import load
from plugin.platforms.saleor import schemas

#: Metadata beyond this is ignored: the shopper may write as much of it as they like.
MAX_METADATA = 100


def customer_created(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map customer_created. A shopper who registered is not confirmed yet; account_confirmed follows."""
    user = _user(body)
    customer, notes = read_customer(user, need_id=True)
    return MappingResult((CustomerCreated(min(user.get("updated_at") or at, at), customer),), notes=notes)


def customer_updated(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map customer_updated, customer_metadata_updated, account_confirmed and account_email_changed: all hold the whole user."""
    user = _user(body)
    customer, notes = read_customer(user, need_id=True)
    return MappingResult((CustomerUpdated(min(user.get("updated_at") or at, at), customer),), notes=notes)


def customer_deleted(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map customer_deleted and account_deleted."""
    return MappingResult((CustomerDeleted(at, _user(body)["id"]),))


def read_customer(
    user: dict[str, Any], *, need_id: bool = False, addresses: tuple[dict[str, Any] | None, ...] = ()
) -> tuple[Customer, tuple[str, ...]]:
    """Return a customer and remarks. addresses: those of an order, which take precedence over the user's own.

    A user has no phone of their own: the addresses' phones are the only ones. Public metadata goes to
    `extra` as `metadata.KEY`: the shopper may have written it (docs/saleor.md says what that means).
    """
    if need_id and not user.get("id"):
        raise PayloadError("is missing", "user.id")
    own = (user.get("default_billing_address"), user.get("default_shipping_address"), *(user.get("addresses") or ()))
    places = [place for place in (*addresses, *own) if place]
    raw_phones = [(place.get("phone"), _country(place)) for place in places]
    phone = next((number for raw, country in raw_phones if (number := e164(raw, [country]))), None)
    dropped = ("mobilePhone",) if phone is None and any(clean_text(raw) for raw, _ in raw_phones) else ()
    email = clean_email(user.get("email"))
    if email is None and clean_text(user.get("email")):
        dropped = (*dropped, "email")
    names = [user, *places]
    customer = Customer(
        customer_id=user.get("id"),
        email=email,
        email_verified=user.get("is_confirmed") is True,
        mobile_phone=phone,
        first_name=next((text for n in names if (text := clean_text(n.get("first_name")))), None),
        last_name=next((text for n in names if (text := clean_text(n.get("last_name")))), None),
        address=_address(places),
        locale=language_tag(user.get("language_code")),
        extra=_extra(user),
        dropped=dropped,
    )
    return customer, dropped_notes(dropped)


def metadata_of(holder: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the public metadata of a user or order as (metadata.KEY, value), texts only."""
    pairs = [
        (clean_text(pair.get("key")), clean_text(pair.get("value")))
        for pair in (holder.get("metadata") or ())[:MAX_METADATA]
    ]
    return tuple((f"metadata.{key}", value) for key, value in pairs if key and value)


def language_tag(code: Any) -> str | None:
    """Turn Saleor's language code into a BCP 47 tag: SV_SE into sv-SE, ZH_HANS_CN into zh-Hans-CN."""
    text = clean_text(code)
    parts = (text or "").replace("-", "_").split("_")
    if not all(part.isascii() and part.isalnum() and len(part) <= 8 for part in parts) or not 2 <= len(parts[0]) <= 3:
        return None
    rest = [part.upper() if len(part) == 2 else part.title() if len(part) == 4 else part.lower() for part in parts[1:]]
    return "-".join([parts[0].lower(), *rest])


def country_of(place: dict[str, Any] | None) -> str | None:
    """Return an address' country code."""
    return _country(place) if place else None


def _user(body: dict[str, Any]) -> dict[str, Any]:
    user: dict[str, Any] = load(schemas.CustomerEventSchema(), body)["user"]
    return user


def _country(place: dict[str, Any]) -> str | None:
    return clean_country((place.get("country") or {}).get("code"))


def _address(places: list[dict[str, Any]]) -> Address:
    if not places:
        return Address()
    place = places[0]
    lines = [text for name in ("street_address1", "street_address2") if (text := clean_text(place.get(name)))]
    return Address(
        street=", ".join(lines) or None,
        zip_code=clean_text(place.get("postal_code")),
        city=clean_text(place.get("city")),
        country_code=_country(place),
    )


def _extra(user: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    reference = clean_text(user.get("external_reference"))
    return (*((("externalReference", reference),) if reference else ()), *metadata_of(user))
