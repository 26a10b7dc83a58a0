"""The checkout: what applies to a cart, within its budget; what cannot be used any more just before payment; and who may ask."""

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.shop_api import ShopApi

EXPIRES = "2099-12-31T23:59:59Z"
CHANNELS = {
    "code": {"valueType": "EXTERNALOFFER", "value": "SPRING20"},
    "percent": {"valueType": "PERCENT", "value": "20"},
    "money": {
        "valueType": "MONEY", "value": "50",
        "localValues": [{"amount": 50, "currency": "SEK"}, {"amount": 5, "currency": "EUR"}],
    },
    "manual": {"valueType": "MANUAL", "value": "Ask the staff"},
}  # fmt: skip


class Shopper:
    """A shopper with one promotion of each kind and a voucher. ids: of the assignments, by kind."""

    def __init__(self, api: ShopApi) -> None:
        self.api = api
        self.contact = api.contact(api.shop)
        self.ids: dict[str, str] = {}
        for kind, channel in CHANNELS.items():
            self.ids[kind] = self.give(kind, [{"type": "ECOM", **channel}])
        self.ids["pos"] = self.give("pos", [{"type": "POS", **CHANNELS["percent"]}])
        local = [{"amount": 50, "currency": "SEK"}, {"amount": 5, "currency": "EUR"}]
        voucher = {"contactId": self.contact, "voucherNumber": "V-1", "value": local[0], "localValues": local}
        (self.voucher,) = api.seed(vouchers=[voucher])["vouchers"]

    def give(self, name: str, channels: list[dict[str, Any]], **assignment: Any) -> str:
        template = {
            "name": name,
            "externalId": f"X-{name}",
            "validity": {"startDate": "2026-01-01", "endDate": "2099-12-31"},
            "redemptionChannels": channels,
        }
        (self.template,) = self.api.seed(promotions=[template])["promotions"]
        given = {"contactId": self.contact, "promotionId": self.template, **assignment}
        return self.api.seed(assignments=[given])["assignments"][0]


def offers_at_last(api: ShopApi) -> list[Any]:
    """Ask until the answer is Engage's own."""
    deadline = time.monotonic() + 30
    while (answer := api.offers())["reason"]:
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)
    return list(answer["promotions"])


@pytest.fixture
def shopper(api: ShopApi) -> Shopper:
    return Shopper(api)


def test_offers_for_the_cart_have_code_value_type_and_expiry(api: ShopApi, shopper: Shopper) -> None:
    offers = {offer["assignment_id"]: offer for offer in offers_at_last(api)}
    answer = api.offers()
    assert set(offers) == {shopper.ids["code"], shopper.ids["percent"], shopper.ids["money"]}
    for kind, value, code in (("code", None, "SPRING20"), ("percent", "20", "X-percent"), ("money", "50", "X-money")):
        offer = offers[shopper.ids[kind]]
        assert (offer["type"], offer["value"], offer["code"]) == (kind, value, code)
        assert offer["expires_on"].startswith("2099-12-31")
    assert offers[shopper.ids["money"]]["currency"] == "SEK"
    (voucher,) = answer["vouchers"]
    assert (voucher["voucher_id"], voucher["number"], voucher["value"]) == (shopper.voucher, "V-1", "50")
    assert answer["reason"] is None


def test_offers_are_in_the_carts_currency_and_channel(api: ShopApi, shopper: Shopper) -> None:
    euro = {offer["type"]: offer["value"] for offer in api.offers("currency=eur")["promotions"]}
    assert euro == {"code": None, "percent": "20", "money": "5"}
    krone = api.offers("currency=DKK")
    assert {offer["type"] for offer in krone["promotions"]} == {"code", "percent"}
    assert krone["vouchers"] == []
    at_the_till = api.offers("currency=SEK&channel=POS")["promotions"]
    assert [offer["assignment_id"] for offer in at_the_till] == [shopper.ids["pos"]]


def test_used_expired_and_ordered_promotions_are_not_offered(api: ShopApi, shopper: Shopper) -> None:
    api.till(shopper.ids["percent"])
    shopper.give("gone", [{"type": "ECOM", **CHANNELS["percent"]}], expiresOn="2026-01-02T00:00:00Z")
    api.intend(api.shop, shopper.ids["money"], "o1")  # Engage does not know yet
    assert [offer["assignment_id"] for offer in api.offers()["promotions"]] == [shopper.ids["code"]]


@pytest.mark.parametrize("api", ["hurried"], indirect=True)
def test_a_slow_engage_is_answered_from_the_cache_within_the_budget(api: ShopApi, shopper: Shopper) -> None:
    assert len(offers_at_last(api)) == 3
    api.age_the_cache(5)
    api.fault(latency_s=5)
    began = time.monotonic()
    answer = api.offers()
    took = time.monotonic() - began
    assert len(answer["promotions"]) == 3
    assert answer["reason"] == "engage_slow"
    assert answer["fetched_at"] is not None
    assert took < 4  # it did not wait for Engage; the budget itself is measured by bench/checkout.py
    api.no_faults()


