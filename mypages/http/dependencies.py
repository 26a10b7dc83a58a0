"""What My Pages gets from the composition root."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from mypages.data.page_cache import PageCache
from plugin.engage.cache.cached import CachedEngage
from plugin.engage.client import EngageClient
from plugin.store.contacts.snapshot import ShopperSnapshots
from plugin.store.contacts.sync_state import SyncStates
from plugin.store.inbox.edits import Edits
from plugin.store.orders.orders import Orders
from plugin.store.shops.handover_tokens import UsedTokens
from plugin.store.shops.registry import Shops
from plugin.store.shops.shops import RegisteredShop
from plugin.store.shops.vault import Vault

#: Threads for calls to Engage: each of 16 web threads may wait for five, and calls that timed out run on for a while.
POOL_SIZE = 160


@dataclass(frozen=True, slots=True)
class PageDependencies:
    """The services that the pages use.

    secure: shoppers come over https, so cookies may be Secure. wake: gets the id of each stored event; must not raise.
    public_url: the address under which shoppers reach us, without a slash at its end.
    """

    shops: Shops
    sync_states: SyncStates
    shoppers: ShopperSnapshots
    orders: Orders
    edits: Edits
    used_tokens: UsedTokens
    cached: CachedEngage
    client_for: Callable[[RegisteredShop], EngageClient]
    vault: Vault
    secure: bool
    clock: Callable[[], datetime]
    wake: Callable[[int], None]
    public_url: str
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(POOL_SIZE, thread_name_prefix="my-pages")
    )
    page_cache: PageCache = field(default_factory=PageCache)
