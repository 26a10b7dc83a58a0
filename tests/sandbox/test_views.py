"""What people and tests look at, and the set-up that they change."""

import re
from html import unescape
from typing import Any

import pytest
import requests
from sandbox.conftest import MakeEngage
from support.sandbox_client import PROMOTION_ID, UNKNOWN_ID, Engage, code, receipt


def test_page_shows_what_the_sandbox_holds(engage: Engage) -> None:
    contact_id = engage.contact(firstName="Ada", storeExternalId="web-se")
    engage.post("receipts", receipt(contact_id))
    engage.post(f"promotion-assignments/{engage.assignment(contact_id)}/redeem", {"redemptionChannel": "ECOM"})
    engage.fault(latency_s=0.25)
    page = engage.get("/").text
    for text in ("ada@shop.test", "web-se-9001", "SKU-1", "Redeemed", "createReceipt", "latency_s = 0.25"):
        assert text in page


def test_page_escapes_everything(engage: Engage) -> None:
    engage.contact(firstName="<script>alert(1)</script>", externalId='"><img src=x>')
    body = receipt(UNKNOWN_ID, storeExternalId="<b>")
    body["items"][0]["articleName"] = "<i>Cap</i> \ud800"
    engage.post("receipts", body)
    page = engage.get("/")
    assert page.status_code == 200
    assert not any(mark in page.text for mark in ("<script", "<img", "<i>", "<b>"))


def test_page_loads_nothing_and_reloads_itself(engage: Engage) -> None:
    page = engage.get("/")
    assert '<meta http-equiv="refresh" content="3">' in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert not any(mark in page.text for mark in ("<script", "src=", "href=", "url(", "@import"))


def test_page_explains_how_faults_are_switched_on_and_off(engage: Engage) -> None:
    page = unescape(engage.get("/").text)
    address = re.search(r"""curl -d '{"outage": true}' (http\S+/sandbox/faults)<""", page)
    assert address is not None
    assert requests.post(address[1], data='{"outage": true}', timeout=10).status_code == 200
    assert "outage = True" in engage.get("/").text
    assert f"curl -X DELETE {address[1]}" in page
    assert "done_but_504_rate" in page


def test_calls_are_listed_without_query_values(engage: Engage) -> None:
    engage.get("contacts/id", email="ada@shop.test")
    call = engage.view("calls")[0]
    assert call.pop("durationS") >= 0
    assert call == {
        "sequence": 1,
        "time": "2026-03-05T09:30:00+00:00",
        "method": "GET",
        "path": "/api/v3/contacts/id",
        "query": ["email"],
        "operationId": "findContactId",
        "status": 404,
        "key": "0001",
        "fault": None,
    }


def test_calls_are_listed_since_a_sequence_number(engage: Engage) -> None:
    for path in ("stores", "consents", "nothing"):
        engage.get(path)
    assert [call["operationId"] for call in engage.view("calls", since=1)] == ["listConsents", None]
    assert code(engage.get("/sandbox/calls", since="first")) == (400, "InvalidSince")


def test_bodies_are_listed_on_request(engage: Engage) -> None:
    engage.post("contacts", {"email": "ada"})
    call = engage.view("calls", bodies=1)[0]
    assert call["requestBody"] == '{"email": "ada"}'
    assert "InvalidEmailAddress" in call["answerBody"]


def test_log_holds_the_newest_calls_only_and_the_counts_all(make_engage: MakeEngage) -> None:
    engage = make_engage(keep_calls=2)
    for _ in range(5):
        engage.get("stores")
    assert [call["sequence"] for call in engage.view("calls")] == [4, 5]
    assert engage.view("counts") == {"listStores": {"200": 5}}


def test_receipt_is_shown_as_it_was_received(engage: Engage) -> None:
    body = receipt(engage.contact())
    engage.post("receipts", body)
    shown = engage.view("receipts")[0]
    assert {name: shown[name] for name in body} == body
    assert (shown["times_received"], shown["state"]) == (1, "imported")


def test_summary_counts_items_of_each_kind(engage: Engage) -> None:
    contact_id = engage.contact()
    for body in (receipt(contact_id), receipt(contact_id), receipt(UNKNOWN_ID, uniqueReceiptId="web-se-9002")):
        engage.post("receipts", body)
    engage.post(f"promotion-assignments/{engage.assignment(contact_id)}/redeem", {"redemptionChannel": "ECOM"})
    assert engage.view("summary") == {
        "contacts": 1,
        "receipts": {"imported": 1, "failed": 1},
        "receiptsReceived": 3,
        "redemptions": {"Redeemed": 1},
        "stores": 1,
        "calls": 4,
    }


