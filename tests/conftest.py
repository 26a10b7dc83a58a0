"""Fixtures that all tests share. Databases are real: SQLite always, PostgreSQL where TEST_POSTGRESQL_URL is set."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import values
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from support.helpers import Clock, service_url

from plugin.metrics import FOLDER
from plugin.store.database.engine import Database
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import NewShop, RegisteredShop
from plugin.store.shops.vault import Vault
from plugin.store.tables.base import Base

SECRET_KEY = "a key of tests that is longer than thirty-two characters"


@pytest.fixture(autouse=True)
def figures_of_one_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo a command's decision to count into files: later tests of the process would find their figures there."""
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.delenv(FOLDER, raising=False)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def postgresql_database() -> Iterator[str]:
    """A new database on the server that TEST_POSTGRESQL_URL names; gone afterwards."""
    server = service_url("TEST_POSTGRESQL_URL")
    name = f"engage_plugin_{secrets.token_hex(6)}"
    admin = create_engine(
        make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT", pool_pre_ping=True
    )
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    try:
        yield make_url(server).set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
        admin.dispose()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The migrated database that all tests of one process share, each emptying it first."""
    with postgresql_database() as url:
        _migrate(url)
        yield url


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated file, which each test copies: running all migrations takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "plugin.sqlite"
    _migrate(f"sqlite:///{path}")
    return path


def _migrate(url: str) -> None:
    database = Database(url)
    database.migrate()
    database.close()


@pytest.fixture(scope="module")
def postgresql_url_of_a_plugin() -> Iterator[str]:
    """A database for a running plugin of one module, whose workers would take up other tests' events."""
    with postgresql_database() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty, migrated database, of each kind in turn."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "plugin.sqlite")
        made = Database(f"sqlite:///{tmp_path / 'plugin.sqlite'}")
    else:
        made = Database(request.getfixturevalue("postgresql_url"))
        _empty(made)
    yield made
    made.close()


def _empty(database: Database) -> None:
    """Delete all rows and let ids begin at 1 again. TRUNCATE makes new files, which costs more than few rows do."""
    tables = list(reversed(Base.metadata.sorted_tables))
    statements = [f"DELETE FROM {table.name}" for table in tables]
    statements += [
        f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), 1, false)" for table in tables if "id" in table.c
    ]
    with database.transaction() as session:
        session.execute(text("; ".join(statements)))


@pytest.fixture
def vault() -> Vault:
    return Vault(SECRET_KEY)


@pytest.fixture
def shops(database: Database, vault: Vault) -> Shops:
    return Shops(database, vault)


@pytest.fixture
def shop(shops: Shops, clock: Clock) -> RegisteredShop:
    new = NewShop(
        name="web-se",
        platform="standard",
        engage_url="http://127.0.0.1:9",
        engage_key="a-key",
        webhook_secret="whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        settings={"store": "web-se"},
    )
    return shops.add(new, clock())
