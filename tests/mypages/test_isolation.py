"""No data of a shopper in another's pages, in the cache file or in the logs; hostile values of Engage are harmless."""

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.mypages_harness import Pages
from werkzeug.serving import make_server

from plugin.sandbox.testing import RunningSandbox

PATHS = ("", "profile", "transactions", "promotions", "points", "vouchers", "profile?embed=1")


def _people(pages: Any) -> dict[tuple[str, str], str]:
    """Two shops with the same customer ids; each person's data has a mark of its own."""
    marks = {}
    for name in ("web", "kiosk"):
        shop = pages.add_shop(name)
        for customer in ("1", "2"):
            mark = marks[name, customer] = f"Mark{name}{customer}x"
            contact_id = pages.contact(shop, customer, firstName=mark, city=f"{mark}city")
            pages.promotion(contact_id, presentation={"heading": f"Offer {mark}"})
            pages.order(
                shop, "9001" if customer == "1" else f"{mark}-2", customer, lines=[{"name": mark, "quantity": "1"}]
            )
            pages.receipt(contact_id, 1, "2026-01-01", uniqueReceiptId=f"{mark}-r", receiptNumber=f"{mark}-receipt")
            value = {"amount": 5, "currency": "SEK"}
            pages.seed(vouchers=[{"contactId": contact_id, "value": value, "voucherNumber": f"{mark}-v"}])
    return marks


def test_two_shoppers_and_two_shops_over_real_http_never_see_each_other(
    tmp_path: Path, sandbox: RunningSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    pages = Pages(tmp_path, sandbox)
    marks = _people(pages)
    server = make_server("127.0.0.1", 0, pages.app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url, faults = f"http://127.0.0.1:{server.server_port}", []

    def visit(person: tuple[str, str], round_number: int) -> None:
        shop = pages.shops.get(person[0])
        with requests.Session() as browser:
            token = pages.token(shop, person[1])
            browser.post(f"{url}/mypages/{shop.name}/session", data={"token": token}, timeout=30).raise_for_status()
            for path in PATHS:
                accept = "application/json" if round_number % 2 else "text/html"
                fresh = {"Cache-Control": "no-cache"} if round_number == 2 else {}
                answer = browser.get(
                    f"{url}/mypages/{shop.name}/{path}", headers={"Accept": accept, **fresh}, timeout=30
                )
                foreign = [mark for mark in marks.values() if mark != marks[person] and mark in answer.text]
                own = marks[person] in answer.text or path == "points"
                if answer.status_code != 200 or foreign or not own:
                    faults.append((person, path, answer.status_code, foreign, own))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda entry: visit(*entry), [(person, n) for n in range(4) for person in marks]))
    server.shutdown()
    server.server_close()
    assert not faults
    pages.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("my-pages-cache.sqlite*"))
    assert len(stored) > 10_000
    ids = [contact["id"] for contact in requests.get(f"{sandbox.url}/sandbox/contacts", timeout=5).json()]
    logged = "\n".join(
        record.getMessage() for record in caplog.records if record.name.startswith(("plugin", "mypages"))
    )
    for secret in (*marks.values(), "example.com", "key-web", *ids):
        assert secret.encode() not in stored
        assert secret not in logged


def test_a_contact_that_two_shops_share_is_cached_separately(pages: Any) -> None:
    web, kiosk = pages.add_shop("web"), pages.add_shop("kiosk")
    contact_id = pages.contact(web, firstName="Ada")
    from plugin.store.contacts.links import Link

    pages.links.save(kiosk, "1", Link(contact_id, True, "test"), pages.clock())
    for shop in (web, kiosk):
        assert "Ada" in pages.logged_in(shop).get(f"/mypages/{shop.name}/profile").text
    assert pages.calls().count("getContact") == 2


