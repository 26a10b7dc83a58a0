"""The merchant's promotions: drafts, both names, and lists of people that go on after a crash."""

import threading
from pathlib import Path
from typing import Any

import pytest
from support.crash_points import Crash, InterruptibleTransport
from support.shop_api import ShopApi

from plugin.engage.client import EngageClient
from plugin.engage.http.transport import EngageAccount
from plugin.errors import ConflictError, TransientError
from plugin.promotions.recipients import read_recipients
from plugin.store.orders.promotions import RowState

DRAFT = {"name": "Spring", "code": "SPRING20", "start_date": "2026-01-01", "end_date": "2099-12-31"}


@pytest.fixture
def active(api: ShopApi) -> str:
    """A promotion that a person activated; its id."""
    made = api.merchant("POST", "", DRAFT)
    assert made.status_code == 201, made.text
    assert made.json is not None
    api.activate(made.json["promotion_id"])
    return str(made.json["promotion_id"])


def assignments(api: ShopApi, contact_id: str) -> list[Any]:
    return list(api.client_for(api.shop).list_promotion_assignments(contact_id).items)


def test_a_promotion_is_created_as_a_draft_with_a_request_to_activate_it(api: ShopApi) -> None:
    made = api.merchant("POST", "", DRAFT)
    assert made.status_code == 201
    assert made.json is not None
    assert (made.json["status"], made.json["external_id"], made.json["value"]) == ("Draft", "SPRING20", "SPRING20")
    assert "a person must activate it" in made.json["next"]
    listed = api.merchant("GET", "").json
    assert listed is not None
    assert [(p["external_id"], p["status"]) for p in listed["promotions"]] == [("SPRING20", "Draft")]
    for name in (made.json["promotion_id"], "SPRING20"):
        shown = api.merchant("GET", f"/{name}").json
        assert shown is not None
        assert shown["promotion_id"] == made.json["promotion_id"]
    taken = api.merchant("POST", "", DRAFT)
    assert taken.status_code == 409
    assert made.json["promotion_id"] in taken.text
    early = api.merchant("POST", "/SPRING20/assignments", {"email": "ada@example.com"})
    assert early.status_code == 409
    assert "activate" in early.text


@pytest.mark.parametrize(
    ("kind", "value_type", "value"), [({"percent": 20}, "PERCENT", "20"), ({"money": "50.5"}, "MONEY", "50.5")]
)
def test_percent_and_money_are_sent_in_engages_format(
    api: ShopApi, kind: dict[str, Any], value_type: str, value: str
) -> None:
    body = {
        "name": "A",
        "external_id": "R-1",
        "assigned_days": 30,
        **kind,
        "money_in": [{"currency": "eur", "amount": 5}],
    }
    made = api.merchant("POST", "", body)
    assert made.status_code == 201, made.text
    assert made.json is not None
    assert (made.json["value_type"], made.json["value"]) == (value_type, value)


@pytest.mark.parametrize("fault", ["done_but_504_rate", "done_but_dropped_rate"])
def test_a_draft_whose_answer_was_lost_is_not_created_twice(api: ShopApi, fault: str) -> None:
    api.fault(**{fault: 1.0}, operations=["createPromotion"], next=1)
    assert api.merchant("POST", "", DRAFT).status_code == 201
    assert api.calls().count("createPromotion") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"percent": 20}, {"code": None}, {"name": ""}, {"name": 5}, {"end_date": "soon"}, {"end_date": "2025-01-01"},
        {"assigned_days": 30}, {"assigned_days": True}, {"code": None, "percent": 101, "external_id": "x"}, {"typo": 1},
        {"code": None, "percent": "-5", "external_id": "x"}, {"code": None, "money": 1}, {"name": "a\nb"}, {"money_in": [{}]},
    ],
)  # fmt: skip
def test_a_faulty_promotion_is_refused_before_engage_is_called(api: ShopApi, change: dict[str, Any]) -> None:
    answer = api.merchant("POST", "", {k: v for k, v in {**DRAFT, **change}.items() if v is not None})
    assert answer.status_code in {400, 409}, answer.text
    assert "createPromotion" not in api.calls()


def test_a_person_can_be_named_by_each_kind_of_id(api: ShopApi, active: str) -> None:
    contacts = {str(number): api.contact(api.shop, str(number)) for number in (1, 2, 3)}
    ways = ({"customer_id": "1"}, {"email": "2-web-se@example.com"}, {"contact_id": contacts["3"]})
    for way, contact_id in zip(ways, contacts.values(), strict=True):
        answer = api.merchant("POST", "/SPRING20/assignments", way)
        assert answer.status_code == 200, answer.text
        assert answer.json is not None
        (row,) = answer.json["rows"]
        (assignment,) = assignments(api, contact_id)
        assert (row["state"], row["assignment_id"], assignment.promotion_id) == ("assigned", assignment.id, active)
        again = api.merchant("POST", f"/{active}/assignments", way).json
        assert again is not None
        assert len(assignments(api, contact_id)) == 1
        assert again["rows"][0]["assignment_id"] == assignment.id


def test_an_assignment_id_given_as_a_promotion_id_is_explained(api: ShopApi, active: str) -> None:
    api.contact(api.shop)
    made = api.merchant("POST", f"/{active}/assignments", {"customer_id": "1"}).json
    assert made is not None
    answer = api.merchant("GET", f"/{made['rows'][0]['assignment_id']}")
    assert answer.status_code == 404
    assert answer.json is not None
    assert "assignment" in answer.json["message"]
    assert active in answer.json["message"]


