"""Receipts and the purchase history."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox.conftest import MakeEngage
from support.sandbox_client import UNKNOWN_ID, Engage, code, item, receipt, returned

from plugin.sandbox.purchases.receipt_rules import check_receipt
from plugin.sandbox.wire import ApiError, parse_json, to_json


def test_receipt_is_accepted_and_listed_in_the_history(engage: Engage) -> None:
    contact_id = engage.contact()
    engage.seed(stores=[{"externalId": "web-se", "name": "Web Sweden", "type": "ECOMM"}])
    assert engage.post("receipts", receipt(contact_id)).status_code == 202
    page = engage.get("contacts/transactions", contactId=contact_id).json()
    assert (page["totalCount"], page["offset"], page["count"]) == (1, 0, 100)
    line = page["items"][0]
    assert (line["externalId"], line["transactionNumber"]) == ("web-se-9001", "9001")
    assert (line["storeName"], line["storeType"], line["localCurrency"]) == ("Web Sweden", "ECOMM", "SEK")
    assert (line["createdDate"], line["numberOfItems"]) == ("2026-03-05T09:00:00+00:00", 1)
    assert (line["netPriceSum"], line["lineItems"][0]["sku"]) == (200, "SKU-1")


def test_return_is_taken_with_the_documented_signs(engage: Engage) -> None:
    contact_id = engage.contact()
    assert engage.post("receipts", returned(contact_id)).status_code == 202
    line = engage.get("contacts/transactions", contactId=contact_id).json()["items"][0]
    assert (line["numberOfItems"], line["localNetPriceSum"]) == (-1, -200)


def test_exchange_has_the_net_total(engage: Engage) -> None:
    rows = [item(type="RETURN", quantity=-1), item(grossPaidPrice=300, taxAmount=60)]
    body = receipt(engage.contact(), items=rows, totalGrossPrice=50, paymentMethods=[{"type": "card", "value": 50}])
    assert engage.post("receipts", body).status_code == 202


def _without(name: str) -> dict[str, Any]:
    body = receipt("id")
    del body[name]
    return body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        *((_without(name), name) for name in receipt("id") if name != "exchangeRateToGroupCurrency"),
        *(
            (receipt("id", items=[{n: v for n, v in item().items() if n != name}]), f"items[0].{name}")
            for name in item()
        ),
        (receipt("id", contact={"matchKey": "x", "matchKeyType": "shoeSize"}), "contact.matchKeyType"),
        (receipt("id", contact={"matchKey": "x", "matchKeyType": "email", "name": "Ada"}), "contact"),
        (receipt("id", createdDate="2026-03-05T10:00:00"), "createdDate"),
        (receipt("id", createdDate="2026-03-05"), "createdDate"),
        (receipt("id", currency="kronor"), "currency"),
        (receipt("id", totalGrossPrice="250.00"), "totalGrossPrice"),
        (receipt("id", totalGrossPrice=True), "totalGrossPrice"),
        (receipt("id", totalGrossPrice=249.99), "totalGrossPrice"),
        (receipt("id", paymentMethods=[{"type": "card", "value": 249.99}]), "paymentMethods"),
        (receipt("id", paymentMethods=[{"type": "card"}]), "paymentMethods[0].value"),
        (receipt("id", exchangeRateToGroupCurrency=0), "exchangeRateToGroupCurrency"),
        (receipt("id", items=[]), "items"),
        (receipt("id", items=[item(type="DISCOUNT")]), "items[0].type"),
        (receipt("id", items=[item(quantity=-1)]), "items[0].quantity"),
        (receipt("id", items=[item(discounts=[{"value": 10}])]), "items[0].discounts[0].value"),
        (receipt("id", items=[item(awardsBonus="no")]), "items[0].awardsBonus"),
        (receipt("id", items=[item(extraData=[{"name": "spare1"}])]), "items[0].extraData[0]"),
        (receipt("id", usedPromotions=[{"promotionId": "x"}]), "usedPromotions[0].couponId"),
        (receipt("id", usedRewardVouchers=[{"checkNumber": "x"}]), "usedRewardVouchers[0].voucherNumber"),
        (receipt("id", taxDetails=[{"percent": "25"}]), "taxDetails[0].percent"),
        (returned("id", items=[item(type="RETURN", quantity=1)]), "items[0].quantity"),
        (returned("id", items=[item(type="RETURN", quantity=-1, grossPaidPrice=-250)]), "items[0].grossPaidPrice"),
        (returned("id", items=[item(type="RETURN", quantity=-1, taxAmount=-50)]), "items[0].grossPaidPrice"),
        (returned("id", totalGrossPrice=250), "totalGrossPrice"),
        (returned("id", paymentMethods=[{"type": "card", "value": 250}]), "paymentMethods"),
    ],
)
def test_receipt_that_does_not_fit_is_refused_by_field(engage: Engage, body: dict[str, Any], field: str) -> None:
    answer = engage.post("receipts", body)
    assert code(answer) == (400, "InvalidReceipt")
    assert answer.json()["field"] == field
    assert engage.view("receipts") == []


def test_sums_are_not_checked_where_the_tenant_does_not(make_engage: MakeEngage) -> None:
    engage = make_engage(check_receipt_sums=False)
    assert engage.post("receipts", receipt(engage.contact(), totalGrossPrice=249.99)).status_code == 202


def test_repeated_receipt_is_ignored_and_counted(engage: Engage) -> None:
    contact_id = engage.contact()
    for _ in range(3):
        assert engage.post("receipts", receipt(contact_id)).status_code == 202
    assert [(r["uniqueReceiptId"], r["times_received"]) for r in engage.view("receipts")] == [("web-se-9001", 3)]
    assert engage.get("contacts/transactions", contactId=contact_id).json()["totalCount"] == 1
    assert [line["kind"] for line in engage.view("integration-log")] == ["store"]


def test_existing_id_with_other_contents_changes_nothing_and_is_logged(engage: Engage) -> None:
    contact_id = engage.contact()
    engage.post("receipts", receipt(contact_id))
    engage.post("receipts", receipt(contact_id, receiptNumber="9002"))
    assert engage.view("receipts")[0]["receiptNumber"] == "9001"
    assert engage.view("integration-log")[-1]["subject"] == "web-se-9001"


def test_receipt_shows_only_after_the_import(make_engage: MakeEngage) -> None:
    engage = make_engage(import_delay_s=900)
    contact_id = engage.contact()
    engage.post("receipts", receipt(contact_id))
    assert engage.view("receipts")[0]["state"] == "queued"
    assert engage.get("contacts/transactions", contactId=contact_id).json()["items"] == []
    assert engage.view("stores") == []
    engage.clock.forward(900)
    assert len(engage.get("contacts/transactions", contactId=contact_id).json()["items"]) == 1
    assert engage.view("receipts")[0]["state"] == "imported"


def test_unknown_store_is_created(engage: Engage) -> None:
    engage.post("receipts", receipt(engage.contact(), storeExternalId="wbe-se"))
    assert [store["externalId"] for store in engage.get("stores").json()] == ["wbe-se"]


def test_unknown_contact_is_accepted_and_fails_in_the_log(engage: Engage) -> None:
    assert engage.post("receipts", receipt(UNKNOWN_ID)).status_code == 202
    log = [(line["kind"], line["subject"], line["outcome"], line["reason"]) for line in engage.view("integration-log")]
    assert log == [("receipt", "web-se-9001", "failed", "ContactNotFound")]
    assert engage.view("receipts")[0]["state"] == "failed"


@pytest.mark.parametrize(
    ("key_type", "key"),
    [
        ("contactId", None),
        ("email", "ADA@shop.test"),
        ("mobilePhone", "+46700000001"),
        ("externalId", "CUST-1"),
        ("memberNumber", "M7"),
        ("MemberNumber", "M7"),
    ],
)
def test_receipt_finds_its_contact_by_each_key(engage: Engage, key_type: str, key: str | None) -> None:
    contact_id = engage.contact(mobilePhone="+46700000001", externalId="CUST-1", memberNumber="M7")
    engage.post("receipts", receipt("", contact={"matchKey": key or contact_id, "matchKeyType": key_type}))
    assert engage.view("receipts")[0]["contactId"] == contact_id


def test_another_type_than_the_default_must_be_named(engage: Engage) -> None:
    contact_id = engage.contact(contactType="Contact")
    by_mail = {"matchKey": "ada@shop.test", "matchKeyType": "email"}
    engage.post("receipts", receipt("", contact=by_mail))
    typed = {**by_mail, "contactType": "Contact"}
    engage.post("receipts", receipt("", contact=typed, uniqueReceiptId="web-se-9002"))
    assert [r["contactId"] for r in engage.view("receipts")] == [None, contact_id]


@pytest.mark.parametrize(("redeemed", "noted"), [(False, True), (True, False)])
def test_naming_a_promotion_redeems_nothing_and_is_logged(engage: Engage, redeemed: bool, noted: bool) -> None:
    contact_id = engage.contact()
    assignment_id = engage.assignment(contact_id, redeemed=redeemed)
    engage.post("receipts", receipt(contact_id, usedPromotions=[{"couponId": assignment_id}]))
    assignment = engage.get("promotion-assignments", contactId=contact_id).json()[0]
    assert assignment["redeemed"] is redeemed
    reasons = [line["reason"] for line in engage.view("integration-log") if line["kind"] == "receipt"]
    assert reasons == (["usedPromotions names an assignment that is not redeemed"] if noted else [])


# --- history --------------------------------------------------------------------------------------------------------


def test_history_is_paged_newest_first(engage: Engage) -> None:
    contact_id = engage.contact()
    for day in range(1, 6):
        body = receipt(contact_id, uniqueReceiptId=f"R-{day}", createdDate=f"2026-03-0{day}T10:00:00+01:00")
        engage.post("receipts", body)
    page = engage.get("contacts/transactions", contactId=contact_id, offset=1, count=2).json()
    assert [line["externalId"] for line in page["items"]] == ["R-4", "R-3"]
    assert (page["totalCount"], page["offset"], page["count"]) == (5, 1, 2)


@pytest.mark.parametrize("paging", [{"offset": -1}, {"count": 0}, {"count": "many"}])
def test_paging_that_is_not_a_number_is_refused(engage: Engage, paging: dict[str, Any]) -> None:
    answer = engage.get("contacts/transactions", contactId=engage.contact(), **paging)
    assert code(answer) == (400, "InvalidPaging")


def test_history_can_be_a_bare_array(make_engage: MakeEngage) -> None:
    engage = make_engage(transactions_answer="array")
    assert engage.get("contacts/transactions", contactId=engage.contact()).json() == []


def test_each_path_of_the_history_can_be_missing(make_engage: MakeEngage) -> None:
    for by_query, by_path in ((True, False), (False, True)):
        engage = make_engage(transactions_by_query=by_query, transactions_by_path=by_path)
        contact_id = engage.contact()
        query, path = (
            engage.get("contacts/transactions", contactId=contact_id),
            engage.get(f"contacts/{contact_id}/transactions"),
        )
        assert (query.status_code == 200, path.status_code == 200) == (by_query, by_path)


def test_history_of_an_unknown_contact_is_not_found(engage: Engage) -> None:
    assert code(engage.get("contacts/transactions", contactId=UNKNOWN_ID)) == (404, "ContactNotFound")


# --- properties -----------------------------------------------------------------------------------------------------

AMOUNTS = st.integers(0, 10**7).map(lambda minor: Decimal(minor) / 100)


@given(st.lists(st.tuples(st.booleans(), AMOUNTS), min_size=1, max_size=8), st.integers(-3, 3))
def test_receipt_passes_exactly_when_its_rows_add_up(rows: list[tuple[bool, Decimal]], off_by: int) -> None:
    items = [
        item(type="RETURN" if back else "PURCHASE", quantity=-1 if back else 1, grossPaidPrice=gross, taxAmount=0)
        for back, gross in rows
    ]
    total = sum(-gross if back else gross for back, gross in rows) + Decimal(off_by) / 100
    body = receipt("x", items=items, totalGrossPrice=total, paymentMethods=[{"type": "card", "value": total}])
    sent = parse_json(to_json(body))
    if off_by:
        with pytest.raises(ApiError):
            check_receipt(sent, check_sums=True)
    else:
        assert check_receipt(sent, check_sums=True).tzinfo is not None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


FULL = receipt(
    "x",
    items=[item(discounts=[{"value": -1}], extraData=[{"name": "spare1", "value": "x"}])],
    usedPromotions=[{"couponId": "x"}],
    usedRewardVouchers=[{"voucherNumber": "x"}],
    taxDetails=[{"value": 1}],
    extraData=[{"name": "spare1", "value": "x"}],
)


def _places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the path of every value inside a receipt."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for name, part in inner for place in [(*path, name), *_places(part, (*path, name))]]


@settings(max_examples=300)
@given(st.sampled_from(_places(FULL)), JSON)
def test_any_value_in_any_place_is_taken_or_refused_and_nothing_else(place: tuple[str | int, ...], value: Any) -> None:
    body = parse_json(to_json(FULL))
    holder = body
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = value
    refused: ApiError | None = None
    try:
        check_receipt(body, check_sums=True)
    except ApiError as refusal:
        refused = refusal
    assert refused is None or (refused.status, refused.field is None) == (400, False)
