"""Every platform, one line each."""

from collections.abc import Mapping
from types import MappingProxyType

from plugin.platforms.base import Platform
from plugin.platforms.saleor import SALEOR
from plugin.platforms.shopify import SHOPIFY
from plugin.platforms.standard import STANDARD

PLATFORMS: Mapping[str, Platform] = MappingProxyType(
    {platform.slug: platform for platform in (SALEOR, SHOPIFY, STANDARD)}
)
