"""A shop whose own API is a list, and what reads it, on the rig's clock."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import simplejson

from plugin.errors import ShopApiError, ShopUnavailableError
from plugin.event_kinds import EventKind
from plugin.platforms.shop_api import PolledResource, ShopApi, Subscription
from plugin.store.shops.shops import RegisteredShop
from support.services import in_process_services


@dataclass
class ListedShop:
    """A ShopApi over lists. away_after: how many resources it yields before it is away."""

    found: list[PolledResource] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)
    repairs_allowed: bool = True
    away_after: int | None = None
    asked: list[tuple[datetime | None, datetime | None, str | None]] = field(default_factory=list)

    def check(self) -> str:
        return "Listed"

    def subscriptions(self, address: str) -> tuple[Subscription, ...]:
        topics = ("order.paid", "customer.updated")
        return tuple(
            Subscription(topic, address, topic not in self.wrong, self.wrong.get(topic, "")) for topic in topics
        )

    def repair(self, _address: str) -> tuple[str, ...]:
        if not self.repairs_allowed:
            raise ShopApiError("The shop answered 403: the key may not write webhooks.", status=403)
        done = tuple(f"{topic} switched on" for topic in self.wrong)
        self.wrong.clear()
        return done

    def customers(
        self, since: datetime | None, until: datetime | None, cursor: str | None = None
    ) -> Iterator[PolledResource]:
        return self._some({EventKind.SIGNUP, EventKind.PROFILE_CHANGE}, since, until, cursor)

    def orders(
        self, since: datetime | None, until: datetime | None, cursor: str | None = None
    ) -> Iterator[PolledResource]:
        return self._some({EventKind.ORDER_PAID, EventKind.REFUND, EventKind.CANCELLATION}, since, until, cursor)

    def _some(
        self, kinds: set[EventKind], since: datetime | None, until: datetime | None, cursor: str | None
    ) -> Iterator[PolledResource]:
        self.asked.append((since, until, cursor))
        given = 0
        for number, one in enumerate(sorted(self.found, key=lambda r: r.changed_at), 1):
            early = since is not None and one.changed_at < since
            late = until is not None and one.changed_at >= until
            if one.kind not in kinds or early or late or number <= int(cursor or 0):
                continue
            if self.away_after is not None and given >= self.away_after:
                raise ShopUnavailableError("The shop answered 503.", status=503)
            given += 1
            yield replace(one, cursor=str(number))


class HistoryRig:
    """Watchdog, backfill and reconciliation of the rig's Standard shop."""

    def __init__(self, rig: Any, folder: Path = Path()) -> None:
        self.rig, self.folder = rig, folder
        self.listed: ListedShop | None = ListedShop()
        self.services = in_process_services(
            rig.database,
            rig.stores.vault,
            rig.clock,
            folder,
            stores=rig.stores,
            call_guards=rig.call_guards,
            client_for=rig.client_for,
            shop_api_for=self.api_for,
            file_folder_for=lambda shop: folder / shop.name,
            pause=self.pause,
        )
        self.ingestor = self.services.ingestor
        self.monitor, self.backfill = self.services.monitor, self.services.backfill
        self.reconciler = self.services.reconciler
        self.stop = False

    @property
    def shop(self) -> RegisteredShop:
        shop: RegisteredShop = self.rig.stores.shops.get(self.rig.standard.name)
        return shop

    def api_for(self, _shop: RegisteredShop) -> ShopApi | None:
        return self.listed

    def pause(self, seconds: float) -> bool:
        """Let the workers work while the history waits."""
        self.rig.clock.forward(seconds)
        self.rig.sweep.run(self.rig.clock())
        self.rig.work(most=2000)
        return self.stop

    def settings(self, **changes: str) -> None:
        self.rig.stores.shops.change(self.rig.standard.name, changes)

    def customer(self, number: int, *, at: datetime | None = None, **fields: Any) -> PolledResource:
        when = at or self.rig.clock()
        customer = {
            "id": f"C{number}",
            "email": f"c{number}@example.com",
            "email_verified": True,
            "first_name": "Ada",
            "last_name": f"Nr {number}",
            **fields,
        }
        consents = customer.pop("consents", [])
        data = {"customer": customer, "consents": consents}
        return self.resource("customer.updated", EventKind.PROFILE_CHANGE, f"C{number}", data, when)

    def order(self, number: int, *, at: datetime | None = None, **fields: Any) -> PolledResource:
        when = at or self.rig.clock()
        order = {
            "id": f"O{number}",
            "currency": "SEK",
            "total": "100.00",
            "paid_at": when.isoformat(),
            "customer": {"id": f"C{number}", "email": f"c{number}@example.com", "email_verified": True},
            "lines": [{"id": "1", "sku": "A", "quantity": 1, "gross_paid": "100.00", "tax_amount": "20.00"}],
            **fields,
        }
        return self.resource("order.paid", EventKind.ORDER_PAID, f"O{number}", {"order": order}, when)

    def refund(self, number: int, *, at: datetime | None = None) -> PolledResource:
        when = at or self.rig.clock()
        refund = {
            "id": f"R{number}",
            "order_id": f"O{number}",
            "currency": "SEK",
            "total": "40.00",
            "refunded_at": when.isoformat(),
        }
        return self.resource("order.refunded", EventKind.REFUND, f"R{number}", {"refund": refund}, when)

    def resource(self, topic: str, kind: EventKind, name: str, data: dict[str, Any], when: datetime) -> PolledResource:
        body = simplejson.dumps({"type": topic, "timestamp": when.isoformat(), "data": data}).encode()
        return PolledResource(topic, kind, name, body, when, "")
