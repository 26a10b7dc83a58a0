"""Promotions and vouchers that an order used: found, redeemed once, reactivated after a cancellation or complete return.

Offers at the checkout are in `plugin.promotions`.
"""
