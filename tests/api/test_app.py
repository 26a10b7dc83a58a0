"""The application as it is put together serves /api."""

from pathlib import Path

import pytest

from plugin.app import Services, create_app
from plugin.settings import load_settings


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/checkout/promotions?currency=SEK", 401),
        ("POST", "/api/checkout/validate", 400),
        ("GET", "/api/promotions", 401),
        ("POST", "/api/promotions/X/assignments", 401),
        ("OPTIONS", "/api/checkout/validate", 204),
        ("DELETE", "/api/promotions", 405),
        ("GET", "/api/nothing", 404),
    ],
)
def test_every_address_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, path: str, status: int
) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    services = Services(load_settings(), "redis://127.0.0.1:1")
    services.database.migrate()
    try:
        answer = create_app(services).test_client().open(path, method=method)
        assert answer.status_code == status, answer.text
        if status >= 400:
            assert answer.json is not None
            assert answer.json["message"]
    finally:
        services.checkout.pool.shutdown()
        services.close()
