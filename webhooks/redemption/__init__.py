"""Promotions and vouchers that an order uses: found, redeemed once, reactivated where they should be.

Offers at the checkout are in `plugin.promotions`.
"""
