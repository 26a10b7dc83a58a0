"""The tables, one module a subject. Importing this package registers all of them with `Base`.

Queries are in the packages beside it; a test holds the tables to the migrations.
"""

from plugin.store.tables import contacts, files, inbox, orders, promotions, shops, sync
from plugin.store.tables.base import Base

__all__ = ["Base", "contacts", "files", "inbox", "orders", "promotions", "shops", "sync"]
