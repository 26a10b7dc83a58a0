"""Faults that are switched on while the sandbox runs."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from sandbox.conftest import MakeEngage
from support.sandbox_client import Engage, code, receipt

from plugin.sandbox.testing import HEADERS


def statuses(engage: Engage, number: int, path: str = "stores") -> list[int]:
    return [engage.get(path).status_code for _ in range(number)]


def test_latency_is_waited_out(engage: Engage) -> None:
    engage.fault(latency_s=2.5)
    before = engage.clock()
    assert engage.get("stores").status_code == 200
    assert (engage.clock() - before).total_seconds() == 2.5


def test_call_that_waited_through_a_reset_leaves_no_trace(make_engage: MakeEngage) -> None:
    waiting, go_on = threading.Event(), threading.Event()

    def sleep(_seconds: float) -> None:
        waiting.set()
        assert go_on.wait(10)

    engage = make_engage(sleep)
    engage.fault(latency_s=1)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(
            requests.post, f"{engage.url}/api/v3/contacts", json={"email": "ada@shop.test"}, headers=HEADERS, timeout=10
        )
        assert waiting.wait(10)
        engage.post("/sandbox/reset", {})
        go_on.set()
        with pytest.raises(requests.ConnectionError):
            call.result()
    assert (engage.view("contacts"), engage.view("calls")) == ([], [])


def test_jitter_comes_on_top_of_latency(engage: Engage) -> None:
    engage.fault(latency_s=1, latency_jitter_s=1)
    waits = []
    for _ in range(5):
        before = engage.clock()
        engage.get("stores")
        waits.append((engage.clock() - before).total_seconds())
    assert all(1 <= wait <= 2 for wait in waits)
    assert len(set(waits)) == 5


def test_share_of_calls_fails_with_the_given_statuses(engage: Engage) -> None:
    engage.fault(error_rate=0.5, error_statuses=[500, 503], seed=7)
    seen = statuses(engage, 40)
    assert set(seen) == {200, 500, 503}
    assert 8 <= seen.count(200) <= 32


def test_same_seed_chooses_the_same_calls(engage: Engage) -> None:
    engage.fault(error_rate=0.5, seed=7)
    first = statuses(engage, 20)
    engage.fault(seed=7)
    assert statuses(engage, 20) == first


def test_outage_is_503(engage: Engage) -> None:
    engage.fault(outage=True, retry_after_s=30)
    answer = engage.get("stores")
    assert (code(answer), answer.headers["Retry-After"]) == ((503, "ServiceUnavailable"), "30")


def test_outage_can_close_connections_without_an_answer(engage: Engage) -> None:
    engage.fault(outage=True, outage_mode="drop")
    with pytest.raises(requests.ConnectionError):
        engage.post("contacts", {"email": "ada@shop.test"})
    engage.delete("/sandbox/faults")
    assert engage.view("contacts") == []
    assert [(call["status"], call["fault"]) for call in engage.view("calls")] == [(None, "outage")]


def test_outage_leaves_the_sandbox_own_paths_alone(engage: Engage) -> None:
    engage.fault(outage=True, outage_mode="drop")
    assert engage.view("faults")["outage"] is True


def test_done_but_504_does_the_work(engage: Engage) -> None:
    engage.fault(done_but_504_rate=1)
    answer = engage.post("contacts", {"email": "ada@shop.test"})
    assert code(answer) == (504, "RequestTimeOut")
    assert len(engage.view("contacts")) == 1


def test_done_but_504_of_a_redemption_is_a_gateway_timeout(engage: Engage) -> None:
    assignment_id = engage.assignment(engage.contact())
    engage.fault(done_but_504_rate=1, operations=["redeemPromotion"])
    answer = engage.post(f"promotion-assignments/{assignment_id}/redeem", {"redemptionChannel": "ECOM"})
    assert code(answer) == (504, "GatewayTimeout")
    assert [row["outcome"] for row in engage.view("redemptions")] == ["Redeemed"]


def test_done_but_dropped_does_the_work_and_closes_the_connection(engage: Engage) -> None:
    contact_id = engage.contact()
    engage.fault(done_but_dropped_rate=1, operations=["createReceipt"])
    with pytest.raises(requests.ConnectionError):
        engage.post("receipts", receipt(contact_id))
    assert [r["state"] for r in engage.view("receipts")] == ["imported"]


def test_share_of_calls_is_too_many(engage: Engage) -> None:
    engage.fault(rate_429=1, retry_after_s=3)
    answer = engage.get("stores")
    assert (code(answer), answer.headers["Retry-After"]) == ((429, "TooManyRequests"), "3")


def test_faults_apply_to_named_operations_only(engage: Engage) -> None:
    engage.fault(error_rate=1, error_statuses=[500], operations=["listStores"])
    assert (statuses(engage, 1), statuses(engage, 1, "consents")) == ([500], [200])


def test_next_applies_to_exactly_that_many_matching_calls(engage: Engage) -> None:
    engage.fault(error_rate=0.01, error_statuses=[502], operations=["listStores"], next=2)
    assert statuses(engage, 1, "consents") == [200]
    assert statuses(engage, 4) == [502, 502, 200, 200]
    assert engage.view("faults")["next"] is None


def test_changes_are_partial_and_delete_clears(engage: Engage) -> None:
    engage.fault(latency_s=0.5)
    engage.fault(retry_after_s=3)
    faults = engage.view("faults")
    assert (faults["latency_s"], faults["retry_after_s"]) == (0.5, 3)
    cleared = engage.delete("/sandbox/faults").json()
    assert (cleared["latency_s"], cleared["retry_after_s"]) == (0, None)


@pytest.mark.parametrize(
    "faults",
    [
        {"latncy_s": 1},
        {"error_rate": 1.5},
        {"error_rate": "often"},
        {"error_statuses": []},
        {"error_statuses": [200]},
        {"outage": 1},
        {"outage_mode": "smoke"},
        {"operations": ["buyCap"]},
        {"operations": "listStores"},
        {"next": 0},
        {"seed": -1},
        {"latency_s": -1},
    ],
)
def test_fault_that_does_not_exist_is_refused_with_what_does(engage: Engage, faults: dict[str, Any]) -> None:
    answer = engage.post("/sandbox/faults", {**faults, "retry_after_s": 9})
    assert answer.status_code == 400
    assert next(iter(faults)) in answer.json()["message"]
    assert engage.view("faults")["retry_after_s"] is None


def test_unknown_names_are_answered_with_the_known_ones(engage: Engage) -> None:
    assert "done_but_504_rate" in engage.post("/sandbox/faults", {"x": 1}).json()["message"]
    assert "createReceipt" in engage.post("/sandbox/faults", {"operations": ["x"]}).json()["message"]


def test_slow_call_does_not_hold_up_others(make_engage: MakeEngage) -> None:
    waiting, released = threading.Event(), threading.Event()

    def wait(_seconds: float) -> None:
        waiting.set()
        released.wait(10)

    engage = make_engage(sleep=wait)
    engage.fault(latency_s=1, operations=["listStores"])
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(requests.get, f"{engage.url}/api/v3/stores", headers=dict(HEADERS), timeout=20)
        assert waiting.wait(10)
        assert engage.get("consents").status_code == 200
        released.set()
        assert slow.result(20).status_code == 200
    assert [call["operationId"] for call in engage.view("calls")] == ["listConsents", "listStores"]
