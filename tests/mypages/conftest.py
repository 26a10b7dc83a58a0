"""A sandbox and My Pages for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from shopper_pages import Pages

from plugin.sandbox.testing import RunningSandbox, running_sandbox


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox() as running:
        yield running


@pytest.fixture
def pages(tmp_path: Path, sandbox: RunningSandbox) -> Iterator[Pages]:
    made = Pages(tmp_path, sandbox)
    yield made
    made.close()
