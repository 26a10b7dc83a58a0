"""My Pages: a logged-in shopper's data, purchases, promotions, points and vouchers, also while Engage is away.

Data is read through `plugin.engage.cache`. Changes are stored in the inbox and delivered by `webhooks`.
"""
