"""Every platform, one line each."""

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from importlib import import_module
from typing import Any

from plugin.events import MappingResult
from plugin.platforms import internal_events
from plugin.platforms.base import Delivery, Platform


class _Platforms(Mapping[str, Platform]):
    """Loads a platform when it is first used: a worker holds in memory only the platforms of its shops.

    adapters: the adapter's name in its package by slug, which is the package's name.
    """

    def __init__(self, adapters: Mapping[str, str]) -> None:
        self._adapters = adapters
        self._configure: dict[str, Callable[[Any], None]] = {}
        self._loaded: dict[str, Platform] = {}
        self._lock = threading.Lock()

    def configure(self, slug: str, configure: Callable[[Any], None]) -> None:
        """Apply a function to a platform before it is used next, now loaded or not."""
        self._adapters[slug]
        with self._lock:
            self._configure[slug] = configure
            self._loaded.pop(slug, None)

    def __getitem__(self, slug: str) -> Platform:
        adapter = self._loaded.get(slug)
        return self._load(slug) if adapter is None else adapter

    def _load(self, slug: str) -> Platform:
        name = self._adapters[slug]
        with self._lock:
            adapter: Platform = getattr(import_module(f"plugin.platforms.{slug}"), name)
            if slug in self._configure:
                self._configure[slug](adapter)
            self._loaded[slug] = adapter
        return adapter

    def __iter__(self) -> Iterator[str]:
        return iter(self._adapters)

    def __len__(self) -> int:
        return len(self._adapters)


PLATFORMS = _Platforms(
    {
        "saleor": "SALEOR",
        "shopify": "SHOPIFY",
        "standard": "STANDARD",
        "woocommerce": "WOOCOMMERCE",
    }
)


def normalise(platform: str, delivery: Delivery, body: bytes, received_at: datetime) -> MappingResult:
    """Map a stored event: a shop's webhook by its platform, the plugin's own events by `internal_events`. Raises PayloadError."""
    if delivery.topic in internal_events.INTERNAL_TOPICS:
        return internal_events.normalise(delivery, body, received_at)
    return PLATFORMS[platform].normalise(delivery, body, received_at)
