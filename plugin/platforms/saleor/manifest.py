"""Saleor's part of the manifest: the webhooks that the shop makes for us when the app is installed.

See docs/platforms/saleor.md#installation.
"""

from typing import Any

from plugin.platforms.saleor.queries import WEBHOOKS

ADDRESS = "/webhooks/saleor"


def webhooks(public_url: str) -> list[dict[str, Any]]:
    """Return the webhooks with absolute addresses. The same address serves all shops: the headers name the shop."""
    return [
        {
            "name": name,
            "targetUrl": public_url + ADDRESS,
            "query": query,
            "asyncEvents": [topic.upper() for topic in topics],
            "isActive": True,
        }
        for name, (topics, query) in WEBHOOKS.items()
    ]