@pytest.mark.parametrize("api", ["hurried"], indirect=True)
def test_a_slow_engage_without_a_cached_list_gives_an_empty_list_and_fills_the_cache(
    api: ShopApi, shopper: Shopper
) -> None:
    api.fault(latency_s=0.8)
    answer = api.offers()
    assert (answer["promotions"], answer["vouchers"], answer["reason"]) == ([], [], "engage_slow")
    assert len(offers_at_last(api)) == 3


@pytest.mark.parametrize("mode", ["503", "drop"])
def test_an_engage_that_is_down_gives_an_empty_list_with_the_reason(api: ShopApi, shopper: Shopper, mode: str) -> None:
    api.fault(outage=True, outage_mode=mode)
    answer = api.offers()
    assert (answer["promotions"], answer["vouchers"], answer["reason"]) == ([], [], "engage_down")


def test_strangers_and_unverified_customers_are_offered_nothing(api: ShopApi, shopper: Shopper) -> None:
    assert api.offers(headers=api.server("77"))["reason"] == "no_contact"
    api.contact(api.shop, "2", verified=False)
    answer = api.offers(headers=api.server("2"))
    assert (answer["promotions"], answer["reason"]) == ([], "unverified")


def test_a_promotion_used_at_a_till_is_refused_before_payment(api: ShopApi, shopper: Shopper) -> None:
    assert len(api.offers()["promotions"]) == 3
    named = [{"assignment_id": shopper.ids["code"]}, {"code": "x-PERCENT"}]
    good = api.validate(promotions=named, vouchers=[{"number": "v-1"}])
    assert (good["valid"], good["checked"], good["reason"]) == (True, True, None)
    assert [check["offer"]["type"] for check in good["promotions"]] == ["code", "percent"]
    api.till(shopper.ids["code"])
    refused = api.validate(promotions=named)
    assert refused["valid"] is False
    assert [check["reason"] for check in refused["promotions"]] == ["redeemed", None]
    # and the list is fetched again at once, however fresh the cached one was
    assert shopper.ids["code"] not in {offer["assignment_id"] for offer in api.offers()["promotions"]}


def test_validation_returns_each_reason_and_explains_confused_ids(api: ShopApi, shopper: Shopper) -> None:
    gone = shopper.give("gone", [{"type": "ECOM", **CHANNELS["percent"]}], expiresOn="2026-01-02T00:00:00Z")
    open_one = shopper.give("open", [{"type": "ECOM", **CHANNELS["code"]}])
    api.intend(api.shop, shopper.ids["money"], "o1")
    cases = {
        shopper.template: "not_an_assignment_id",
        "X-percent": "not_an_assignment_id",
        "7d3c1c1e-0000-4b57-9d0a-5f5a2f7f6a01": "unknown_assignment",
        gone: "expired",
        shopper.ids["money"]: "used_by_another_order",
        shopper.ids["pos"]: "unknown_assignment",
        shopper.ids["manual"]: "not_for_this_cart",
    }
    answer = api.validate(promotions=[{"assignment_id": name} for name in cases], vouchers=[{"id": "V-9"}])
    assert [check["reason"] for check in answer["promotions"]] == list(cases.values())
    assert open_one in answer["promotions"][0]["message"]
    assert answer["vouchers"][0]["reason"] == "unknown_voucher"
    own = api.validate(promotions=[{"assignment_id": shopper.ids["money"]}], order_id="o1")
    assert own["valid"]
    assert api.validate(promotions=[{"code": "SUMMER"}])["promotions"][0]["reason"] == "unknown_code"


def test_validation_uses_the_cached_list_and_open_orders_while_engage_is_down(api: ShopApi, shopper: Shopper) -> None:
    named = [{"assignment_id": shopper.ids["code"]}, {"assignment_id": shopper.ids["money"]}]
    api.fault(outage=True)
    unknown = api.validate(promotions=named)
    assert (unknown["valid"], unknown["checked"], unknown["reason"]) == (False, False, "engage_down")
    api.no_faults()
    assert offers_at_last(api)
    api.fault(outage=True)
    api.intend(api.shop, shopper.ids["money"], "o1")
    answer = api.validate(promotions=named)
    assert (answer["checked"], answer["reason"]) == (False, "engage_down")
    assert [check["valid"] for check in answer["promotions"]] == [True, False]


def test_a_shoppers_token_identifies_the_customer(api: ShopApi, shopper: Shopper) -> None:
    hand_over = api.browser_token()
    assert len(api.offers(headers=hand_over)["promotions"]) == 3
    assert api.validate(hand_over, promotions=[{"code": "SPRING20"}])["valid"]
    checkout = api.browser_token(aud="engage-plugin-checkout", exp=int(api.clock().timestamp()) + 900)
    assert len(api.offers(headers=checkout)["promotions"]) == 3
    other = api.web.get("/api/checkout/promotions?currency=SEK", headers={**checkout, "Engage-Customer-Id": "2"})
    assert other.status_code == 403


