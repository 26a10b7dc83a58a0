"""Helpers of the sandbox's tests: the contract as a judge, and a small client that speaks as Engage wants it."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import requests
import yaml
from jsonschema import Draft202012Validator, FormatChecker

from plugin.sandbox.testing import HEADERS, RunningSandbox
from support.helpers import Clock

CONTRACT: dict[str, Any] = yaml.safe_load(
    files("plugin.engage").joinpath("contract/engage-v3.yaml").read_text(encoding="utf-8")
)
UNKNOWN_ID = "99999999-9999-4999-8999-999999999999"
PROMOTION_ID = "11111111-2222-4333-8444-555555555555"
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class ContractJudge:
    """Says what in an answer the contract does not allow."""

    def __init__(self) -> None:
        self.operations = {
            operation["operationId"]: operation for item in CONTRACT["paths"].values() for operation in item.values()
        }

    def faults(self, operation_id: str, status: int, body: bytes) -> Iterable[str]:
        response = self.operations[operation_id]["responses"].get(str(status))
        if response is None:
            return [f"{operation_id}: {status} is not declared"]
        if "$ref" in response:
            response = CONTRACT["components"]["responses"][response["$ref"].rpartition("/")[2]]
        content = response.get("content", {})
        if not body:
            missing = content and status < 400  # the shape "empty" of an error is a switch of the tenant
            return [f"{operation_id}: {status} must have a body"] if missing else []
        if body.startswith(b"<!doctype html>"):
            return [] if "text/html" in content else [f"{operation_id}: {status} must not be HTML"]
        if "application/json" not in content:
            return [f"{operation_id}: {status} must have no body"]
        schema = {**content["application/json"]["schema"], "components": CONTRACT["components"]}
        validator = Draft202012Validator(schema, format_checker=FormatChecker())
        return [
            f"{operation_id} {status}: {error.json_path}: {error.message}"
            for error in validator.iter_errors(json.loads(body))
        ]


JUDGE = ContractJudge()


def call_faults(calls: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what the contract does not allow in the logged calls of known operations."""
    return [
        fault
        for call in calls
        if call["operationId"] is not None and call["status"] is not None
        for fault in JUDGE.faults(call["operationId"], call["status"], call["answerBody"])
    ]


@dataclass
class Engage:
    """A sandbox under test and a client for it."""

    running: RunningSandbox
    clock: Clock
    session: requests.Session

    @property
    def url(self) -> str:
        return self.running.url

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        options["headers"] = {**HEADERS, **options.get("headers", {})}
        path = path if path.startswith("/") else f"/api/v3/{path}"
        return self.session.request(method, self.url + path, timeout=10, allow_redirects=False, **options)

    def get(self, path: str, **query: Any) -> requests.Response:
        return self.call("GET", path, params=query)

    def post(self, path: str, body: Any = None, **query: Any) -> requests.Response:
        return self.call("POST", path, json=body, params=query)

    def patch(self, path: str, body: Any, **query: Any) -> requests.Response:
        return self.call("PATCH", path, json=body, params=query)

    def put(self, path: str, body: Any) -> requests.Response:
        return self.call("PUT", path, json=body)

    def delete(self, path: str, **query: Any) -> requests.Response:
        return self.call("DELETE", path, params=query)

    def seed(self, **entries: Any) -> dict[str, list[str]]:
        answer = self.post("/sandbox/seed", entries)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def fault(self, **faults: Any) -> None:
        answer = self.post("/sandbox/faults", faults)
        assert answer.status_code == 200, answer.text

    def view(self, name: str, **query: Any) -> Any:
        answer = self.get(f"/sandbox/{name}", **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def contact(self, email: str = "ada@shop.test", **fields: Any) -> str:
        """Make a contact and return its id."""
        return self.seed(contacts=[{"email": email, **fields}])["contacts"][0]

    def assignment(self, contact_id: str, **fields: Any) -> str:
        """Give the promotion PROMOTION_ID to a contact and return the assignment's id."""
        if PROMOTION_ID not in self.running.state.data.promotions:
            self.seed(promotions=[{"id": PROMOTION_ID, "name": "Spring 20"}])
        entry = {"contactId": contact_id, "promotionId": PROMOTION_ID, **fields}
        return self.seed(assignments=[entry])["assignments"][0]

    def voucher(self, contact_id: str, **fields: Any) -> str:
        entry = {"contactId": contact_id, "value": {"amount": 50, "currency": "SEK"}, **fields}
        return self.seed(vouchers=[entry])["vouchers"][0]


def code(answer: requests.Response) -> tuple[int, str]:
    """Return status and symbolic code of a refusal."""
    return answer.status_code, answer.json()["errorCode"]


def receipt(contact_id: str, **changes: Any) -> dict[str, Any]:
    """Return a purchase of one row; changes replace top-level fields."""
    return {
        "contact": {"matchKey": contact_id, "matchKeyType": "contactId"},
        "uniqueReceiptId": "web-se-9001",
        "receiptNumber": "9001",
        "createdDate": "2026-03-05T10:00:00+01:00",
        "storeExternalId": "web-se",
        "currency": "SEK",
        "exchangeRateToGroupCurrency": 1,
        "totalGrossPrice": 250.00,
        "paymentMethods": [{"type": "card", "value": 250.00}],
        "items": [item()],
        **changes,
    }


def item(**changes: Any) -> dict[str, Any]:
    """Return a PURCHASE row of 250.00; changes replace its fields."""
    return {
        "type": "PURCHASE",
        "sku": "SKU-1",
        "articleNumber": "A-1",
        "articleName": "Cap",
        "quantity": 1,
        "grossPaidPrice": 250.00,
        "taxAmount": 50.00,
        "taxPercent": 25.00,
        **changes,
    }


def returned(contact_id: str, **changes: Any) -> dict[str, Any]:
    """Return the return of that purchase."""
    return receipt(
        contact_id,
        **{
            "uniqueReceiptId": "web-se-9001-R1",
            "totalGrossPrice": -250.00,
            "paymentMethods": [{"type": "card", "value": -250.00}],
            "items": [item(type="RETURN", quantity=-1)],
            **changes,
        },
    )
