"""My Pages: a logged-in shopper's data, purchases, promotions, points and vouchers, from a cache that outlives an outage.

Everything is read through `plugin.engage.cache`; changes go through the inbox.
"""
