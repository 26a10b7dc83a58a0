"""One running plugin a kind for all tests here: embedded, and with servers where they are named."""

from collections.abc import Iterator

import pytest
import requests
from support.helpers import redis_url
from support.running_plugin import RunningPlugin, free_port

from plugin.sandbox.testing import RunningSandbox, running_sandbox

KINDS = ["embedded", pytest.param("servers", marks=[pytest.mark.postgresql, pytest.mark.redis])]


@pytest.fixture(scope="module", params=KINDS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlugin]:
    environment: dict[str, str] = {}
    if request.param == "servers":
        environment = {
            "DATABASE_URL": request.getfixturevalue("postgresql_url_of_a_plugin"),
            "REDIS_URL": redis_url(),
            "SECRET_KEY": "a key of tests that is longer than thirty-two characters",
        }
    plugin = RunningPlugin(tmp_path_factory.mktemp("plugin"), environment, free_port())
    try:
        plugin.wait_until_ready()
        yield plugin
    finally:
        code = plugin.stop()
    assert code == 0, plugin.log_path.read_text()


@pytest.fixture(scope="session")
def engage() -> Iterator[RunningSandbox]:
    with running_sandbox() as sandbox:
        seeds = {"stores": [{"externalId": "web-se", "name": "Web"}]}
        requests.post(f"{sandbox.url}/sandbox/seed", json=seeds, timeout=5).raise_for_status()
        yield sandbox
