"""The client against the sandbox over real HTTP, and each of its requests against the contract."""

import logging
import re
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

import pytest
import requests
import yaml
from openapi_core import OpenAPI

from plugin.engage.client import EngageClient
from plugin.engage.data.models import Consent, ContactWrite, PromotionWrite
from plugin.engage.data.receipts import Receipt, ReceiptDiscount, ReceiptItem, ReceiptPayment, TaxDetail, UsedPromotion
from plugin.engage.http.call_guard import CallGuards
from plugin.engage.http.guard_rules import GuardRules
from plugin.engage.http.transport import CallRecord, EngageAccount, Transport
from plugin.engage.operations import OPERATIONS, Priority
from plugin.errors import (
    EngageConflictError,
    EngageError,
    EngageNotFoundError,
    LeaseLostError,
    TransientError,
    UnauthorisedError,
)
from plugin.sandbox.testing import RunningSandbox, running_sandbox

KEY = "11111111-2222-4333-8444-very-secret-1"
EMAIL = "ada@example.com"
UNKNOWN_CONTACT = "7d3c1c1e-2b1f-4b57-9d0a-5f5a2f7f6a01"


class Bench:
    """A client and the sandbox it talks to."""

    def __init__(self, sandbox: RunningSandbox) -> None:
        self.sandbox = sandbox
        self.records: list[CallRecord] = []
        self.transport = Transport(
            CallGuards(None, GuardRules(rate=200, share=5.0, probe_s=0.001)), self.records.append
        )
        account = EngageAccount(sandbox.url, KEY, "web-se", "shopify", "ECOM", "web-se")
        self.client = EngageClient(account, self.transport)
        self.contact_id = self.seed(contacts=[{"contactType": "Member", "email": EMAIL}])["contacts"][0]

    def seed(self, **entries: Any) -> dict[str, list[str]]:
        return dict(self.post("/sandbox/seed", entries))

    def post(self, path: str, body: Any) -> Any:
        answer = requests.post(self.sandbox.url + path, json=body, timeout=5)
        assert answer.ok, answer.text
        return answer.json()

    def receipt(self, **changes: Any) -> Receipt:
        item = ReceiptItem(
            "PURCHASE", "CAP", Decimal(1), Decimal("250.10"), Decimal("50.02"), Decimal(25), "CAP", "Cap", "Hats", True,
            (ReceiptDiscount(Decimal("-50.00"), "discount", "Spring"),), (("colour", "blue"),),
        )  # fmt: skip
        values: dict[str, Any] = {
            "contact_id": self.contact_id, "unique_receipt_id": "web-se-1", "receipt_number": "1",
            "created_date": datetime(2026, 3, 5, 9, 30, tzinfo=UTC), "store_external_id": "web-se", "currency": "SEK",
            "total_gross_price": Decimal("250.10"), "payment_methods": (ReceiptPayment("card", Decimal("250.10"), "Card"),),
            "items": (item,), "exchange_rate_to_group_currency": Decimal("0.08695652"),
            "tax_details": (TaxDetail(Decimal("50.02"), Decimal(25)),), "used_promotions": (UsedPromotion("t", "a"),),
            "used_reward_vouchers": ("V-1",), "extra_data": (("gift", "no"),), **changes,
        }  # fmt: skip
        return Receipt(**values)

    def promotion(self) -> str:
        template = {
            "name": "Spring", "validity": {"startDate": "2026-01-01", "endDate": "2099-12-31"},
            "redemptionChannels": [{"type": "ECOM", "valueType": "MONEY", "value": "20.5"}],
        }  # fmt: skip
        return self.seed(promotions=[template])["promotions"][0]


@pytest.fixture
def bench() -> Iterator[Bench]:
    with running_sandbox() as sandbox:
        made = Bench(sandbox)
        yield made
        made.transport.close()


def _assigned(bench: Bench) -> str:
    return bench.seed(assignments=[{"contactId": bench.contact_id, "promotionId": bench.promotion()}])["assignments"][0]


def _voucher(bench: Bench) -> str:
    voucher = {"contactId": bench.contact_id, "voucherNumber": "V-1", "value": {"amount": 50, "currency": "SEK"}}
    return bench.seed(vouchers=[voucher])["vouchers"][0]


def _promotion_write() -> PromotionWrite:
    return PromotionWrite("Spring", "RULE-1", date(2026, 3, 1), "EXTERNALOFFER", "SPRING20", date(2099, 1, 1))


