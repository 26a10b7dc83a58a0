"""A sandbox shared by all tests of My Pages and reset before each, and My Pages in front of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support.mypages_harness import Pages

from plugin.sandbox.testing import RunningSandbox, running_sandbox


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox() as running:
        yield running


@pytest.fixture
def sandbox(shared_sandbox: RunningSandbox) -> RunningSandbox:
    requests.post(f"{shared_sandbox.url}/sandbox/reset", json={}, timeout=5).raise_for_status()
    requests.delete(f"{shared_sandbox.url}/sandbox/faults", timeout=5).raise_for_status()
    return shared_sandbox


@pytest.fixture
def pages(tmp_path: Path, sandbox: RunningSandbox) -> Iterator[Pages]:
    served = Pages(tmp_path, sandbox)
    yield served
    served.close()
