"""Whatever step the fallback's process dies at, everything ends the same: nothing lost, nothing twice."""

import os
from pathlib import Path
from typing import Any

import pytest
from support.bodies import customer, order, refund
from support.file_crash_points import Crash, FileCrashPoint, plant
from support.outage import Files, files_of

#: Every how manyth step is tried; `make outage` tries each.
STRIDE = int(os.environ.get("CRASH_STRIDE", "16"))


def turn(rig: Any, files: Files, bomb: FileCrashPoint) -> None:
    """Let the fallback have its turn; after a crash another process has it when the lease has run out."""
    bomb.ticks = True
    try:
        files.fallback.run()
    except Crash:
        bomb.revive()
        rig.clock.forward(61)
        files.fallback.run()
    finally:
        bomb.ticks = False
    rig.clock.forward(61)


def outage(rig: Any, files: Files, bomb: FileCrashPoint, name: str) -> list[int]:
    """One outage, with everything that files go through; returns its events."""
    files.outages.begin()
    rig.fault(error_rate=1.0)
    rig.clock.forward(1900)
    events = [
        rig.send("order.paid", order=order(f"{name}-1")),
        rig.send("order.paid", order=order(f"{name}-2", consents=[{"channel": "sms", "value": True}])),
        rig.send("order.refunded", refund=refund(f"{name}-1", f"{name}-1")),
    ]
    turn(rig, files, bomb)  # written and sent
    files.server.take(rig.sandbox.state, rig.clock())
    turn(rig, files, bomb)  # seen to be taken
    events.append(rig.send("order.paid", order=order(f"{name}-3")))
    turn(rig, files, bomb)  # sent, and not taken
    files.server.away = True
    events.append(rig.send("order.paid", order=order(f"{name}-4")))
    events.append(rig.send("order.refunded", refund=refund(f"{name}-3", f"{name}-3")))
    turn(rig, files, bomb)  # written, and not sent
    files.server.away = False
    rig.no_faults()
    files.outages.end()
    turn(rig, files, bomb)  # taken back
    rig.work()
    files.server.take(rig.sandbox.state, rig.clock())
    turn(rig, files, bomb)
    rig.work_for(240, step=60)
    return events


def test_a_crash_at_any_step_ends_like_none(rig: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.send("customer.created", customer=customer())
    rig.work()
    files, bomb = files_of(rig, rig.standard, tmp_path), FileCrashPoint()
    plant(bomb, monkeypatch, rig.database, files.server)
    # two databases, each its own steps: what differs between them is locking, not order
    step = 1 if rig.database.sqlite else 1 + STRIDE // 2
    while True:
        bomb.arm(step)
        events = outage(rig, files, bomb, str(step))
        wanted = {f"web-se-{step}-{number}" for number in (1, 2, 3, 4)}
        wanted |= {f"web-se-{step}-{number}-R{step}-{number}" for number in (1, 3)}
        receipts = {i: r for i, r in rig.receipts().items() if i.startswith(f"web-se-{step}-")}
        assert [rig.event(event).state for event in events] == ["delivered"] * 6, step
        assert set(receipts) == wanted, step
        assert {receipt["times_received"] for receipt in receipts.values()} == {1}, step
        for number in (1, 3):
            bought, back = (receipts[f"web-se-{step}-{number}{end}"] for end in ("", f"-R{step}-{number}"))
            assert bought["receivedOn"] <= back["receivedOn"], step
        if not bomb.exploded:
            break
        step += STRIDE
    assert step > 40
    counts = rig.desk.status()
    assert counts.pop("accepted") == sum(counts.values())