def test_reset_empties_the_tenant_and_ends_faults_and_changed_options(engage: Engage) -> None:
    engage.post("receipts", receipt(engage.contact()))
    engage.fault(outage=True)
    engage.post("/sandbox/options", {"create_answer": "200-guid"})
    assert engage.post("/sandbox/reset").status_code == 200
    views = {name: engage.view(name) for name in ("contacts", "receipts", "stores", "integration-log", "calls")}
    assert list(views.values()) == [[]] * len(views)
    assert engage.post("contacts", {"email": "ada@shop.test"}).status_code == 201


def test_reset_deletes_waiting_work(make_engage: MakeEngage) -> None:
    engage = make_engage(import_delay_s=900)
    engage.post("receipts", receipt(UNKNOWN_ID))
    engage.post("/sandbox/reset")
    engage.clock.forward(900)
    assert engage.view("integration-log") == []


# --- seed -----------------------------------------------------------------------------------------------------------


def test_seeded_entries_keep_their_ids(engage: Engage) -> None:
    made = engage.seed(
        contacts=[{"id": UNKNOWN_ID, "email": "ada@shop.test", "source": "ECOM", "storeExternalId": "web-se"}],
        promotions=[{"id": PROMOTION_ID, "name": "Spring"}],
        assignments=[{"contactId": UNKNOWN_ID, "promotionId": PROMOTION_ID}],
        stores=[{"externalId": "web-no", "name": "Norway"}],
    )
    assert (made["contacts"], made["promotions"], made["stores"]) == ([UNKNOWN_ID], [PROMOTION_ID], ["web-no"])
    assert engage.get(f"contacts/{UNKNOWN_ID}").json()["meta"]["createdInStore"] == "web-se"


@pytest.mark.parametrize(
    ("entries", "where"),
    [
        ({"shops": []}, "shops"),
        ({"contacts": {}}, "contacts"),
        ({"contacts": [{"email": "ada"}]}, "contacts[0].email"),
        ({"contacts": [{"email": "ada@shop.test"}, {"email": "ada@shop.test"}]}, "contacts[1]"),
        ({"contacts": [{"id": "7", "email": "ada@shop.test"}]}, "contacts[0].id"),
        ({"stores": [{"name": "Web"}]}, "stores[0].externalId"),
        ({"consents": [{"name": "Club"}]}, "consents[0].id"),
        ({"promotions": [{"name": ""}]}, "promotions[0].name"),
        ({"promotions": [{"name": "x", "status": "New"}]}, "promotions[0].status"),
        ({"assignments": [{"contactId": UNKNOWN_ID}]}, "assignments[0]"),
        ({"vouchers": [{"contactId": "7"}]}, "vouchers[0].contactId"),
        ({"points": [{"contactId": UNKNOWN_ID}]}, "points[0]"),
    ],
)
def test_seed_that_does_not_fit_is_refused_by_entry(engage: Engage, entries: dict[str, Any], where: str) -> None:
    answer = engage.post("/sandbox/seed", entries)
    assert answer.status_code == 400
    assert where in answer.json()["message"]


def test_activating_an_unknown_promotion_is_refused(engage: Engage) -> None:
    assert code(engage.post(f"/sandbox/promotions/{UNKNOWN_ID}/activate")) == (404, "PromotionNotFound")


# --- options --------------------------------------------------------------------------------------------------------


def test_options_change_while_the_sandbox_runs(engage: Engage) -> None:
    changes = {"contact_types": {"Member": {"key": "mobilePhone", "mandatory": ["lastName"]}}, "import_delay_s": 1.5}
    changed = engage.post("/sandbox/options", {**changes, "tenant_attributes": ["shoeSize"]}).json()
    assert changed["tenant_attributes"] == ["shoeSize"]
    assert engage.view("options") == changed
    assert code(engage.post("contacts", {"lastName": "Berg"})) == (400, "MissingMobilePhone")


@pytest.mark.parametrize(
    "change",
    [
        {"create_anser": "201-contact"},
        {"create_answer": "204"},
        {"extra_fields": "yes"},
        {"bulk_answer": True},
        {"import_delay_s": -1},
        {"rate_limit_per_s": "many"},
        {"accepted_keys": "a-key"},
        {"contact_types": {"Member": {"key": "shoeSize"}}},
    ],
)
def test_option_that_does_not_exist_is_refused(engage: Engage, change: dict[str, Any]) -> None:
    before = engage.view("options")
    answer = engage.post("/sandbox/options", change)
    assert answer.status_code == 400
    assert next(iter(change)) in answer.json()["message"]
    assert engage.view("options") == before


def test_keys_are_not_shown(make_engage: MakeEngage) -> None:
    engage = make_engage(accepted_keys=frozenset({"sandbox-key-0001"}))
    assert "sandbox-key-0001" not in engage.get("/sandbox/options").text
