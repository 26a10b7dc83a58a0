"""Nothing lost, nothing twice, nothing out of order, whatever dies. `make chaos` is the long form."""

import os
import random
from pathlib import Path

import click
import pytest
from chaos_monkey import Chaos
from running import RunningPlugin, free_port

from plugin.sandbox.options import SandboxOptions
from plugin.sandbox.testing import running_sandbox

EVENTS = int(os.environ.get("CHAOS_EVENTS", "240"))
PEOPLE = int(os.environ.get("CHAOS_PEOPLE", "12"))
KILLS = int(os.environ.get("CHAOS_KILLS", "12"))
SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))


def test_whatever_dies_each_event_arrives_once_and_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"RETRY_BASE_S": "0.05", "SWEEP_INTERVAL_S": "0.5", "LEASE_S": "5", "ENGAGE_RATE": "200"}
    plugin = RunningPlugin(tmp_path / "plugin", environment, free_port())
    try:
        plugin.wait_until_ready()
        with running_sandbox(SandboxOptions(rate_limit_per_s=None, keep_calls=200_000)) as sandbox:
            chaos = Chaos(plugin, sandbox, seed=SEED, events=EVENTS, people=PEOPLE, kills=KILLS)
            report = chaos.run()
    finally:
        plugin.stop()
    with capsys.disabled():
        click.echo(
            f"\nchaos seed={report.seed} events={report.events} kills={dict(report.kills)} flushes={report.flushes} "
            f"refused={dict(report.refused)} seconds={report.seconds:.0f} drained in {report.drained_s:.0f} s"
        )
    assert not report.problems, (report.seed, report.problems[:10], plugin.log_path.read_text()[-3000:])
    assert sum(report.kills.values()) >= KILLS
