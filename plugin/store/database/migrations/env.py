"""Alembic runs this. The connection comes from `Database.migrate`; there is no ini file."""

from alembic import context

import plugin.store.tables.partial_indexes  # noqa: F401 - registers them with the tables
from plugin.store.tables import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
