"""Hand-over tokens work once."""

from datetime import timedelta

from support.helpers import Clock

from plugin.store.database.engine import Database
from plugin.store.shops.handover_tokens import UsedTokens
from plugin.store.shops.shops import RegisteredShop


def test_a_used_token_is_bound_to_its_first_purpose(database: Database, shop: RegisteredShop, clock: Clock) -> None:
    used, until = UsedTokens(database), clock() + timedelta(minutes=2)
    assert used.bind(shop.id, "t-1", "checkout t-1", until)
    assert used.bind(shop.id, "t-1", "checkout t-1", until)
    assert not used.use(shop.id, "t-1", until)
    assert used.use(shop.id, "t-2", until)
    assert not used.bind(shop.id, "t-2", "checkout t-2", until)
