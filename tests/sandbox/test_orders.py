"""Orders and their jobs."""

from typing import Any

import pytest
from sandbox.conftest import MakeEngage
from support.sandbox_client import UNKNOWN_ID, Engage, code


def order(contact_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "orderId": "web-se-9001",
        "contact": {"matchKey": contact_id, "matchKeyType": "ContactId"},
        "externalStoreId": "web-se",
        "status": "InProgress",
        "currencyCode": "SEK",
        "createdAt": "2026-03-05T10:00:00+01:00",
        "lineItems": {"items": [{"sku": "SKU-1"}], "subTotal": 250.0},
        **changes,
    }


@pytest.mark.parametrize("status", [201, 202])
def test_a_write_is_accepted_with_a_link_to_its_job(make_engage: MakeEngage, status: int) -> None:
    engage = make_engage(order_write_status=status)
    answer = engage.post("orders", order(engage.contact()))
    assert answer.status_code == status
    assert answer.json()["links"][0]["href"].endswith(answer.json()["jobId"])


def test_a_job_leads_to_the_order_when_it_is_done(make_engage: MakeEngage) -> None:
    engage = make_engage(order_delay_s=5)
    job = engage.post("orders", order(engage.contact())).json()["jobId"]
    assert engage.get(f"orders/jobs/{job}").json()["status"] == "InProgress"
    assert code(engage.get("orders/web-se-9001")) == (404, "OrderNotFound")
    engage.clock.forward(5)
    done = engage.get(f"orders/jobs/{job}")
    assert (done.status_code, done.headers["Location"]) == (302, "/api/v3/orders/web-se-9001")
    assert engage.get(done.headers["Location"]).json()["lineItems"]["subTotal"] == 250
    assert code(engage.get("orders/jobs/none")) == (404, "JobNotFound")


def test_a_known_order_is_not_created_again(engage: Engage) -> None:
    body = order(engage.contact())
    engage.post("orders", body)
    assert code(engage.post("orders", body)) == (422, "OrderAlreadyExists")


def test_put_replaces_the_whole_order(engage: Engage) -> None:
    contact_id = engage.contact()
    engage.post("orders", order(contact_id, channel="web"))
    before = engage.get("orders/web-se-9001").json()
    assert engage.put("orders/web-se-9001", order(contact_id, status="Completed")).status_code == 202
    after = engage.get("orders/web-se-9001").json()
    assert (after["status"], "channel" in after) == ("Completed", False)
    assert after["versionTag"] != before["versionTag"]
    assert code(engage.put("orders/web-se-9002", order(contact_id, orderId="web-se-9002"))) == (404, "OrderNotFound")
    assert code(engage.put("orders/web-se-9001", order(contact_id, orderId="other"))) == (400, "InvalidOrder")


def test_a_deleted_order_is_gone(engage: Engage) -> None:
    engage.post("orders", order(engage.contact()))
    assert engage.delete("orders/web-se-9001").status_code == 202
    assert engage.get("orders/web-se-9001").status_code == 404
    assert code(engage.delete("orders/web-se-9001")) == (404, "OrderNotFound")


def test_an_order_of_another_contact_is_not_found(engage: Engage) -> None:
    contact_id = engage.contact()
    engage.post("orders", order(contact_id))
    assert engage.get("orders/web-se-9001", contactId=contact_id).status_code == 200
    assert code(engage.get("orders/web-se-9001", contactId=UNKNOWN_ID)) == (404, "OrderNotFound")


def test_the_list_has_ten_a_page_with_links(engage: Engage) -> None:
    contact_id = engage.contact()
    for number in range(12):
        engage.post("orders", order(contact_id, orderId=f"O-{number}"))
    page = engage.get("orders", contactId=contact_id).json()
    assert (len(page["items"]), page["totalCount"], [link["rel"] for link in page["links"]]) == (10, 12, ["next"])
    last = engage.get(page["links"][0]["href"]).json()
    assert ([item["orderId"] for item in last["items"]], last["links"][0]["rel"]) == (["O-10", "O-11"], "previous")


