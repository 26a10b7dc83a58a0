"""A real shop end to end: Vendure, bridged to the Standard platform, with people who sign up, buy and send things back.

Runs where the shop's modules are installed (`make test-shop` installs them) and skips elsewhere.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from support.running_plugin import RunningPlugin, free_port, wait_for

from plugin.sandbox.testing import RunningSandbox, running_sandbox

SHOP = Path(__file__).parent.parent / "shops" / "vendure"
START_S = 180.0
ARRIVE_S = 60.0
ADDRESS = {
    "fullName": "Anna Svensson",
    "streetLine1": "Storgatan 1",
    "city": "Stockholm",
    "postalCode": "111 22",
    "countryCode": "SE",
    "phoneNumber": "+46701234567",
}

pytestmark = pytest.mark.skipif(
    not ((SHOP / "node_modules").is_dir() and shutil.which("node")),
    reason="the shop's modules are not installed: make test-shop",
)


class Api:
    """One visitor of the shop, or its staff."""

    def __init__(self, url: str) -> None:
        self._url, self._session = url, requests.Session()

    def ask(self, query: str, **variables: Any) -> Any:
        answer = self._session.post(self._url, json={"query": query, "variables": variables}, timeout=30)
        token = answer.headers.get("vendure-auth-token")
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"
        found = answer.json()
        assert not found.get("errors"), found
        return found["data"]

    def buy(self, *wanted: tuple[str, int], guest: str | None = None) -> dict[str, Any]:
        """Put goods into the basket, give an address, pay; return the order."""
        products = self.ask("{products{items{variants{id sku}}}}")["products"]["items"]
        ids = {variant["sku"]: variant["id"] for product in products for variant in product["variants"]}
        for sku, quantity in wanted:
            self.ask(
                "mutation($v:ID!,$n:Int!){addItemToOrder(productVariantId:$v,quantity:$n)"
                "{__typename ... on ErrorResult{message}}}",
                v=ids[sku],
                n=quantity,
            )
        if guest:
            who = {"emailAddress": guest, "firstName": "Gu", "lastName": "Est"}
            self.ask("mutation($i:CreateCustomerInput!){setCustomerForOrder(input:$i){__typename}}", i=who)
        self.ask("mutation($a:CreateAddressInput!){setOrderShippingAddress(input:$a){__typename}}", a=ADDRESS)
        method = self.ask("{eligibleShippingMethods{id}}")["eligibleShippingMethods"][0]["id"]
        self.ask("mutation($i:[ID!]!){setOrderShippingMethod(shippingMethodId:$i){__typename}}", i=[method])
        self.ask('mutation{transitionOrderToState(state:"ArrangingPayment"){__typename}}')
        code = self.ask("{eligiblePaymentMethods{code}}")["eligiblePaymentMethods"][0]["code"]
        paid: dict[str, Any] = self.ask(
            "mutation($m:String!){addPaymentToOrder(input:{method:$m,metadata:{}})"
            "{__typename ... on Order{id code state totalWithTax} ... on ErrorResult{message}}}",
            m=code,
        )["addPaymentToOrder"]
        assert paid["state"] == "PaymentSettled", paid
        return paid


class VendureShop:
    """The running shop."""

    def __init__(self, folder: Path, webhook_url: str, secret: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "shop.log"
        environment = {
            **os.environ,
            "SHOP_PORT": str(port),
            "SHOP_FOLDER": str(folder),
            "WEBHOOK_URL": webhook_url,
            "WEBHOOK_SECRET": secret,
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(["node", "shop.js"], cwd=SHOP, env=environment, stdout=log, stderr=log)

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return "READY" in self.log.read_text()

        wait_for(ready, START_S, "the shop did not start")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory, sandbox: RunningSandbox) -> Iterator[RunningPlugin]:
    running = RunningPlugin(tmp_path_factory.mktemp("plugin"), {}, free_port())
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory, plugin: RunningPlugin, sandbox: RunningSandbox
) -> Iterator[VendureShop]:
    options = ["--platform", "standard", "--engage-url", sandbox.url, "--engage-key", "K", "--store", "web-se"]
    card = plugin.command("shops", "add", "vendure", *options)
    running = VendureShop(tmp_path_factory.mktemp("shop"), card["webhook_url"], card["webhook_secret"])
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.stop()


def test_purchases_in_a_real_shop_arrive_in_engage(
    shop: VendureShop, plugin: RunningPlugin, sandbox: RunningSandbox
) -> None:
    anna, staff, guest = (Api(f"{shop.url}/{path}") for path in ("shop-api", "admin-api", "shop-api"))
    staff.ask('mutation{login(username:"superadmin",password:"superadmin"){__typename}}')

    # she registers, says yes to e-mail and tells her birthday
    person = {
        "emailAddress": "anna@example.se",
        "firstName": "Anna",
        "lastName": "Svensson",
        "password": "S3cret-pass!",
    }
    anna.ask("mutation($i:RegisterCustomerInput!){registerCustomerAccount(input:$i){__typename}}", i=person)
    anna.ask('mutation{login(username:"anna@example.se",password:"S3cret-pass!"){__typename}}')
    anna.ask(
        'mutation{updateCustomer(input:{phoneNumber:"+46701234567",'
        'customFields:{acceptsEmail:true,birthDate:"1990-04-01T00:00:00Z"}}){id}}'
    )
    _wait_for(lambda: _contact(sandbox, "anna@example.se").get("preferences", {}).get("acceptsEmail") is True, plugin)
    attributes = _contact(sandbox, "anna@example.se")["attributes"]
    assert (attributes["firstName"], attributes["mobilePhone"], attributes["birthDay"]) == (
        "Anna", "+46701234567", "1990-04-01",
    )  # fmt: skip

    # she buys; a guest buys
    bought = anna.buy(("SHIRT-M", 2), ("MUG-1", 1))
    by_guest = guest.buy(("MUG-1", 1), guest="guest@example.se")
    purchases = {f"vendure-{order['code']}": order["totalWithTax"] for order in (bought, by_guest)}
    _wait_for(lambda: purchases.keys() <= _receipts(sandbox).keys(), plugin)
    receipts = _receipts(sandbox)
    for receipt_id, total in purchases.items():
        assert round(float(receipts[receipt_id]["totalGrossPrice"]) * 100) == total
    assert {item["sku"] for item in receipts[f"vendure-{bought['code']}"]["items"]} == {"SHIRT-M", "MUG-1", "SHIPPING"}
    assert _contact(sandbox, "guest@example.se")["attributes"]["contactType"] == "Contact"

    # one shirt comes back
    order = staff.ask("query($i:ID!){order(id:$i){lines{id productVariant{sku}} payments{id}}}", i=bought["id"])[
        "order"
    ]
    line = next(one["id"] for one in order["lines"] if one["productVariant"]["sku"] == "SHIRT-M")
    refund = staff.ask(
        "mutation($i:RefundOrderInput!){refundOrder(input:$i){__typename ... on Refund{id total} ... on ErrorResult{message}}}",
        i={
            "lines": [{"orderLineId": line, "quantity": 1}],
            "shipping": 0,
            "adjustment": 0,
            "paymentId": order["payments"][0]["id"],
            "reason": "too small",
        },
    )["refundOrder"]
    staff.ask(
        'mutation($i:ID!){settleRefund(input:{id:$i,transactionId:"t1"}){__typename ... on ErrorResult{message}}}',
        i=refund["id"],
    )
    return_id = f"vendure-{bought['code']}-R{refund['id']}"
    _wait_for(lambda: return_id in _receipts(sandbox), plugin)
    returned = _receipts(sandbox)[return_id]
    assert round(float(returned["totalGrossPrice"]) * 100) == -refund["total"]
    assert [(item["type"], item["sku"], float(item["quantity"])) for item in returned["items"]] == [
        ("RETURN", "SHIRT-M", -1)
    ]

    # the books balance
    _wait_for(lambda: plugin.status()["pending"] + plugin.status()["leased"] == 0, plugin)
    counts = plugin.status()
    assert counts["parked"] == 0, plugin.command("events", "list", "--state", "parked", "--json")
    assert counts["accepted"] == sum(number for state, number in counts.items() if state != "accepted")
    assert all(receipt["times_received"] == 1 for receipt in _receipts(sandbox).values())


def _wait_for(condition: Any, plugin: RunningPlugin) -> None:
    until = time.monotonic() + ARRIVE_S
    while not condition():
        if time.monotonic() > until:
            events = plugin.command("events", "list", "--json")
            pytest.fail(f"it did not arrive: {json.dumps(events, indent=1)[:4000]}")
        time.sleep(0.2)


def _contact(sandbox: RunningSandbox, email: str) -> dict[str, Any]:
    found = requests.get(f"{sandbox.url}/sandbox/contacts", timeout=5).json()
    return next((contact for contact in found if contact["attributes"].get("email") == email), {})


def _receipts(sandbox: RunningSandbox) -> dict[str, dict[str, Any]]:
    return {row["uniqueReceiptId"]: row for row in requests.get(f"{sandbox.url}/sandbox/receipts", timeout=5).json()}
