"""What commands say when the database or Redis does not answer: which one, and what its driver says, never a password."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from redis import ConnectionError as RedisConnectionError
from redis import ResponseError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError
from support.helpers import service_url

from plugin.cli import main
from plugin.commands.common import report_errors

SECRET = "p-word-of-nobody"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    monkeypatch.setenv("SECRET_KEY", "k" * 40)


def told(monkeypatch: pytest.MonkeyPatch, url: str) -> str:
    """Return what `status` and the doctor say of a database that does not answer."""
    monkeypatch.setenv("DATABASE_URL", url)
    status = CliRunner().invoke(main, ["status"])
    assert status.exit_code == 1
    doctor = CliRunner().invoke(main, ["doctor", "--json"])
    (check,) = [check for check in json.loads(doctor.stdout) if check["what"].startswith("database")]
    assert check["result"] == "fault"
    assert SECRET not in status.output + doctor.output
    (line,) = status.stderr.strip().splitlines()
    said = line.partition("(")[2].rpartition("). Is DATABASE_URL right")[0]
    assert said in check["todo"]
    return said


def test_server_that_is_down_is_reported_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    said = told(monkeypatch, f"postgresql://nobody:{SECRET}@127.0.0.1:1/shop")
    assert "127.0.0.1" in said
    assert "refused" in said


@pytest.mark.postgresql
def test_missing_database_and_wrong_user_have_different_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    server = make_url(service_url("TEST_POSTGRESQL_URL"))
    missing = server.set(database="nothing_of_ours").render_as_string(hide_password=False)
    assert '"nothing_of_ours" does not exist' in told(monkeypatch, missing)
    stranger = server.set(username="nobody_of_ours", password=SECRET).render_as_string(hide_password=False)
    assert '"nobody_of_ours"' in told(monkeypatch, stranger)


def test_database_file_that_cannot_be_opened_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "folder.sqlite").mkdir()
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/folder.sqlite")
    assert "unable to open database file" in CliRunner().invoke(main, ["status"]).stderr


def failing_with(error: Exception) -> Result:
    @click.command()
    @report_errors
    def fails() -> None:
        raise error

    return CliRunner().invoke(fails)


def test_redis_that_is_down_is_reported_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    away = RedisConnectionError("Error 111 connecting to 127.0.0.1:1. Connection refused.")
    monkeypatch.setenv("REDIS_URL", f"redis://:{SECRET}@127.0.0.1:1")
    answer = failing_with(away)
    assert answer.exit_code == 1
    assert "redis://:***@127.0.0.1:1" in answer.stderr
    assert "Connection refused" in answer.stderr
    monkeypatch.delenv("REDIS_URL")
    assert "engage-plugin run" in failing_with(away).stderr
    doctor = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).stdout)
    assert "embedded Redis" in [check["what"] for check in doctor]


def test_text_of_other_errors_is_not_printed() -> None:
    refused = ResponseError("unknown command, with args beginning with: ada@example.com")
    assert "ada@example.com" not in failing_with(refused).stderr
    statement = ProgrammingError("SELECT 1", {}, Exception("no such column: ada@example.com"))
    assert "ada@example.com" not in failing_with(statement).stderr
