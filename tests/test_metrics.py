"""The figures while something that they are read from is away."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from plugin.app import Services, create_app
from plugin.errors import ConfigurationError
from plugin.settings import load_settings


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    return Services(load_settings(), "redis://127.0.0.1:1")


def figures(services: Services) -> dict[str, float]:
    answer = create_app(services).test_client().get("/metrics")
    services.close()
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_the_figures_tell_that_the_database_answers(services: Services) -> None:
    services.database.migrate()
    found = figures(services)
    assert (found["engage_plugin_database_up"], found["engage_plugin_balance"]) == (1, 0)


def test_without_a_database_the_other_figures_are_told(
    services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET_KEY", services.settings.secret_key)
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    services = Services(load_settings(), services.redis_url)
    services.metrics.tried("web-se", "delivered")
    found = figures(services)
    assert (found["engage_plugin_database_up"], found["engage_plugin_tries_total"]) == (0, 1)
    assert "engage_plugin_balance" not in found


def test_a_faulty_set_up_holds_no_other_figure_back(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    services.database.migrate()

    def fail() -> None:
        raise ConfigurationError(["shop web-se: something is wrong."])

    monkeypatch.setattr(services.stores.shops, "all", fail)
    found = figures(services)
    assert (found["engage_plugin_database_up"], found["engage_plugin_balance"]) == (1, 0)
