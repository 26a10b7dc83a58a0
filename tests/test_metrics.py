"""Metrics while the database or a shop's set-up is faulty."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from plugin.app import Services, create_app
from plugin.errors import ConfigurationError
from plugin.settings import load_settings
from plugin.store.shops.shops import NewShop
from plugin.store.tables.shops import Shop


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    return Services(load_settings(), "redis://127.0.0.1:1")


def read_metrics(services: Services) -> dict[str, float]:
    answer = create_app(services).test_client().get("/metrics")
    services.close()
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_database_up_is_1_while_the_database_answers(services: Services) -> None:
    services.database.migrate()
    metrics = read_metrics(services)
    assert (metrics["engage_plugin_database_up"], metrics["engage_plugin_balance"]) == (1, 0)


def test_other_metrics_are_reported_without_a_database(
    services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET_KEY", services.settings.secret_key)
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    services = Services(load_settings(), services.redis_url)
    services.metrics.tried("web-se", "delivered")
    metrics = read_metrics(services)
    assert (metrics["engage_plugin_database_up"], metrics["engage_plugin_tries_total"]) == (0, 1)
    assert "engage_plugin_balance" not in metrics


def test_other_metrics_are_reported_when_the_set_up_is_faulty(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.database.migrate()

    def fail() -> None:
        raise ConfigurationError(["shop web-se: something is wrong."])

    monkeypatch.setattr(services.stores.shops, "all", fail)
    metrics = read_metrics(services)
    assert (metrics["engage_plugin_database_up"], metrics["engage_plugin_balance"]) == (1, 0)


def test_stopped_shop_is_reported_and_unreadable_shop_answers_503(services: Services) -> None:
    services.database.migrate()
    shops, now = services.stores.shops, services.clock()
    for name in ("web-se", "web-no", "lost"):
        shops.add(NewShop(name, "standard", "http://127.0.0.1:9", "k", "s" * 40, {"store": "s"}), now)
    shops.stop(shops.get("web-no").id, "Engage refuses the API key.")
    with services.database.transaction() as session:
        session.execute(update(Shop).where(Shop.name == "lost").values(engage_key_encrypted=b"of a lost key"))
    shops._recent.clear()
    web = create_app(services).test_client()
    text = web.get("/metrics").text
    assert 'engage_plugin_shop_stopped{shop="web-se"} 0.0' in text
    assert 'engage_plugin_shop_stopped{shop="web-no"} 1.0' in text
    assert web.get("/mypages/lost/").status_code == 503
    assert web.post("/mypages/lost/session", data={"token": "x"}).status_code == 503
    assert web.get("/mypages/web-se/").status_code in {200, 302, 303, 401}
    services.close()
