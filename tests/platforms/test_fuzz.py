"""Damaged bodies and headers through the real endpoint: no 500, no hang, no event for the wrong shop or customer.

1,000 a platform; `make fuzz` sends 100,000. Every case is made from a seed and its number: FUZZ_SEED repeats a run,
FUZZ_FIRST and FUZZ_COUNT a part of it.
"""

import contextlib
import hashlib
import importlib
import json
import os
import random
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from support.mutations import mutated, odd_text
from support.samples import check_event, customer_ids, samples

from plugin.errors import PayloadError
from plugin.event_kinds import EventKind
from plugin.platforms.base import Delivery, Platform
from plugin.platforms.registry import PLATFORMS
from plugin.store.database.engine import Database
from plugin.store.inbox.admin import EventAdmin
from plugin.store.inbox.inbox import Inbox
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import NewShop, RegisteredShop
from plugin.store.shops.vault import Vault
from plugin.store.tables.inbox import InboxEvent
from webhooks.receiving.endpoint import WebhookReceiver, blueprint

SEED = os.environ.get("FUZZ_SEED", "2026-03-05")
COUNT = int(os.environ.get("FUZZ_COUNT", "1000"))
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
NOW = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
LIMIT = 200_000
#: Seconds after which a single webhook counts as hanging; far above anything that a busy machine needs.
PATIENCE_S = 60
ANSWERS = {200, 401, 404, 411, 413}


@dataclass(frozen=True)
class Case:
    """One webhook. signed_by: whose secret signed exactly this body, None if no shop did."""

    path: str
    headers: dict[str, str]
    body: bytes
    signed_by: str | None
    untouched: bool


class Range:
    """Two shops of one platform behind one endpoint, and webhooks to send to them."""

    def __init__(self, platform: Platform, database: Database, vault: Vault) -> None:
        self.platform, self.database, self.vault = platform, database, vault
        contracts = importlib.import_module("platforms.test_signatures").SignatureContract.__subclasses__()
        self.contract = next(candidate for candidate in contracts if candidate.platform.slug == platform.slug)()
        self.samples = samples(platform)
        self.topic_header = self._header_with(self.platform.topics.__contains__)
        self.domain_header = self._header_with(lambda value: "myshopify" in value)
        self.secrets = {"mine": self.contract.secret, "theirs": self.contract.other}
        self.shops = Shops(database, vault)
        self.rows = {name: self._shop(name) for name in self.secrets}
        inbox = Inbox(database)
        door = WebhookReceiver(
            self.shops, inbox, inbox.receiving(), vault, lambda _: None, LIMIT, lambda *_: None, lambda: NOW
        )
        app = Flask("door")
        app.register_blueprint(blueprint(door))
        self.web = app.test_client()
        self.stored = 0
        self.keys_of_order: dict[tuple[int, str], set[str]] = {}

    def case(self, chance: random.Random) -> Case:
        """Make a webhook of one of the shops and damage it: before signing, after it, or in its headers."""
        name = chance.choice(list(self.secrets))
        _, topic, body = chance.choice(self.samples)
        if chance.random() < 0.8:
            body = mutated(body, chance)
        self.contract.delivery = f"{chance.getrandbits(64):x}"
        headers = self._signed(body, topic, name)
        case = Case(f"/webhooks/{self.platform.slug}/{name}", headers, body, name, untouched=True)
        if chance.random() < 0.5:
            case = self._damaged(case, chance)
        return replace(case, body=case.body[:LIMIT])

    def _damaged(self, case: Case, chance: random.Random) -> Case:
        kind = chance.randrange(7)
        headers = dict(case.headers)
        if kind == 0:
            changed = mutated(case.body, chance)
            same = changed == case.body
            return case if same else replace(case, body=changed, signed_by=None, untouched=False)
        if kind == 1:
            other = "theirs" if "/mine" in case.path else "mine"
            return replace(case, path=f"/webhooks/{self.platform.slug}/{other}", untouched=False)
        if kind == 2:
            path = chance.choice(
                [f"/webhooks/{self.platform.slug}", f"/webhooks/{self.platform.slug}/nobody", "/webhooks/x"]
            )
            return replace(case, path=path, untouched=False)
        if kind == 3:
            headers |= (
                {"Transfer-Encoding": "chunked"} if chance.random() < 0.3 else {odd_name(chance): odd_text(chance)}
            )
        elif kind == 4:
            del headers[chance.choice(list(headers))]
        else:
            headers[chance.choice(list(headers))] = odd_text(chance)
        return replace(case, headers=headers, untouched=False)

    def send(self, case: Case) -> None:
        """Send it and hold the answer, and what was stored, to what must be."""
        length = {} if "Transfer-Encoding" in case.headers else {"CONTENT_LENGTH": str(len(case.body))}
        answer = self.web.post(case.path, data=case.body, headers=case.headers, environ_overrides=length)
        said = answer.get_json()
        away = (
            answer.status_code == 503 and "stored" not in said["message"] and not case.untouched
        )  # a key that is unknown
        odd_host = answer.status_code == 400 and "Host" in case.headers  # refused before routing
        assert answer.status_code in ANSWERS or away or odd_host, (answer.status_code, said)
        if case.untouched:
            assert answer.status_code == 200, said
        if not said or "event_id" not in said:
            return
        assert answer.status_code == 200
        if said["message"] == "stored" or said["message"] == "not for us":
            self.stored += 1
        with self.database.reading() as session:
            row = session.get(InboxEvent, said["event_id"])
        assert row is not None
        assert case.signed_by is not None, "a body that no shop signed was stored"
        assert row.shop_id == self.rows[case.signed_by].id, (
            "an event was stored for another shop than the one that signed"
        )
        if said["message"] == "stored":
            self._check_customer(row, case.body)

    def _check_customer(self, row: InboxEvent, body: bytes) -> None:
        """Hold the event's order and its mapping to each other and to the body: whose it is must stand there."""
        assert row.body == body
        texts = set(_values(body))
        kind, _, value = row.ordering_key.partition(":")
        known = self.keys_of_order.setdefault((row.shop_id, row.order_ref or ""), set())
        # an event that names only an order has the customer of an earlier event of the same order and shop
        if not (row.order_ref and row.ordering_key in known):
            assert kind in {"customer", "guest", "order", "single"}
            if kind == "customer":
                assert any(value in (word, _hashed(word)) for word in texts), "the customer is not in the body"
            if kind == "guest":
                forms = {form for word in texts for form in _forms(word)}
                assert value in {self.vault.digest(form) for form in forms}, "the guest does not stand in the body"
        known.add(row.ordering_key)
        try:
            delivery = Delivery(row.topic, meta=row.meta)
            mapped = PLATFORMS[row.platform].normalise(delivery, row.body or b"", row.received_at)
        except PayloadError:
            return
        for event in mapped.events:
            check_event(event)
            ids = customer_ids(event)
            assert ids <= texts | {None}, "an event is about a customer that the body does not name"
            if kind == "customer" and ids and len(value) < 64:
                assert value in ids, f"the door saw the customer {value}, the mapping {ids}"
            order_id = getattr(event, "order_id", None)
            assert order_id is None or row.order_ref in {order_id, _hashed(order_id)}

    def _shop(self, name: str) -> RegisteredShop:
        new = NewShop(
            name, self.platform.slug, "http://127.0.0.1:9", "k", self.secrets[name], {"store": "s"}, self._domain(name)
        )
        shop = self.shops.add(new, NOW)
        credentials = self.contract.credentials
        return self.shops.save_credentials(name, credentials) if credentials else shop

    def _domain(self, name: str) -> str | None:
        """Return the domain that the platform's webhooks name, one for each shop; None where they name none."""
        return f"{name}.myshopify.com" if self.domain_header else None

    def _header_with(self, fits: Any) -> str | None:
        signed = self.contract.sign(b"{}", self.contract.secret, NOW)
        return next((name for name, value in signed.items() if fits(value)), None)

    def _signed(self, body: bytes, topic: str, shop: str) -> dict[str, str]:
        """Sign as the contract suite does, for another topic and shop; each delivery has an id of its own."""
        headers: dict[str, str] = self.contract.sign(body, self.secrets[shop], NOW)
        if self.topic_header is not None:
            headers[self.topic_header] = topic
        if self.domain_header is not None:
            headers[self.domain_header] = f"{shop}.myshopify.com"
        return headers


