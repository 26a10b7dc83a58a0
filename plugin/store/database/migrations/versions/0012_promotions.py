"""Promotions: redemptions that can be given back, tokens of the API, created promotions, lists of people"""

import sqlalchemy as sa
from alembic import op

from plugin.store.database.types import UtcDateTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = UtcDateTime(timezone=True)


def upgrade() -> None:
    with op.batch_alter_table("redemptions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("called_at", TIME, nullable=True))
        batch_op.add_column(sa.Column("reactivations", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("seen_redeemed_on", TIME, nullable=True))
        batch_op.create_index("ix_redemption_order", ["shop_id", "order_id"], unique=False)
    # a call may have gone out for each intent of the version before
    op.execute("UPDATE redemptions SET called_at = intended_at")
    op.create_table(
        "api_tokens",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("shop_id", BIG_ID, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("hint", sa.String(length=8), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("revoked_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("api_tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_tokens_shop_id"), ["shop_id"], unique=False)
    op.create_table(
        "own_promotions",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("shop_id", BIG_ID, nullable=False),
        sa.Column("tenant", sa.String(length=32), nullable=False),
        sa.Column("promotion_id", sa.String(length=64), nullable=False),
        sa.Column("external_id", sa.String(length=450), nullable=False),
        sa.Column("name", sa.String(length=450), nullable=False),
        sa.Column("value_type", sa.String(length=32), nullable=False),
        sa.Column("value", sa.String(length=512), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("shop_id", "tenant", "promotion_id", name="uq_own_promotion"),
    )
    op.create_table(
        "assign_runs",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("shop_id", BIG_ID, nullable=False),
        sa.Column("tenant", sa.String(length=32), nullable=False),
        sa.Column("promotion_id", sa.String(length=64), nullable=False),
        sa.Column("list_digest", sa.String(length=64), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("finished_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("shop_id", "tenant", "promotion_id", "list_digest", name="uq_assign_run"),
    )
    op.create_table(
        "assign_rows",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("contact_digest", sa.String(length=64), nullable=True),
        sa.Column("assignment_id", sa.String(length=64), nullable=True),
        sa.Column("had", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["assign_runs.id"]),
        sa.PrimaryKeyConstraint("run_id", "position"),
    )
    with op.batch_alter_table("assign_rows", schema=None) as batch_op:
        batch_op.create_index("ix_assign_contact", ["run_id", "contact_digest"], unique=False)
