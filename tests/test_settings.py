"""The environment: defaults, values from files, refused values, and the table in the README."""

import re
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest

from plugin.errors import ConfigurationError
from plugin.settings import Settings, load_settings, variable_of

README = Path(__file__).parent.parent / "README.md"

NAMES = (
    "DATABASE_URL", "REDIS_URL", "SECRET_KEY", "SECRET_KEY_FILE", "PUBLIC_URL", "RETRY_BASE_S", "SWEEP_INTERVAL_S",
    "ENGAGE_RATE", "METRICS_TOKEN", "STATE_DIR", "DATABASE_URL_FILE", "REDIS_URL_FILE", "SHOPIFY_CLIENT_ID", "SHOPIFY_CLIENT_SECRET",
)  # fmt: skip


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))


def test_defaults_need_no_variable_and_the_secret_key_is_made_once(tmp_path: Path) -> None:
    first, second = load_settings(port=8123), load_settings(port=8123)
    assert first.database_url == f"sqlite:///{tmp_path / 'state' / 'engage-plugin.sqlite'}"
    assert first.redis_url is None
    assert first.public_url == "http://127.0.0.1:8123"
    assert first.secret_key == second.secret_key
    assert (tmp_path / "state" / "secret-key").stat().st_mode & 0o077 == 0
    assert first.secret_key not in repr(first)


def test_secret_is_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    path.write_text("k" * 40 + "\n")
    monkeypatch.setenv("SECRET_KEY_FILE", str(path))
    assert load_settings().secret_key == "k" * 40


def test_database_on_a_server_requires_a_secret_key(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_invalid_value_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert name.removesuffix("_FILE") in str(caught.value)


def test_unreadable_file_hides_no_other_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_addresses_in_messages_have_no_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:p-word@host/name")
    monkeypatch.setenv("REDIS_URL", "redis://:p-word@host:6379/1")
    monkeypatch.setenv("SECRET_KEY", "k" * 40)
    settings = load_settings()
    assert settings.safe_database_url() == "postgresql://user:***@host/name"
    assert settings.safe_redis_url() == "redis://:***@host:6379/1"


def test_settings_do_not_print_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:p-word@host/name")
    monkeypatch.setenv("SECRET_KEY", "k" * 40)
    settings = repr(load_settings())
    assert "p-word" not in settings
    assert "k" * 40 not in settings


def default_text(declared: "Field[Any]") -> str:
    """Return a default as the README writes it."""
    default = declared.default
    if default is MISSING:
        return variable_of(declared).default_text
    if default is None or isinstance(default, bool):
        return {None: "none", True: "yes", False: "no"}[default]
    return f"{default:g}" if isinstance(default, float) else str(default)


def test_readme_lists_variables_with_their_defaults() -> None:
    declared = {variable_of(item).name: default_text(item) for item in fields(Settings)}
    table = README.read_text().partition("### Environment")[2].partition("###")[0]
    listed = re.findall(r"^\| (`.+?`) \| (.+?) \|", table, re.MULTILINE)
    documented = {name: default for names, default in listed for name in re.findall(r"`(\w+)`", names)}
    assert documented == {name: declared[name] for name in documented}
    assert len(documented) >= 16


def test_readme_lists_the_variables_that_may_be_files() -> None:
    secret = {f"{variable_of(item).name}_FILE" for item in fields(Settings) if variable_of(item).secret}
    assert set(re.findall(r"`(\w+_FILE)`", README.read_text())) == secret
