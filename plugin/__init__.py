"""The core of the plugin that connects a shop to Voyado Engage.

Receiving and delivering webhooks is in `webhooks`, the shopper's pages are in `mypages`.
"""
