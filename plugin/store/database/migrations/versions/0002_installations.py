"""Credentials of shops, and installations that were begun"""

import sqlalchemy as sa
from alembic import op

import plugin.store.database.types

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("shops", schema=None) as batch_op:
        batch_op.add_column(sa.Column("credentials_encrypted", sa.LargeBinary(), nullable=True))
    op.create_table(
        "pending_installations",
        sa.Column("state_hash", sa.String(length=64), nullable=False),
        sa.Column("shop_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("data_encrypted", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", plugin.store.database.types.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"]),
        sa.PrimaryKeyConstraint("state_hash"),
    )
    with op.batch_alter_table("pending_installations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_pending_installations_expires_at"), ["expires_at"], unique=False)
