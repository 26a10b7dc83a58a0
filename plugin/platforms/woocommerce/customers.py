"""WooCommerce's customers in the plugin's words. WooCommerce verifies neither e-mail nor phone.

See docs/platforms/woocommerce.md#customers.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from plugin.errors import PayloadError
from plugin.events import Address, Customer, CustomerCreated, CustomerDeleted, CustomerUpdated, MappingResult
from plugin.platforms.contact_normalisers import clean_country, clean_email, clean_text, dropped_notes, e164
from plugin.platforms.fields import clamp_to_received_at, load
from plugin.platforms.woocommerce import schemas
from plugin.platforms.woocommerce.meta import consents_of, extra_of

#: WordPress roles of people who work on the site. Any other role may be a shopper's: themes and plugins add their own.
STAFF = frozenset({"administrator", "shop_manager", "editor", "author", "contributor"})
#: The topic is in a header, which the signature does not cover (docs/platforms/woocommerce.md#signature): the body alone must
#: show that it is of its topic's kind.
#: Fields of a resource that is there; every coupon and product has some of them too.
STILL_THERE = (schemas.CustomerSchema().fields.keys() | schemas.OrderSchema().fields.keys()) - {"id"}
OTHER_TOPIC = "; the signature does not cover the topic, so this may be another webhook's body sent again by a stranger"
#: REST errors that say that the resource was gone before the webhook left; any other error is a fault of the set-up.
GONE = frozenset({404, 410})


def customer_created(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map customer.created."""
    return _customer(CustomerCreated, body, at)


def customer_updated(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map customer.updated; it comes after a signup and after an order too, with nothing new in it."""
    return _customer(CustomerUpdated, body, at)


def customer_deleted(body: dict[str, Any], at: datetime) -> MappingResult:
    """Map customer.deleted, whose body is the id alone. Raises PayloadError for a body of something that is still there."""
    if body.keys() & STILL_THERE:
        raise PayloadError(f"is not what WooCommerce sends of a deleted customer, the id alone{OTHER_TOPIC}", "body")
    return MappingResult((CustomerDeleted(at, load(schemas.DeletedSchema(), body)["id"]),))


def vanished(body: dict[str, Any]) -> MappingResult | None:
    """Return the result for a REST error that was sent, signed, in place of the resource; None for a resource.

    Bodies are built when a webhook leaves, by the user who made it (docs/platforms/woocommerce.md#delivery-rules).
    Raises PayloadError when that user may not read any more.
    """
    if "id" in body or not isinstance(body.get("code"), str):
        return None
    code, data = clean_text(body["code"]) or "", body.get("data")
    status = data.get("status") if isinstance(data, dict) else None
    if (isinstance(status, int) and status in GONE) or code.endswith("_invalid_id"):
        return MappingResult(ignored=f"gone in the shop before its webhook left ({code})")
    raise PayloadError(
        f"WooCommerce could not build the body ({code}): the user who made the webhook may no longer read it; give that user "
        "the right manage_woocommerce again, or make keys as another user and install again",
        "body",
    )


def read_people(
    places: Iterable[dict[str, Any] | None], *, customer_id: str | None, email: Any = None, names: dict[str, Any]
) -> tuple[Customer, tuple[str, ...]]:
    """Return a customer and remarks. places: addresses, the best first; names: what takes precedence over their names."""
    known = [place for place in places if place and any(clean_text(value) for value in place.values())]
    countries = [clean_country(place.get("country")) for place in known]
    raw_phones = [place.get("phone") for place in known]
    # free text such as 070-123 45 67: its own address says in which country
    tried = zip(raw_phones, countries, strict=True)
    phone = next((number for raw, own in tried if (number := e164(raw, [own, *countries]))), None)
    raw_emails = [email, *(place.get("email") for place in known)]
    address = next((found for raw in raw_emails if (found := clean_email(raw))), None)
    dropped = ("mobilePhone",) if phone is None and any(clean_text(raw) for raw in raw_phones) else ()
    if address is None and any(clean_text(raw) for raw in raw_emails):
        dropped = (*dropped, "email")
    holders = [names, *known]
    customer = Customer(
        customer_id=customer_id,
        email=address,
        mobile_phone=phone,
        first_name=next((text for h in holders if (text := clean_text(h.get("first_name")))), None),
        last_name=next((text for h in holders if (text := clean_text(h.get("last_name")))), None),
        address=_address(known),
        extra=extra_of(names.get("meta_data")),
        dropped=dropped,
    )
    return customer, dropped_notes(dropped)


def _customer(kind: type[CustomerCreated | CustomerUpdated], body: dict[str, Any], at: datetime) -> MappingResult:
    gone = vanished(body)
    if gone is not None:
        return gone
    if "email" not in body:  # every customer has the field, though it may be empty; no order, coupon or product has it
        raise PayloadError(f"is not a customer: it has no e-mail field{OTHER_TOPIC}", "body")
    found = load(schemas.CustomerSchema(), body)
    role = (found.get("role") or "").lower()
    if role in STAFF:
        return MappingResult(ignored=f"a user with the role {role}: staff of the site, not a shopper")
    customer, notes = read_people(
        (found.get("billing"), found.get("shipping")),
        customer_id=found["id"],
        email=found.get("email"),
        names=found,
    )
    when = clamp_to_received_at(found.get("date_modified_gmt") or found.get("date_created_gmt"), at)
    return MappingResult((kind(when, customer, consents_of(found.get("meta_data"), at)),), notes=notes)


def _address(places: list[dict[str, Any]]) -> Address:
    """Return the first address that has a street, town or postcode; an address with only a name and country is not used."""
    for place in places:
        lines = [text for name in ("address_1", "address_2") if (text := clean_text(place.get(name)))]
        if lines or clean_text(place.get("city")) or clean_text(place.get("postcode")):
            return Address(
                street=", ".join(lines) or None,
                zip_code=clean_text(place.get("postcode")),
                city=clean_text(place.get("city")),
                country_code=clean_country(place.get("country")),
            )
    return Address(country_code=next((code for p in places if (code := clean_country(p.get("country")))), None))