#: One call of each operation. A new operation without a line here fails the test below.
CALLS: dict[str, Callable[[Bench], Any]] = {
    "find_contact_id": lambda b: b.client.find_contact_id(email=EMAIL, contact_type="Member"),
    "create_contact": lambda b: b.client.create_contact(
        ContactWrite({"email": "new@example.com"}, {"acceptsEmail": True}, (Consent("news", True, datetime.now(UTC)),)),
        contact_type="Member", store_external_id="web-se", source="ECOM",
    ),
    "get_contact": lambda b: b.client.get_contact(b.contact_id),
    "patch_contact": lambda b: b.client.patch_contact(b.contact_id, ContactWrite({"firstName": "Ada"})),
    "delete_contact": lambda b: b.client.delete_contact(b.contact_id),
    "update_contact_type": lambda b: b.client.update_contact_type(b.contact_id, "Contact"),
    "bulk_create_contacts": lambda b: b.client.bulk_create_contacts(
        [ContactWrite({"email": "bulk@example.com"})], contact_type="Member"
    ),
    "bulk_patch_contacts": lambda b: b.client.bulk_patch_contacts(
        [(b.contact_id, ContactWrite({"firstName": "Ada"}))], contact_type="Member"
    ),
    "get_bulk_status": lambda b: b.client.get_bulk_status(CALLS["bulk_patch_contacts"](b)),
    "list_transactions": lambda b: b.client.list_transactions(b.contact_id),
    "list_contact_transactions": lambda b: (
        b.post("/sandbox/options", {"transactions_by_query": False}), b.client.list_transactions(b.contact_id)
    ),
    "create_receipt": lambda b: b.client.create_receipt(b.receipt()),
    "list_promotion_assignments": lambda b: (_assigned(b), b.client.list_promotion_assignments(b.contact_id)),
    "assign_promotion": lambda b: b.client.assign_promotion(b.contact_id, b.promotion()),
    "redeem_promotion": lambda b: b.client.redeem_promotion(_assigned(b)),
    "reactivate_promotion": lambda b: (
        b.post("/sandbox/options", {"reactivate_promotions": True}), b.client.redeem_promotion(a := _assigned(b)),
        b.client.reactivate_promotion(a, path="/api/v3/promotion-assignments/{assignmentId}/reactivate"),
    ),
    "create_promotion": lambda b: b.client.create_promotion(_promotion_write()),
    "find_promotion": lambda b: (b.client.create_promotion(_promotion_write()), b.client.find_promotion("RULE-1")),
    "get_promotion": lambda b: b.client.get_promotion(b.promotion()),
    "list_reward_vouchers": lambda b: (_voucher(b), b.client.list_reward_vouchers(b.contact_id)),
    "list_available_reward_vouchers": lambda b: (_voucher(b), b.client.list_available_reward_vouchers(b.contact_id)),
    "redeem_reward_voucher": lambda b: b.client.redeem_reward_voucher(_voucher(b)),
    "reactivate_reward_voucher": lambda b: (
        b.client.redeem_reward_voucher(v := _voucher(b)), b.client.reactivate_reward_voucher(v)
    ),
    "list_point_accounts": lambda b: b.client.list_point_accounts(b.contact_id),
    "list_point_transactions": lambda b: (
        b.seed(points=[{"contactId": b.contact_id, "transactions": [{"amount": 10, "description": "Hello"}]}]),
        b.client.list_point_transactions(b.client.list_point_accounts(b.contact_id).items[0].id),
    ),
    "list_stores": lambda b: (b.seed(stores=[{"externalId": "s", "name": "S"}]), b.client.list_stores(include_inactive=True)),
    "list_consents": lambda b: (b.seed(consents=[{"id": "news"}]), b.client.list_consents()),
}  # fmt: skip


