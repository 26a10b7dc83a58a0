"""The events of the demonstration: each is sent as a signed webhook and followed until Engage has it."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from plugin.app import Services
from plugin.demo import bodies
from plugin.demo.local_http import DemoFailedError, get_json, post, post_json
from plugin.demo.people import ADA, GUEST_EMAIL, PROMOTIONS
from plugin.demo.shop import DemoShop, SignedWebhook, sign_shopify, sign_standard
from plugin.runtime.supervisor import Supervisor

ARRIVE_TIMEOUT_S = 60.0
ENGAGE_KEY = "00000000-0000-4000-8000-00000000demo"
FINISHED = {"delivered", "ignored", "parked", "discarded"}


@dataclass(slots=True)
class _Step:
    """One webhook of the demonstration. engage: what Engage got, for the table."""

    title: str
    event_id: int = 0
    state: str = "waiting"
    engage: str = ""


@dataclass(slots=True)
class Story:
    """The steps taken so far, and the processes that take part in them."""

    services: Services
    plugin_url: str
    sandbox_url: str
    supervisor: Supervisor
    steps: list[_Step] = field(default_factory=list)
    started_at: float = field(default_factory=time.monotonic)
    first_delivered_s: float | None = None

    def table(self) -> Table:
        """Draw the events, their states, and what Engage got."""
        table = Table(title="Webhooks on their way to Engage", title_justify="left")
        for column in ("event", "state", "what Engage got"):
            table.add_column(column, overflow="fold")
        colours = {"delivered": "green", "parked": "red", "pending": "yellow", "leased": "yellow"}
        for step in self.steps:
            colour = colours.get(step.state, "default")
            table.add_row(step.title, f"[{colour}]{step.state}[/]", step.engage)
        return table

    def send_all(self, shopify: DemoShop, standard: DemoShop, draw: Callable[[], None]) -> None:
        """Send every event and wait for each. draw: called whenever a step changed. Raises DemoFailedError."""

        def send_shopify(title: str, topic: str, body: Callable[[datetime], Any], engage: Callable[[], str]) -> None:
            now = datetime.now(UTC)
            self._send(title, shopify, sign_shopify(shopify, topic, body(now), now), engage, draw)

        email = str(ADA["email"])
        send_shopify(
            "signup (Shopify customers/create)", "customers/create", bodies.signup, lambda: self._contact_text(email)
        )
        self._assign_promotions(self._contact(email)["id"])
        send_shopify(
            "profile change (Shopify customers/update)",
            "customers/update",
            bodies.profile_change,
            lambda: self._contact_text(email),
        )
        now = datetime.now(UTC)
        self._send(
            "guest order (Standard order.paid)",
            standard,
            sign_standard(standard, bodies.guest_order(now), now),
            lambda: f"{self._contact_text(GUEST_EMAIL)}, {self._receipt_text('S-501')}",
            draw,
        )
        send_shopify(
            "paid order with discount and promotion (Shopify orders/paid)",
            "orders/paid",
            bodies.paid_order,
            lambda: self._receipt_text("70001"),
        )

    def totals(self) -> str:
        """Return the inbox's counts as a sum. Raises DemoFailedError when the states do not add up to what was accepted."""
        counts = self.services.event_admin.status()
        states = sum(number for name, number in counts.items() if name != "accepted")
        if counts["accepted"] != states:
            raise DemoFailedError(f"accepted {counts['accepted']} is not the sum of the states {states}")
        return (
            f"accepted {counts['accepted']} = delivered {counts['delivered']} + others {states - counts['delivered']}"
        )

    def _send(
        self,
        title: str,
        shop: DemoShop,
        webhook: SignedWebhook,
        engage: Callable[[], str],
        draw: Callable[[], None],
    ) -> None:
        step = _Step(title)
        self.steps.append(step)
        draw()
        step.event_id = int(post(shop.webhook_url, webhook.body, webhook.headers)["event_id"])
        self._follow(step, draw)
        step.engage = engage()
        draw()

    def _follow(self, step: _Step, draw: Callable[[], None]) -> None:
        """Wait until the step's event is delivered. Raises DemoFailedError when it ends otherwise or takes too long."""
        until = time.monotonic() + ARRIVE_TIMEOUT_S
        while True:
            event, _ = self.services.event_admin.show(step.event_id)
            step.state = event.state
            draw()
            if step.state == "delivered":
                if self.first_delivered_s is None:
                    self.first_delivered_s = time.monotonic() - self.started_at
                return
            if step.state in FINISHED:
                raise DemoFailedError(f"{step.title} ended {step.state}: {event.last_error}")
            if time.monotonic() > until:
                reason = event.last_error or "no worker took it"
                raise DemoFailedError(f"{step.title} is still {step.state}: {reason}")
            _pause(self.supervisor)

    def _contact(self, email: str) -> dict[str, Any]:
        contacts = get_json(f"{self.sandbox_url}/sandbox/contacts")
        return dict(next(contact for contact in contacts if contact["attributes"].get("email") == email))

    def _contact_text(self, email: str) -> str:
        attributes = self._contact(email)["attributes"]
        names = ("firstName", "lastName", "street", "city")
        return f"contact {' '.join(str(attributes[name]) for name in names if attributes.get(name))}"

    def _receipt_text(self, order_id: str) -> str:
        receipts = get_json(f"{self.sandbox_url}/sandbox/receipts")
        receipt = next(row for row in receipts if row["uniqueReceiptId"].endswith(f"-{order_id}"))
        redeemed = ", promotion redeemed and named" if receipt.get("usedPromotions") else ""
        return f"receipt {receipt['totalGrossPrice']} {receipt['currency']}{redeemed}"

    def _assign_promotions(self, contact_id: str) -> None:
        """Assign the promotions to the contact, as a marketer would in Engage."""
        for promotion in PROMOTIONS:
            post_json(
                f"{self.sandbox_url}/api/v3/promotion-assignments",
                {"contactId": contact_id, "promotionId": promotion["id"]},
                {"apikey": ENGAGE_KEY, "User-Agent": "Demo/1.0"},
            )


def wait_until(ready: Callable[[], bool], subject: str, supervisor: Supervisor, timeout_s: float) -> None:
    """Wait until something answers. Raises DemoFailedError when it takes too long."""
    until = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > until:
            raise DemoFailedError(f"{subject} did not start within {timeout_s:g} s")
        _pause(supervisor)


def _pause(supervisor: Supervisor) -> None:
    if supervisor.stopping:
        sys.exit(0)
    time.sleep(0.1)
