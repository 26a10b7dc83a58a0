"""Migrations make exactly the tables that the models describe."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from conftest import postgresql_database
from sqlalchemy import inspect, select, text

from plugin.errors import ConfigurationError
from plugin.store.database.engine import Database
from plugin.store.database.schema import REVISION, alembic_config
from plugin.store.tables.base import Base
from plugin.store.tables.inbox import InboxEvent
from plugin.store.tables.partial_indexes import INDEXES

NOW = "2026-01-02 03:04:05.000000+00:00"


def test_migrations_and_models_agree(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        made = {index["name"] for table in Base.metadata.tables for index in inspect(connection).get_indexes(table)}
    assert {index.name for index in INDEXES} <= made


def test_migrating_twice_changes_nothing(database: Database) -> None:
    database.migrate()
    database.check_schema()


def test_the_revision_that_processes_look_for_is_the_newest() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == REVISION


def test_a_database_without_tables_is_refused_with_instructions(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/empty.sqlite")
    with pytest.raises(ConfigurationError) as refused:
        database.check_schema()
    assert refused.value.faults == (
        f"The database has no tables, this version needs {REVISION}: run `engage-plugin migrate`.",
    )
    database.close()


def test_a_database_of_a_newer_version_is_left_unchanged(database: Database) -> None:
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        for attempt in (database.check_schema, database.migrate):
            with pytest.raises(
                ConfigurationError, match=r"newer version of the plugin .* at 9999, .* install that version"
            ):
                attempt()
    finally:
        with database.transaction() as session:
            session.execute(text(f"UPDATE alembic_version SET version_num = '{REVISION}'"))


def test_an_older_database_is_refused_and_brought_up_to_date(first_version: Database) -> None:
    with pytest.raises(ConfigurationError, match=f"schema is at 0001, this version needs {REVISION}"):
        first_version.check_schema()
    first_version.migrate()
    first_version.check_schema()


@pytest.fixture(params=["sqlite", "postgresql"])
def first_version(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of the first version, in use."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/old.sqlite"
        if request.param == "postgresql":
            url = stack.enter_context(postgresql_database())
        database = Database(url)
        stack.callback(database.close)
        with database.engine.connect() as connection:
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
            connection.commit()
        yield database


def test_a_database_of_the_first_version_keeps_its_rows(first_version: Database) -> None:
    yes = "1" if first_version.sqlite else "true"
    with first_version.transaction() as session:
        for statement in (
            f"""INSERT INTO shops (id, name, platform, engage_url, engage_key_encrypted, webhook_secrets_encrypted,
                shopper_secret_encrypted, settings, created_at)
                VALUES (1, 'web-se', 'standard', 'http://e', 'a', 'b', 'c', '{{}}', '{NOW}')""",
            f"""INSERT INTO contact_links (id, shop_id, tenant, customer_id, contact_id, verified, reason, created_at)
                VALUES (1, 1, 't', '1001', 'c-1', {yes}, 'r', '{NOW}')""",
            f"""INSERT INTO redemptions (id, shop_id, tenant, kind, assignment_id, order_id, event_id, state, intended_at)
                VALUES (1, 1, 't', 'promotion', 'a-1', '9001', 1, 'intended', '{NOW}')""",
        ):
            session.execute(text(statement))
    first_version.migrate()
    first_version.check_schema()
    with first_version.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert connection.execute(text("SELECT name, credentials_encrypted FROM shops")).one() == ("web-se", None)
        assert connection.execute(text("SELECT contact_id FROM contact_links")).scalar_one() == "c-1"
        row = connection.execute(text("SELECT called_at = intended_at, reactivations FROM redemptions")).one()
        assert (bool(row[0]), row[1]) == (True, 0)


def test_events_that_block_or_wait_keep_their_meaning(first_version: Database) -> None:
    no, yes = ("0", "1") if first_version.sqlite else ("false", "true")
    # id: (state, held_by, holds) of the first version
    rows = {
        1: ("parked", "NULL", yes),  # makes later changes wait
        2: ("pending", "1", no),  # waits for it
        3: ("pending", "3", no),  # waits for something else and lets others pass
        4: ("pending", "NULL", no),
        5: ("delivered", "NULL", no),
    }
    with first_version.transaction() as session:
        session.execute(
            text(
                f"""INSERT INTO shops (id, name, platform, engage_url, engage_key_encrypted, webhook_secrets_encrypted,
                shopper_secret_encrypted, settings, created_at)
                VALUES (1, 'web-se', 'standard', 'http://e', 'a', 'b', 'c', '{{}}', '{NOW}')"""
            )
        )
        for event_id, (state, held_by, holds) in rows.items():
            session.execute(
                text(
                    f"""INSERT INTO inbox_events (id, shop_id, platform, topic, kind, dedupe_key, ordering_key, meta,
                    occurred_at, received_at, state, attempts, held_by, holds, lost_leases, progress)
                    VALUES ({event_id}, 1, 'standard', 't', 'profile_change', 'd{event_id}', 'customer:1', '{{}}',
                    '{NOW}', '{NOW}', '{state}', 0, {held_by}, {holds}, 0, '{{}}')"""
                )
            )
    first_version.migrate()
    with first_version.reading() as session:
        found = session.execute(
            select(
                InboxEvent.id, InboxEvent.blocked_by_id, InboxEvent.non_blocking, InboxEvent.blocks_later_changes
            ).order_by(InboxEvent.id)
        ).all()
    assert [tuple(row) for row in found] == [
        (1, None, False, True),
        (2, 1, False, False),
        (3, None, True, False),
        (4, None, False, False),
        (5, None, False, False),
    ]
