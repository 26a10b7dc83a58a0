"""A shopper may ask for newer data than what is cached"""

import sqlalchemy as sa
from alembic import op

import plugin.store.database.types

revision = "0011"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "contact_states",
        sa.Column("fresh_after", plugin.store.database.types.UtcDateTime(timezone=True), nullable=True),
    )
