"""The people and offers of the demonstration. All invented."""

from typing import Any

CURRENCY = "SEK"
STORE = "web-se"
GUEST_EMAIL = "grace@example.com"
OFFER_CODE = "SPRING20"
CUSTOMER_ID = "5001"

ADA: dict[str, Any] = {
    "id": int(CUSTOMER_ID),
    "admin_graphql_api_id": f"gid://shopify/Customer/{CUSTOMER_ID}",
    "email": "ada@example.com",
    "verified_email": True,
    "phone": "+46701234567",
    "first_name": "Ada",
    "last_name": "Berg",
    "state": "enabled",
    "default_address": {
        "first_name": "Ada",
        "last_name": "Berg",
        "address1": "Storgatan 1",
        "zip": "111 22",
        "city": "Stockholm",
        "country_code": "SE",
    },
}


def _promotion(number: int, name: str, description: str, value_type: str, value: str) -> dict[str, Any]:
    return {
        "id": f"7d3c1c1e-2b1f-4b57-9d0a-5f5a2f7f6a0{number}",
        "name": name,
        "externalId": f"RULE-{number}",
        "status": "Active",
        "validity": {"startDate": "2026-01-01", "endDate": "2099-12-31"},
        "presentation": {"heading": name, "description": description},
        "redemptionChannels": [{"type": "ECOM", "valueType": value_type, "value": value}],
    }


PROMOTIONS = [
    _promotion(1, "20 % off caps", "For members, online.", "EXTERNALOFFER", OFFER_CODE),
    _promotion(2, "A treat for your birthday", "On anything you like.", "PERCENT", "15"),
    _promotion(3, "Free parcel", "On your next order.", "EXTERNALOFFER", "PARCEL"),
]
