"""A sandbox on a free port for each test; whatever it answered is held against the contract when the test ends."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from support.helpers import Clock
from support.sandbox_client import Engage, call_faults

from plugin.sandbox import SandboxOptions
from plugin.sandbox.testing import RunningSandbox, running_sandbox

MakeEngage = Callable[..., Engage]


@pytest.fixture
def started() -> list[RunningSandbox]:
    """Every sandbox that the test started."""
    return []


@pytest.fixture(autouse=True)
def answers_fit_the_contract(started: list[RunningSandbox]) -> Iterator[None]:
    """Check each answer that the test's sandboxes gave."""
    yield
    assert [fault for running in started for fault in call_faults(running.state.calls)] == []


@pytest.fixture
def make_engage(clock: Clock, started: list[RunningSandbox]) -> Iterator[MakeEngage]:
    """Start sandboxes with options of the test; latency is not slept but added to the clock."""
    with ExitStack() as stack:

        def make(sleep: Callable[[float], object] = clock.forward, **options: Any) -> Engage:
            running = stack.enter_context(running_sandbox(SandboxOptions(**options), clock, sleep=sleep))
            started.append(running)
            return Engage(running, clock, stack.enter_context(requests.Session()))

        yield make


@pytest.fixture
def engage(make_engage: MakeEngage) -> Engage:
    """A sandbox with the default options."""
    return make_engage()
