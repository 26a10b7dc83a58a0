"""Which event an event waits for, and whether it makes others wait, are columns of their own

`held_by` was the parked event that an event waits for, or its own id when it waits but lets others pass.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # written out, because Alembic copies the whole table on SQLite, and both databases rename a column at once
    op.execute("ALTER TABLE inbox_events RENAME COLUMN held_by TO blocked_by_id")
    op.execute("ALTER TABLE inbox_events RENAME COLUMN holds TO blocks_later_changes")
    op.add_column("inbox_events", sa.Column("non_blocking", sa.Boolean(), nullable=False, server_default=sa.false()))
    # the states are those of ix_inbox_key, so that finished events are not read
    op.execute(
        "UPDATE inbox_events SET non_blocking = true, blocked_by_id = NULL"
        " WHERE state IN ('pending', 'leased', 'parked') AND blocked_by_id = id"
    )
