"""Fixtures for tests of the store."""

import pytest
from support.helpers import Clock
from support.inbox_driver import InboxDriver

from plugin.store.database.engine import Database
from plugin.store.shops.shops import RegisteredShop


@pytest.fixture
def box(database: Database, shop: RegisteredShop, clock: Clock) -> InboxDriver:
    return InboxDriver(database, shop, clock)
