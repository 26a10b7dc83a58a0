"""The fallback's process dies at each of its steps: nothing is lost and nothing is sent twice."""

import os
from pathlib import Path
from typing import Any

import pytest
from support.bodies import customer, order, refund
from support.file_crash_points import Crash, FileCrashPoint, plant
from support.outage import Files, files_of

#: Only every n-th step is tried; `make outage` tries each.
STRIDE = int(os.environ.get("CRASH_STRIDE", "16"))


def run_fallback(rig: Any, files: Files, crash_point: FileCrashPoint) -> None:
    """Run the fallback; after a crash another process runs it once the lease has expired."""
    crash_point.ticks = True
    try:
        files.fallback.run()
    except Crash:
        crash_point.revive()
        rig.clock.forward(61)
        files.fallback.run()
    finally:
        crash_point.ticks = False
    rig.clock.forward(61)


def outage(rig: Any, files: Files, crash_point: FileCrashPoint, name: str) -> list[int]:
    """Let one outage pass, with everything that can happen to files; return its events."""
    files.outages.begin()
    rig.fault(error_rate=1.0)
    rig.clock.forward(1900)
    events = [
        rig.send("order.paid", order=order(f"{name}-1")),
        rig.send("order.paid", order=order(f"{name}-2", consents=[{"channel": "sms", "value": True}])),
        rig.send("order.refunded", refund=refund(f"{name}-1", f"{name}-1")),
    ]
    run_fallback(rig, files, crash_point)  # written and sent
    files.server.take(rig.sandbox.state, rig.clock())
    run_fallback(rig, files, crash_point)  # found to be picked up
    events.append(rig.send("order.paid", order=order(f"{name}-3")))
    run_fallback(rig, files, crash_point)  # sent, and not picked up
    files.server.away = True
    events.append(rig.send("order.paid", order=order(f"{name}-4")))
    events.append(rig.send("order.refunded", refund=refund(f"{name}-3", f"{name}-3")))
    run_fallback(rig, files, crash_point)  # written, and not sent
    files.server.away = False
    rig.no_faults()
    files.outages.end()
    run_fallback(rig, files, crash_point)  # recalled
    rig.work()
    files.server.take(rig.sandbox.state, rig.clock())
    run_fallback(rig, files, crash_point)
    rig.work_for(240, step=60)
    return events


def test_a_crash_at_any_step_changes_no_result(rig: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.send("customer.created", customer=customer())
    rig.work()
    files, crash_point = files_of(rig, rig.standard, tmp_path), FileCrashPoint()
    plant(crash_point, monkeypatch, rig.database, files.server)
    # two databases, each its own steps: what differs between them is locking, not order
    step = 1 if rig.database.sqlite else 1 + STRIDE // 2
    while True:
        crash_point.arm(step)
        events = outage(rig, files, crash_point, str(step))
        wanted = {f"web-se-{step}-{number}" for number in (1, 2, 3, 4)}
        wanted |= {f"web-se-{step}-{number}-R{step}-{number}" for number in (1, 3)}
        receipts = {i: r for i, r in rig.receipts().items() if i.startswith(f"web-se-{step}-")}
        assert [rig.event(event).state for event in events] == ["delivered"] * 6, step
        assert set(receipts) == wanted, step
        assert {receipt["times_received"] for receipt in receipts.values()} == {1}, step
        for number in (1, 3):
            bought, back = (receipts[f"web-se-{step}-{number}{end}"] for end in ("", f"-R{step}-{number}"))
            assert bought["receivedOn"] <= back["receivedOn"], step
        if not crash_point.exploded:
            break
        step += STRIDE
    assert step > 40
    counts = rig.desk.status()
    assert counts.pop("accepted") == sum(counts.values())
