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
    """Loads a platform when it is first asked for: a worker holds in memory what the platforms of its shops need.

    adapters: by slug, which is the folder's name, what the adapter is called there.
    """

    def __init__(self, adapters: Mapping[str, str]) -> None:
        self._adapters = adapters
        self._set_up: dict[str, Callable[[Any], None]] = {}
        self._loaded: dict[str, Platform] = {}
        self._lock = threading.Lock()

    def set_up(self, slug: str, set_up: Callable[[Any], None]) -> None:
        """Let a platform be told what this installation wants, before it is used next."""
        self._adapters[slug]
        with self._lock:
            self._set_up[slug] = set_up
            self._loaded.pop(slug, None)

    def __getitem__(self, slug: str) -> Platform:
        found = self._loaded.get(slug)
        return self._load(slug) if found is None else found

    def _load(self, slug: str) -> Platform:
        name = self._adapters[slug]
        with self._lock:
            adapter: Platform = getattr(import_module(f"plugin.platforms.{slug}"), name)
            if slug in self._set_up:
                self._set_up[slug](adapter)
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
    """Map a stored event: a shop's webhook by its platform, the plugin's own by ours. Raises PayloadError."""
    if delivery.topic in internal_events.INTERNAL_TOPICS:
        return internal_events.normalise(delivery, body, received_at)
    return PLATFORMS[platform].normalise(delivery, body, received_at)