def odd_name(chance: random.Random) -> str:
    return chance.choice(
        ["X-Forwarded-For", "X-Shopify-Topic", "X-WC-Webhook-Topic", "Saleor-Event", "Content-Type", "Host", "X-Odd"]
    )


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _values(body: bytes) -> Iterator[str]:
    """Yield everything that a body says, and the ends of its addresses, where global ids have their number."""
    try:
        document = json.loads(body.decode("utf-8"), parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        return
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif value is not None and not isinstance(value, bool):
            text = str(value).strip()
            yield text
            yield text.rpartition("/")[2]


def _forms(word: str) -> set[str]:
    """Return what a guest's address may have been digested as: trimmed, in lower case, or as a number with its country."""
    import phonenumbers

    plain = "".join(c for c in word if c.isprintable()).strip().lower()[:255]
    forms = {plain}
    with contextlib.suppress(phonenumbers.NumberParseException):
        number = phonenumbers.parse(plain, None)
        forms.add(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    return forms


@contextlib.contextmanager
def no_hang(what: str) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"{what} took longer than {PATIENCE_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("slug", list(PLATFORMS))
def test_damaged_webhooks_do_no_harm(slug: str, database: Database, vault: Vault) -> None:
    target = Range(PLATFORMS[slug], database, vault)
    sys.stdout.write(f"fuzz: {slug}, seed {SEED}, cases {FIRST} to {FIRST + COUNT - 1}\n")
    for number in range(FIRST, FIRST + COUNT):
        case = target.case(random.Random(f"{SEED} {slug} {number}"))
        how = f"FUZZ_SEED={SEED} FUZZ_FIRST={number} FUZZ_COUNT=1"
        try:
            with no_hang(how):
                target.send(case)
        except Exception as error:
            raise AssertionError(
                f"{slug}: {how} repeats this; it may need the cases before it: {type(error).__name__}: {error}"
            ) from error
    counts = EventAdmin(database).status()
    assert counts["accepted"] == target.stored == sum(n for state, n in counts.items() if state != "accepted")
    assert (
        target.stored > COUNT // 4 or COUNT < 100
    )  # the larger part must reach the mapping, else the run proves nothing


def test_the_fuzz_check_detects_an_event_of_the_wrong_shop(
    database: Database, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check itself: a platform that accepted every signature is detected."""
    slug = next(iter(PLATFORMS))
    platform = PLATFORMS[slug]
    topic = next(t for t, kind in platform.topics.items() if kind is EventKind.ORDER_PAID)
    monkeypatch.setattr(type(platform), "verify", lambda *_: Delivery(topic))
    target = Range(platform, database, vault)
    failures = []
    for number in range(200):
        try:
            target.send(target.case(random.Random(number)))
        except AssertionError as error:
            failures.append(str(error))
    assert any("no shop signed" in text for text in failures)
    assert any("another shop" in text for text in failures)
