"""Building Engage's receipt from an order or refund: signs, kinds of lines, currencies. Pure: no I/O.

Fields and rules: docs/engage.md#receipts.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from plugin.engage.data.receipts import Receipt, ReceiptDiscount, ReceiptItem, ReceiptPayment, TaxDetail, UsedPromotion
from plugin.errors import PayloadError
from plugin.events import Line, LineKind, OrderPaid, OrderRefunded
from plugin.store.orders.orders import StoredOrder
from plugin.store.shops.settings import ShopSettings
from plugin.store.shops.shops import RegisteredShop
from webhooks.orders.refund_lines import restore_tax_from_order

RATE_PLACES = Decimal("0.00000001")
#: No exchange rate is higher; one beyond it comes from wrong totals of the shop and is left out.
MAX_RATE = Decimal(10) ** 9
DEFAULT_NAMES = {
    LineKind.SHIPPING: "Shipping",
    LineKind.FEE: "Fee",
    LineKind.TIP: "Tip",
    LineKind.AMOUNT: "Refund",
    LineKind.GIFT_CARD: "Gift card",
}


def purchase_receipt(
    shop: RegisteredShop,
    order: OrderPaid,
    contact_id: str,
    store_external_id: str,
    promotions: Sequence[UsedPromotion],
    vouchers: Sequence[str],
) -> Receipt:
    """Return the receipt of a paid order. Raises PayloadError when its lines do not add up to its total."""
    check_sum(order.lines, order.total)
    extra = dict(order.extra)
    return Receipt(
        contact_id=contact_id,
        unique_receipt_id=purchase_receipt_id(shop, order.order_id),
        receipt_number=order.order_number,
        created_date=order.occurred_at.astimezone(ZoneInfo(shop.settings.time_zone)),
        store_external_id=store_external_id,
        currency=order.currency,
        total_gross_price=order.total,
        payment_methods=tuple(ReceiptPayment(p.type, p.amount, p.description) for p in order.payments),
        items=tuple(_item(line, shop.settings, "PURCHASE") for line in order.lines),
        exchange_rate_to_group_currency=exchange_rate(order, shop.settings),
        tax_details=_tax_details(order.lines),
        used_promotions=tuple(promotions),
        used_reward_vouchers=tuple(vouchers),
        extra_data=tuple(
            (name, extra[field]) for field, name in shop.settings.receipt_extra.items() if extra.get(field)
        ),
    )


def return_receipt(shop: RegisteredShop, refund: OrderRefunded, order: StoredOrder) -> Receipt:
    """Return the receipt of a refund: negative quantities and total, positive prices
    (docs/engage.md#returns).

    Raises PayloadError when the order has no contact or the lines do not add up.
    """
    refund = restore_tax_from_order(refund, order)
    check_sum(refund.lines, refund.total)
    if order.contact_id is None:
        raise PayloadError("the order has no contact in Engage", "order_id")
    bought = {str(line["id"]): line for line in order.details.get("lines", [])}
    return Receipt(
        contact_id=order.contact_id,
        unique_receipt_id=f"{purchase_receipt_id(shop, refund.order_id)}-R{refund.refund_id}",
        receipt_number=order.order_number,
        created_date=refund.occurred_at.astimezone(ZoneInfo(shop.settings.time_zone)),
        store_external_id=order.store_external_id,
        currency=refund.currency,
        total_gross_price=-refund.total,
        payment_methods=tuple(ReceiptPayment(p.type, -p.amount, p.description) for p in refund.payments),
        items=tuple(_item(line, shop.settings, "RETURN", bought.get(line.line_id)) for line in refund.lines),
        exchange_rate_to_group_currency=order.exchange_rate if refund.currency == order.currency else None,
    )


def purchase_receipt_id(shop: RegisteredShop, order_id: str) -> str:
    """Return the uniqueReceiptId of an order's receipt; refunds append -R and their own id."""
    return f"{shop.name}-{order_id}"


def exchange_rate(order: OrderPaid, settings: ShopSettings) -> Decimal | None:
    """Return the multiplier to the tenant's group currency; None where the order does not say it."""
    if not settings.group_currency:
        return None
    if order.currency == settings.group_currency:
        return Decimal(1)
    if order.shop_currency == settings.group_currency and order.shop_total and order.total:
        rate = order.shop_total / order.total
        return rate.quantize(RATE_PLACES, ROUND_HALF_UP).normalize() if 0 < rate < MAX_RATE else None
    return None


def check_sum(lines: Sequence[Line], total: Decimal) -> None:
    """Raise PayloadError unless the lines add up to the total, to the last minor unit."""
    line_total = sum((line.gross_paid for line in lines), Decimal(0))
    if line_total != total:
        raise PayloadError(f"the lines add up to {line_total}, the total is {total}", "lines")


def stored_lines(lines: Sequence[Line], settings: ShopSettings) -> list[dict[str, Any]]:
    """Return the stored form of an order's lines, JSON with money as text. Refunds and My Pages read it."""
    return [
        {
            "id": line.line_id,
            "kind": line.kind.value,
            "sku": _sku(line, settings),
            "number": _number(line, settings),
            "name": line.name or DEFAULT_NAMES.get(line.kind, ""),
            "quantity": str(line.quantity),
            "gross": str(line.gross_paid),
            "tax": str(line.tax_amount),
            "percent": str(line.tax_percent),
        }
        for line in lines
    ]


def _item(line: Line, settings: ShopSettings, kind: str, bought: Mapping[str, Any] | None = None) -> ReceiptItem:
    sign = -1 if kind == "RETURN" else 1
    # a return names the article exactly as its purchase did, so that Engage can match them
    article = bought or {"sku": _sku(line, settings), "number": _number(line, settings), "name": line.name}
    percent = line.tax_percent if line.tax_percent or bought is None else Decimal(bought["percent"])
    return ReceiptItem(
        type=kind,
        sku=str(article["sku"]),
        quantity=sign * line.quantity,
        gross_paid_price=line.gross_paid,
        tax_amount=line.tax_amount,
        tax_percent=percent,
        article_number=str(article["number"]),
        article_name=str(article["name"] or DEFAULT_NAMES.get(line.kind) or article["sku"]),
        article_group=line.article_group,
        awards_bonus=False if line.kind in {LineKind.SHIPPING, LineKind.FEE, LineKind.TIP} else None,
        discounts=tuple(
            ReceiptDiscount(-discount.amount, "discount", discount.description or discount.code)
            for discount in line.discounts
            if discount.amount
        ),
    )


def _sku(line: Line, settings: ShopSettings) -> str:
    fixed = {
        LineKind.SHIPPING: settings.shipping_sku,
        LineKind.FEE: settings.fee_sku,
        LineKind.TIP: settings.tip_sku,
        LineKind.AMOUNT: settings.refund_sku,
    }
    return fixed.get(line.kind) or line.sku or line.article_number or line.line_id


def _number(line: Line, settings: ShopSettings) -> str:
    if line.kind in {LineKind.GOODS, LineKind.GIFT_CARD}:
        return line.article_number or _sku(line, settings)
    return _sku(line, settings)


def _tax_details(lines: Sequence[Line]) -> tuple[TaxDetail, ...]:
    by_percent: defaultdict[Decimal, Decimal] = defaultdict(Decimal)
    for line in lines:
        if line.tax_amount:
            by_percent[line.tax_percent.normalize()] += line.tax_amount
    return tuple(TaxDetail(value, Decimal(f"{percent:f}")) for percent, value in sorted(by_percent.items()))
