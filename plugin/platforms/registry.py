"""Every platform, one line each."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from plugin.events import Mapped
from plugin.platforms import own
from plugin.platforms.base import Delivery, Platform
from plugin.platforms.saleor import SALEOR
from plugin.platforms.shopify import SHOPIFY
from plugin.platforms.standard import STANDARD
from plugin.platforms.woocommerce import WOOCOMMERCE

PLATFORMS: Mapping[str, Platform] = MappingProxyType(
    {platform.slug: platform for platform in (SALEOR, SHOPIFY, STANDARD, WOOCOMMERCE)}
)


def normalise(platform: str, delivery: Delivery, body: bytes, received_at: datetime) -> Mapped:
    """Map a stored event: a shop's webhook by its platform, the plugin's own by ours. Raises PayloadError."""
    if delivery.topic in own.OWN_TOPICS:
        return own.normalise(delivery, body, received_at)
    return PLATFORMS[platform].normalise(delivery, body, received_at)
