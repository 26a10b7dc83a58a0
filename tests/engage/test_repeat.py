"""Done, but the answer was lost: the check finds it, and nothing happens twice."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from support.helpers import engage_client

from plugin.engage import verify_writes
from plugin.engage.client import EngageClient
from plugin.engage.data.models import ContactWrite, PromotionWrite
from plugin.engage.operations import OPERATIONS, Repeat
from plugin.errors import TransientError
from plugin.sandbox.testing import RunningSandbox, running_sandbox

TEMPLATE = {
    "name": "Spring", "validity": {"startDate": "2026-01-01", "endDate": "2099-12-31"},
    "redemptionChannels": [{"type": "ECOM", "valueType": "MONEY", "value": "20.5"}],
}  # fmt: skip


class Engage:
    """The sandbox, a client, and what is seeded in it."""

    def __init__(self, sandbox: RunningSandbox, client: EngageClient) -> None:
        self.url, self.client = sandbox.url, client
        self.contact = self.seed(contacts=[{"contactType": "Member", "email": "ada@example.com"}])["contacts"][0]
        self.promotion = self.seed(promotions=[TEMPLATE])["promotions"][0]
        self.voucher = self.seed(
            vouchers=[{"contactId": self.contact, "voucherNumber": "V-1", "value": {"amount": 50, "currency": "SEK"}}]
        )["vouchers"][0]

    def seed(self, **entries: Any) -> dict[str, list[str]]:
        answer = requests.post(f"{self.url}/sandbox/seed", json=entries, timeout=5)
        assert answer.ok, answer.text
        return dict(answer.json())

    def assign(self) -> str:
        given = {"contactId": self.contact, "promotionId": self.promotion}
        return self.seed(assignments=[given])["assignments"][0]

    def lose_next_answer(self, operation_id: str, fault: str) -> None:
        faults = {fault: 1.0, "next": 1, "operations": [operation_id]}
        requests.post(f"{self.url}/sandbox/faults", json=faults, timeout=5).raise_for_status()


@pytest.fixture
def engage() -> Iterator[Engage]:
    with running_sandbox() as sandbox, engage_client(sandbox) as client:
        yield Engage(sandbox, client)


def _create_contact(e: Engage) -> tuple[Callable[[], Any], dict[str, Any]]:
    write = ContactWrite({"email": "new@example.com", "firstName": "New"})
    return (
        lambda: e.client.create_contact(write, contact_type="Member", store_external_id=None, source=None),
        {"email": "new@example.com"},
    )


def _bulk_create(e: Engage) -> tuple[Callable[[], Any], dict[str, Any]]:
    write = ContactWrite({"email": "new@example.com", "firstName": "New"})
    return lambda: e.client.bulk_create_contacts([write], contact_type="Member"), {"email": "new@example.com"}


def _redeem(e: Engage) -> tuple[Callable[[], Any], dict[str, Any]]:
    assignment = e.assign()
    return lambda: e.client.redeem_promotion(assignment), {"contact_id": e.contact, "assignment_id": assignment}


def _assign(e: Engage) -> tuple[Callable[[], Any], dict[str, Any]]:
    return (
        lambda: e.client.assign_promotion(e.contact, e.promotion),
        {"contact_id": e.contact, "promotion_id": e.promotion},
    )


def _redeem_voucher(e: Engage) -> tuple[Callable[[], Any], dict[str, Any]]:
    return (
        lambda: e.client.redeem_reward_voucher(e.voucher),
        {"contact_id": e.contact, "reward_voucher_id": e.voucher},
    )


def _reactivate_voucher(e: Engage) -> tuple[Callable[[], Any], dict[str, Any]]:
    e.client.redeem_reward_voucher(e.voucher)
    return (
        lambda: e.client.reactivate_reward_voucher(e.voucher),
        {"contact_id": e.contact, "reward_voucher_id": e.voucher},
    )


def _reactivate_promotion(e: Engage) -> tuple[Callable[[], Any], dict[str, Any]]:
    requests.post(f"{e.url}/sandbox/options", json={"reactivate_promotions": True}, timeout=5).raise_for_status()
    assignment = e.assign()
    e.client.redeem_promotion(assignment)
    path = "/api/v3/promotion-assignments/{assignmentId}/reactivate"
    return (
        lambda: e.client.reactivate_promotion(assignment, path=path),
        {"contact_id": e.contact, "assignment_id": assignment},
    )


def _create_order(e: Engage) -> tuple[Callable[[], Any], dict[str, Any]]:
    order = {
        "orderId": "O-1", "contact": {"matchKey": e.contact, "matchKeyType": "ContactId"}, "status": "InProgress",
        "currencyCode": "SEK", "externalStoreId": "web-se", "totalPrice": 10,
    }  # fmt: skip
    return lambda: e.client.create_order(order), {"order_id": "O-1"}


def _create_promotion(e: Engage) -> tuple[Callable[[], Any], dict[str, Any]]:
    from datetime import date

    write = PromotionWrite("Autumn", "RULE-9", date(2026, 3, 1), "EXTERNALOFFER", "AUTUMN", date(2099, 1, 1))
    return lambda: e.client.create_promotion(write), {"external_id": "RULE-9"}


WRITES = {
    "create_contact": _create_contact,
    "bulk_create_contacts": _bulk_create,
    "redeem_promotion": _redeem,
    "assign_promotion": _assign,
    "redeem_reward_voucher": _redeem_voucher,
    "reactivate_promotion": _reactivate_promotion,
    "reactivate_reward_voucher": _reactivate_voucher,
    "create_order": _create_order,
    "create_promotion": _create_promotion,
}


def test_every_write_that_must_not_simply_be_repeated_has_its_check() -> None:
    simple = {Repeat.SAFE, Repeat.DEDUPLICATED, Repeat.NEVER}
    assert set(verify_writes.CHECKS) == {o.name for o in OPERATIONS.values() if o.repeat not in simple}
    assert set(WRITES) == set(verify_writes.CHECKS)
    for operation in OPERATIONS.values():
        if operation.method == "POST" and operation.repeat is Repeat.SAFE:
            # says the same thing twice: the type, status or delivery that is asked for
            assert operation.name in {"update_contact_type", "change_order_status", "change_order_delivery"}


@pytest.mark.parametrize("fault", ["done_but_504_rate", "done_but_dropped_rate"])
@pytest.mark.parametrize("name", WRITES)
def test_what_was_done_without_an_answer_is_found(engage: Engage, name: str, fault: str) -> None:
    write, about = WRITES[name](engage)
    assert verify_writes.CHECKS[name](engage.client, **about) is None
    engage.lose_next_answer(OPERATIONS[name].operation_id, fault)
    with pytest.raises(TransientError) as lost:
        write()
    assert lost.value.sent
    assert verify_writes.CHECKS[name](engage.client, **about)


@pytest.mark.parametrize("name", WRITES)
def test_what_was_never_done_is_not_found(engage: Engage, name: str) -> None:
    write, about = WRITES[name](engage)
    engage.lose_next_answer(OPERATIONS[name].operation_id, "error_rate")
    with pytest.raises(TransientError):
        write()
    assert verify_writes.CHECKS[name](engage.client, **about) is None
