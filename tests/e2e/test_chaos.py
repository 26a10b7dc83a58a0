"""Nothing lost, nothing twice, nothing out of order, whatever dies. `make chaos` is the long form."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from support.chaos import Chaos, descendants
from support.running_plugin import RunningPlugin, free_port, wait_for

from plugin.runtime.embedded_redis import EmbeddedRedis
from plugin.sandbox.options import SandboxOptions
from plugin.sandbox.testing import running_sandbox

EVENTS = int(os.environ.get("CHAOS_EVENTS", "240"))
PEOPLE = int(os.environ.get("CHAOS_PEOPLE", "12"))
KILLS = int(os.environ.get("CHAOS_KILLS", "12"))
SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))


def test_events_arrive_once_and_in_order_when_processes_are_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {
        "RETRY_BASE_S": "0.05", "SWEEP_INTERVAL_S": "0.5", "LEASE_S": "5", "ENGAGE_RATE": "200", "LONGEST_RESTART_PAUSE_S": "1",
    }  # fmt: skip
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


def test_worker_that_sleeps_past_its_lease_repeats_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "plugin"
    environment = {"RETRY_BASE_S": "0.2", "SWEEP_INTERVAL_S": "0.5", "LEASE_S": "5"}
    plugin = RunningPlugin(folder, environment, free_port())
    awake: subprocess.Popen[bytes] | None = None
    try:
        plugin.wait_until_ready()
        with running_sandbox() as sandbox:
            chaos = Chaos(plugin, sandbox, seed=SEED, events=12, people=1, kills=0)
            chaos.fault(latency_s=1.0)
            worker = next(pid for pid, name in descendants(plugin.process.pid) if name == "worker")
            chaos.send_everything()
            wait_for(lambda: plugin.status()["leased"] == 1, 30, "no event is at work")
            os.kill(worker, signal.SIGSTOP)
            chaos.fault(latency_s=0.0)
            shared = {
                "DATABASE_URL": f"sqlite:///{folder / 'engage-plugin.sqlite'}",
                "REDIS_URL": EmbeddedRedis(folder).url,
                "SECRET_KEY": (folder / "secret-key").read_text().strip(),
            }
            awake = subprocess.Popen(
                [sys.executable, "-m", "plugin.cli", "worker"],
                env={**plugin.environment, **shared},
                stderr=subprocess.DEVNULL,
            )
            wait_for(chaos.all_delivered, 60, "the other worker did not take over")
            os.kill(worker, signal.SIGCONT)
            time.sleep(2)  # what the sleeper does now, it must not do: there is nothing to wait for
            chaos.compare()
            assert not chaos.report.problems, chaos.report.problems
    finally:
        if awake is not None:
            awake.terminate()
            awake.wait(30)
        plugin.stop()
