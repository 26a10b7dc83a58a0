"""The Standard platform's events in the plugin's words. The public JSON Schema is the contract; it is checked first."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
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
    CustomerUpdated,
    Discount,
    Line,
    LineKind,
    MappingResult,
    OrderCancelled,
    OrderPaid,
    OrderRefunded,
    Payment,
    UsedPromotion,
    UsedVoucher,
)
from plugin.platforms.contact_normalisers import clean_country, clean_email, clean_text, dropped_notes, e164
from plugin.platforms.fields import MAX_ID, clamp_to_received_at, is_plausible, read_identifier, read_instant
from plugin.platforms.money import amount_line, checked_currency, minor_unit, percent_of
from plugin.platforms.standard.schema import check


def normalise(topic: str, body: dict[str, Any], received_at: datetime) -> MappingResult:
    """Map a webhook. Raises PayloadError that names the field and never shows its value."""
    check(topic, body)
    return _BUILDERS[topic](body["data"], clamp_to_received_at(read_instant(body["timestamp"]), received_at))


def _instant(holder: dict[str, Any], name: str, otherwise: datetime) -> datetime:
    """Return a time of the body, which the schema has checked; `otherwise` where there is none, or one in the future."""
    return clamp_to_received_at(read_instant(holder.get(name)), otherwise)


def _created(data: dict[str, Any], at: datetime) -> MappingResult:
    customer, notes = _customer(data["customer"], need_id=True)
    return MappingResult((CustomerCreated(at, customer, _consents(data)),), notes=notes)


def _updated(data: dict[str, Any], at: datetime) -> MappingResult:
    customer, notes = _customer(data["customer"], need_id=True)
    when = read_instant(data["customer"].get("updated_at")) or at
    consents = _consents(data)
    dated = tuple(change for change in consents if change.at is not None or not change.value)
    if len(dated) < len(consents):  # the whole customer is sent at every change, and an opt-out may have come since
        notes = (*notes, "A consent without its time (`at`) was left out: it may be older than an opt-out.")
    return MappingResult((CustomerUpdated(min(when, at), customer, dated),), notes=notes)


def _deleted(data: dict[str, Any], at: datetime) -> MappingResult:
    customer, _ = _customer(data["customer"], need_id=True)
    assert customer.customer_id is not None
    return MappingResult((CustomerDeleted(at, customer.customer_id),))


def _consent(data: dict[str, Any], at: datetime) -> MappingResult:
    customer, notes = _customer(data["customer"])
    changes = _consents(data)
    if not changes:
        return MappingResult(ignored="no consent is named")
    return MappingResult((ConsentChanged(at, customer, changes),), notes=notes)


def _paid(data: dict[str, Any], at: datetime) -> MappingResult:
    order = data["order"]
    if order.get("test"):
        return MappingResult(ignored="a test order")
    customer, notes = _customer(order.get("customer") or {})
    currency = checked_currency(order["currency"], "order.currency")
    total = _amount(order["total"], "order.total")
    lines = tuple(_line(line, currency, f"order.lines.{i}") for i, line in enumerate(order["lines"]))
    summed = sum((line.gross_paid for line in lines), Decimal(0))
    if summed != total:
        raise PayloadError(f"the lines add up to {summed} {currency}, the total is {total} {currency}", "order.lines")
    shop_total = order.get("shop_total")
    return MappingResult(
        (
            OrderPaid(
                occurred_at=_instant(order, "paid_at", at),
                order_id=_id(order, "order.id"),
                order_number=clean_text(str(order.get("number") or "")) or _id(order, "order.id"),
                customer=customer,
                currency=currency,
                total=total,
                lines=lines,
                payments=_payments(order, total),
                shop_currency=checked_currency(order.get("shop_currency") or currency, "order.shop_currency"),
                shop_total=_amount(shop_total, "order.shop_total") if shop_total is not None else None,
                promotions=tuple(
                    UsedPromotion(clean_text(p.get("assignment_id")), clean_text(p.get("code")))
                    for p in order.get("promotions") or ()
                    if p.get("assignment_id") or p.get("code")
                ),
                vouchers=tuple(
                    UsedVoucher(clean_text(v.get("id")), clean_text(v.get("number")))
                    for v in order.get("vouchers") or ()
                    if v.get("id") or v.get("number")
                ),
                consents=_consents(order),
                channel=clean_text(order.get("channel")),
                country_code=clean_country(order.get("country_code")),
                extra=_extra(order),
            ),
        ),
        notes=notes,
    )


def _refunded(data: dict[str, Any], at: datetime) -> MappingResult:
    refund = data["refund"]
    currency = checked_currency(refund["currency"], "refund.currency")
    total = _amount(refund["total"], "refund.total")
    if total < 0:
        raise PayloadError("must not be negative: it is what was refunded", "refund.total")
    if not (total or refund.get("lines")):  # a return of free items has lines only
        return MappingResult(ignored="no money was refunded")
    if total % minor_unit(currency):
        raise PayloadError(f"has more decimals than {currency} has", "refund.total")
    lines = tuple(_line(line, currency, f"refund.lines.{i}") for i, line in enumerate(refund.get("lines") or ()))
    summed = sum((line.gross_paid for line in lines), Decimal(0))
    if summed > total:
        raise PayloadError(
            f"the lines add up to {summed} {currency}, more than the total {total} {currency}", "refund.lines"
        )
    if summed < total:
        lines = (*lines, amount_line(total - summed))
    return MappingResult(
        (
            OrderRefunded(
                occurred_at=_instant(refund, "refunded_at", at),
                order_id=_id(refund, "refund.order_id"),
                refund_id=_id(refund, "refund.id"),
                currency=currency,
                total=total,
                lines=lines,
                payments=_payments(refund, total),
            ),
        )
    )


def _cancelled(data: dict[str, Any], at: datetime) -> MappingResult:
    order = data["order"]
    when = _instant(order, "cancelled_at", at)
    return MappingResult((OrderCancelled(when, _id(order, "order.id"), clean_text(order.get("reason"))),))


_BUILDERS: Mapping[str, Callable[[dict[str, Any], datetime], MappingResult]] = {
    "customer.created": _created,
    "customer.updated": _updated,
    "customer.deleted": _deleted,
    "consent.changed": _consent,
    "order.paid": _paid,
    "order.refunded": _refunded,
    "order.cancelled": _cancelled,
}


def _id(found: dict[str, Any], path: str) -> str:
    """Return an id as text. Raises PayloadError when it is not valid; `peek` leaves such an id out."""
    text = read_identifier(found.get(path.rpartition(".")[2]))
    if text is None or len(text) > MAX_ID:
        raise PayloadError(f"is not an id of at most {MAX_ID} characters", path)
    return text


def _customer(found: dict[str, Any], *, need_id: bool = False) -> tuple[Customer, tuple[str, ...]]:
    unknown = found.get("id") in (None, "")
    if need_id and unknown:
        raise PayloadError("is missing", "customer.id")
    address = found.get("address") or {}
    country = clean_country(address.get("country_code"))
    phone, email = e164(found.get("phone"), [country]), clean_email(found.get("email"))
    birth_day = _date(found.get("birth_date"))
    checked = (("mobilePhone", "phone", phone), ("email", "email", email), ("birthDay", "birth_date", birth_day))
    dropped = tuple(name for name, key, value in checked if value is None and clean_text(found.get(key)))
    customer = Customer(
        customer_id=None if unknown else _id(found, "customer.id"),
        email=email,
        email_verified=bool(found.get("email_verified")),
        mobile_phone=phone,
        phone_verified=bool(found.get("phone_verified")),
        first_name=clean_text(found.get("first_name")),
        last_name=clean_text(found.get("last_name")),
        birth_day=birth_day,
        gender=clean_text(found.get("gender")),
        address=Address(
            clean_text(address.get("street")),
            clean_text(address.get("care_of")),
            clean_text(address.get("zip_code")),
            clean_text(address.get("city")),
            country,
        ),
        locale=clean_text(found.get("locale")),
        extra=_extra(found),
        dropped=dropped,
    )
    return customer, dropped_notes(dropped)


def _consents(holder: dict[str, Any]) -> tuple[ConsentChange, ...]:
    return tuple(
        ConsentChange(
            Channel(consent["channel"]),
            consent["value"],
            read_instant(consent.get("at")),
            clean_text(consent.get("source")),
            clean_text(consent.get("consent_id")),
        )
        for consent in holder.get("consents") or ()
    )


def _line(line: dict[str, Any], currency: str, path: str) -> Line:
    gross = _amount(line["gross_paid"], f"{path}.gross_paid")
    tax = _amount(line.get("tax_amount", 0), f"{path}.tax_amount")
    if gross < 0:
        raise PayloadError("must not be negative", f"{path}.gross_paid")
    if not 0 <= tax <= gross:
        raise PayloadError("must not be negative, nor larger than gross_paid", f"{path}.tax_amount")
    if gross % minor_unit(currency):
        raise PayloadError(f"has more decimals than {currency} has", f"{path}.gross_paid")
    percent = _amount(line["tax_percent"], f"{path}.tax_percent") if "tax_percent" in line else percent_of(tax, gross)
    return Line(
        line_id=_id(line, f"{path}.id"),
        kind=LineKind(line.get("kind") or "goods"),
        quantity=_amount(line["quantity"], f"{path}.quantity"),
        gross_paid=gross,
        tax_amount=tax,
        tax_percent=percent,
        sku=clean_text(line.get("sku")),
        article_number=clean_text(line.get("article_number")),
        name=clean_text(line.get("name")),
        article_group=clean_text(line.get("group")),
        discounts=tuple(
            Discount(
                abs(_amount(discount["amount"], f"{path}.discounts")),
                clean_text(discount.get("description")),
                clean_text(discount.get("code")),
            )
            for discount in line.get("discounts") or ()
        ),
    )


def _payments(holder: dict[str, Any], total: Decimal) -> tuple[Payment, ...]:
    payments = tuple(
        Payment(
            clean_text(p["type"]) or "other", _amount(p["amount"], "payments.amount"), clean_text(p.get("description"))
        )
        for p in holder.get("payments") or ()
    )
    return payments or (Payment("other", total),)


def _amount(value: Any, path: str) -> Decimal:
    amount = Decimal(value)
    if not is_plausible(amount):
        raise PayloadError("is not an amount", path)
    return amount


def _date(value: Any) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _extra(holder: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (str(name)[:128], text)
        for name, value in (holder.get("extra") or {}).items()
        if value is not None and (text := clean_text(str(value)))
    )
