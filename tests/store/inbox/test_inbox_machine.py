"""The inbox against a simple model, in any order of what can happen to it, on both databases.

The model knows when each event happened, its state, until when it rests and whether the shop is stopped. From that alone
follows which events may be claimed. The inbox may claim no other, and must claim one when there is one (after a sweep,
which repairs what crashes leave behind).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from sqlalchemy import delete
from support.helpers import Clock

from plugin.errors import LeaseLostError
from plugin.event_kinds import COMPLIANCE_KINDS, CONTACT_KINDS, EventKind
from plugin.store.database.engine import Database
from plugin.store.inbox.admin import EventAdmin
from plugin.store.inbox.claiming import Claimed
from plugin.store.inbox.inbox import Inbox, NewEvent
from plugin.store.inbox.sweep import Sweep
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import RegisteredShop
from plugin.store.tables.inbox import AcceptedCount, DeliveryAttempt, InboxEvent, State

LEASE = timedelta(seconds=60)
CUSTOMERS = st.sampled_from("aab")
KINDS = st.sampled_from([EventKind.PROFILE_CHANGE, EventKind.ORDER_PAID, EventKind.ERASURE])
SECONDS = st.integers(0, 90)
_numbers = itertools.count()


@dataclass(slots=True)
class Known:
    """What the model knows of an event. rests_until: a retry's time; non_blocking: later events of its customer do not wait for it.

    tries, first_try: how many tries count, and when the first of them began.
    """

    new: NewEvent
    state: State = State.PENDING
    rests_until: datetime | None = None
    non_blocking: bool = False
    blocks_later_changes: bool = False
    tries: int = 0
    first_try: datetime | None = None
    lease: Claimed | None = None
    lease_ends: datetime | None = None

    def take_back(self) -> None:
        self.tries -= 1
        if not self.tries:
            self.first_try = None


class InboxMachine(RuleBasedStateMachine):
    """Everything that can happen to events of two customers."""

    database: Database
    shops: Shops
    shop: RegisteredShop
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.inbox, self.desk, self.sweeper = Inbox(self.database), EventAdmin(self.database), Sweep(self.database)
        self.known: dict[int, Known] = {}
        self.stopped = False

    @initialize()
    def empty(self) -> None:
        with self.database.transaction() as session:
            for table in (DeliveryAttempt, InboxEvent, AcceptedCount):
                session.execute(delete(table))
        self.shops.start(self.shop.id)

    # --- the model ---

    def mates(self, event_id: int) -> Iterator[tuple[int, Known]]:
        key = self.known[event_id].new.ordering_key
        return ((i, e) for i, e in self.known.items() if i != event_id and e.new.ordering_key == key)

    def earlier(self, one: int, other: int) -> bool:
        a, b = self.known[one].new, self.known[other].new
        return (a.occurred_at, one) < (b.occurred_at, other)

    def is_held(self, event_id: int) -> bool:
        if self.known[event_id].new.kind not in CONTACT_KINDS:
            return False
        return any(
            e.state is State.PARKED and e.blocks_later_changes and self.earlier(i, event_id)
            for i, e in self.mates(event_id)
        )

    def goes(self, event: Known) -> bool:
        return not self.stopped or event.new.kind in COMPLIANCE_KINDS

    def may_be_claimed(self, event_id: int) -> bool:
        event = self.known[event_id]
        if event.state is not State.PENDING or self.is_held(event_id) or not self.goes(event):
            return False
        if event.rests_until is not None and event.rests_until > self.clock():
            return False
        for i, mate in self.mates(event_id):
            blocks = mate.state is State.PENDING and not mate.non_blocking and not self.is_held(i) and self.goes(mate)
            if mate.state is State.LEASED or (blocks and self.earlier(i, event_id)):
                return False
        return True

    def leased(self, claimed: Claimed) -> Known:
        event = self.known[claimed.id]
        assert event.state is State.LEASED
        return event

    def ensure_lease(self, claimed: Claimed) -> bool:
        lease = self.known[claimed.id].lease
        return lease is not None and lease.lease_token == claimed.lease_token

    # --- what can happen ---

    @rule(customer=CUSTOMERS, kind=KINDS, ago=SECONDS)
    def receive(self, customer: str, kind: EventKind, ago: int) -> None:
        now = self.clock()
        new = NewEvent(
            shop_id=self.shop.id, platform="standard", topic="t", kind=kind, dedupe_key=str(next(_numbers)),
            ordering_key=f"customer:{customer}", occurred_at=now - timedelta(seconds=ago), received_at=now, body=b"{}",
        )  # fmt: skip
        self.known[self.inbox.accept(new).event_id] = Known(new)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def receive_again(self, data: st.DataObject) -> None:
        event_id = data.draw(st.sampled_from(sorted(self.known)))
        event = self.known[event_id]
        again = self.inbox.accept(replace(event.new, received_at=self.clock()))
        assert again.duplicate
        assert again.event_id == event_id
        assert again.requeued == (event.state is State.PARKED)
        if again.requeued:
            self.known[event_id] = Known(event.new)

    @rule(target=held, live_first=st.booleans(), most=st.integers(1, 3))
    def claim(self, live_first: bool, most: int) -> MultipleResults[Claimed]:
        self.sweep()
        may = {event_id for event_id in self.known if self.may_be_claimed(event_id)}
        claimed = self.inbox.claim_many(self.clock(), LEASE, most, live_first=live_first)
        assert {one.id for one in claimed} <= may
        assert bool(claimed) == bool(may)
        assert len({one.ordering_key for one in claimed}) == len(claimed) <= most
        for one in claimed:
            event = self.known[one.id]
            event.state, event.lease, event.non_blocking = State.LEASED, one, False
            event.rests_until, event.lease_ends = None, self.clock() + LEASE
            event.first_try = event.first_try or self.clock()
            event.tries += 1
            assert (one.attempts, one.first_attempt_at) == (event.tries, event.first_try)
        return multiple(*claimed)

    @rule(claimed=consumes(held), state=st.sampled_from([State.DELIVERED, State.IGNORED, State.SPOOLED]))
    def finish(self, claimed: Claimed, state: State) -> None:
        if self.ends(claimed, lambda c: self.inbox.finish(c, state, self.clock())):
            self.known[claimed.id].state = state

    @rule(claimed=consumes(held), blocks_later_changes=st.booleans())
    def park(self, claimed: Claimed, blocks_later_changes: bool) -> None:
        if self.ends(
            claimed,
            lambda c: self.inbox.finish(
                c, State.PARKED, self.clock(), error_code="x", blocks_later_changes=blocks_later_changes
            ),
        ):
            event = self.known[claimed.id]
            event.state, event.blocks_later_changes = State.PARKED, blocks_later_changes

    @rule(claimed=consumes(held), seconds=SECONDS, non_blocking=st.booleans(), counts=st.booleans())
    def fail(self, claimed: Claimed, seconds: int, non_blocking: bool, counts: bool) -> None:
        at = self.clock() + timedelta(seconds=seconds)
        if self.ends(
            claimed,
            lambda c: self.inbox.retry_later(
                c, at, error="e", error_code="e", counts=counts, non_blocking=non_blocking
            ),
        ):
            event = self.known[claimed.id]
            event.state, event.rests_until, event.non_blocking = State.PENDING, at, non_blocking
            if not counts:
                event.take_back()

    @rule(claimed=held)
    def keep(self, claimed: Claimed) -> None:
        if self.ensure_lease(claimed):
            self.inbox.save_progress(claimed, (), self.clock(), LEASE)
            self.known[claimed.id].lease_ends = self.clock() + LEASE
        else:
            with pytest.raises(LeaseLostError):
                self.inbox.save_progress(claimed, (), self.clock(), LEASE)

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: int) -> None:
        self.clock.forward(seconds)

    @rule()
    def stop_or_start(self) -> None:
        self.stopped = not self.stopped
        if self.stopped:
            self.shops.stop(self.shop.id, "a test")
        else:
            self.shops.start(self.shop.id)
            for event in self.known.values():
                if event.state is State.PENDING:
                    event.tries, event.first_try = 0, None

    @rule()
    def sweep(self) -> None:
        lost = 0
        for event in self.known.values():
            if event.state is State.LEASED and event.lease_ends is not None and event.lease_ends < self.clock():
                event.state, event.lease, lost = State.PENDING, None, lost + 1
        assert self.sweeper.run(self.clock()).lost_leases == lost

    @precondition(lambda self: any(e.state is State.PARKED for e in self.known.values()))
    @rule(data=st.data(), discards=st.booleans())
    def decide(self, data: st.DataObject, discards: bool) -> None:
        event_id = data.draw(st.sampled_from(sorted(i for i, e in self.known.items() if e.state is State.PARKED)))
        if discards:
            self.desk.discard(event_id, "a test", self.clock())
            self.known[event_id].state = State.DISCARDED
        else:
            assert self.desk.retry([event_id], self.clock()) == [event_id]
            self.known[event_id] = Known(self.known[event_id].new)

    def ends(self, claimed: Claimed, end: object) -> bool:
        """End a try; a worker whose lease was lost changes nothing."""
        assert callable(end)
        if self.ensure_lease(claimed):
            end(claimed)
            self.known[claimed.id].lease = None
            return True
        with pytest.raises(LeaseLostError):
            end(claimed)
        return False

    # --- what always holds ---

    @invariant()
    def the_states_are_those_of_the_model_and_add_up(self) -> None:
        counts = self.desk.status()
        assert counts.pop("accepted") == len(self.known) == sum(counts.values())
        for state in State:
            assert counts[state.value] == sum(1 for event in self.known.values() if event.state is state)


def test_events_are_claimed_in_turn_and_none_is_forgotten(
    database: Database, shops: Shops, shop: RegisteredShop
) -> None:
    machine = type("Machine", (InboxMachine,), {"database": database, "shops": shops, "shop": shop})
    machine.TestCase.settings = settings(
        max_examples=settings().max_examples,
        stateful_step_count=30,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    machine.TestCase("runTest").runTest()
