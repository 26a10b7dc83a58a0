"""Files for the time when Engage stays away"""

import sqlalchemy as sa
from alembic import op

import plugin.store.database.types

revision = "0013"
down_revision = "0017"
branch_labels = None
depends_on = None

_SPOOLED = sa.text("state = 'spooled'")
_LIVE = sa.text("state NOT IN ('taken', 'recalled', 'failed')")


def _id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _time(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, plugin.store.database.types.UtcDateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    with op.batch_alter_table("shops", schema=None) as batch_op:
        batch_op.add_column(sa.Column("file_access_encrypted", sa.LargeBinary(), nullable=True))
    op.create_index(
        "ix_inbox_spooled", "inbox_events", ["shop_id", "id"], postgresql_where=_SPOOLED, sqlite_where=_SPOOLED
    )
    op.create_table(
        "fallback_files",
        sa.Column("id", _id(), nullable=False),
        sa.Column("shop_id", _id(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("sequence", _id(), nullable=True),
        sa.Column("name", sa.String(length=96), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("size", _id(), nullable=True),
        sa.Column("lines", sa.Integer(), nullable=True),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("cleaned", sa.Integer(), nullable=False),
        sa.Column("temporary", sa.String(length=128), nullable=True),
        sa.Column("erased", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _time("next_attempt_at"),
        _time("created_at", nullable=False),
        _time("sent_at"),
        _time("ended_at"),
        _time("deleted_at"),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sa.UniqueConstraint("sequence"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fallback_live", "fallback_files", ["shop_id", "id"], postgresql_where=_LIVE, sqlite_where=_LIVE)
    op.create_table(
        "fallback_rows",
        sa.Column("id", _id(), nullable=False),
        sa.Column("file_id", _id(), nullable=False),
        sa.Column("event_id", _id(), nullable=False),
        sa.Column("shop_id", _id(), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("rest", sa.Boolean(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["fallback_files.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["event_id"], ["inbox_events.id"]),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("shop_id", "key", name="uq_fallback_row_key"),
    )
    with op.batch_alter_table("fallback_rows", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_fallback_rows_event_id"), ["event_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_fallback_rows_file_id"), ["file_id"], unique=False)
