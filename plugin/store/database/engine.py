"""One database, SQLite or PostgreSQL, behind one small interface.

Transactions on SQLite begin IMMEDIATE: a deferred one that reads before it writes fails at once under load,
whatever the busy time-out (measured: half of them with eight writers). `synchronous=FULL` keeps the promise that a
row is on disk before the shop gets its 200.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Engine,
    create_engine,
    event,
    func,
    inspect,
    text,
)
from sqlalchemy import cast as cast_sql
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import ConnectionPoolEntry

from plugin.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql import Insert
from plugin.store.database.schema import REVISION, alembic_config, refuse_newer
from plugin.store.database.sqlite_writer_lock import BUSY_TIMEOUT_S, SqliteWriterLock

#: A server that is gone without a word (libpq, seconds; tcp_user_timeout in milliseconds) must hold no thread for ever.
ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
CONNECT_TIMEOUT_S = 3
#: What each connection to SQLite keeps of the file, in KiB. Its own 2000, times the threads, is a third of a worker's memory;
#: what it does not keep, the kernel does.
CACHE_KIB = 100
#: So many connections to SQLite stay open, the last used first: each prepares the statements it runs for itself, 25 KB each.
KEPT_OPEN = 4
#: A pooled connection that rested this long, in seconds, is asked whether it still lives.
PING_AFTER_S = 1.0


class Database:
    """The engine and its transactions. Safe to share between threads, not across a fork."""

    def __init__(self, url: str, *, pool_size: int = 20) -> None:
        self.url = make_url(url.replace("postgres://", "postgresql://", 1))
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = self._sqlite_engine(pool_size) if self.sqlite else self._postgresql_engine(pool_size)
        # one statement a read: PostgreSQL needs no BEGIN and ROLLBACK around it, SQLite keeps its snapshot
        reads = {} if self.sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._reading = self.engine.execution_options(only_reads=True, **reads)
        self._one_read = self._reading.execution_options(one_statement=True)
        self._turn: AbstractContextManager[None] = (
            SqliteWriterLock(self.url.database) if self.sqlite and self.url.database else nullcontext()
        )

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a session that writes; commits at the end, rolls back on any error."""
        with self._turn, Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads; on SQLite it does not wait for writers."""
        with Session(self._reading) as session:
            yield session

    def read_connection(self) -> AbstractContextManager[Connection]:
        """Open a connection for one statement that reads: it needs neither session nor BEGIN, and so half the time."""
        return self._one_read.connect()

    @contextmanager
    def rolled_back(self) -> Iterator["Database"]:
        """Open a database on which everything works and nothing is committed: all is rolled back at the end.

        For one thread; on SQLite other writers wait meanwhile.
        """
        with self._turn, self.engine.connect() as connection:
            outer = connection.begin()
            try:
                yield _RolledBackDatabase(self, connection)
            finally:
                outer.rollback()

    def insert(self, table: type[DeclarativeBase]) -> "Insert":
        """Return an INSERT that knows ON CONFLICT, which both databases spell alike under their own dialect.

        Typed as PostgreSQL's, whose methods SQLite's has too.
        """
        if self.sqlite:
            return cast("Insert", sqlite.insert(table))
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)

    def merged_json(self, first: Any, second: Any) -> ColumnElement[Any]:
        """Return the JSON object that has the names of two, the second's value where both have one (never null)."""
        if self.sqlite:
            return func.json_patch(first, second)
        from sqlalchemy.dialects.postgresql import JSONB

        return cast_sql(cast_sql(first, JSONB).concat(cast_sql(second, JSONB)), JSON)

    def disable_sort(self, session: Session) -> None:
        """Make the session's next queries with ORDER BY and LIMIT walk an index from its start.

        PostgreSQL's statistics of a queue are old as soon as they are made: it takes many rows for few, and sorts all.
        """
        if not self.sqlite:
            session.connection().exec_driver_sql("SET LOCAL enable_sort = off")

    def allow_async_commit(self, session: Session) -> None:
        """Let a commit return before it is on disk, where nothing is lost if the server loses it: PostgreSQL waits less."""
        if not self.sqlite:
            session.connection().exec_driver_sql("SET LOCAL synchronous_commit = off")

    def check(self) -> None:
        """Ask the database for one row. Raises what the driver raises."""
        with self.reading() as session:
            session.execute(text("SELECT 1"))

    def migrate(self) -> bool:
        """Bring the schema to the current revision; return whether there were no tables before.

        On PostgreSQL several machines may try: one at a time does it. Raises ConfigurationError for a database of a newer version.
        """
        if self.sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = self._revision()
        if found == REVISION:
            return False
        refuse_newer(found)
        from alembic import command

        with self.engine.connect() as connection:
            if not self.sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(7420615003)"))
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
        return found is None

    def check_schema(self) -> None:
        """Raise ConfigurationError when the schema is not the one that this version needs."""
        found = self._revision()
        refuse_newer(found)
        if found != REVISION:
            state = "The database has no tables" if found is None else f"The database schema is at {found}"
            raise ConfigurationError([f"{state}, this version needs {REVISION}: run `engage-plugin migrate`."])

    def _revision(self) -> str | None:
        """Return the revision that the database is at; None for one without our tables."""
        with self.reading() as session:
            connection = session.connection()
            if not inspect(connection).has_table("alembic_version"):
                return None
            return cast("str | None", connection.scalar(text("SELECT version_num FROM alembic_version")))

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()
        if isinstance(self._turn, SqliteWriterLock):
            self._turn.close()

    def _sqlite_engine(self, pool_size: int) -> Engine:
        engine = create_engine(
            self.url,
            pool_size=KEPT_OPEN,
            max_overflow=2 * pool_size - KEPT_OPEN,
            pool_use_lifo=True,
            connect_args={"timeout": BUSY_TIMEOUT_S},
            hide_parameters=True,  # the text of an error may be logged, and parameters hold people's data
        )

        @event.listens_for(engine, "connect")
        def prepare(connection: Any, _record: object) -> None:
            connection.isolation_level = None  # SQLAlchemy sends our own BEGIN below
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                "foreign_keys=ON",
                f"busy_timeout={BUSY_TIMEOUT_S * 1000}",
                f"cache_size=-{CACHE_KIB}",
            ):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            options = connection.get_execution_options()
            if options.get("one_statement", False):
                return
            only_reads = options.get("only_reads", False)
            connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")

        return engine

    def _postgresql_engine(self, pool_size: int) -> Engine:
        url = self.url.set(drivername="postgresql+psycopg")
        # Without jit: it takes half a second to compile what then runs in a millisecond, as soon as a plan looks
        # dear, and one with a sort that is turned off (disable_sort) looks dear beyond measure.
        options = "-c timezone=UTC -c jit=off"
        engine = create_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_use_lifo=True,  # the same few connections are used again, with what they have prepared
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "options": options, **ALIVE},
            hide_parameters=True,  # the text of an error may be logged, and parameters hold people's data
        )
        _ping_after_rest(engine)
        return engine


class _RolledBackDatabase(Database):
    """A database inside one open transaction, in which each further transaction is a savepoint."""

    def __init__(self, real: Database, connection: Connection) -> None:
        self.url, self.sqlite, self.engine, self._turn = real.url, real.sqlite, real.engine, nullcontext()
        self._connection = connection

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """See Database."""
        with (
            Session(self._connection, expire_on_commit=False, join_transaction_mode="create_savepoint") as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """See Database."""
        with Session(self._connection, join_transaction_mode="create_savepoint") as session:
            yield session

    def read_connection(self) -> AbstractContextManager[Connection]:
        """See Database."""
        return nullcontext(self._connection)


def _ping_after_rest(engine: Engine) -> None:
    """Let the pool ask whether a connection still lives only when it was not used just now.

    SQLAlchemy's own `pool_pre_ping` asks each time, which costs a busy process as much as its reads do.
    """

    @event.listens_for(engine, "checkin")
    def rest(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def wake(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        if time.monotonic() - record.info.get("rests_since", time.monotonic()) < PING_AFTER_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error
