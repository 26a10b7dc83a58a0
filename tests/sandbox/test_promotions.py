"""Templates, assignments and redemption."""

from typing import Any

import pytest
from sandbox.conftest import MakeEngage
from support.sandbox_client import PROMOTION_ID, UNKNOWN_ID, Engage, code

TEMPLATES = "promotions/multichannels"
SPRING: dict[str, Any] = {
    "name": "Spring 20",
    "externalId": "RULE-77",
    "validity": {"startDate": "2026-03-01", "endDate": "2026-04-30"},
    "presentation": {"heading": "20 % off", "description": "On caps"},
    "redemptionChannels": [{"type": "ECOM", "valueType": "EXTERNALOFFER", "value": "SPRING20"}],
}


def redeem(engage: Engage, assignment_id: str, channel: str = "ECOM") -> Any:
    return engage.post(f"promotion-assignments/{assignment_id}/redeem", {"redemptionChannel": channel})


# --- assignments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("switch", ["array", "paged"])
def test_list_is_an_array_or_a_page_by_switch(make_engage: MakeEngage, switch: str) -> None:
    engage = make_engage(assignments_answer=switch)
    contact_id = engage.contact()
    assignment_id = engage.assignment(contact_id)
    found = engage.get("promotion-assignments", contactId=contact_id).json()
    items = found if switch == "array" else found["items"]
    assert [(item["id"], item["promotionId"], item["redeemed"]) for item in items] == [
        (assignment_id, PROMOTION_ID, False)
    ]


def test_list_can_be_limited_to_a_channel(engage: Engage) -> None:
    contact_id = engage.contact()
    engage.seed(promotions=[{**SPRING, "id": PROMOTION_ID}])
    engage.assignment(contact_id)
    counts = {
        channel: len(engage.get("promotion-assignments", contactId=contact_id, redemptionChannelType=channel).json())
        for channel in ("ECOM", "POS")
    }
    assert counts == {"ECOM": 1, "POS": 0}
    refused = engage.get("promotion-assignments", contactId=contact_id, redemptionChannelType="WEB")
    assert code(refused) == (400, "InvalidRedemptionChannel")


@pytest.mark.parametrize(
    ("channel", "value"),
    [
        ({"valueType": "PERCENT", "value": "20"}, 20),
        ({"valueType": "MONEY", "value": "20.5"}, {"amount": 20.5, "currency": "SEK"}),
        (
            {"valueType": "MONEY", "value": "5", "localValues": [{"currency": "EUR", "amount": 5}]},
            {"amount": 5, "currency": "EUR"},
        ),
        ({"valueType": "EXTERNALOFFER", "value": "SPRING20"}, "SPRING20"),
    ],
)
def test_value_is_read_by_its_type(engage: Engage, channel: dict[str, Any], value: Any) -> None:
    contact_id = engage.contact()
    engage.seed(promotions=[{"id": PROMOTION_ID, "name": "x", "redemptionChannels": [{"type": "ECOM", **channel}]}])
    engage.assignment(contact_id)
    found = engage.get("promotion-assignments", contactId=contact_id).json()[0]["redemptionChannels"]
    assert found[0]["value"] == value


def test_redemption_is_done_once(engage: Engage) -> None:
    contact_id = engage.contact()
    assignment_id = engage.assignment(contact_id)
    answer = redeem(engage, assignment_id)
    assert (answer.status_code, answer.content) == (200, b"")
    assert code(redeem(engage, assignment_id)) == (409, "PromotionAlreadyRedeemed")
    item = engage.get("promotion-assignments", contactId=contact_id).json()[0]
    assert (item["redeemed"], item["redeemedOn"]) == (True, "2026-03-05T09:30:00+00:00")


def test_expired_assignment_is_a_conflict(engage: Engage) -> None:
    assignment_id = engage.assignment(engage.contact(), expiresOn="2026-03-05T09:30:00+00:00")
    assert code(redeem(engage, assignment_id)) == (409, "PromotionExpired")


def test_assignment_of_an_ended_promotion_is_a_conflict(engage: Engage) -> None:
    engage.seed(promotions=[{"id": PROMOTION_ID, "name": "Old", "status": "Ended"}])
    assert code(redeem(engage, engage.assignment(engage.contact()))) == (409, "PromotionExpired")


def test_template_s_id_redeems_nothing(engage: Engage) -> None:
    contact_id = engage.contact()
    engage.assignment(contact_id)
    assert code(redeem(engage, PROMOTION_ID)) == (404, "PromotionAssignmentNotFound")
    assert engage.get("promotion-assignments", contactId=contact_id).json()[0]["redeemed"] is False