def test_a_list_is_reported_row_by_row(api: ShopApi, active: str) -> None:
    first, _ = api.contact(api.shop, "1"), api.contact(api.shop, "2", verified=False)
    text = f"email;customer_id;contact_id\n;1;\n{'nobody@example.com'};;\n;;{first}\n;2;\n;99;\n;;no-guid\n\nno-mail;;\n;;\n"
    people = read_recipients(text)
    report = api.assigner.run(api.shop, api.promotion_service.find(api.shop, active), people)
    lines = {p.position: p.line for p in people}
    outcomes = {lines[row.position]: (row.state, row.reason or "") for row in report.rows}
    assert outcomes[2][0] is RowState.ASSIGNED or outcomes[4][0] is RowState.ASSIGNED
    assert {outcomes[2][0], outcomes[4][0]} == {RowState.ASSIGNED, RowState.ALREADY}
    assert "no contact in Engage" in outcomes[3][1]
    assert "not verified" in outcomes[5][1]
    assert "no contact here yet" in outcomes[6][1]
    assert "GUID" in outcomes[7][1]
    assert "not an e-mail" in outcomes[9][1]
    assert len(report.refused) == 5
    assert len(assignments(api, first)) == 1


def test_a_list_that_crashes_anywhere_continues_and_assigns_each_once(api: ShopApi, active: str) -> None:
    contacts = [api.contact(api.shop, str(number)) for number in range(12)]
    people = read_recipients("customer_id\n" + "\n".join(str(number) for number in range(12)))
    promotion = api.promotion_service.find(api.shop, active)
    calls, lock = [0], threading.Lock()
    transport = InterruptibleTransport(api.call_guards)

    def client_for(shop: Any) -> EngageClient:
        return EngageClient(EngageAccount(shop.engage_url, shop.engage_key, shop.name, shop.platform), transport)

    assigner = type(api.assigner)(
        api.promotions, api.links, api.sync_states, client_for, api.vault.digest_of, api.clock, api.pauses.append
    )

    def die(name: str) -> None:
        with lock:
            calls[0] += 1
            if calls[0] % 3 == 0 and calls[0] <= 45:
                raise Crash(name)

    transport.before = transport.after = die  # type: ignore[method-assign]
    crashes = 0
    while True:
        try:
            report = assigner.run(api.shop, promotion, people)
        except Crash:
            crashes += 1
        else:
            break
    assert crashes >= 2
    assert report.counts == {"assigned": 12}
    for row, contact_id in zip(report.rows, contacts, strict=True):
        (assignment,) = assignments(api, contact_id)
        assert row.assignment_id == assignment.id
    transport.close()


@pytest.mark.parametrize("fault", ["done_but_504_rate", "done_but_dropped_rate", "rate_429"])
def test_transient_faults_cause_pauses_and_no_duplicates(api: ShopApi, active: str, fault: str) -> None:
    contacts = [api.contact(api.shop, str(number)) for number in range(6)]
    api.fault(**{fault: 1.0}, operations=["assignPromotion"], next=3)
    report = api.assigner.run(
        api.shop,
        api.promotion_service.find(api.shop, active),
        read_recipients("\n".join(str(number) for number in range(6))),
    )
    assert report.counts == {"assigned": 6}
    assert [len(assignments(api, contact_id)) for contact_id in contacts] == [1] * 6
    assert api.pauses


def test_an_engage_outage_stops_the_list_which_continues_later(api: ShopApi, active: str) -> None:
    contacts = [api.contact(api.shop, str(number)) for number in range(3)]
    people, promotion = read_recipients("0\n1\n2"), api.promotion_service.find(api.shop, active)
    api.fault(outage=True)
    with pytest.raises(TransientError):
        api.assigner.run(api.shop, promotion, people)
    api.no_faults()
    progress: list[int] = []
    report = api.assigner.run(api.shop, promotion, people, progress=progress.append)
    assert report.counts == {"assigned": 3}
    assert progress[-1] == 3
    assert all(len(assignments(api, contact_id)) == 1 for contact_id in contacts)
    calls = len(api.calls())
    assert api.assigner.run(api.shop, promotion, people).counts == {"assigned": 3}
    assert len(api.calls()) == calls


def test_the_database_stores_neither_e_mails_of_a_list_nor_tokens(api: ShopApi, active: str, tmp_path: Path) -> None:
    api.contact(api.shop, "1")
    api.assigner.run(
        api.shop, api.promotion_service.find(api.shop, active), read_recipients("1-web-se@example.com\nx@example.com")
    )
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("plugin.sqlite*"))
    assert b"1-web-se@example.com" not in stored
    assert api.api_token.encode() not in stored


def test_an_empty_list_is_refused(api: ShopApi) -> None:
    for text in ("", "\n\n", "customer_id\n"):
        with pytest.raises(ConflictError, match="empty"):
            read_recipients(text)


@pytest.mark.parametrize(
    "body",
    [{}, {"people": []}, {"people": [{}]}, {"people": [{"email": 5}]}, {"people": [{"email": "a", "customer_id": "b"}]},
     {"email": "a@b", "customer_id": "1"}, {"people": [{"email": "a@b"}] * 201}, {"email": "a@b", "again": "yes"}],
)  # fmt: skip
def test_a_request_without_valid_recipients_is_refused(api: ShopApi, active: str, body: dict[str, Any]) -> None:
    answer = api.merchant("POST", f"/{active}/assignments", body)
    assert answer.status_code == 400, answer.text