def test_the_status_changes_and_the_rest_stays(engage: Engage) -> None:
    engage.post("orders", order(engage.contact()))
    change = {"status": "Cancelled", "externalStatus": "cancelled by shopper"}
    assert engage.post("orders/web-se-9001/change-status", change).status_code == 202
    found = engage.get("orders/web-se-9001").json()
    assert (found["status"], found["externalStatus"], found["currencyCode"]) == (*change.values(), "SEK")
    assert code(engage.post("orders/web-se-9001/change-status", {"status": "Lost"})) == (400, "InvalidOrder")
    assert code(engage.post("orders/web-se-9001/change-status", {})) == (400, "InvalidOrder")


def test_the_delivery_changes_field_by_field(engage: Engage) -> None:
    engage.post("orders", order(engage.contact(), delivery={"method": "post"}))
    engage.post("orders/web-se-9001/change-delivery", {"delivery": {"trackingNumber": "T1"}})
    assert engage.get("orders/web-se-9001").json()["delivery"] == {"method": "post", "trackingNumber": "T1"}
    assert code(engage.post("orders/web-se-9001/change-delivery", {})) == (400, "InvalidOrder")
    refused = engage.post("orders/web-se-9001/change-delivery", {"delivery": {"deliveryDate": "soon"}})
    assert refused.json()["field"] == "delivery.deliveryDate"


def test_an_embedded_action_runs_when_the_write_is_done(make_engage: MakeEngage) -> None:
    engage = make_engage(order_delay_s=5)
    engage.post("orders", order(engage.contact(), orderAction={"action": "ConfirmOrder", "language": "sv-SE"}))
    assert engage.view("order-actions") == []
    engage.clock.forward(5)
    actions = [(row["orderId"], row["action"], row["language"]) for row in engage.view("order-actions")]
    assert actions == [("web-se-9001", "ConfirmOrder", "sv-SE")]


def test_an_action_needs_the_present_version_tag(engage: Engage) -> None:
    engage.post("orders", order(engage.contact()))
    path = "orders/web-se-9001/action"
    tag = engage.get("orders/web-se-9001").json()["versionTag"]
    assert engage.post(path, {"action": "ConfirmOrder", "versionTag": tag}).status_code == 202
    assert code(engage.post(path, {"action": "ConfirmOrder", "versionTag": "old"})) == (404, "VersionTagMismatch")
    assert code(engage.post(path, {"action": "ConfirmOrder"})) == (400, "InvalidOrderAction")
    assert [row["action"] for row in engage.view("order-actions")] == ["ConfirmOrder"]


def test_an_action_of_an_order_without_a_contact_is_refused(engage: Engage) -> None:
    engage.post("orders", order(UNKNOWN_ID))
    tag = engage.get("orders/web-se-9001").json()["versionTag"]
    answer = engage.post("orders/web-se-9001/action", {"action": "ConfirmOrder", "versionTag": tag})
    assert code(answer) == (422, "OrderHasNoContact")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"orderId": ""}, "orderId"),
        ({"contact": None}, "contact"),
        ({"contact": {"matchKey": "x", "matchKeyType": "Shoe"}}, "contact.matchKeyType"),
        ({"status": "Paid"}, "status"),
        ({"currencyCode": "sek"}, "currencyCode"),
        ({"createdAt": "2026-03-05"}, "createdAt"),
        ({"references": "x"}, "references"),
        ({"lineItems": {"items": [1]}}, "lineItems.items"),
        ({"orderAction": {}}, "orderAction.action"),
    ],
)
def test_an_order_that_does_not_fit_is_refused_by_field(engage: Engage, change: dict[str, Any], field: str) -> None:
    answer = engage.post("orders", order(engage.contact(), **change))
    assert code(answer) == (400, "InvalidOrder")
    assert answer.json()["field"] == field
