"""Indexes of a part of a table: they stay as small as what is still to be done, however long the history grows.

Apart from the tables, because SQLAlchemy loads all of PostgreSQL's dialect to check them, also in a process on SQLite;
only what makes tables or compares them needs this module.
"""

from sqlalchemy import Index, text
from sqlalchemy.orm import InstrumentedAttribute

from plugin.store.tables.files import FallbackFile
from plugin.store.tables.inbox import InboxEvent
from plugin.store.tables.shops import Shop


def _partial(name: str, where: str, *columns: InstrumentedAttribute[object], unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, postgresql_where=text(where), sqlite_where=text(where))


INDEXES = (
    _partial("ix_shops_domain", "shop_domain IS NOT NULL", Shop.platform, Shop.shop_domain, unique=True),
    _partial("ix_inbox_due", "state = 'pending'", InboxEvent.next_attempt_at, InboxEvent.id),
    _partial(
        "ix_inbox_key",
        "state IN ('pending', 'leased', 'parked')",
        *(InboxEvent.shop_id, InboxEvent.ordering_key, InboxEvent.occurred_at, InboxEvent.id),
    ),
    # one lease a customer: two workers can never hold two events of one ordering key
    _partial("uq_inbox_lease", "state = 'leased'", InboxEvent.shop_id, InboxEvent.ordering_key, unique=True),
    _partial("ix_inbox_lease_end", "state = 'leased'", InboxEvent.lease_expires_at),
    _partial("ix_inbox_order", "order_ref IS NOT NULL", InboxEvent.shop_id, InboxEvent.order_ref),
    _partial(
        "ix_inbox_live",
        "state = 'pending' AND next_attempt_at IS NOT NULL",
        *(InboxEvent.received_at, InboxEvent.id),
    ),
    _partial("ix_inbox_parked", "state = 'parked'", InboxEvent.id),
    _partial(
        "ix_inbox_waiting",
        "state = 'pending' AND next_attempt_at IS NULL",
        *(InboxEvent.shop_id, InboxEvent.ordering_key),
    ),
    _partial("ix_inbox_spooled", "state = 'spooled'", InboxEvent.shop_id, InboxEvent.id),
    _partial("ix_fallback_live", "state NOT IN ('taken', 'recalled', 'failed')", FallbackFile.shop_id, FallbackFile.id),
)
