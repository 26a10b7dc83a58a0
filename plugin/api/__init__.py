"""JSON over HTTP: for the merchant's own servers, and for the checkout.

Only addresses, limits and the reading of requests are here; the work is done in `plugin.promotions`.
"""
