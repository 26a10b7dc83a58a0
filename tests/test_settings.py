"""The environment: defaults, files, nonsense."""

from pathlib import Path

import pytest

from plugin.errors import ConfigurationError
from plugin.settings import load_settings

NAMES = (
    "DATABASE_URL", "REDIS_URL", "SECRET_KEY", "SECRET_KEY_FILE", "PUBLIC_URL", "RETRY_BASE_S", "SWEEP_INTERVAL_S",
    "ENGAGE_RATE", "METRICS_TOKEN", "STATE_DIR", "DATABASE_URL_FILE", "REDIS_URL_FILE", "SHOPIFY_CLIENT_ID", "SHOPIFY_CLIENT_SECRET",
)  # fmt: skip


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))


def test_the_embedded_default_needs_nothing_and_keeps_its_key(tmp_path: Path) -> None:
    first, second = load_settings(port=8123), load_settings(port=8123)
    assert first.database_url == f"sqlite:///{tmp_path / 'state' / 'engage-plugin.sqlite'}"
    assert first.redis_url is None
    assert first.public_url == "http://127.0.0.1:8123"
    assert first.secret_key == second.secret_key
    assert (tmp_path / "state" / "secret-key").stat().st_mode & 0o077 == 0
    assert first.secret_key not in repr(first)


def test_secrets_are_read_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    path.write_text("k" * 40 + "\n")
    monkeypatch.setenv("SECRET_KEY_FILE", str(path))
    assert load_settings().secret_key == "k" * 40


def test_a_database_on_a_server_needs_a_key_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@host/name")
    with pytest.raises(ConfigurationError, match="SECRET_KEY"):
        load_settings()
    monkeypatch.setenv("SECRET_KEY", "k" * 40)
    assert "secret" not in load_settings().safe_database_url()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "short"), ("SECRET_KEY_FILE", "/nowhere"), ("PUBLIC_URL", "ftp://x"), ("PUBLIC_URL", "http://shop.example"),
        ("RETRY_BASE_S", "0"), ("RETRY_BASE_S", "nan"), ("SWEEP_INTERVAL_S", "-1"), ("ENGAGE_RATE", "201"), ("ENGAGE_RATE", "0"),
        ("REDIS_URL", "http://x"), ("DATABASE_URL", "oracle://x"), ("METRICS_TOKEN", "short"), ("STATE_DIR", "/proc/nowhere"),
        ("SHOPIFY_CLIENT_ID", "half"), ("SHOPIFY_CLIENT_SECRET", "half"), ("DATABASE_URL", "postgresql://user:p@ss@host/name"),
        ("SHOPIFY_API_VERSION", "2026-05"), ("SHOPIFY_API_VERSION", "latest"), ("SHOPIFY_WEBHOOKS", "both"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert name.removesuffix("_FILE") in str(caught.value)


def test_a_file_that_cannot_be_read_hides_no_other_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "nowhere"))
    monkeypatch.setenv("REDIS_URL_FILE", str(binary))
    monkeypatch.setenv("SECRET_KEY", "short")
    monkeypatch.setenv("ENGAGE_RATE", "0")
    monkeypatch.setenv("PUBLIC_URL", "http://shop.example")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(shared_services=True)
    begins = (
        "DATABASE_URL_FILE names",
        "REDIS_URL_FILE names",
        "SECRET_KEY: ",
        "ENGAGE_RATE: ",
        "PUBLIC_URL is plain http",
    )
    assert len(caught.value.faults) == len(begins)
    assert all(any(fault.startswith(begin) for fault in caught.value.faults) for begin in begins), caught.value.faults


def test_addresses_are_told_without_their_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:p-word@host/name")
    monkeypatch.setenv("REDIS_URL", "redis://:p-word@host:6379/1")
    monkeypatch.setenv("SECRET_KEY", "k" * 40)
    settings = load_settings()
    assert settings.safe_database_url() == "postgresql://user:***@host/name"
    assert settings.safe_redis_url() == "redis://:***@host:6379/1"
