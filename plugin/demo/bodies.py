"""What the demo shop says: bodies with the fields of real webhooks and invented people."""

from datetime import datetime
from typing import Any

from plugin.demo.people import ADA, CURRENCY, GUEST_EMAIL, OFFER_CODE


def _both(amount: str) -> dict[str, Any]:
    money = {"amount": amount, "currency_code": CURRENCY}
    return {"shop_money": money, "presentment_money": money}


def _tax(amount: str) -> list[dict[str, Any]]:
    return [{"title": "VAT", "rate": 0.25, "price": amount, "price_set": _both(amount)}]


def signup(at: datetime) -> dict[str, Any]:
    """Return customers/create."""
    return {**ADA, "created_at": at.isoformat(), "updated_at": at.isoformat()}


def profile_change(at: datetime) -> dict[str, Any]:
    """Return customers/update: a new last name and street."""
    address = {**ADA["default_address"], "address1": "Nygatan 7", "last_name": "Lind"}
    return {**ADA, "last_name": "Lind", "default_address": address, "updated_at": at.isoformat()}


def paid_order(at: datetime) -> dict[str, Any]:
    """Return orders/paid: two caps, an order-wide discount by an Engage offer, shipping, tax included."""
    return {
        "id": 70001,
        "admin_graphql_api_id": "gid://shopify/Order/70001",
        "name": "#1001",
        "order_number": 1001,
        "created_at": at.isoformat(),
        "processed_at": at.isoformat(),
        "updated_at": at.isoformat(),
        "financial_status": "paid",
        "test": False,
        "currency": CURRENCY,
        "presentment_currency": CURRENCY,
        "taxes_included": True,
        "total_price": "449.00",
        "total_price_set": _both("449.00"),
        "total_discounts": "100.00",
        "discount_codes": [{"code": OFFER_CODE, "amount": "100.00", "type": "percentage"}],
        "discount_applications": [{"type": "discount_code", "code": OFFER_CODE, "value": "20.0"}],
        "payment_gateway_names": ["card"],
        "customer": {"id": ADA["id"], "admin_graphql_api_id": ADA["admin_graphql_api_id"], "email": ADA["email"]},
        "email": ADA["email"],
        "line_items": [
            {
                "id": 1,
                "product_id": 11,
                "variant_id": 111,
                "sku": "CAP-BLUE",
                "title": "Cap",
                "variant_title": "Blue",
                "quantity": 2,
                "price": "250.00",
                "price_set": _both("250.00"),
                "gift_card": False,
                "tax_lines": _tax("80.00"),
                "discount_allocations": [
                    {"amount": "100.00", "amount_set": _both("100.00"), "discount_application_index": 0}
                ],
            }
        ],
        "shipping_lines": [
            {
                "id": 2,
                "title": "Parcel",
                "price": "49.00",
                "price_set": _both("49.00"),
                "discounted_price": "49.00",
                "discounted_price_set": _both("49.00"),
                "tax_lines": _tax("9.80"),
                "discount_allocations": [],
            }
        ],
        "refunds": [],
    }


def guest_order(at: datetime) -> dict[str, Any]:
    """Return order.paid of the Standard platform, of a guest."""
    return {
        "type": "order.paid",
        "timestamp": at.isoformat(),
        "data": {
            "order": {
                "id": "S-501",
                "paid_at": at.isoformat(),
                "currency": CURRENCY,
                "total": "129.00",
                "customer": {"email": GUEST_EMAIL, "first_name": "Grace", "last_name": "Ek"},
                "lines": [
                    {
                        "id": "1",
                        "sku": "MUG-1",
                        "name": "Mug",
                        "quantity": 1,
                        "gross_paid": "129.00",
                        "tax_amount": "25.80",
                        "tax_percent": 25,
                    }
                ],
                "payments": [{"type": "card", "amount": "129.00"}],
            }
        },
    }