@cache
def contract() -> OpenAPI:
    text = files("plugin.engage").joinpath("contract/engage-v3.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    document["servers"] = [{"url": "http://engage.test"}]
    return OpenAPI.from_dict(document)


class SentRequest:
    """A prepared request as openapi-core wants to see it."""

    def __init__(self, prepared: requests.PreparedRequest) -> None:
        from urllib.parse import parse_qs, urlsplit

        from openapi_core.datatypes import RequestParameters
        from werkzeug.datastructures import Headers, ImmutableMultiDict

        parts = urlsplit(str(prepared.url))
        self.host_url, self.path, self.method = "http://engage.test", parts.path, str(prepared.method).lower()
        self.content_type = "application/json"
        self.body = prepared.body if isinstance(prepared.body, bytes) else None
        query = ImmutableMultiDict([(n, v) for n, values in parse_qs(parts.query).items() for v in values])
        self.parameters = RequestParameters(query=query, header=Headers(dict(prepared.headers)))


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_request_fits_the_contract_and_each_answer_is_understood(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[requests.PreparedRequest] = []
    real = requests.Session.send

    def remember(self: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        sent.append(request)
        return real(self, request, **options)

    monkeypatch.setattr(requests.Session, "send", remember)
    CALLS[name](bench)
    ours = [request for request in sent if "/api/v3/" in str(request.url)]
    assert name in {record.operation for record in bench.records}
    for request in ours:
        contract().validate_request(SentRequest(request))  # type: ignore[arg-type]
        headers = request.headers
        assert headers["apikey"] == KEY
        assert re.fullmatch(r"EngageShopPlugin/\S+ \(shopify\)", str(headers["User-Agent"]))
        assert headers["Content-Type"] == "application/json"
        assert "any=" not in str(request.url)


def test_every_operation_is_in_the_contract() -> None:
    text = files("plugin.engage").joinpath("contract/engage-v3.yaml").read_text(encoding="utf-8")
    paths = yaml.safe_load(text)["paths"]
    known = {
        o["operationId"]: (m.upper(), p)
        for p, item in paths.items()
        for m, o in item.items()
        if isinstance(o, dict) and "operationId" in o
    }
    for operation in OPERATIONS.values():
        method, path = known[operation.operation_id]
        assert (operation.method, re.sub(r"{\w+}", "{}", operation.path)) == (method, re.sub(r"{\w+}", "{}", path))


def test_money_travels_as_exact_numbers(bench: Bench) -> None:
    bench.client.create_receipt(bench.receipt())
    calls = requests.get(f"{bench.sandbox.url}/sandbox/calls?bodies=1", timeout=5).json()
    body = next(call["requestBody"] for call in calls if call["operationId"] == "createReceipt")
    assert '"grossPaidPrice": 250.10' in body
    assert '"exchangeRateToGroupCurrency": 0.08695652' in body


def test_an_empty_value_is_never_sent(bench: Bench) -> None:
    for value in ("", None):
        with pytest.raises(ValueError, match="erase"):
            bench.client.patch_contact(bench.contact_id, ContactWrite({"firstName": value}))


def test_unknown_fields_of_answers_are_harmless(bench: Bench) -> None:
    bench.post(
        "/sandbox/options", {"extra_fields": True, "assignments_answer": "paged", "transactions_answer": "array"}
    )
    assert bench.client.get_contact(bench.contact_id).contact_type == "Member"
    _assigned(bench)
    assert len(bench.client.list_promotion_assignments(bench.contact_id).items) == 1
    bench.client.create_receipt(bench.receipt(used_promotions=(), used_reward_vouchers=()))
    assert len(bench.client.list_transactions(bench.contact_id).items) == 1


def test_the_path_of_the_purchase_history_is_detected_once(bench: Bench) -> None:
    remembered: list[str] = []
    client = EngageClient(bench.client.account, bench.transport, on_transactions_path=remembered.append)
    bench.post("/sandbox/options", {"transactions_by_query": False})
    client.list_transactions(bench.contact_id)
    client.list_transactions(bench.contact_id)
    assert remembered == ["list_contact_transactions"]
    assert [r.operation for r in bench.records].count("list_transactions") == 1


FAULTS: list[tuple[dict[str, Any], type[EngageError]]] = [
    ({"outage": True}, TransientError),
    ({"outage": True, "outage_mode": "drop"}, TransientError),
    ({"rate_429": 1.0, "retry_after_s": 7}, TransientError),
    ({"error_rate": 1.0, "error_statuses": [500]}, TransientError),
]


@pytest.mark.parametrize(("fault", "kind"), FAULTS)
def test_no_error_shows_the_api_key_or_personal_data(
    bench: Bench, fault: dict[str, Any], kind: type[EngageError], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bench.post("/sandbox/faults", fault)
    with pytest.raises(kind) as caught:
        bench.client.find_contact_id(email=EMAIL)
    shown = "".join(traceback.format_exception(caught.value)) + str(bench.records) + repr(bench.client.account)
    ours = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith(("plugin", "webhooks", "mypages")))
    for secret in (KEY, EMAIL, "ada%40example.com"):
        assert secret not in shown
        assert secret not in ours


def test_a_refused_key_is_an_error_of_its_own(bench: Bench) -> None:
    bench.post("/sandbox/options", {"refused_keys": [KEY]})
    with pytest.raises(UnauthorisedError, match="API connections"):
        bench.client.get_contact(bench.contact_id)


def test_no_answer_is_a_transient_error(bench: Bench) -> None:
    client = bench.client.with_options(read_timeout_s=0.2)
    bench.post("/sandbox/faults", {"latency_s": 1})
    with pytest.raises(TransientError, match=r"within 0\.2 s"):
        client.get_contact(bench.contact_id)
    nowhere = EngageClient(EngageAccount("http://127.0.0.1:9", KEY, "s", "shopify"), bench.transport)
    with pytest.raises(TransientError):
        nowhere.get_contact(UNKNOWN_CONTACT)


def test_not_found_and_conflict_are_different_errors(bench: Bench) -> None:
    with pytest.raises(EngageNotFoundError):
        bench.client.get_contact(UNKNOWN_CONTACT)
    write = ContactWrite({"email": EMAIL})
    with pytest.raises(EngageConflictError) as caught:
        bench.client.create_contact(write, contact_type="Member", store_external_id=None, source=None)
    assert caught.value.contact_id == bench.contact_id


def test_a_call_whose_lease_was_lost_does_not_leave(bench: Bench) -> None:
    def lost() -> None:
        raise LeaseLostError("another worker holds it")

    client = bench.client.with_options(ensure_lease=lost).with_options(priority=Priority.SHOPPER)
    with pytest.raises(LeaseLostError):
        client.get_contact(bench.contact_id)
    assert bench.records == []
