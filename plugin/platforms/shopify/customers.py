"""Shopify's customers, consents and privacy topics in the plugin's words (docs/platforms/shopify.md#customers)."""

from datetime import datetime
from typing import Any

from plugin.errors import PayloadError
from plugin.events import (
    Address,
    Channel,
    ConsentChange,
    ConsentChanged,
    Customer,
    CustomerCreated,
    CustomerDeleted,
    CustomerErased,
    CustomerMerged,
    CustomerUpdated,
    DataRequested,
    MappingResult,
)
from plugin.platforms.contact_normalisers import clean_country, clean_email, clean_text, dropped_notes, e164
from plugin.platforms.fields import load
from plugin.platforms.shopify import schemas

#: What a state means; states that are not an answer of the shopper's own are not in it (pending is not a consent).
ANSWERS = {"subscribed": True, "unsubscribed": False, "not_subscribed": False}


def customer_created(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map customers/create."""
    found = load(schemas.CustomerSchema(), body)
    customer, notes = read_customer(found, need_id=True)
    return MappingResult((CustomerCreated(found.get("updated_at") or at, customer),), notes=notes)


def customer_updated(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map customers/update."""
    found = load(schemas.CustomerSchema(), body)
    customer, notes = read_customer(found, need_id=True)
    return MappingResult((CustomerUpdated(found.get("updated_at") or at, customer),), notes=notes)


def customer_deleted(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map customers/delete."""
    found = load(schemas.DeletedCustomerSchema(), body)
    return MappingResult((CustomerDeleted(at, gid_or_id(found) or found["id"]),))


def customer_merged(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map customers/merge; a merge that failed changed nothing."""
    found = load(schemas.MergeSchema(), body)
    if found.get("status") not in {None, "completed", "success"}:
        return MappingResult(ignored=f"the merge has the status {found['status']!r}: nothing was merged")
    kept_id = _tail(found.get("admin_graphql_api_customer_kept_id"))
    merged_id = _tail(found.get("admin_graphql_api_customer_deleted_id"))
    if not kept_id or not merged_id:
        raise PayloadError("is missing", "admin_graphql_api_customer_kept_id or ..._deleted_id")
    return MappingResult((CustomerMerged(at, kept_id, merged_id),))


def email_consent(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map customers_email_marketing_consent/update."""
    found = load(schemas.EmailConsentSchema(), body)
    customer = Customer(customer_id=found["customer_id"], email=clean_email(found.get("email_address")))
    return _consent(customer, Channel.EMAIL, found.get("email_marketing_consent"), at)


def sms_consent(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map customers_marketing_consent/update."""
    found = load(schemas.SmsConsentSchema(), body)
    customer = Customer(customer_id=found["id"], mobile_phone=e164(found.get("phone")))
    return _consent(customer, Channel.SMS, found.get("sms_marketing_consent"), at)


def redact(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map customers/redact."""
    found = load(schemas.PrivacySchema(), body)
    customer = found["customer"]
    return MappingResult(
        (
            CustomerErased(
                at,
                customer_id=gid_or_id(customer),
                email=clean_email(customer.get("email")),
                mobile_phone=e164(customer.get("phone")),
                order_ids=tuple(found.get("orders_to_redact") or ()),
            ),
        )
    )


def data_request(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map customers/data_request."""
    found = load(schemas.PrivacySchema(), body)
    customer = found["customer"]
    request_id = (found.get("data_request") or {}).get("id")
    return MappingResult(
        (
            DataRequested(
                at,
                gid_or_id(customer),
                str(request_id) if request_id else None,
                email=clean_email(customer.get("email")),
                mobile_phone=e164(customer.get("phone")),
                order_ids=tuple(found.get("orders_requested") or ()),
            ),
        )
    )


def read_customer(
    found: dict[str, Any], *, need_id: bool = False, addresses: tuple[dict[str, Any] | None, ...] = ()
) -> tuple[Customer, tuple[str, ...]]:
    """Return a customer and remarks. addresses: those of an order, which take precedence over the customer's own."""
    customer_id = gid_or_id(found)
    if need_id and customer_id is None:
        raise PayloadError("is missing", "id")
    places = [place for place in (*addresses, found.get("default_address")) if place]
    countries = [clean_country(place.get("country_code")) for place in places]
    raw_phones = [found.get("phone"), *(place.get("phone") for place in places)]
    phone = next((number for raw in raw_phones if (number := e164(raw, countries))), None)
    dropped = ("mobilePhone",) if phone is None and any(clean_text(raw) for raw in raw_phones) else ()
    email = clean_email(found.get("email"))
    if email is None and clean_text(found.get("email")):
        dropped = (*dropped, "email")
    names = [found, *places]
    customer = Customer(
        customer_id=customer_id,
        email=email,
        email_verified=bool(found.get("verified_email")),
        mobile_phone=phone,
        first_name=next((text for n in names if (text := clean_text(n.get("first_name")))), None),
        last_name=next((text for n in names if (text := clean_text(n.get("last_name")))), None),
        address=_address(places),
        dropped=dropped,
    )
    return customer, dropped_notes(dropped)


def gid_or_id(found: dict[str, Any]) -> str | None:
    """Return the digits of an id; the global id takes precedence, because JavaScript rounds long numbers in transit."""
    return _tail(found.get("admin_graphql_api_id")) or found.get("id")


def _tail(gid: str | None) -> str | None:
    tail = (gid or "").rpartition("/")[2]
    return tail if tail.isdigit() else None


def _address(places: list[dict[str, Any]]) -> Address:
    if not places:
        return Address()
    place = places[0]
    lines = [text for name in ("address1", "address2") if (text := clean_text(place.get(name)))]
    return Address(
        street=", ".join(lines) or None,
        zip_code=clean_text(place.get("zip")),
        city=clean_text(place.get("city")),
        country_code=clean_country(place.get("country_code")),
    )


def _consent(customer: Customer, channel: Channel, consent: dict[str, Any] | None, at: datetime) -> MappingResult:
    if consent is None:
        return MappingResult(ignored="the body holds no consent")
    state = (consent["state"] or "none").lower()
    when = consent.get("consent_updated_at")
    if state not in ANSWERS or (state == "not_subscribed" and when is None):
        return MappingResult(ignored=f"the state {state!r} is not an answer of the shopper")
    change = ConsentChange(channel, ANSWERS[state], when or at, consent.get("consent_collected_from") or "shopify")
    return MappingResult((ConsentChanged(when or at, customer, (change,)),))
