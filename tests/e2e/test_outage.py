"""Two days without Engage: files go to a real SFTP server, workers are killed with SIGKILL, and the books balance.

`make outage` is the long form: 10,000 orders, 500 kills, two simulated days; OUTAGE_SEED repeats a run.
"""

import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
import requests
from support.bodies import PROMOTION, customer, order, promotion, refund
from support.outage_worker import Shared
from support.running_plugin import wait_for
from support.sftp_servers import SftpServer, has_openssh, openssh, scripted

from plugin.events import CustomerUpdated
from plugin.platforms.base import Delivery
from plugin.platforms.registry import PLATFORMS
from plugin.sandbox.options import SandboxOptions
from plugin.sandbox.purchases.file_import import take_files
from plugin.sandbox.testing import RunningSandbox, running_sandbox
from plugin.store.contacts.links import Link
from plugin.store.contacts.sync_state import SyncedValue
from plugin.store.database.engine import Database
from plugin.store.inbox.admin import EventAdmin, EventFilter
from plugin.store.shops.shops import NewShop
from plugin.store.shops.vault import Vault
from webhooks.attempt.runtime import Stores
from webhooks.contacts.attributes import attributes_of
from webhooks.receiving.new_event import new_event

ORDERS = int(os.environ.get("OUTAGE_ORDERS", "80"))
KILLS = int(os.environ.get("OUTAGE_KILLS", "8"))
SEED = int(os.environ.get("OUTAGE_SEED") or random.SystemRandom().randrange(10**6))
OUTAGE_S = 2 * 86400.0
STEPS = max(9, ORDERS // 100)
SECRET_KEY = "a key of tests that is longer than thirty-two characters"
FOLDER = "integration/transactionImport"
RECEIPT_ID = re.compile(rb"<uniqueReceiptId>([^<]+)<")


@dataclass
class Books:
    """What the shop sent, and what Engage must have of it in the end."""

    receipts: set[str] = field(default_factory=set)
    assignments: set[str] = field(default_factory=set)
    last_names: dict[str, str] = field(default_factory=dict)
    imported: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    files: int = 0


class TwoDays:
    """The shop, Engage's importer and the reaper, on one simulated clock."""

    def __init__(self, folder: Path, sandbox: RunningSandbox, server: SftpServer, shared: Shared) -> None:
        self.shared, self.sandbox, self.books, self.random = shared, sandbox, Books(), random.Random(SEED)
        self.inbound = folder / "server" / FOLDER
        self.inbound.mkdir(parents=True)
        database = Database(f"sqlite:///{folder / 'plugin.sqlite'}")
        database.migrate()
        self.database, self.vault = database, Vault(SECRET_KEY)
        self.stores, self.desk = Stores.on(database, self.vault), EventAdmin(database)
        settings = {"store": "web-se", "fallback": "yes", "redeem_wait_s": "3600"}
        new = NewShop("web-se", "standard", sandbox.url, "key-of-outage", "whsec_" + "A" * 32, settings)
        self.shop = self.stores.shops.add(new, shared.now())
        self.people = max(20, ORDERS // 20)
        self._know_people()
        config = {
            "database_url": f"sqlite:///{folder / 'plugin.sqlite'}",
            "secret_key": SECRET_KEY,
            "folder": str(folder / "files"),
            "shared": str(folder / "shared"),
            "server": {
                "host": "127.0.0.1", "port": server.port, "user": server.user, "host_key": server.host_key,
                "key": server.key, "base": str(folder / "server"), "silence_s": 20.0,
            },
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        tests = str(Path(__file__).parents[1])
        paths = os.pathsep.join([tests, str(Path(tests).parent), os.environ.get("PYTHONPATH", "")])
        with (folder / "worker.log").open("wb") as log:
            self.host = subprocess.Popen(
                [sys.executable, "-m", "support.outage_worker", str(folder / "config.json")],
                env={**os.environ, "PYTHONPATH": paths}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self.log = folder / "worker.log"

    # --- the shop ---

    def step(self, number: int, orders: range) -> None:
        """Send one step's events, let files travel, and kill now and then."""
        self.shared.put("server_away", float(number % 9 in {6, 7, 8} or number == STEPS - 1))
        self._send([event for i in orders for event in self._events_of(i)])
        for _ in range(KILLS * 4 // 5 * (number + 1) // STEPS - KILLS * 4 // 5 * number // STEPS):
            self.kill()
        self._wait_for_turns(1)
        if number % 2 == 0:
            self.take()
        self._forward(OUTAGE_S / STEPS - 2)

    def kill(self) -> None:
        """Kill the worker at any moment, and let its lease run out."""
        time.sleep(self.random.random() * 0.25)
        assert self.host.stdin is not None
        assert self.host.stdout is not None
        self.host.stdin.write("kill\n")
        self.host.stdin.flush()
        assert self.host.stdout.readline(), self.log.read_text()[-3000:]
        self.books.kills += 1
        self._forward(61)

    def take(self) -> None:
        """Let Engage's job import and delete what lies there."""
        for path in self.inbound.glob("*.xml"):
            self.books.imported.update(found.decode() for found in RECEIPT_ID.findall(path.read_bytes()))
            self.books.files += 1
        with self.sandbox.state.lock:
            outcomes = take_files(self.sandbox.state, self.inbound, self.shared.now())
        assert outcomes.keys() <= {"imported", "known receipt", "rows", "files"}, outcomes

    def end(self) -> None:
        """Let Engage answer again, and work until everything is done."""
        self.sandbox.state.faults.clear()
        self.shared.put("server_away", 0)
        self.shared.put("away_since", 0)
        until = time.monotonic() + max(300, KILLS * 10)
        while self.books.kills < KILLS or not self._done():
            assert time.monotonic() < until, (self.desk.status(), self.log.read_text()[-3000:])
            if self.books.kills < KILLS:
                self.kill()
            self._wait_for_turns(1)
            self.take()
            self._forward(30)

    def stop(self) -> None:
        self.host.communicate("stop\n", timeout=30)
        self.database.close()

    # --- what it comes to ---

    def problems(self) -> list[str]:
        counts = self.desk.status()
        found = []
        if counts.pop("accepted") != sum(counts.values()):
            found.append(f"the states do not add up: {counts}")
        if counts["delivered"] != sum(counts.values()):
            parked = [event.last_error for event in self.desk.find(EventFilter(state="parked"))]
            found.append(f"not all is delivered: {counts}, parked: {parked[:5]}")
        receipts = {row["uniqueReceiptId"]: row for row in self._get("/sandbox/receipts")}
        if set(receipts) != self.books.receipts:
            found.append(f"lost {list(self.books.receipts - set(receipts))[:5]}, too many {list(receipts)[:5]}")
        if wrong := [i for i, row in receipts.items() if row["state"] != "imported"]:
            found.append(f"not imported: {wrong[:5]}")
        by_api = {
            json.loads(call["requestBody"])["uniqueReceiptId"]
            for call in self._get("/sandbox/calls?bodies=1")
            if call["operationId"] == "createReceipt" and call["status"] == 202
        }
        if both := by_api & set(self.books.imported):
            found.append(f"went both ways: {sorted(both)[:5]}")
        if twice := [i for i, times in self.books.imported.items() if times > 1]:
            found.append(f"in two files: {twice[:5]}")
        for receipt_id, row in receipts.items():
            bought = receipt_id.partition("-R")[0]
            if bought != receipt_id and receipts[bought]["receivedOn"] > row["receivedOn"]:
                found.append(f"{receipt_id} came before its purchase")
        redeemed = Counter(row["id"] for row in self._get("/sandbox/redemptions") if row["outcome"] == "Redeemed")
        if redeemed != Counter(self.books.assignments):
            found.append(f"redemptions: {redeemed} instead of {self.books.assignments}")
        names = {c["attributes"].get("email"): c["attributes"].get("lastName") for c in self._get("/sandbox/contacts")}
        wrong_names = {email: names.get(email) for email, n in self.books.last_names.items() if names.get(email) != n}
        if wrong_names:
            found.append(f"{len(wrong_names)} contacts have an old name")
        return found

    # --- inside ---

    def _know_people(self) -> None:
        self._post("/sandbox/seed", {"stores": [{"externalId": "web-se", "name": "Web"}], "promotions": [promotion()]})
        people = [
            {"email": f"p{n}@example.com", "contactType": "Member", "lastName": "Berg"} for n in range(self.people)
        ]
        self.contact_ids = self._post("/sandbox/seed", {"contacts": people})["contacts"]
        links = {str(n): Link(contact_id, True, "a test") for n, contact_id in enumerate(self.contact_ids)}
        self.stores.links.save_missing(self.shop, links, self.shared.now())
        for number, contact_id in enumerate(self.contact_ids):
            self._know_what_was_sent(number, contact_id)
        every = [{"contactId": self.contact_ids[n], "promotionId": PROMOTION} for n in range(0, self.people, 4)]
        self.free = dict(
            zip(
                range(0, self.people, 4),
                self._post("/sandbox/seed", {"assignments": every})["assignments"],
                strict=True,
            )
        )

    def _know_what_was_sent(self, number: int, contact_id: str) -> None:
        """Let a person's data be known to Engage, so that an order of theirs needs nothing but its receipt."""
        body = {
            "type": "customer.updated",
            "timestamp": self.shared.now().isoformat(),
            "data": {"customer": _person(number)},
        }
        (event,) = (
            PLATFORMS["standard"]
            .normalise(Delivery("customer.updated"), json.dumps(body).encode(), self.shared.now())
            .events
        )
        assert isinstance(event, CustomerUpdated)
        now = self.shared.now()
        fields = attributes_of(self.shop, event.customer)
        sent = {name: SyncedValue(self.vault.digest_of(value), now) for name, value in fields.items()}
        with self.database.transaction() as session:
            self.stores.sync_states.sent_write(self.shop, contact_id, sent, now, contact_type="Member")(session)

    def _events_of(self, number: int) -> list[tuple[str, dict[str, Any]]]:
        """Return one order with what comes with it: a signup, a change, a promotion, a refund."""
        who = self.random.randrange(self.people)
        person = _person(who)
        events: list[tuple[str, dict[str, Any]]] = []
        if number % 20 == 7:  # somebody new, whom only the API can make known
            person = customer(id=f"new-{number}", email=f"new-{number}@example.com", phone=None)
            events.append(("customer.created", {"customer": person}))
        elif number % 20 == 3:
            name = f"Name {number}"
            person = {**person, "last_name": name}
            self.books.last_names[f"p{who}@example.com"] = name
            events.append(("customer.updated", {"customer": person}))
        changes: dict[str, Any] = {"customer": person}
        if person["id"] == str(who) and who in self.free:
            assignment = self.free.pop(who)
            self.books.assignments.add(assignment)
            changes["promotions"] = [{"assignment_id": assignment}]
        if person["id"] == str(who):  # each says the name that is true when it is sent
            person = {**person, "last_name": self.books.last_names.get(f"p{who}@example.com", "Berg")}
            self.books.last_names[f"p{who}@example.com"] = person["last_name"]
            changes["customer"] = person
        events.append(("order.paid", {"order": order(str(number), **changes)}))
        self.books.receipts.add(f"web-se-{number}")
        if number % 25 == 11:
            events.append(("order.refunded", {"refund": refund(str(number), "1")}))
            self.books.receipts.add(f"web-se-{number}-R1")
        return events

    def _send(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        platform, inbox, rows = PLATFORMS["standard"], self.stores.inbox, []
        for number, (topic, data) in enumerate(events):
            at = self.shared.now() + timedelta(milliseconds=number)
            body = json.dumps({"type": topic, "timestamp": at.isoformat(), "data": data}).encode()
            delivery = Delivery(topic, delivery_id=f"{at.timestamp()}-{number}")
            rows.append(new_event(inbox, self.vault, self.shop, platform, delivery, body, at))
            if topic == "order.paid":
                inbox.accept_many(rows)  # a refund finds its customer by its order
                rows = []
        if rows:
            inbox.accept_many(rows)
        self._forward(2)

    def _forward(self, seconds: float) -> None:
        self.shared.put("now", self.shared.get("now") + seconds)

    def _wait_for_turns(self, number: int) -> None:
        wanted = self.shared.get("turns") + number + 1  # the one under way may have begun before
        wait_for(lambda: self.shared.get("turns") >= wanted, 120, f"no turn ended: {self.log.read_text()[-2000:]}")

    def _done(self) -> bool:
        counts = self.desk.status()
        return counts["delivered"] == counts["accepted"] or counts["parked"] > 0

    def _get(self, path: str) -> Any:
        answer = requests.get(self.sandbox.url + path, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def _post(self, path: str, body: Any) -> Any:
        answer = requests.post(self.sandbox.url + path, json=body, timeout=60)
        assert answer.ok, answer.text
        return answer.json()


def _person(number: int) -> dict[str, Any]:
    return customer(id=str(number), email=f"p{number}@example.com", phone=None)


def test_two_days_without_engage_lose_nothing_and_send_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    shared = Shared.at(tmp_path / "shared")
    shared.put("now", datetime(2026, 3, 5, 9, 30, tzinfo=UTC).timestamp())
    options = SandboxOptions(rate_limit_per_s=None, keep_calls=400_000)
    sftp = openssh(tmp_path / "sshd") if has_openssh() else scripted(tmp_path / "asyncssh")
    with running_sandbox(options, shared.now) as sandbox, sftp as server:
        days = TwoDays(tmp_path, sandbox, server, shared)
        try:
            shared.put("away_since", shared.get("now"))
            days.sandbox.state.faults.update({"error_rate": 1.0}, frozenset())
            for number in range(STEPS):
                days.step(number, range(ORDERS * number // STEPS, ORDERS * (number + 1) // STEPS))
            spooled = days.desk.status()
            days.end()
            problems = days.problems()
        finally:
            days.stop()
    books = days.books
    with capsys.disabled():
        click.echo(
            f"\noutage seed={SEED} orders={ORDERS} receipts={len(books.receipts)} kills={books.kills} files={books.files} "
            f"receipts in files={sum(books.imported.values())} at the end of the outage={spooled} "
            f"seconds={time.monotonic() - started:.0f}"
        )
    assert not problems, (SEED, problems)
    assert books.kills >= KILLS
    assert sum(books.imported.values()) > ORDERS // 2
    assert spooled["spooled"] > 0
