"""A stream of events, and somebody who kills processes, empties Redis and makes Engage fail meanwhile."""

import json
import os
import random
import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from redis import Redis, RedisError
from standardwebhooks.webhooks import Webhook

from plugin.runtime.embedded_redis import EmbeddedRedis
from plugin.sandbox.testing import RunningSandbox
from support.bodies import customer, order, promotion
from support.running_plugin import RunningPlugin, wait_for

FAULTS: tuple[dict[str, Any], ...] = (
    {"error_rate": 0.3},
    {"rate_429": 0.3, "retry_after_s": 1},
    {"done_but_504_rate": 0.3},
    {"done_but_dropped_rate": 0.3},
    {"outage": True, "outage_mode": "drop"},
    {"latency_s": 0.2, "latency_jitter_s": 0.2},
    {},
    {},
)
NO_FAULTS = {
    "error_rate": 0.0, "rate_429": 0.0, "retry_after_s": None, "done_but_504_rate": 0.0, "done_but_dropped_rate": 0.0,
    "outage": False, "outage_mode": "503", "latency_s": 0.0, "latency_jitter_s": 0.0,
}  # fmt: skip
SENDERS = 8
#: A shop sends again for hours; on a busy machine whose web is killed every second or two, two minutes are not enough.
REPEATS_FOR_S = 600


@dataclass(slots=True)
class Person:
    """A customer: contact and assignments in Engage, and the events that the shop sends, in their order."""

    number: int
    contact_id: str
    assignments: list[str]
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    last_name: str = ""

    @property
    def email(self) -> str:
        """The e-mail."""
        return f"p{self.number}@example.com"


@dataclass(slots=True)
class Report:
    """What the run found."""

    seed: int
    events: int = 0
    sent: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    flushes: int = 0
    seconds: float = 0.0
    drained_s: float = 0.0
    problems: list[str] = field(default_factory=list)


