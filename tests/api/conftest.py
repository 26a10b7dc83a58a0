"""A shop that asks /api."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support.shop_api import ShopApi

from plugin.sandbox.testing import RunningSandbox, running_sandbox


@pytest.fixture(scope="session")
def api_sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def api(request: pytest.FixtureRequest, tmp_path: Path, api_sandbox: RunningSandbox) -> Iterator[ShopApi]:
    """A shop with an API token; with the parameter "hurried" its checkout keeps to its budgets."""
    requests.post(f"{api_sandbox.url}/sandbox/reset", json={}, timeout=5).raise_for_status()
    made = ShopApi(tmp_path, api_sandbox, hurried=getattr(request, "param", "") == "hurried")
    yield made
    made.close()
