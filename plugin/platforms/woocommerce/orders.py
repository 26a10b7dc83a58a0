"""WooCommerce's orders in the plugin's words (docs/platforms/woocommerce.md#orders).

There is no webhook for a payment, refund or cancellation: every body of an order has the order's state when the
webhook leaves, and several changes become one delivery. So a body is read as the order's whole story, which always comes
out the same, however many of its bodies arrive and in whatever state: paid, then each refund, then cancelled. What was
reported before is known by order and refund id, and goes to Engage once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from plugin.errors import PayloadError
from plugin.events import Event, Line, MappingResult, OrderCancelled, OrderPaid, Payment
from plugin.platforms.contact_normalisers import clean_country, clean_text
from plugin.platforms.fields import load
from plugin.platforms.money import checked_currency, close_gap, rounded, rounding_slack
from plugin.platforms.woocommerce import schemas
from plugin.platforms.woocommerce.customers import read_people, vanished
from plugin.platforms.woocommerce.lines import open_lines, shown_unit
from plugin.platforms.woocommerce.meta import consents_of, extra_of, used_of
from plugin.platforms.woocommerce.refunds import read_details, refunds_of

#: States of an order that is not, or not now, paid. Other plugins add states of their own (shipped, packed): with a paid
#: date those are paid orders.
NOT_PAID = frozenset({"auto-draft", "checkout-draft", "draft", "new", "on-hold", "pending", "trash"})
#: The payment failed, or is not final: shoppers pay again. No purchase is reported, and a reported one is not cancelled.
FAILED = "failed"
CANCELLED = "cancelled"
#: States of an order that was paid and is not, or may not be, valid any more.
NOT_ACTIVE = frozenset({CANCELLED, FAILED, "refunded"})
GUEST = frozenset({None, "", "0"})


def order_changed(body: dict[str, Any], at: datetime, meta: Mapping[str, str]) -> MappingResult:
    """Map order.created and order.updated. meta: may hold the refunds' lines, as `read_details` wants them."""
    gone = vanished(body)
    if gone is not None:
        return gone
    order = load(schemas.OrderSchema(), body)
    status = status_of(order["status"])
    paid_at = order.get("date_paid_gmt")
    if paid_at is None or status in NOT_PAID:
        before = f"{status} before it was paid"
        ended = status in {CANCELLED, FAILED}
        return MappingResult(ignored=before if ended else f"the order is {status!r}: it is not paid")
    if status == FAILED and not order.get("refunds"):
        return MappingResult(ignored="the order's payment failed: it is not settled")
    paid, notes = _paid(order, paid_at, at)
    refunds, more_notes = refunds_of(order, paid.lines, read_details(order, meta), at)
    if status == FAILED:
        events: list[Event] = [replace(refund, only_if_known=True) for refund in refunds]
        return MappingResult(tuple(events), "the order's payment failed: it is not settled", (*notes, *more_notes))
    events = [paid, *refunds]
    if status == CANCELLED:
        events.append(OrderCancelled(_changed_at(order, at), order["id"], status))
    return MappingResult(tuple(events), notes=(*notes, *more_notes))


def order_refunded(body: dict[str, Any], at: datetime, meta: Mapping[str, str]) -> MappingResult:
    """Map the plugin's own topic for one refund that was read from the shop: the order's body, with `engage_refund` naming it."""
    order = load(schemas.OrderSchema(), body)
    if order.get("engage_refund") is None or order.get("date_paid_gmt") is None:
        raise PayloadError("is missing", "engage_refund or date_paid_gmt")
    paid, _ = _paid(order, order["date_paid_gmt"], at)
    refunds, notes = refunds_of(order, paid.lines, read_details(order, meta), at)
    wanted = tuple(refund for refund in refunds if refund.refund_id == order["engage_refund"])
    return MappingResult(wanted, None if wanted else "the order has no such refund any more", notes)


def order_cancelled(body: dict[str, Any], at: datetime, _meta: Mapping[str, str]) -> MappingResult:
    """Map the plugin's own topic for a cancellation that was read from the shop; the order's own body, read before it, says so too."""
    order = load(schemas.OrderSchema(), body)
    if status_of(order["status"]) != CANCELLED or order.get("date_paid_gmt") is None:
        return MappingResult(ignored="the order was not cancelled after its payment")
    return MappingResult((OrderCancelled(_changed_at(order, at), order["id"], CANCELLED, only_if_known=True),))


def is_paid(body: Mapping[str, Any]) -> bool:
    """Return whether a raw body's order was paid."""
    status = body.get("status")
    return bool(body.get("date_paid_gmt")) and isinstance(status, str) and status_of(status) not in NOT_PAID


def status_of(status: str) -> str:
    """Return a status without the prefix that some plugins leave on it."""
    return status.lower().removeprefix("wc-")


def _changed_at(order: Mapping[str, Any], at: datetime) -> datetime:
    changed_at: datetime | None = order.get("date_modified_gmt")
    return changed_at or at


def _paid(order: dict[str, Any], paid_at: datetime, at: datetime) -> tuple[OrderPaid, tuple[str, ...]]:
    currency = checked_currency(order["currency"])
    meta = order.get("meta_data")
    addresses = (order.get("billing"), order.get("shipping"))
    customer_id = order.get("customer_id")
    customer, notes = read_people(addresses, customer_id=None if customer_id in GUEST else customer_id, names={})
    lines = open_lines(order, currency)
    payments = _payments(order, lines, currency)
    total = sum((payment.amount for payment in payments), Decimal(0))
    promotions, vouchers = used_of(
        meta, [line.get("meta_data") for line in order["line_items"]], order.get("coupon_lines") or ()
    )
    paid = OrderPaid(
        occurred_at=paid_at,
        order_id=order["id"],
        order_number=order.get("number") or order["id"],
        customer=customer,
        currency=currency,
        total=total,
        lines=close_gap(lines, total, currency, shown=shown_unit(order)),
        payments=payments,
        promotions=promotions,
        vouchers=vouchers,
        consents=consents_of(meta, at),
        channel=clean_text(order.get("created_via")),
        country_code=next((c for a in reversed(addresses) if a and (c := clean_country(a.get("country")))), None),
        extra=extra_of(meta),
        active_as_of=None if status_of(order["status"]) in NOT_ACTIVE else _changed_at(order, at),
        reported_at=_changed_at(order, at),
    )
    return paid, notes


def _payments(order: dict[str, Any], lines: Sequence[Line], currency: str) -> tuple[Payment, ...]:
    """Return what was paid through the shop's payment method, and with gift cards.

    Gift cards count only where the total was lowered by what they paid, up to the shop's roundings (inferred: an
    extension's own field).
    """
    total = rounded(order["total"], currency)
    if total < 0:
        raise PayloadError("is negative", "total")
    method = Payment(
        clean_text(order.get("payment_method")) or "other", total, clean_text(order.get("payment_method_title"))
    )
    cards = [rounded(card.get("amount") or Decimal(0), currency) for card in order.get("gift_cards") or ()]
    by_card = sum(cards, Decimal(0))
    lowered_by = sum((line.gross_paid for line in lines), Decimal(0)) - total
    off = abs(lowered_by - by_card)
    if by_card > 0 and off < abs(lowered_by) and off <= rounding_slack(len(lines), currency, shown_unit(order)):
        paid = [Payment("gift_card", card) for card in cards if card > 0]
        return (method, *paid) if total else tuple(paid)
    return (method,)