class Chaos:
    """One run. kills: at least so many; events: spread over the people."""

    def __init__(
        self, plugin: RunningPlugin, sandbox: RunningSandbox, *, seed: int, events: int, people: int, kills: int
    ) -> None:
        self.plugin, self.sandbox = plugin, sandbox
        self.random = random.Random(seed)
        self.report = Report(seed)
        self.kills = kills
        self.sent_all = threading.Event()
        card = plugin.command(
            *("shops", "add", "chaos", "--platform", "standard", "--engage-url", sandbox.url),
            *("--engage-key", "key-chaos", "--store", "web-se"),
        )
        self.secret, self.url = card["webhook_secret"], card["webhook_url"]
        self.people = self._people(people, events)
        self.report.events = sum(len(person.events) for person in self.people)

    def run(self) -> Report:
        """Send everything while processes die, wait until all has arrived, and compare."""
        started = time.monotonic()
        monkey = threading.Thread(target=self._make_trouble, name="monkey")
        monkey.start()
        self.send_everything()
        self.sent_all.set()
        monkey.join()
        self.fault()
        quiet_at = time.monotonic()
        wait_for(self.all_delivered, 120 + self.report.events / 10, "the inbox did not drain")
        self.report.drained_s = time.monotonic() - quiet_at
        self.report.seconds = time.monotonic() - started
        self.compare()
        return self.report

    def send_everything(self) -> None:
        """Send all events, each person's in order."""
        self.send_of(self.people)

    def send_of(self, people: Sequence[Person]) -> None:
        """Send all events of some people, each one's in order."""
        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(self._send_all, people))

    def fault(self, **faults: Any) -> None:
        """Change Engage's mood."""
        self._post("/sandbox/faults", {**NO_FAULTS, **faults})

    # --- the shop ---

    def _people(self, number: int, events: int) -> list[Person]:
        self._seed(stores=[{"externalId": "web-se", "name": "Web"}])
        template = self._seed(promotions=[promotion()])["promotions"][0]
        people = []
        for n in range(number):
            contact = {"contactType": "Member", "email": f"p{n}@example.com"}
            people.append(Person(n, self._seed(contacts=[contact])["contacts"][0], []))
        for n in range(events):
            person = people[n % number]
            step = len(person.events)
            if step == 0:
                person.events.append(("customer.created", {"customer": self._customer(person, 0)}))
            elif self.random.random() < 0.5:
                person.events.append(("customer.updated", {"customer": self._customer(person, step)}))
            else:
                person.events.append(("order.paid", {"order": self._order(person, step, template)}))
        return people

    def _customer(self, person: Person, step: int) -> dict[str, Any]:
        person.last_name = f"Step {step}"
        return customer(id=str(person.number), email=person.email, last_name=person.last_name)

    def _order(self, person: Person, step: int, template: str) -> dict[str, Any]:
        order_id = f"{person.number}-{step}"
        person.orders.append(order_id)
        known = customer(id=str(person.number), email=person.email, last_name=person.last_name)
        used: list[dict[str, str]] = []
        if self.random.random() < 0.5:
            given = {"contactId": person.contact_id, "promotionId": template}
            person.assignments += self._seed(assignments=[given])["assignments"]
            used = [{"assignment_id": person.assignments[-1]}]
        return order(order_id, customer=known, promotions=used)

    def _send_all(self, person: Person) -> None:
        draw = random.Random(f"{self.report.seed}-{person.number}")
        for kind, data in person.events:
            at = datetime.now(UTC)
            raw = json.dumps({"type": kind, "timestamp": at.isoformat(), "data": data})
            message_id = secrets.token_hex(8)
            self._send(message_id, raw)
            if draw.random() < 0.1:
                self._send(message_id, raw)  # shops repeat themselves

    def _send(self, message_id: str, raw: str) -> None:
        """Send until the plugin says 200, as a shop does."""
        until = time.monotonic() + REPEATS_FOR_S
        while time.monotonic() < until:
            now = datetime.now(UTC)
            headers = {
                "webhook-id": message_id,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": Webhook(self.secret).sign(message_id, now, raw),
            }
            try:
                answer = requests.post(self.url, data=raw, headers=headers, timeout=30)
            except requests.RequestException as error:
                self.report.refused[type(error).__name__] += 1
            else:
                if answer.status_code == 200:
                    self.report.sent += 1
                    return
                self.report.refused[str(answer.status_code)] += 1
            time.sleep(0.05)
        self.report.problems.append(f"a webhook was refused for {REPEATS_FOR_S} s")

    # --- the trouble ---

    def _make_trouble(self) -> None:
        """Kill until enough died and everything is sent; change Engage's mood and empty Redis now and then."""
        while sum(self.report.kills.values()) < self.kills or not self.sent_all.is_set():
            time.sleep(self.random.uniform(0.1, 0.6))
            if sum(self.report.kills.values()) < self.kills * 3:
                self._kill_one()
            if self.random.random() < 0.2:
                self.fault(**self.random.choice(FAULTS))
            if self.random.random() < 0.05:
                self._flush()

    def _kill_one(self) -> None:
        found = list(descendants(self.plugin.process.pid))
        if not found:
            return
        pid, name = self.random.choice(found)
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.report.kills[name] += 1

    def _flush(self) -> None:
        url = self.plugin.environment.get("REDIS_URL") or EmbeddedRedis(Path(self.plugin.environment["STATE_DIR"])).url
        try:
            Redis.from_url(url, socket_timeout=1).flushall()
        except RedisError:
            return
        self.report.flushes += 1

    # --- what arrived ---

    def all_delivered(self) -> bool:
        """Tell whether everything arrived, or a person must look."""
        counts = self.plugin.status()
        all_sent = counts["accepted"] == self.report.events or bool(self.report.problems)
        return (all_sent and counts["delivered"] == counts["accepted"]) or counts["parked"] > 0

    def compare(self) -> None:
        """Compare what Engage got with what the shop sent, and note each problem."""
        problems = self.report.problems
        counts = self.plugin.status()
        if counts["accepted"] != sum(number for state, number in counts.items() if state != "accepted"):
            problems.append(f"the states do not add up: {counts}")
        if counts["delivered"] != self.report.events:
            parked = self.plugin.command("events", "list", "--state", "parked", "--json")
            problems.append(f"not all is delivered: {counts}; parked: {[row['last_error'] for row in parked][:5]}")
        receipts = Counter(row["uniqueReceiptId"] for row in self._get("/sandbox/receipts") if row["state"] != "failed")
        wanted = Counter(f"chaos-{order_id}" for person in self.people for order_id in person.orders)
        if receipts != wanted:
            problems.append(f"receipts: lost {wanted - receipts}, too many {receipts - wanted}")
        redeemed = Counter(row["id"] for row in self._get("/sandbox/redemptions") if row["outcome"] == "Redeemed")
        assigned = Counter(assignment for person in self.people for assignment in person.assignments)
        if redeemed != assigned:
            problems.append(f"redemptions: lost {assigned - redeemed}, too many {redeemed - assigned}")
        names = {c["id"]: c["attributes"].get("lastName") for c in self._get("/sandbox/contacts")}
        for person in self.people:
            if names.get(person.contact_id) != person.last_name:
                problems.append(f"{person.number} is called {names.get(person.contact_id)}, not {person.last_name}")
        if len(names) != len(self.people):
            problems.append(f"{len(names)} contacts for {len(self.people)} people")
        problems += self._out_of_order()

    def _out_of_order(self) -> list[str]:
        """Every call to Engage that tells its step must come after those of the same person's earlier steps."""
        newest: dict[str, int] = {}
        problems = []
        for call in self._get("/sandbox/calls?bodies=1"):
            body = json.loads(call["requestBody"] or "{}")
            if call["operationId"] == "createReceipt":
                who, _, step = body["uniqueReceiptId"].removeprefix("chaos-").partition("-")
                contact_id = self.people[int(who)].contact_id
            elif call["operationId"] == "updateContact" and str(body.get("lastName", "")).startswith("Step "):
                contact_id, step = call["path"].rpartition("/")[2], body["lastName"].removeprefix("Step ")
            else:
                continue
            if int(step) < newest.get(contact_id, 0):
                problems.append(f"{call['operationId']} of step {step} came after step {newest[contact_id]}")
            newest[contact_id] = max(newest.get(contact_id, 0), int(step))
        return problems

    # --- the sandbox ---

    def _seed(self, **entries: Any) -> dict[str, list[str]]:
        made: dict[str, list[str]] = self._post("/sandbox/seed", entries)
        return made

    def _get(self, path: str) -> Any:
        answer = requests.get(self.sandbox.url + path, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def _post(self, path: str, body: Any) -> Any:
        answer = requests.post(self.sandbox.url + path, json=body, timeout=10)
        assert answer.ok, answer.text
        return answer.json()


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """Yield the processes below one, each with what it is: web, worker, sweep or redis."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            try:
                command = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            known = [word for word in command if word in {"web", "worker", "sweep"}]
            yield child, known[0] if known else "redis"
            yield from descendants(child)