class HostileEngage(BaseHTTPRequestHandler):
    """Answers reads with whatever a test puts into `answers`."""

    answers: dict[str, bytes] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        body = next((body for path, body in self.answers.items() if path in self.path), b"[]")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hostile(tmp_path: Path, sandbox: RunningSandbox) -> Any:
    pages = Pages(tmp_path, sandbox)
    with ThreadingHTTPServer(("127.0.0.1", 0), HostileEngage) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        pages.sandbox = RunningSandbox(f"http://127.0.0.1:{server.server_port}", sandbox.state)
        shop = pages.add_shop("web", points="yes", vouchers="yes", editable_fields="firstName,birthDay,countryCode,odd")
        from plugin.store.contacts.links import Link

        pages.links.save(shop, "1", Link("c1", True, "test"), pages.clock())
        pages.order(shop, "9001")
        yield pages, shop, pages.logged_in(shop)
        server.shutdown()
    pages.close()


TEXTS = (
    "<script>alert(1)</script>", "'\"><img src=x onerror=alert(1)>", "{{ 7*7 }}", "{% raw %}", "{{'a'|upcase}}",
    "javascript:alert(1)", "\u202egnirts", "\x00\x1b[31m", "\ud800", "x" * 5000, "\u0627\u0644\u0639\u0631\u0628", "", " ",
    "0", "-1", "1e999", "NaN", "2026-13-45", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00",
)  # fmt: skip
ODD: Any = st.one_of(
    st.sampled_from(TEXTS), st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(allow_nan=False),
    st.lists(st.sampled_from(TEXTS), max_size=2), st.dictionaries(st.sampled_from(TEXTS[:4]), st.sampled_from(TEXTS), max_size=2),
)  # fmt: skip


def _object(*names: str) -> Any:
    """An object with some of these fields, with arbitrary values, and with an unknown field."""
    fields = dict.fromkeys(names, ODD)
    return st.fixed_dictionaries({}, optional={**fields, "surprise": ODD})


KINDS = ["PERCENT", "MONEY", "EXTERNALOFFER", "MANUAL"]
CHANNEL = st.one_of(
    ODD,
    _object("type", "valueType", "value", "localValues", "instruction"),
    st.fixed_dictionaries({"type": st.just("ECOM"), "valueType": st.sampled_from(KINDS), "value": ODD}),
)
ANSWERS = {
    "/transactions": st.one_of(ODD, st.lists(_object(
        "id", "transactionNumber", "externalId", "createdDate", "storeName", "numberOfItems", "netPriceSum", "localNetPriceSum",
        "localCurrency", "groupCurrency", "lineItems"), max_size=3)),
    "/promotion-assignments": st.one_of(ODD, st.lists(st.fixed_dictionaries({"id": st.sampled_from(TEXTS)}, optional={
        "heading": ODD, "description": ODD, "link": ODD, "expiresOn": ODD, "redeemed": ODD, "redeemedOn": ODD,
        "redemptionChannels": st.lists(CHANNEL, max_size=2)}), max_size=3)),
    "/reward-vouchers": st.one_of(ODD, st.lists(_object(
        "id", "voucherNumber", "name", "redeemed", "expiresOn", "value", "localValues", "points"), max_size=3)),
    "/point-accounts": st.one_of(ODD, st.lists(_object("id", "balance", "pendingPoints", "balanceExpires"), max_size=2)),
    "/point-transactions": st.one_of(ODD, st.lists(_object("id", "description", "amount", "type", "transactionDate"), max_size=3)),
    "/contacts/c1": st.one_of(ODD, st.fixed_dictionaries({"id": st.just("c1")}, optional={
        "attributes": st.one_of(ODD, _object("firstName", "email", "birthDay", "countryCode", "odd")),
        "preferences": st.one_of(ODD, st.fixed_dictionaries({}, optional={"acceptsEmail": ODD, "acceptsSms": st.booleans()}))})),
}  # fmt: skip


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.fixed_dictionaries(ANSWERS))
def test_whatever_engage_answers_is_harmless(hostile: Any, bodies: dict[str, Any]) -> None:
    pages, shop, browser = hostile
    HostileEngage.answers = {path: json.dumps(body).encode() for path, body in bodies.items()}
    pages.response_cache.cache.responses.clear()
    pages.drop_cached_pages()
    for path in (*PATHS, "transactions/R1"):
        answer = browser.get(f"/mypages/web/{path}")
        assert answer.status_code in {200, 404}, path
        _is_harmless(answer.text)
        answer = browser.get(f"/mypages/web/{path}", headers={"Accept": "application/json"})
        assert answer.status_code in {200, 404}, path
        assert answer.json
    token = pages.csrf(browser, shop) if "csrf" in browser.get("/mypages/web/profile").text else ""
    answer = browser.post("/mypages/web/profile", data={"csrf": token, "firstName": "<b>", "birthDay": "x"})
    assert answer.status_code < 500 or answer.status_code == 503
    _is_harmless(answer.text)


