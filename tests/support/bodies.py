"""Bodies that the tests send: field-true, with invented people."""

from typing import Any


def customer(**changes: Any) -> dict[str, Any]:
    """Return a customer of the Standard platform."""
    return {
        "id": "1001",
        "email": "ada@example.com",
        "email_verified": True,
        "phone": "070-123 45 67",
        "first_name": "Ada",
        "last_name": "Berg",
        "address": {"street": "Storgatan 1", "zip_code": "111 22", "city": "Stockholm", "country_code": "SE"},
        **changes,
    }


def order(order_id: str = "9001", **changes: Any) -> dict[str, Any]:
    """Return a paid order of the Standard platform: 250.00 of goods, 49.00 of shipping."""
    return {
        "id": order_id,
        "number": f"N{order_id}",
        "currency": "SEK",
        "total": "299.00",
        "customer": customer(),
        "lines": [
            {
                "id": "1",
                "sku": "CAP-1",
                "name": "Cap",
                "quantity": 1,
                "gross_paid": "250.00",
                "tax_amount": "50.00",
                "tax_percent": 25,
                "discounts": [{"amount": "50.00", "description": "Spring"}],
            },
            {
                "id": "2",
                "kind": "shipping",
                "name": "Parcel",
                "quantity": 1,
                "gross_paid": "49.00",
                "tax_amount": "9.80",
            },
        ],
        "payments": [{"type": "card", "amount": "299.00"}],
        **changes,
    }


def refund(order_id: str = "9001", refund_id: str = "R1", **changes: Any) -> dict[str, Any]:
    """Return a refund of the order's goods."""
    return {
        "id": refund_id,
        "order_id": order_id,
        "currency": "SEK",
        "total": "250.00",
        "lines": [{"id": "1", "quantity": 1, "gross_paid": "250.00", "tax_amount": "50.00"}],
        "payments": [{"type": "card", "amount": "250.00"}],
        **changes,
    }


PROMOTION = "7d3c1c1e-2b1f-4b57-9d0a-5f5a2f7f6a01"


def promotion(**changes: Any) -> dict[str, Any]:
    """Return a promotion template as the sandbox is seeded with it."""
    return {
        "id": PROMOTION,
        "name": "Spring",
        "externalId": "RULE-77",
        "status": "Active",
        "validity": {"startDate": "2026-01-01", "endDate": "2099-12-31"},
        "presentation": {"heading": "20 % off"},
        "redemptionChannels": [{"type": "ECOM", "valueType": "EXTERNALOFFER", "value": "SPRING20"}],
        **changes,
    }