def test_redemption_needs_a_guid_and_a_channel(engage: Engage) -> None:
    assert code(redeem(engage, "7")) == (400, "InvalidPromotionAssignmentId")
    assert code(redeem(engage, UNKNOWN_ID, "WEB")) == (400, "InvalidRedemptionChannel")


def test_each_redeem_call_is_listed_with_its_outcome(engage: Engage) -> None:
    contact_id = engage.contact()
    assignment_id = engage.assignment(contact_id)
    for id_ in (assignment_id, assignment_id, UNKNOWN_ID):
        redeem(engage, id_)
    rows = [(row["kind"], row["id"], row["contactId"], row["outcome"]) for row in engage.view("redemptions")]
    assert rows == [
        ("promotion", assignment_id, contact_id, "Redeemed"),
        ("promotion", assignment_id, contact_id, "PromotionAlreadyRedeemed"),
        ("promotion", UNKNOWN_ID, None, "PromotionAssignmentNotFound"),
    ]


def test_reactivation_does_not_exist_by_default(engage: Engage) -> None:
    assignment_id = engage.assignment(engage.contact(), redeemed=True)
    answer = engage.post(f"promotion-assignments/{assignment_id}/reactivate")
    assert code(answer) == (404, "NotFound")


def test_reactivation_restores_a_redeemed_assignment_where_it_exists(make_engage: MakeEngage) -> None:
    engage = make_engage(reactivate_promotions=True)
    assignment_id = engage.assignment(engage.contact(), redeemed=True)
    path = f"promotion-assignments/{assignment_id}/reactivate"
    assert engage.post(path).status_code == 200
    assert code(engage.post(path)) == (409, "PromotionAlreadyActivated")
    assert redeem(engage, assignment_id).status_code == 200
    assert code(engage.post(f"promotion-assignments/{UNKNOWN_ID}/reactivate")) == (404, "PromotionAssignmentNotFound")


def test_expired_assignment_is_not_reactivated(make_engage: MakeEngage) -> None:
    engage = make_engage(reactivate_promotions=True)
    assignment_id = engage.assignment(engage.contact(), redeemed=True, expiresOn="2026-03-05T10:00:00+00:00")
    engage.clock.forward(1_800)
    answer = engage.post(f"promotion-assignments/{assignment_id}/reactivate")
    assert code(answer) == (409, "PromotionExpired")


def test_active_promotion_is_assigned_until_its_last_day(engage: Engage) -> None:
    contact_id = engage.contact()
    engage.seed(promotions=[{**SPRING, "id": PROMOTION_ID}])
    answer = engage.post("promotion-assignments", {"contactId": contact_id, "promotionId": PROMOTION_ID})
    assert answer.status_code == 200
    assert answer.json()["expiresOn"] == "2026-04-30T23:59:59+00:00"
    assert redeem(engage, answer.json()["id"]).status_code == 200


@pytest.mark.parametrize(
    ("unit", "amount", "expires_on"),
    [("Days", 30, "2026-04-04T23:59:59+00:00"), ("Months", 11, "2027-02-05T23:59:59+00:00")],
)
def test_assignment_can_have_its_own_validity(engage: Engage, unit: str, amount: int, expires_on: str) -> None:
    validity = {"startDate": "2026-01-01", "assignedValidity": {"unit": unit, "amount": amount}}
    engage.seed(promotions=[{**SPRING, "id": PROMOTION_ID, "validity": validity}])
    body = {"contactId": engage.contact(), "promotionId": PROMOTION_ID}
    assert engage.post("promotion-assignments", body).json()["expiresOn"] == expires_on


@pytest.mark.parametrize(
    ("contact_id", "promotion_id", "status", "expected"),
    [
        ("7", PROMOTION_ID, 400, "InvalidContactId"),
        (None, "7", 400, "InvalidPromotionId"),
        (UNKNOWN_ID, PROMOTION_ID, 404, "ContactNotFound"),
        (None, UNKNOWN_ID, 404, "PromotionNotFound"),
        (None, PROMOTION_ID, 409, "PromotionExpired"),
    ],
)
def test_assignment_is_refused_with_the_documented_codes(
    engage: Engage, contact_id: str | None, promotion_id: str, status: int, expected: str
) -> None:
    engage.seed(promotions=[{"id": PROMOTION_ID, "name": "Old", "status": "Ended"}])
    body = {"contactId": contact_id or engage.contact(), "promotionId": promotion_id}
    assert code(engage.post("promotion-assignments", body)) == (status, expected)


# --- templates ------------------------------------------------------------------------------------------------------