def _is_harmless(page: str) -> None:
    for word in ("<script>", "<img src=x", "onerror=alert(1)>", 'href="javascript', "\u202e", "\x00", "\x1b"):
        assert word not in page
    assert ">49<" not in page
    assert len(page) < 200_000


@pytest.mark.parametrize("hostile_text", TEXTS)
def test_a_text_in_every_field_is_harmless(hostile: Any, hostile_text: str) -> None:
    """Each text is where a text is expected, so that it reaches the page."""
    pages, _, browser = hostile
    money = {"amount": 5, "currency": hostile_text}
    channel = {"type": "ECOM", "valueType": "EXTERNALOFFER", "value": hostile_text, "instruction": hostile_text}
    texts = ("id", "transactionNumber", "externalId", "storeName", "localCurrency", "groupCurrency", "heading", "description",
             "name", "link", "voucherNumber", "type", "source")  # fmt: skip
    row = {**dict.fromkeys(texts, hostile_text), "redemptionChannels": [channel], "localNetPriceSum": 5,
           "lineItems": [{"articleName": hostile_text, "quantity": hostile_text, "grossPaidPrice": hostile_text}]}  # fmt: skip
    names = ("firstName", "lastName", "email", "birthDay", "countryCode", "odd", "memberNumber")
    contact = {"id": "c1", "attributes": dict.fromkeys(names, hostile_text)}
    rows = json.dumps([{**row, "value": money, "localValues": [money], "amount": 5}]).encode()
    HostileEngage.answers = {
        "/transactions": json.dumps([row]).encode(),
        "/contacts/c1": json.dumps(contact).encode(),
        "/": rows,
    }
    for path in PATHS:
        answer = browser.get(f"/mypages/web/{path}")
        assert answer.status_code == 200
        _is_harmless(answer.text)
    assert pages.json(browser, "/mypages/web/promotions")["promotions"]["state"] == "fresh"
    assert pages.json(browser, "/mypages/web/transactions")["purchases"]["state"] == "fresh"
    assert pages.json(browser, "/mypages/web/profile")["profile"]["state"] == "fresh"


@pytest.mark.parametrize(
    "when",
    [
        "2026-13-45",
        "9999-12-31T23:59:59-12:00",
        "0001-01-01T00:00:00+14:00",
        "2026-01-01T10:00:00.123456789Z",
        "2026-01-01",
    ],
)
def test_unusual_times_and_numbers_do_not_break_a_page(hostile: Any, when: str) -> None:
    pages, _, browser = hostile
    times = ("createdDate", "expiresOn", "redeemedOn", "balanceExpires", "transactionDate", "validTo")
    numbers = ("numberOfItems", "netPriceSum", "localNetPriceSum", "balance", "pendingPoints", "points")
    for number in (10**18, -1, "12", "NaN", 1e308):
        row = {"id": "1", **dict.fromkeys(times, when), **dict.fromkeys(numbers, number)}
        HostileEngage.answers = {"/contacts/c1": b'{"id": "c1"}', "/": json.dumps([row]).encode()}
        pages.response_cache.cache.responses.clear()
        pages.drop_cached_pages()
        for path in PATHS:
            assert browser.get(f"/mypages/web/{path}").status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[[[[", b"[" * 100_000, b'{"items": 7}', b'"text"', b"<html>", b"\xff\xfe", b"9" * 10_000]
)
def test_a_malformed_answer_does_not_break_a_page(hostile: Any, body: bytes) -> None:
    _, _, browser = hostile
    HostileEngage.answers = {"/": body}
    for path in PATHS:
        assert browser.get(f"/mypages/web/{path}").status_code == 200