def test_a_checkout_token_opens_no_my_pages_session_and_vice_versa(api: ShopApi, shopper: Shopper) -> None:
    session = f"/mypages/{api.shop.name}/session"
    token = api.token(api.shop)
    assert api.offers(headers={"Authorization": f"Bearer {token}"})["reason"] is None
    assert api.browser().post(session, data={"token": token}).status_code == 401
    token = api.token(api.shop)
    assert api.browser().post(session, data={"token": token}).status_code == 303
    answer = api.web.get("/api/checkout/promotions?currency=SEK", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    token = api.token(api.shop, aud="engage-plugin-checkout")
    assert api.browser().post(session, data={"token": token}).status_code == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "another"}, {"aud": "somebody"}, {"exp": 1}, {"sub": ""}, {"sub": None}, {"jti": None}, {"sub": "x" * 129},
        {"exp": 99999999999}, {"iat": True}, {"aud": ["engage-plugin-checkout", "engage-plugin"], "exp": 9e99},
    ],
)  # fmt: skip
def test_a_token_with_invalid_claims_is_refused(api: ShopApi, claims: dict[str, Any]) -> None:
    answer = api.web.get("/api/checkout/promotions?currency=SEK", headers=api.browser_token(**claims))
    assert answer.status_code == 401, answer.text
    assert answer.json is not None
    assert answer.json["code"] == "unauthorised"


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Basic abc", "Bearer a.b.c", "Bearer ept.web-se.wrong", "Bearer ept.nobody.x", "Bearer ept..",
     "Bearer å"],
)  # fmt: skip
def test_a_request_without_valid_credentials_is_refused(api: ShopApi, authorization: str) -> None:
    headers = {"Authorization": authorization, "Engage-Customer-Id": "1"}
    for answer in (
        api.web.get("/api/checkout/promotions?currency=SEK", headers=headers),
        api.web.post("/api/checkout/validate", json={"currency": "SEK"}, headers=headers),
        api.web.get("/api/promotions", headers=headers),
        api.web.post("/api/promotions", json={}, headers=headers),
    ):
        assert answer.status_code == 401, answer.text
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert api.calls() == []


def test_a_revoked_token_and_another_shops_token_give_no_access(api: ShopApi, shopper: Shopper) -> None:
    other = api.add_shop("other")
    other_token = api.tokens.create(other, api.clock())
    assert api.offers(headers=api.server(token=other_token))["reason"] == "no_contact"  # their customer 1 is not ours
    (row,) = api.tokens.all_of(api.shop)
    api.tokens.revoke(api.shop, row.id, api.clock())
    assert api.web.get("/api/checkout/promotions?currency=SEK", headers=api.server()).status_code == 401


def test_only_the_shops_own_origins_may_read_the_answer_in_a_browser(api: ShopApi, shopper: Shopper) -> None:
    api.shops.change("web-se", {"checkout_origins": "https://shop.example"})
    path = "/api/checkout/promotions?currency=SEK"
    for origin, allowed in (("https://shop.example", "https://shop.example"), ("https://evil.example", None)):
        headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        preflight = api.web.options(path, headers=headers)
        assert preflight.status_code == 204
        assert preflight.headers.get("Access-Control-Allow-Origin") == allowed
        answer = api.web.get(path, headers={**api.browser_token(), "Origin": origin})
        assert answer.headers.get("Access-Control-Allow-Origin") == allowed
        assert answer.headers["Cache-Control"] == "no-store"
        refused = api.web.get(path, headers={"Authorization": "Bearer x", "Origin": origin})
        assert refused.headers.get("Access-Control-Allow-Origin") == allowed
    server = api.web.get(path, headers={**api.server(), "Origin": "https://shop.example"})
    assert "Access-Control-Allow-Origin" not in server.headers


def test_validations_of_one_shopper_are_rate_limited(api: ShopApi, shopper: Shopper) -> None:
    api.contact(api.shop, "2")
    answers = [api.try_validate(promotions=[{"code": "SPRING20"}]) for _ in range(12)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert len(refused) <= 2
    assert refused[0].json is not None
    assert "again in" in refused[0].json["message"]
    assert api.try_validate(api.server("2")).status_code == 200


@pytest.mark.parametrize(
    "query", ["", "currency=", "currency=SE", "currency=SEK&channel=WEB", "currency=SEK&customer=1", "currency=%00%ff", "currency=ŠEK"]
)  # fmt: skip
def test_an_invalid_query_is_refused_with_a_message(api: ShopApi, query: str) -> None:
    answer = api.web.get(f"/api/checkout/promotions?{query}", headers=api.server())
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json["message"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["\ud800", "\x00", "SEK", "ECOM"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["assignment_id", "code", "id", "number", "currency", "promotions", "people", "email", "percent", "money"])
        | st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_JSON, path=st.sampled_from(["/checkout/validate", "/promotions", "/promotions/X/assignments"]))
def test_no_request_body_causes_a_500(api: ShopApi, body: Any, path: str) -> None:
    answer = api.web.post(f"/api{path}", json=body, headers=api.server())
    assert answer.status_code < 500, answer.text
    raw = api.web.post(f"/api{path}", data=b"\xff{" + repr(body).encode("utf-8", "replace"), headers=api.server())
    assert raw.status_code == 400