def test_new_template_is_a_draft_that_a_person_activates(engage: Engage) -> None:
    promotion = engage.post(TEMPLATES, SPRING).json()
    assert promotion["status"] == "Draft"
    body = {"contactId": engage.contact(), "promotionId": promotion["id"]}
    assert code(engage.post("promotion-assignments", body)) == (409, "PromotionNotActive")
    assert engage.post(f"/sandbox/promotions/{promotion['id']}/activate").json()["status"] == "Active"
    assert engage.post("promotion-assignments", body).status_code == 200


def test_template_is_read_by_id_and_by_external_id(engage: Engage) -> None:
    promotion = engage.post(TEMPLATES, SPRING).json()
    assert engage.get(f"{TEMPLATES}/{promotion['id']}").json() == promotion
    assert engage.get(TEMPLATES, externalId="RULE-77").json() == promotion
    assert code(engage.get(TEMPLATES, externalId="RULE-78")) == (404, "PromotionNotFound")
    assert code(engage.get(f"{TEMPLATES}/{UNKNOWN_ID}")) == (404, "PromotionNotFound")


def test_template_is_replaced_only_while_a_draft(engage: Engage) -> None:
    promotion = engage.post(TEMPLATES, SPRING).json()
    path = f"{TEMPLATES}/{promotion['id']}"
    changed = engage.put(path, {"name": "Summer"}).json()
    assert (changed["name"], "externalId" in changed) == ("Summer", False)
    engage.post(f"/sandbox/promotions/{promotion['id']}/activate")
    assert code(engage.put(path, SPRING)) == (409, "PromotionNotDraft")


def test_template_is_deleted_only_while_it_is_unassigned(engage: Engage) -> None:
    engage.assignment(engage.contact())
    assert code(engage.delete(f"{TEMPLATES}/{PROMOTION_ID}")) == (409, "PromotionAssigned")
    by_id, by_external_id = engage.post(TEMPLATES, {"name": "A"}).json(), engage.post(TEMPLATES, SPRING).json()
    assert engage.delete(f"{TEMPLATES}/{by_id['id']}").status_code == 200
    assert engage.delete(TEMPLATES, externalId="RULE-77").status_code == 200
    assert engage.get(f"{TEMPLATES}/{by_external_id['id']}").status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"externalId": "x" * 451}, "externalId"),
        ({"validity": {"endDate": "2026-04-30"}}, "validity.startDate"),
        ({"validity": {"startDate": "2026-03-01T10:00:00"}}, "validity.startDate"),
        ({"validity": {"startDate": "2026-03-01", "endDate": "2026-02-28"}}, "validity.endDate"),
        (
            {
                "validity": {
                    "startDate": "2026-03-01",
                    "endDate": "2026-04-30",
                    "assignedValidity": {"unit": "Days", "amount": 3},
                }
            },
            "validity",
        ),
        (
            {"validity": {"startDate": "2026-03-01", "assignedValidity": {"unit": "Weeks", "amount": 3}}},
            "validity.assignedValidity",
        ),
        (
            {"validity": {"startDate": "2026-03-01", "assignedValidity": {"unit": "Days", "amount": 0}}},
            "validity.assignedValidity.amount",
        ),
        ({"redemptionChannels": [{"type": "WEB", "valueType": "PERCENT"}]}, "redemptionChannels[0].type"),
        ({"redemptionChannels": [{"type": "ECOM", "valueType": "GIFT"}]}, "redemptionChannels[0].valueType"),
        (
            {"redemptionChannels": [{"type": "ECOM", "valueType": "PERCENT", "value": "much"}]},
            "redemptionChannels[0].value",
        ),
        ({"presentation": {"heading": 7}}, "presentation.heading"),
    ],
)
def test_template_that_does_not_fit_is_refused_by_field(engage: Engage, change: dict[str, Any], field: str) -> None:
    answer = engage.post(TEMPLATES, {**SPRING, **change})
    assert code(answer) == (400, "BadRequest")
    assert answer.json()["field"] == field


def test_external_id_is_used_once(engage: Engage) -> None:
    promotion = engage.post(TEMPLATES, SPRING).json()
    assert code(engage.post(TEMPLATES, SPRING)) == (400, "BadRequest")
    assert engage.put(f"{TEMPLATES}/{promotion['id']}", SPRING).status_code == 200


def test_promotion_is_scheduled_active_and_ended_by_its_days(engage: Engage) -> None:
    validity = {"startDate": "2026-03-06", "endDate": "2026-03-06"}
    engage.seed(promotions=[{"id": PROMOTION_ID, "name": "One day", "validity": validity}])
    seen = []
    for _ in range(3):
        seen.append(engage.get(f"{TEMPLATES}/{PROMOTION_ID}").json()["status"])
        engage.clock.forward(24 * 3_600)
    assert seen == ["Scheduled", "Active", "Ended"]
